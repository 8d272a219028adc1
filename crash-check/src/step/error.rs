//! What can keep the stepper from reaching a verdict.

use std::io;
use std::time::Duration;

/// Why a run ended without a verdict. A structure that *fails* its check is not an error: see
/// [`Verdict`](super::Verdict).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The kernel refused `ptrace`.
    #[error(
        "ptrace is not permitted here: in a container add `--cap-add=SYS_PTRACE` or a seccomp \
         profile that allows ptrace; do not run the tests under a debugger or strace"
    )]
    NotPermitted,
    /// The scenario lacks a part that it needs.
    #[error("scenario `{scenario}` has no {part}: add `.{part}(..)` before `.run()`")]
    Incomplete {
        /// The scenario's name.
        scenario: String,
        /// The builder method that is missing.
        part: &'static str,
    },
    /// A part of the scenario that runs before the first kill point failed by itself.
    #[error("`{part}` failed before anything was killed: {message}; make it pass alone first")]
    Setup {
        /// Which part: `init`, `prepare`, `waker`.
        part: String,
        /// What it said.
        message: String,
    },
    /// The operation did not end within the step limit.
    #[error(
        "the operation ran {steps} instructions without ending: raise `.max_instructions(..)`, or \
         supply the peer it spins for as `.waker(..)`"
    )]
    TooLong {
        /// Instructions executed.
        steps: u64,
    },
    /// A part before the first kill point did not end within the watchdog's time.
    #[error("`{part}` did not end within {limit:?}: raise `.watchdog(..)` if it only is slow")]
    Slow {
        /// Which part: `init`, `prepare`, `waker`.
        part: String,
        /// The limit that went by.
        limit: Duration,
    },
    /// The structure made its file larger than the region.
    #[error("the file behind the region grew to {file} bytes: use `.region({file})` or more")]
    RegionTooSmall {
        /// Bytes in the file now.
        file: u64,
    },
    /// `CRASH_CHECK_REPLAY` names a point that the run did not reach.
    #[error("there is no point `{0}` in this build: replay with the binary that reported it")]
    NoSuchPoint(String),
    /// The process that drives the run died or could not be started.
    #[error("the process that drives the run {0}: run this test alone to see why")]
    Session(String),
    /// A system call failed.
    #[error("{call} failed: {source}")]
    System {
        /// The call that failed.
        call: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Names the call in an `io::Result`.
pub(super) trait During<T> {
    /// The same result, with the failing call named.
    fn during(self, call: &'static str) -> Result<T, StepError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, call: &'static str) -> Result<T, StepError> {
        self.map_err(|source| StepError::System { call: call.to_owned(), source })
    }
}
