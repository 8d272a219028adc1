//! Locks that two threads want at once, and again and again.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Barrier;
use std::time::Instant;

use method::cores::Pinned;
use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Unit};
use shm_core::lock::{Mutex, RwLock};
use shm_core::{Group, Shared};

use crate::locks::{OURS, Pthread, ROBUST, STUCK, check};
use crate::rivals::Rivals;

/// One in so many holds a lock for readers and writers for writing.
const WRITES: u32 = 16;

/// Nanoseconds for a turn, of two threads that do `count` each at once. A step says by how much it
/// has counted up.
fn both<S: Sync>(
    count: u32,
    state: &S,
    step: impl Fn(&S, u32) -> Outcome<()> + Sync,
) -> Outcome<Sample> {
    let barrier = Barrier::new(2);
    let run = |core: usize| -> Outcome<f64> {
        let _pinned = Pinned::to(core)?;
        barrier.wait();
        let start = Instant::now();
        (0..count).try_for_each(|turn| step(state, turn))?;
        Ok(start.elapsed().as_nanos() as f64)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        let here = run(0)?;
        let there = other.join().map_err(|_| "the other thread panicked")??;
        Ok(Sample::from(here.max(there) / (2.0 * f64::from(count))))
    })
}

fn counted(found: u64, expected: u32) -> Outcome<()> {
    if found == u64::from(expected) { Ok(()) } else { Err("counts are missing".into()) }
}

/// How often two threads count, for reading and writing.
fn writes(count: u32) -> u32 {
    2 * count.div_ceil(WRITES)
}

/// A word that a lock of the C library guards.
struct Guarded(UnsafeCell<u64>);

// SAFETY: only touched by who holds the lock beside it.
unsafe impl Sync for Guarded {}

impl Guarded {
    const fn new() -> Guarded {
        Guarded(UnsafeCell::new(0))
    }

    /// # Safety
    /// - The caller holds the lock that guards it, for writing.
    unsafe fn count(&self) {
        // SAFETY: the caller's alone, by the contract.
        unsafe { *self.0.get() += 1 };
    }
}

fn pthread(count: u32, robust: bool) -> Outcome<Sample> {
    let state = (Pthread::new(robust)?, Guarded::new());
    let sample = both(count, &state, |(mutex, word), _| {
        // SAFETY: held while this runs.
        mutex.hold(|| unsafe { word.count() })
    })?;
    counted(state.1.0.into_inner(), 2 * count)?;
    Ok(sample)
}

/// A lock for readers and writers of the C library, for several processes, in memory that does not
/// move. There is no robust one.
struct PthreadRw(Box<UnsafeCell<MaybeUninit<libc::pthread_rwlock_t>>>);

// SAFETY: the lock is made to be used by several threads.
unsafe impl Sync for PthreadRw {}

impl PthreadRw {
    fn new() -> Outcome<PthreadRw> {
        let lock = Box::new(UnsafeCell::new(MaybeUninit::<libc::pthread_rwlock_t>::uninit()));
        let mut attributes = MaybeUninit::<libc::pthread_rwlockattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: writes the attributes, which are ours.
        check(unsafe { libc::pthread_rwlockattr_init(attributes) })?;
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_rwlockattr_setpshared(attributes, shared) })?;
        // SAFETY: the memory of the lock is ours and never moves.
        check(unsafe { libc::pthread_rwlock_init(lock.get().cast(), attributes) })?;
        Ok(PthreadRw(lock))
    }

    fn hold(&self, write: bool, held: impl FnOnce()) -> Outcome<()> {
        let lock = self.0.get().cast();
        match write {
            // SAFETY: initialised in `new`, and alive.
            true => check(unsafe { libc::pthread_rwlock_wrlock(lock) })?,
            // SAFETY: as above.
            false => check(unsafe { libc::pthread_rwlock_rdlock(lock) })?,
        }
        held();
        // SAFETY: locked by this thread just now.
        check(unsafe { libc::pthread_rwlock_unlock(lock) })
    }
}

impl Drop for PthreadRw {
    fn drop(&mut self) {
        // SAFETY: initialised, and nobody holds it.
        unsafe { libc::pthread_rwlock_destroy(self.0.get().cast()) };
    }
}

fn our_mutex(count: u32) -> Outcome<Sample> {
    let state = (Group::anonymous()?, Shared::new(Mutex::new(0_u64))?);
    let sample = both(count, &state, |(group, lock), _| {
        *lock.lock(group).map_err(|_| "poisoned")? += 1;
        Ok(())
    })?;
    let found = *state.1.lock(&state.0).map_err(|_| "poisoned")?;
    counted(found, 2 * count)?;
    Ok(sample)
}

