//! The allocator that a program puts around its own.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::Ordering::Relaxed;

use super::control::{self, COUNTERS, OFF, SAMPLED, SAMPLED_AFTER_EXACT, SWITCH, UNKNOWN};
use super::live_table::Record;
use super::region::LAYOUT;
use super::slot::Slot;
use super::snapshot::Mode;
use super::thread::THREAD;
use super::{filter, recorder, stack};

/// A global allocator that passes everything on to another one, and keeps a profile.
///
/// One a program: all profilers of a process would share one profile. The profile lives in shared
/// memory, see the [module](super).
///
/// # Examples
///
/// ```
/// use std::alloc::System;
/// use profiling::heap::{self, Mode, Profiler};
///
/// #[global_allocator]
/// static HEAP: Profiler<System> = Profiler::new(System, Mode::SAMPLED);
///
/// fn main() -> profiling::Result<()> {
///     let kept = vec![1u8; 1 << 20];
///     let snapshot = heap::snapshot()?;
///     assert!(snapshot.totals.live_bytes() >= 1 << 20);
///     drop(kept);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Profiler<A> {
    inner: A,
    mode: Mode,
}

impl<A> Profiler<A> {
    /// Wraps `inner`. Recording begins with the program's first allocation, in the given mode
    /// unless the environment says otherwise ([`MODE_VARIABLE`](super::MODE_VARIABLE)).
    pub const fn new(inner: A, mode: Mode) -> Profiler<A> {
        Profiler { inner, mode }
    }

    /// The allocator inside.
    pub const fn inner(&self) -> &A {
        &self.inner
    }

    /// Everything but the counting of a block in the thread's own slot. The mode was known before.
    ///
    /// Generic and never inlined: compiled with the program's flags, it has a frame pointer if the
    /// program has, and the walk begins with its caller.
    #[cold]
    #[inline(never)]
    fn allocated_slowly(address: *mut u8, bytes: usize, is_counted: bool) {
        let pointer = stack::frame_pointer();
        // Relaxed: as everywhere.
        let mode = SWITCH.mode.load(Relaxed);
        if mode > OFF {
            recorder::allocated(address as usize, bytes as u64, is_counted, pointer, mode);
        }
        // Not a tail call, which would give this function's frame away.
        std::hint::black_box(());
    }

    /// Counts a block that the inner allocator has just returned, or null.
    #[inline(always)]
    fn count(block: *mut u8, bytes: usize) -> *mut u8 {
        if block.is_null() {
            return block;
        }
        match own_slot() {
            Some(slot) => {
                if slot.allocated(bytes as u64) {
                    Self::allocated_slowly(block, bytes, true);
                }
            }
            None => Self::allocated_slowly(block, bytes, false),
        }
        block
    }

    /// The mode, found out if the process has not recorded yet.
    fn known(&self, mode: u8) -> u8 {
        if mode == UNKNOWN { control::find_mode(self.mode, stack::self_test::<A>) } else { mode }
    }

    /// Counts a free, unless it is counted, and takes the block out of the profile if it is in it.
    /// Before the inner allocator can give the address to somebody else.
    #[cold]
    #[inline(never)]
    fn freed_slowly(
        &self,
        address: *mut u8,
        bytes: usize,
        is_counted: bool,
        mode: u8,
    ) -> Option<Record> {
        let mode = self.known(mode);
        if mode <= OFF {
            return None;
        }
        recorder::freed(bytes as u64, is_counted);
        if may_be_tracked(address, mode) { recorder::remove(address as usize) } else { None }
    }
}

/// Is this a mode in which most blocks are counted, and nothing else? Not off, nor one in which
/// every block is recorded, nor unknown.
#[inline(always)]
fn counts(mode: u8) -> bool {
    (COUNTERS..=SAMPLED_AFTER_EXACT).contains(&mode)
}

/// The thread's own slot, if it has one already. In a mode that is known: a forked child's would
/// else still be its parent's.
#[inline(always)]
fn own_slot() -> Option<&'static Slot> {
    // SAFETY: null, or a slot of the profile's mapping, which is never unmapped.
    unsafe { THREAD.with(|thread| thread.slot.get()).as_ref() }
}

/// May the profile know this block, in a mode above off?
#[inline(always)]
fn may_be_tracked(address: *mut u8, mode: u8) -> bool {
    match mode {
        COUNTERS => false,
        SAMPLED => is_in_filter(address as usize),
        _ => true,
    }
}

/// May this be a sampled block?
#[inline(always)]
fn is_in_filter(address: usize) -> bool {
    // Relaxed: the same address whenever it is set.
    let filter = SWITCH.filter.load(Relaxed);
    if filter.is_null() {
        return true;
    }
    let class = filter::class(address, LAYOUT.shape.filter_log2);
    // SAFETY: the filter has as many bytes as there are classes, inside the profile's mapping.
    let byte = unsafe { filter.add(class) }.cast::<std::sync::atomic::AtomicU8>();
    // SAFETY: mapped as long as the process lives; bytes of the filter are only accessed so.
    let byte = unsafe { &*byte };
    // Relaxed: see the filter's page.
    byte.load(Relaxed) != 0
}

