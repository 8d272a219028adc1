//! The clock that orders events, and what it costs to be sure of the order.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Where stamps come from.
///
/// A recorded interval must not be shorter than the operation: a stamp is taken before the first
/// access of the operation, or after its last store is visible to all; else a correct structure
/// would be accused. So either clock puts a full barrier between the stamp and the operation, at
/// both ends. That hides one kind of bug: a store of one operation that is overtaken by a load of
/// the *next* operation of the same thread. Inside an operation nothing is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`: the same for all threads, cores and processes of one time namespace,
    /// and no shared store, so that recording makes no synchronization between threads that the
    /// structure lacks. Equal stamps count as overlapping.
    #[default]
    Monotonic,
    /// A shared counter: a total order without ties, hence the clock of scripted schedules, where
    /// one thread plays all processes. Under real concurrency it passes one cache line around and
    /// is itself a release and acquire between any two events, which can hide a missing one in
    /// the structure.
    Counter,
}

impl Clock {
    /// The stamp of an invocation or of a crash.
    pub(super) fn before(self, counter: &AtomicU64) -> u64 {
        let stamp = self.read(counter);
        // SeqCst: the clock is read before any access of the operation that follows.
        fence(Ordering::SeqCst);
        stamp
    }

    /// The stamp of a return or of a recovery.
    pub(super) fn after(self, counter: &AtomicU64) -> u64 {
        // SeqCst: every store of the operation is visible before the clock is read.
        fence(Ordering::SeqCst);
        self.read(counter)
    }

    fn read(self, counter: &AtomicU64) -> u64 {
        match self {
            // SeqCst: orders all stamps, and each with the accesses around it on its thread.
            Self::Counter => counter.fetch_add(1, Ordering::SeqCst),
            Self::Monotonic => monotonic(),
        }
    }
}

/// Nanoseconds since an arbitrary point, the same for every process of the machine.
fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec of ours; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    // Both are positive: the clock starts at boot.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
