//! What a thread knows of itself: its slot, its scope, the bounds of its stack.
//!
//! Thread-local storage without a destructor, so that it may be used at any time, also by the last
//! allocation of a dying thread. The slot is given back by a destructor of a POSIX key; what the
//! thread allocates after that counts in the shared slot.
//!
//! Orderings: `Relaxed` on a slot's words: the thread's own; on the hint: nothing depends on it.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::area::Area;
use super::control;
use super::format::{Loss, Step};
use super::slot::Slot;
use super::stack::Bounds;

/// A thread's own.
#[derive(Debug)]
pub(crate) struct Thread {
    /// Its slot; null: none yet, or none to be had.
    pub(crate) slot: Cell<*const Slot>,
    /// The slot's number; 0 without one.
    pub(crate) number: Cell<usize>,
    /// Index of the scope that it is in.
    pub(crate) tag: Cell<usize>,
    /// It settles its countdown just now: a signal handler must not.
    pub(crate) is_busy: Cell<bool>,
    /// The most that it has held, in its slot's count, while a measurement goes on.
    pub(crate) peak: Cell<Option<i64>>,
    /// It shall look for no slot any more.
    pub(crate) shares: Cell<bool>,
    /// The step of recording that it is in.
    pub(crate) step: Cell<u64>,
    pub(crate) bounds: Bounds,
}

thread_local! {
    pub(crate) static THREAD: Thread = const {
        Thread {
            slot: Cell::new(null()),
            number: Cell::new(0),
            tag: Cell::new(0),
            is_busy: Cell::new(false),
            peak: Cell::new(None),
            shares: Cell::new(false),
            step: Cell::new(Step::Idle as u64),
            bounds: Bounds::new(),
        }
    };
}

/// The key whose destructor gives slots back, plus 1; 0: none.
static KEY: AtomicU32 = AtomicU32::new(0);
/// A slot that was given back lately, to look at first.
static LAST_FREE: AtomicU32 = AtomicU32::new(1);

/// Makes the key. Once, before the first slot is claimed.
pub(crate) fn make_key() {
    let mut key = 0;
    // SAFETY: the place is ours; the destructor is a function of this crate, which is never
    // unloaded before the process ends.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(at_exit)) } == 0 {
        // Release: pairs with the Acquire in `claim`.
        KEY.store(key + 1, Release);
    }
}

/// The thread ends.
extern "C" fn at_exit(_: *mut c_void) {
    THREAD.with(|thread| {
        thread.shares.set(true);
        let slot = thread.slot.replace(null());
        // SAFETY: null, or a slot of the profile's mapping, which is never unmapped.
        let Some(slot) = (unsafe { slot.as_ref() }) else { return };
        if let Some(area) = control::area() {
            slot.tell(area, 1);
        }
        slot.release();
        // Relaxed: only a hint.
        LAST_FREE.store(thread.number.replace(0) as u32, Relaxed);
    });
}

/// Is this thread in the middle of a record? Not asked of its slot: the parent shares that one with
/// the child that asks, and has gone on meanwhile.
pub(crate) fn is_recording() -> bool {
    THREAD.with(|thread| thread.step.get() != Step::Idle as u64)
}

/// In a forked child: the slot was the parent's.
pub(crate) fn forget_slot() {
    THREAD.with(|thread| {
        thread.slot.set(null());
        thread.number.set(0);
        thread.shares.set(false);
        thread.is_busy.set(false);
    });
}

impl Thread {
    /// The thread's slot, claimed if it has none yet. `None`: it shares slot 0.
    pub(crate) fn slot(&self, area: Area<'static>) -> Option<&'static Slot> {
        // SAFETY: null, or a slot of the profile's mapping, which is never unmapped.
        match unsafe { self.slot.get().as_ref() } {
            None if !self.shares.get() => self.claim(area),
            slot => slot,
        }
    }

    #[cold]
    fn claim(&self, area: Area<'static>) -> Option<&'static Slot> {
        let most = usize::from(area.layout.shape.threads);
        let owner = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // Relaxed: only a hint.
        let hint = LAST_FREE.load(Relaxed) as usize;
        for number in std::iter::once(hint).chain(1..most).filter(|nth| (1..most).contains(nth)) {
            let slot = area.slot(number);
            let address = std::ptr::from_ref(slot) as u64;
            let seed = (now.tv_nsec.cast_unsigned() << 32) ^ address ^ u64::from(owner);
            if slot.claim(u64::from(owner), seed, control::mean()) {
                slot.tag.store(self.tag.get() as u64, Relaxed);
                self.number.set(number);
                self.slot.set(slot);
                give_back_at_exit();
                return Some(slot);
            }
        }
        area.lose(Loss::Threads);
        self.shares.set(true);
        None
    }
}

fn give_back_at_exit() {
    // Acquire: pairs with the Release in `make_key`.
    let Some(key) = KEY.load(Acquire).checked_sub(1) else { return };
    // SAFETY: the key was made and is never deleted; the value only says that there is something
    // to give back. If it fails, the slot stays with a thread that is gone.
    let _ = unsafe { libc::pthread_setspecific(key, std::ptr::dangling::<c_void>()) };
}