/// What the allocator does in the modes that count. Not inlined: with recording off, nothing of it
/// is paid but the branch. Neither allocator nor mode are needed after the inner allocator's call,
/// so that no registers are saved for them.
impl<A: GlobalAlloc> Profiler<A> {
    /// # Safety
    ///
    /// - As [`GlobalAlloc::alloc`].
    #[inline(never)]
    unsafe fn alloc_counted(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc`, which is the inner one's.
        let block = unsafe { self.inner.alloc(layout) };
        Self::count(block, layout.size())
    }

    /// # Safety
    ///
    /// - As [`GlobalAlloc::alloc_zeroed`].
    #[inline(never)]
    unsafe fn alloc_zeroed_counted(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the inner one's.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        Self::count(block, layout.size())
    }

    /// # Safety
    ///
    /// - As [`GlobalAlloc::dealloc`].
    #[inline(never)]
    unsafe fn dealloc_counted(&self, block: *mut u8, layout: Layout, mode: u8) {
        let is_done = match own_slot() {
            Some(slot) => !slot.freed(layout.size() as u64) && !may_be_tracked(block, mode),
            // SAFETY: the caller keeps to the contract of `dealloc`.
            None => return unsafe { self.dealloc_slowly(block, layout, false, mode) },
        };
        if is_done {
            // SAFETY: the caller keeps to the contract of `dealloc`, which is the inner one's.
            unsafe { self.inner.dealloc(block, layout) }
        } else {
            // SAFETY: as above.
            unsafe { self.dealloc_slowly(block, layout, true, mode) }
        }
    }

    /// # Safety
    ///
    /// - As [`GlobalAlloc::realloc`].
    #[inline(never)]
    unsafe fn realloc_counted(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
        mode: u8,
    ) -> *mut u8 {
        let record = match own_slot() {
            Some(slot) if !slot.freed(layout.size() as u64) && !may_be_tracked(block, mode) => None,
            slot => self.freed_slowly(block, layout.size(), slot.is_some(), mode),
        };
        // SAFETY: the caller keeps to the contract of `realloc`, which is the inner one's.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if moved.is_null() {
            recorder::take_back(block as usize, layout.size() as u64, record);
        }
        Self::count(moved, new_size)
    }
}

/// What the allocator does seldom: for its first block, for a thread's first, in exact mode.
impl<A: GlobalAlloc> Profiler<A> {
    /// Records a block that the inner allocator has just returned, or null.
    fn record(&self, block: *mut u8, bytes: usize, mode: u8) -> *mut u8 {
        if !block.is_null() && self.known(mode) > OFF {
            Self::allocated_slowly(block, bytes, false);
        }
        block
    }

    /// # Safety
    ///
    /// - As [`GlobalAlloc::alloc`].
    #[cold]
    #[inline(never)]
    unsafe fn alloc_slowly(&self, layout: Layout, mode: u8) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc`, which is the inner one's.
        let block = unsafe { self.inner.alloc(layout) };
        self.record(block, layout.size(), mode)
    }

    /// # Safety
    ///
    /// - As [`GlobalAlloc::alloc_zeroed`].
    #[cold]
    #[inline(never)]
    unsafe fn alloc_zeroed_slowly(&self, layout: Layout, mode: u8) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the inner one's.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        self.record(block, layout.size(), mode)
    }

    /// # Safety
    ///
    /// - As [`GlobalAlloc::dealloc`].
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_slowly(&self, block: *mut u8, layout: Layout, is_counted: bool, mode: u8) {
        self.freed_slowly(block, layout.size(), is_counted, mode);
        // SAFETY: the caller keeps to the contract of `dealloc`, which is the inner one's.
        unsafe { self.inner.dealloc(block, layout) };
    }

    /// # Safety
    ///
    /// - As [`GlobalAlloc::realloc`].
    #[cold]
    #[inline(never)]
    unsafe fn realloc_slowly(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
        mode: u8,
    ) -> *mut u8 {
        let mode = self.known(mode);
        let record = self.freed_slowly(block, layout.size(), false, mode);
        // SAFETY: the caller keeps to the contract of `realloc`, which is the inner one's.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if moved.is_null() && mode > OFF {
            recorder::take_back(block as usize, layout.size() as u64, record);
        }
        self.record(moved, new_size, mode)
    }
}

// SAFETY: every call is passed on to the inner allocator with the caller's own arguments, and its
// result returned; what is done besides neither allocates through it nor touches the blocks.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Profiler<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed: see `Switch::mode`.
        match SWITCH.mode.load(Relaxed) {
            // SAFETY: the caller keeps to the contract of `alloc`, which is the inner one's.
            OFF => unsafe { self.inner.alloc(layout) },
            // SAFETY: as above.
            mode if counts(mode) => unsafe { self.alloc_counted(layout) },
            // SAFETY: as above.
            mode => unsafe { self.alloc_slowly(layout, mode) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Relaxed: see `Switch::mode`.
        match SWITCH.mode.load(Relaxed) {
            // SAFETY: the caller keeps to the contract of `alloc_zeroed`, the inner one's.
            OFF => unsafe { self.inner.alloc_zeroed(layout) },
            // SAFETY: as above.
            mode if counts(mode) => unsafe { self.alloc_zeroed_counted(layout) },
            // SAFETY: as above.
            mode => unsafe { self.alloc_zeroed_slowly(layout, mode) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Relaxed: see `Switch::mode`.
        match SWITCH.mode.load(Relaxed) {
            // SAFETY: the caller keeps to the contract of `dealloc`, which is the inner one's.
            OFF => unsafe { self.inner.dealloc(block, layout) },
            // SAFETY: as above.
            mode if counts(mode) => unsafe { self.dealloc_counted(block, layout, mode) },
            // SAFETY: as above.
            mode => unsafe { self.dealloc_slowly(block, layout, false, mode) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Relaxed: see `Switch::mode`.
        match SWITCH.mode.load(Relaxed) {
            // SAFETY: the caller keeps to the contract of `realloc`, which is the inner one's.
            OFF => unsafe { self.inner.realloc(block, layout, new_size) },
            // SAFETY: as above.
            mode if counts(mode) => unsafe { self.realloc_counted(block, layout, new_size, mode) },
            // SAFETY: as above.
            mode => unsafe { self.realloc_slowly(block, layout, new_size, mode) },
        }
    }
}
