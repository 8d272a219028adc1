//! What a piece of code allocates: for tests, and for the curious.
//!
//! Orderings: `Acquire` on slots' counters pairs with their owners' Release; the order of the two sums
//! is what it is for.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::area::Area;
use super::control;
use super::format::header;
use super::slot::Slot;
use super::snapshot::{Mode, Snapshot, Totals};
use super::thread::THREAD;
use super::{Profile, region};
use crate::error::{Error, Result};

/// What one thread allocated and freed while a closure ran: exact, in every mode but off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes allocated, freed again or not.
    pub allocated_bytes: u64,
    /// Blocks allocated.
    pub allocated_blocks: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Blocks freed.
    pub freed_blocks: u64,
    /// The most bytes that were live at one time, beyond those that were before: to the byte. A
    /// reallocation is a free and then an allocation, also where the allocator copied.
    pub peak_bytes: u64,
}

impl Usage {
    /// Bytes that are still live, below zero if more was freed than allocated.
    #[must_use]
    pub fn kept_bytes(&self) -> i64 {
        self.allocated_bytes.wrapping_sub(self.freed_bytes).cast_signed()
    }
}

const NOT_INSTALLED: &str = "make `profiling::heap::Profiler` the program's global allocator";
const OFF: &str = "switch it on with `heap::set_mode`, or in its constructor";

fn area() -> Result<Area<'static>> {
    control::area().ok_or(Error::HeapProfilerOff { what: NOT_INSTALLED })
}

/// The counters of this process, exact, without reading the profile: some microseconds.
///
/// The counterpart of `tracemalloc.get_traced_memory()` is
/// [`live_bytes`](Totals::live_bytes) and [`peak_bytes`](Totals::peak_bytes).
///
/// # Errors
///
/// [`Error::HeapProfilerOff`] if this process has no profile.
///
/// # Examples
///
/// ```
/// # use profiling::heap::{self, Mode, Profiler};
/// # #[global_allocator]
/// # static HEAP: Profiler<std::alloc::System> = Profiler::new(std::alloc::System, Mode::Counters);
/// let before = heap::current()?.live_bytes();
/// let kept = vec![0u8; 1000];
/// assert_eq!(heap::current()?.live_bytes() - before, 1000);
/// # drop(kept);
/// # Ok::<(), profiling::Error>(())
/// ```
pub fn current() -> Result<Totals> {
    let area = area()?;
    let slots = || (0..usize::from(area.layout.shape.threads)).map(|nth| area.slot(nth));
    // Acquire: pairs with the owners' Release; freed first, so that nothing is seen freed that is
    // not seen allocated.
    let sum = |of: fn(&Slot) -> u64| slots().map(of).fold(0, u64::wrapping_add);
    let freed_bytes = sum(|slot| slot.freed_bytes.load(Acquire));
    let freed_blocks = sum(|slot| slot.freed_blocks.load(Acquire));
    let mut totals = Totals {
        freed_bytes,
        freed_blocks,
        allocated_bytes: sum(|slot| slot.allocated_bytes.load(Acquire)),
        allocated_blocks: sum(|slot| slot.allocated_blocks.load(Acquire)),
        // Relaxed: written before the profile was anybody's.
        inherited_bytes: area.word(header::INHERITED_BYTES).load(Relaxed),
        inherited_blocks: area.word(header::INHERITED_BLOCKS).load(Relaxed),
        peak_bytes: 0,
    };
    // Relaxed: a number of its own.
    totals.peak_bytes = area.word(header::PEAK).load(Relaxed).max(totals.live_bytes());
    Ok(totals)
}

/// Lets the peak begin anew, at what is live now (`tracemalloc.reset_peak()`).
///
/// # Errors
///
/// [`Error::HeapProfilerOff`] if this process has no profile.
pub fn reset_peak() -> Result<()> {
    let live = current()?.live_bytes();
    // Relaxed: a number of its own; what others lift it to meanwhile is a peak of now.
    area()?.word(header::PEAK).store(live, Relaxed);
    Ok(())
}

/// One look at this process's own profile.
///
/// # Errors
///
/// [`Error::HeapProfilerOff`] if this process has no profile; else as
/// [`Profile::snapshot`].
pub fn snapshot() -> Result<Snapshot> {
    area()?;
    let none = Error::HeapProfilerOff { what: NOT_INSTALLED };
    let file = region::descriptor().ok_or(none)?;
    let duplicate = file
        .try_clone_to_owned()
        .map_err(|source| Error::HeapProfileUnreadable { path: "/proc/self/fd".into(), source })?;
    Profile::from_file(duplicate.into())?.snapshot()
}

/// Changes what is recorded, from now on.
///
/// Other threads follow at once, but for sampling: each begins to draw samples with its next block
/// after at most 32 KiB. Off and counters make the profile forget which blocks are live, since
/// frees are not looked at any more.
///
/// # Errors
///
/// [`Error::HeapProfilerOff`] if the program's allocator is no [`Profiler`](super::Profiler), or if
/// no memory can be had for a profile.
pub fn set_mode(mode: Mode) -> Result<()> {
    // At least one block, so that the profiler knows of itself.
    drop(std::hint::black_box(Box::new(0u64)));
    // Relaxed: this thread has just been through it.
    if control::SWITCH.mode.load(Relaxed) == control::UNKNOWN {
        return Err(Error::HeapProfilerOff { what: NOT_INSTALLED });
    }
    if !control::switch(mode) {
        let what = "no file of 60 MiB (sparse) can be mapped: look at RLIMIT_FSIZE and RLIMIT_AS";
        return Err(Error::HeapProfilerOff { what });
    }
    THREAD.with(|thread| {
        if let Some(slot) = control::area().and_then(|area| thread.slot(area)) {
            slot.begin(control::mean());
        }
    });
    Ok(())
}

