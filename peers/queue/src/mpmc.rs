//! Our side of the queues for several producers and consumers: not here yet.

use method::{Promise, Side};

/// What ours is to keep.
const PROMISE: Promise =
    Promise::keeps("what was sent is received once; what a dead producer had claimed is freed");

/// Our name in rows.
pub const NAME: &str = "ipc-queue mpmc";

const WHY: &str = "no queue for several producers and consumers in ipc-queue yet";

/// A round trip through two of them, both sides awake.
pub fn round_trip<'a>(_count: u64) -> Side<'a> {
    Side::missing(NAME, PROMISE, WHY)
}

/// Messages of 8 bytes, one by one, from one producer to one consumer.
pub fn one_by_one<'a>(_capacity: usize, _count: u64) -> Side<'a> {
    Side::missing(NAME, PROMISE, WHY)
}

/// The same, 64 a call.
pub fn batched<'a>(_count: u64) -> Side<'a> {
    Side::missing(NAME, PROMISE, WHY)
}

/// Messages leased and acknowledged one by one.
pub fn leased<'a>(_count: u64) -> Side<'a> {
    Side::missing(NAME, PROMISE, "no leases in ipc-queue yet")
}
