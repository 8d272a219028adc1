//! Counters in shared memory: how often each task really ran.

use std::sync::atomic::{AtomicU32, Ordering};

use shm_core::Segment;

/// A counter for each of these many tasks.
pub fn new(counters: usize) -> Segment {
    Segment::anonymous(counters * size_of::<AtomicU32>()).expect("memory")
}

fn counter(board: &Segment, place: usize) -> &AtomicU32 {
    assert!((place + 1) * size_of::<AtomicU32>() <= board.size(), "no such counter");
    // SAFETY: inside of the segment, as was just checked.
    let counter = unsafe { board.data().cast::<AtomicU32>().add(place) };
    // SAFETY: aligned and inside of the segment, and only ever accessed as an atomic.
    unsafe { counter.as_ref() }
}

/// This task runs once more.
pub fn count(board: &Segment, place: usize) {
    // Relaxed: read once the task's result has come, or its worker is dead.
    counter(board, place).fetch_add(1, Ordering::Relaxed);
}

/// How often it ran.
pub fn runs(board: &Segment, place: usize) -> u32 {
    // Relaxed: as above.
    counter(board, place).load(Ordering::Relaxed)
}
