//! What can go wrong when a history is recorded, read or checked.

use super::Process;

/// Errors of the linearizability checker and its recorders; each says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A process invoked an operation while an earlier one of its own was still open.
    #[error(
        "event {event}: {process} invokes an operation while another of its own is open; \
         give each thread a `Process` of its own, and record the return or the crash first"
    )]
    Overlap {
        /// Index of the offending event.
        event: usize,
        /// The process that invoked twice.
        process: Process,
    },
    /// A return without an open operation.
    #[error("event {event}: {process} returns, but has no open operation; record its invocation")]
    ReturnWithoutInvoke {
        /// Index of the offending event.
        event: usize,
        /// The process that returned.
        process: Process,
    },
    /// A crashed process acted again before its recovery was recorded.
    #[error(
        "event {event}: {process} has crashed and acts again; record `recover` once its recovery \
         is complete, or give the newcomer a `Process` of its own"
    )]
    ActsAfterCrash {
        /// Index of the offending event.
        event: usize,
        /// The process that acted.
        process: Process,
    },
    /// A recovery of a process that has not crashed.
    #[error("event {event}: {process} recovers, but no crash of it was recorded before")]
    RecoverWithoutCrash {
        /// Index of the offending event.
        event: usize,
        /// The process that recovered.
        process: Process,
    },
    /// The history breaks the condition: the report explains and draws it.
    #[error("{report}")]
    Violated {
        /// Explanation and drawing, as [`Violation`](super::Violation) prints them.
        report: String,
    },
    /// The search ran out of its budget before it could decide.
    #[error(
        "undecided: {reason}; raise the `Budget`, record fewer operations, or split the history \
         by a finer `Specification::key`"
    )]
    Undecided {
        /// What ran out, and how far the search came.
        reason: String,
    },
    /// A lane of the shared log has no room for another operation.
    #[error(
        "the log of {process} is full after {capacity} events; create it with a larger capacity"
    )]
    LogFull {
        /// The process whose lane is full.
        process: Process,
        /// Events that one lane holds.
        capacity: usize,
    },
    /// A lane that the shared log does not have.
    #[error("the log has {lanes} lanes, numbered from 0; {process} has none")]
    NoSuchLane {
        /// The process that was asked for.
        process: Process,
        /// Lanes that the log has.
        lanes: usize,
    },
    /// The file is not a log of this version, or was cut or overwritten.
    #[error("not a readable log: {reason}; pass the descriptor of a `SharedLog` of this version")]
    NotALog {
        /// What did not fit.
        reason: String,
    },
    /// The system refused a call.
    #[error("{call} failed; check the limits of memory and of open files")]
    System {
        /// Name of the system call.
        call: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}
