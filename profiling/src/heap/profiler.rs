//! The allocator that a program puts around its own.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::Ordering::Relaxed;

use super::control::{self, COUNTERS, EXACT, OFF, SAMPLED, SWITCH, UNKNOWN};
use super::live_table::Record;
use super::region::LAYOUT;
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

    /// The mode of a process that has not recorded yet.
    #[cold]
    #[inline(never)]
    fn find_mode(&self) -> u8 {
        control::find_mode(self.mode, stack::self_test::<A>)
    }

    /// Everything but the counting of a block in the thread's own slot.
    ///
    /// Generic and never inlined: compiled with the program's flags, it has a frame pointer if the
    /// program has, and the walk begins with its caller.
    #[cold]
    #[inline(never)]
    fn allocated_slowly(&self, address: *mut u8, bytes: usize, is_counted: bool) {
        let pointer = stack::frame_pointer();
        // Relaxed: as everywhere.
        let mut mode = SWITCH.mode.load(Relaxed);
        if mode == UNKNOWN {
            mode = self.find_mode();
        }
        if mode > OFF {
            recorder::allocated(address as usize, bytes as u64, is_counted, pointer, mode);
        }
        // Not a tail call, which would give this function's frame away.
        std::hint::black_box(());
    }

    /// Counts a block that the inner allocator has just returned, or null.
    #[inline(always)]
    fn count(&self, block: *mut u8, bytes: usize, mode: u8) -> *mut u8 {
        if block.is_null() {
            return block;
        }
        // SAFETY: null, or a slot of the profile's mapping, which is never unmapped.
        let slot = unsafe { THREAD.with(|thread| thread.slot.get()).as_ref() };
        match slot {
            Some(slot) if mode > OFF => {
                if slot.allocated(bytes as u64) || mode == EXACT {
                    self.allocated_slowly(block, bytes, true);
                }
            }
            _ => self.allocated_slowly(block, bytes, false),
        }
        block
    }

    /// Counts a free, and takes the block out of the profile if it is in it. Before the inner
    /// allocator can give the address to somebody else.
    #[inline(never)]
    fn freed(&self, address: *mut u8, bytes: usize, mut mode: u8) -> Option<Record> {
        if mode == UNKNOWN {
            mode = self.find_mode();
            if mode <= OFF {
                return None;
            }
        }
        // SAFETY: null, or a slot of the profile's mapping, which is never unmapped.
        match unsafe { THREAD.with(|thread| thread.slot.get()).as_ref() } {
            Some(slot) => {
                if slot.freed(bytes as u64) {
                    recorder::freed(bytes as u64, true);
                }
            }
            None => recorder::freed(bytes as u64, false),
        }
        let may_be_tracked = match mode {
            COUNTERS => false,
            SAMPLED => is_in_filter(address as usize),
            _ => true,
        };
        if may_be_tracked { recorder::remove(address as usize) } else { None }
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

/// What the allocator does in all modes but off. Not inlined: with recording off, nothing of it is
/// paid but the branch.
impl<A: GlobalAlloc> Profiler<A> {
    /// # Safety
    ///
    /// - As [`GlobalAlloc::alloc`].
    #[inline(never)]
    unsafe fn alloc_counted(&self, layout: Layout, mode: u8) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc`, which is the inner one's.
        let block = unsafe { self.inner.alloc(layout) };
        self.count(block, layout.size(), mode)
    }

    /// # Safety
    ///
    /// - As [`GlobalAlloc::alloc_zeroed`].
    #[inline(never)]
    unsafe fn alloc_zeroed_counted(&self, layout: Layout, mode: u8) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the inner one's.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        self.count(block, layout.size(), mode)
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
        let record = self.freed(block, layout.size(), mode);
        // SAFETY: the caller keeps to the contract of `realloc`, which is the inner one's.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if moved.is_null() {
            recorder::take_back(block as usize, layout.size() as u64, record);
        }
        self.count(moved, new_size, mode)
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
            mode => unsafe { self.alloc_counted(layout, mode) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Relaxed: see `Switch::mode`.
        match SWITCH.mode.load(Relaxed) {
            // SAFETY: the caller keeps to the contract of `alloc_zeroed`, the inner one's.
            OFF => unsafe { self.inner.alloc_zeroed(layout) },
            // SAFETY: as above.
            mode => unsafe { self.alloc_zeroed_counted(layout, mode) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Relaxed: see `Switch::mode`.
        let mode = SWITCH.mode.load(Relaxed);
        if mode != OFF {
            self.freed(block, layout.size(), mode);
        }
        // SAFETY: the caller keeps to the contract of `dealloc`, which is the inner one's.
        unsafe { self.inner.dealloc(block, layout) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Relaxed: see `Switch::mode`.
        match SWITCH.mode.load(Relaxed) {
            // SAFETY: the caller keeps to the contract of `realloc`, which is the inner one's.
            OFF => unsafe { self.inner.realloc(block, layout, new_size) },
            // SAFETY: as above.
            mode => unsafe { self.realloc_counted(block, layout, new_size, mode) },
        }
    }
}