fn our_rw_lock(count: u32) -> Outcome<Sample> {
    let state = (Group::anonymous()?, Shared::new(RwLock::new(0_u64))?);
    let sample = both(count, &state, |(group, lock), turn| {
        if turn % WRITES == 0 {
            *lock.write(group).map_err(|_| "poisoned")? += 1;
        } else {
            black_box(*lock.read(group).map_err(|_| "poisoned")?);
        }
        Ok(())
    })?;
    let found = *state.1.read(&state.0).map_err(|_| "poisoned")?;
    counted(found, writes(count))?;
    Ok(sample)
}

fn std_mutex(count: u32) -> Outcome<Sample> {
    let lock = std::sync::Mutex::new(0_u64);
    let sample = both(count, &lock, |lock, _| {
        *lock.lock().map_err(|_| "poisoned")? += 1;
        Ok(())
    })?;
    counted(lock.into_inner().map_err(|_| "poisoned")?, 2 * count)?;
    Ok(sample)
}

fn parking_lot_mutex(count: u32) -> Outcome<Sample> {
    let lock = parking_lot::Mutex::new(0_u64);
    let sample = both(count, &lock, |lock, _| {
        *lock.lock() += 1;
        Ok(())
    })?;
    counted(lock.into_inner(), 2 * count)?;
    Ok(sample)
}

fn std_rw_lock(count: u32) -> Outcome<Sample> {
    let lock = std::sync::RwLock::new(0_u64);
    let sample = both(count, &lock, |lock, turn| {
        if turn % WRITES == 0 {
            *lock.write().map_err(|_| "poisoned")? += 1;
        } else {
            black_box(*lock.read().map_err(|_| "poisoned")?);
        }
        Ok(())
    })?;
    counted(lock.into_inner().map_err(|_| "poisoned")?, writes(count))?;
    Ok(sample)
}

fn parking_lot_rw_lock(count: u32) -> Outcome<Sample> {
    let lock = parking_lot::RwLock::new(0_u64);
    let sample = both(count, &lock, |lock, turn| {
        if turn % WRITES == 0 {
            *lock.write() += 1;
        } else {
            black_box(*lock.read());
        }
        Ok(())
    })?;
    counted(lock.into_inner(), writes(count))?;
    Ok(sample)
}

fn pthread_rw_lock(count: u32) -> Outcome<Sample> {
    let state = (PthreadRw::new()?, Guarded::new());
    let sample = both(count, &state, |(lock, word), turn| {
        let write = turn % WRITES == 0;
        lock.hold(write, || {
            if write {
                // SAFETY: held for writing while this runs.
                unsafe { word.count() };
            }
        })
    })?;
    counted(state.1.0.into_inner(), writes(count))?;
    Ok(sample)
}

/// The cases.
pub fn run(arguments: &Arguments, rivals: &Rivals) {
    let count = arguments.pick(50_000, 200_000);
    let case = |name, inside| {
        Case::new("shm", name, inside, Unit::NANOSECONDS, Calibration::CompareAndSwap)
            .at_most(arguments.pick(7, 15))
    };
    let inside = "two threads on two processors that lock, count and unlock at once; time for one of \
                  their turns. Who lets the same thread in again and again is fast, and not fair";
    case("mutex, two threads at once", inside)
        .side(Side::new("shm-core Mutex", OURS, move || our_mutex(count)))
        .side(Side::new("pthread robust, process-shared", ROBUST, move || pthread(count, true)))
        .side(Side::new("pthread process-shared", STUCK, move || pthread(count, false)))
        .side(Side::new("std Mutex", Promise::ONE_PROCESS, move || std_mutex(count)))
        .side(Side::new("parking_lot Mutex", Promise::ONE_PROCESS, move || {
            parking_lot_mutex(count)
        }))
        .side(rivals.boost("Boost 1.74 interprocess_mutex", STUCK, format!("contended {count}")))
        .run(arguments);
    let inside = "the same, one turn in 16 for writing";
    let sharable = "Boost 1.74 interprocess_sharable_mutex";
    case("lock for readers and writers, two threads at once", inside)
        .side(Side::new("shm-core RwLock", OURS, move || our_rw_lock(count)))
        .side(Side::new("pthread rwlock, process-shared", STUCK, move || pthread_rw_lock(count)))
        .side(Side::missing(
            "pthread robust rwlock",
            ROBUST,
            "there is none: POSIX has robust mutexes only",
        ))
        .side(Side::new("std RwLock", Promise::ONE_PROCESS, move || std_rw_lock(count)))
        .side(Side::new("parking_lot RwLock", Promise::ONE_PROCESS, move || {
            parking_lot_rw_lock(count)
        }))
        .side(rivals.boost(sharable, STUCK, format!("contended-rw {count}")))
        .run(arguments);
}
