//! Our side: not here yet.

use method::{Arguments, Promise, Side};

/// What ours keeps.
pub const PROMISE: Promise =
    Promise::keeps("the whole profile can be read after the process was killed");

/// Our name in rows.
pub const NAME: &str = "profiling";

/// How ours records.
#[derive(Clone, Copy, Debug)]
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
pub fn added<'a>(_recording: Recording, _threads: usize, _live: usize) -> Side<'a> {
    Side::missing(NAME, PROMISE, WHY)
}

/// Whether this program was asked to be one of eight processes with a profile.
pub fn be_a_worker_if_asked() -> bool {
    false
}

/// The cases of reading.
pub fn reading(_arguments: &Arguments) {}
