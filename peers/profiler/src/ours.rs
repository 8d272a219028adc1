//! Our side: not here yet.

use method::{Promise, Side};

/// What ours keeps.
pub const PROMISE: Promise =
    Promise::keeps("the whole profile can be read after the process was killed");

/// Our name in rows.
pub const NAME: &str = "profiling";

/// How ours records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recording {
    /// Nothing.
    Off,
    /// Counters alone.
    Counters,
    /// One sample in this many bytes.
    Sampled(u64),
    /// Every block.
    Exact,
}

const WHY: &str = "no heap profiler in profiling yet";

/// What recording adds to a step, nanoseconds.
pub fn added<'a>(recording: Recording, _threads: usize, _live: usize) -> Side<'a> {
    Side::missing(NAME, PROMISE, format!("{WHY}: {recording:?}"))
}

/// Whether this program was asked to be one of eight processes with a profile.
pub fn be_a_worker_if_asked() -> bool {
    false
}

/// What being read adds to a step, nanoseconds.
pub fn while_read<'a>() -> Side<'a> {
    Side::missing(NAME, PROMISE, WHY)
}

/// Milliseconds until the profiles of eight processes have been read.
pub fn eight_read<'a>() -> Side<'a> {
    Side::missing(NAME, PROMISE, WHY)
}
