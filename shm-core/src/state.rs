//! What changes about plain memory after it was made: its size, and which of it was given back.
//!
//! ```text
//! header area   0        1024   1032      4096                     65536
//!               | header | size |         | one bit a run of memory | data
//! ```
//!
//! **Size.** The word is 0 until the memory has grown, then the size in bytes. It only becomes
//! larger. It is stored after the file has those bytes, so whoever reads it may touch them:
//!
//! | step of `grow` | killed after it |
//! |---|---|
//! | the file is made longer | a longer file, of which nobody knows; the next `grow` uses it |
//! | the word is raised (**grown**) | grown |
//!
//! **Runs.** A bit is set while the run's memory may be missing (`UNCOMMITTED`). So the bit is set
//! before a hole is punched, and cleared after the hole is filled:
//!
//! | step | killed after it |
//! |---|---|
//! | `punch`: bits set | memory is there, and called missing: `commit` mends it |
//! | holes punched | missing, and called so |
//! | `commit`: holes filled | as after the bits were set |
//! | bits cleared (**committed**) | committed |

use std::marker::PhantomData;
use std::ops::Range;

use crate::header::DATA_OFFSET;
use crate::primitive::{AtomicU64, Ordering};

/// Where the size word lies in the file.
pub(crate) const SIZE_AT: usize = 1024;
const RUNS_AT: usize = 4096;
/// How many runs the header area has bits for.
const MAX_RUNS: u64 = (DATA_OFFSET - RUNS_AT as u64) * 8;
/// The smallest run: a multiple of every page size in use.
const MIN_RUN: u64 = 65_536;

/// Bytes of a run in a segment of this maximum: the smallest power of two from 64 KiB on for which
/// there are bits enough.
pub(crate) fn run_size(maximum: u64) -> u64 {
    maximum.div_ceil(MAX_RUNS).next_power_of_two().max(MIN_RUN)
}

/// The words, in mapped memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State<'a> {
    start: *mut u8,
    mapping: PhantomData<&'a AtomicU64>,
}

impl<'a> State<'a> {
    /// # Safety
    ///
    /// - `start` is 8-aligned and valid for reads of the header area during `'a`; for writes too
    ///   if a method that changes something is called;
    /// - the area from byte 1024 on is accessed through this type only.
    pub unsafe fn at(start: *mut u8) -> State<'a> {
        State { start, mapping: PhantomData }
    }

    fn word(&self, at: usize) -> &'a AtomicU64 {
        let word = self.start.wrapping_add(at).cast::<AtomicU64>();
        // SAFETY: all callers stay within the header area, which the constructor's caller promised
        // to be mapped, aligned and ours for `'a`; any bytes are a valid word.
        unsafe { &*word }
    }

    /// The size it has grown to; 0 if it has not.
    #[inline]
    pub fn grown(&self) -> u64 {
        // Acquire: pairs with the Release in `set_grown`, after which the file is long enough.
        self.word(SIZE_AT).load(Ordering::Acquire)
    }

    /// Tells everybody that the file has these bytes. Never takes any away: two may grow at once.
    pub fn set_grown(&self, size: u64) {
        let word = self.word(SIZE_AT);
        // Relaxed: only a first guess for the exchange.
        let mut seen = word.load(Ordering::Relaxed);
        while seen < size {
            // Release: pairs with the Acquire in `grown`. Relaxed when it fails: guess again.
            match word.compare_exchange(seen, size, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Calls runs missing, before they are.
    pub fn set_uncommitted(&self, runs: Range<u64>) {
        for (at, mask) in words(runs) {
            // AcqRel: the Release pairs with the Acquire in `is_committed`; the Acquire with the
            // Release in `set_committed`, so that the hole comes after the memory that it ends.
            self.word(at).fetch_or(mask, Ordering::AcqRel);
        }
    }

    /// Calls runs there, after they are.
    pub fn set_committed(&self, runs: Range<u64>) {
        for (at, mask) in words(runs) {
            // Release: pairs with the Acquire in `is_committed`: who sees it finds the memory.
            self.word(at).fetch_and(!mask, Ordering::Release);
        }
    }

    /// Whether all of the runs are there.
    pub fn is_committed(&self, runs: Range<u64>) -> bool {
        // Acquire: pairs with the Release in `set_committed`.
        words(runs).all(|(at, mask)| self.word(at).load(Ordering::Acquire) & mask == 0)
    }
}

/// The words that hold the bits of these runs: where each is, and which of its bits are meant.
fn words(runs: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    // Beyond the table there is no run: what the caller checked against the maximum is inside.
    let (first, end) = (runs.start, runs.end.min(MAX_RUNS));
    (first / 64..end.div_ceil(64)).map(move |word| {
        let from = first.saturating_sub(word * 64).min(64);
        let to = (end - word * 64).min(64);
        let mask = below(to) & !below(from);
        (RUNS_AT + word as usize * 8, mask)
    })
}

/// The lowest `count` bits.
fn below(count: u64) -> u64 {
    1u64.checked_shl(count as u32).map_or(u64::MAX, |bit| bit - 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_segment_has_bits_enough() {
        for maximum in [1, 65_536, 1 << 30, 1 << 40, crate::header::MAX_SIZE] {
            let run = run_size(maximum);
            assert!(run.is_power_of_two() && run >= MIN_RUN);
            assert!(maximum.div_ceil(run) <= MAX_RUNS, "{maximum}");
        }
        assert_eq!(run_size(1 << 30), MIN_RUN);
    }

    #[test]
    fn each_run_has_its_own_bit() {
        let mut area = vec![0u64; DATA_OFFSET as usize / 8];
        // SAFETY: 8-aligned, as large as the header area, and used through this value only.
        let state = unsafe { State::at(area.as_mut_ptr().cast()) };
        for runs in [0..1, 0..64, 63..65, 5..200, MAX_RUNS - 1..MAX_RUNS, 7..7] {
            let single = |run: u64| state.is_committed(run..run + 1);
            state.set_uncommitted(runs.clone());
            let around = runs.start.saturating_sub(70)..(runs.end + 70).min(MAX_RUNS);
            for run in around.clone() {
                assert_eq!(single(run), !runs.contains(&run), "{runs:?}: {run}");
            }
            assert_eq!(state.is_committed(around.clone()), runs.is_empty());
            state.set_committed(runs.clone());
            assert!(state.is_committed(around));
        }
    }

    #[test]
    fn a_size_that_was_reached_is_never_taken_back() {
        let mut area = vec![0u64; DATA_OFFSET as usize / 8];
        // SAFETY: as above.
        let state = unsafe { State::at(area.as_mut_ptr().cast()) };
        assert_eq!(state.grown(), 0);
        state.set_grown(100);
        state.set_grown(50);
        assert_eq!(state.grown(), 100);
    }
}
