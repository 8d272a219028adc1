//! Our side: not here yet.

use method::{Outcome, Promise, Sample};

/// What ours keeps.
pub const PROMISE: Promise =
    Promise::keeps("what a killed process had not published comes back; what it published stays");

/// Our name in rows.
pub const NAME: &str = "shm-core Heap";

const WHY: &str = "no heap in shm-core yet";

/// The heap, in memory of this process and of whoever joins it.
#[derive(Debug)]
pub struct Ours;

impl Ours {
    /// A new one.
    pub fn new(_size: usize) -> Outcome<Ours> {
        Ok(Ours)
    }

    /// See [`crate::work::alternating`].
    pub fn alternating(&self, _size: usize, _count: usize) -> Outcome<Sample> {
        Err(WHY.into())
    }

    /// See [`crate::work::batched`].
    pub fn batched(&self, _size: usize, _count: usize) -> Outcome<Sample> {
        Err(WHY.into())
    }

    /// As [`alternating`](Ours::alternating), with blocks that come back when the process dies.
    pub fn recoverable(&self, _size: usize, _count: usize) -> Outcome<Sample> {
        Err(WHY.into())
    }

    /// Nanoseconds for a block reserved, written, published, taken and freed.
    pub fn published(&self, _size: usize, _count: usize) -> Outcome<Sample> {
        Err(WHY.into())
    }

    /// Nanoseconds for a release by another thread's front.
    pub fn remote(&self, _size: usize, _count: usize) -> Outcome<Sample> {
        Err(WHY.into())
    }
}

/// The argument at which this program fills a heap and waits to be killed.
pub const VICTIM: &str = "fill-a-heap";

/// Fills the heap of that name.
pub fn victim(_name: &str) -> Outcome<()> {
    Err(WHY.into())
}

/// Milliseconds from the proof of the death of a process that held `bytes` in blocks until all of
/// them are free again.
pub fn after_a_death(_bytes: usize) -> Outcome<Sample> {
    Err(WHY.into())
}

/// Milliseconds from the proof of such a death until the living own the memory.
pub fn owned_again(_bytes: usize) -> Outcome<Sample> {
    Err(WHY.into())
}