/// Runs a closure, and says what this thread allocated and freed meanwhile, and held at most.
///
/// An allocation in the closure costs some 20 ns more than else. Measured closures nest.
///
/// # Errors
///
/// [`Error::HeapProfilerOff`] if nothing is being counted, or if the process has more threads than
/// the profile has slots (512), so that this one is not counted by itself.
///
/// # Examples
///
/// ```
/// # use profiling::heap::{self, Mode, Profiler};
/// # #[global_allocator]
/// # static HEAP: Profiler<std::alloc::System> = Profiler::new(std::alloc::System, Mode::Counters);
/// let (text, usage) = heap::measure(|| "x".repeat(100))?;
/// assert_eq!((usage.allocated_bytes, usage.kept_bytes()), (100, 100));
/// # drop(text);
///
/// let ((), usage) = heap::measure(|| (0..10).for_each(|_| drop(vec![0u8; 1000])))?;
/// assert_eq!((usage.allocated_bytes, usage.peak_bytes), (10_000, 1000));
/// # Ok::<(), profiling::Error>(())
/// ```
pub fn measure<T>(run: impl FnOnce() -> T) -> Result<(T, Usage)> {
    let area = area()?;
    // Relaxed: this thread has been through it.
    if control::SWITCH.mode.load(Relaxed) <= control::OFF {
        return Err(Error::HeapProfilerOff { what: OFF });
    }
    let what = "this thread has no slot of its own: measure in a program of fewer threads";
    let slot = THREAD.with(|thread| thread.slot(area)).ok_or(Error::HeapProfilerOff { what })?;
    let before = counts(slot);
    let watched = Watched::begin(slot);
    let result = run();
    let peak = watched.end();
    let after = counts(slot);
    let [allocated_bytes, allocated_blocks, freed_bytes, freed_blocks] =
        std::array::from_fn(|nth| after[nth].wrapping_sub(before[nth]));
    let held = before[0].wrapping_sub(before[2]);
    let peak_bytes = peak.wrapping_sub(held);
    Ok((result, Usage { allocated_bytes, allocated_blocks, freed_bytes, freed_blocks, peak_bytes }))
}

/// The calling thread's peak is being watched until this is dropped, also by a panic.
struct Watched {
    /// What an outer measurement has seen.
    outer: Option<i64>,
}

impl Watched {
    fn begin(slot: &Slot) -> Watched {
        let outer = THREAD.with(|thread| thread.peak.replace(Some(slot.held())));
        slot.look_at_next();
        Watched { outer }
    }

    /// The most that the thread held meanwhile, in the slot's own count.
    fn end(self) -> u64 {
        THREAD.with(|thread| thread.peak.get()).unwrap_or(0).cast_unsigned()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // What was most here was most outside, too.
        THREAD.with(|thread| {
            let here = thread.peak.get();
            thread.peak.set(self.outer.map(|outer| here.map_or(outer, |here| here.max(outer))));
        });
    }
}

fn counts(slot: &Slot) -> [u64; 4] {
    // Relaxed: the thread's own.
    [&slot.allocated_bytes, &slot.allocated_blocks, &slot.freed_bytes, &slot.freed_blocks]
        .map(|word| word.load(Relaxed))
}

/// For tests: runs a closure, which may allocate so many bytes on this thread, freed again or not.
///
/// # Panics
///
/// If it allocates more; if nothing is being counted (see [`measure`]).
///
/// # Examples
///
/// ```
/// # use profiling::heap::{self, Mode, Profiler};
/// # #[global_allocator]
/// # static HEAP: Profiler<std::alloc::System> = Profiler::new(std::alloc::System, Mode::Counters);
/// let text = heap::assert_allocates_at_most(64, || "sixteen bytes ok".to_owned());
/// # drop(text);
/// ```
#[track_caller]
pub fn assert_allocates_at_most<T>(bytes: u64, run: impl FnOnce() -> T) -> T {
    match measure(run) {
        Ok((result, usage)) => {
            let (allocated, blocks) = (usage.allocated_bytes, usage.allocated_blocks);
            assert!(
                allocated <= bytes,
                "allocated {allocated} bytes in {blocks} blocks, more than {bytes} bytes"
            );
            result
        }
        Err(error) => panic!("{error}"),
    }
}

/// For tests: runs a closure, which must not allocate on this thread.
///
/// # Panics
///
/// If it allocates; if nothing is being counted (see [`measure`]).
///
/// # Examples
///
/// ```
/// # use profiling::heap::{self, Mode, Profiler};
/// # #[global_allocator]
/// # static HEAP: Profiler<std::alloc::System> = Profiler::new(std::alloc::System, Mode::Counters);
/// let mut numbers = Vec::with_capacity(2);
/// heap::assert_no_allocation(|| numbers.extend([1, 2]));
/// ```
#[track_caller]
pub fn assert_no_allocation<T>(run: impl FnOnce() -> T) -> T {
    assert_allocates_at_most(0, run)
}
