//! What a check can come back with.

use std::fmt;
use std::time::Duration;

use super::schedule::Schedule;

/// Why a check did not end with a [`Report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model failed: an assertion, a data race, a deadlock, or too many branches.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// Deaths were asked for, but none happened in any execution.
    #[error(
        "no thread died in any execution: spawn the threads that may die with `World::victim`, or \
         ask for a model without deaths by `victims(0)`"
    )]
    NobodyDied,
    /// The search was cut by [`Model::max_executions`](super::Model::max_executions).
    #[error(
        "cut after {executions} executions under schedule `{schedule}`: make the model smaller, \
         set a preemption bound, or raise `max_executions`"
    )]
    Cut {
        /// Executions under that schedule.
        executions: usize,
        /// The schedule that was being explored.
        schedule: Schedule,
    },
    /// A schedule given to [`Model::replay`](super::Model::replay) could not be read.
    #[error(
        "`{part}` is not a fault: write `thread@n` for a death before operation n, `thread~n` for \
         a spurious end of sleep n, `thread!n` for an early time-out, separated by commas"
    )]
    BadSchedule {
        /// The part that could not be read.
        part: String,
    },
}

impl Error {
    /// The failure, if the model failed (and the check was not merely misused or cut).
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// One failing execution: under which schedule, with what message, and what every thread did.
#[derive(Clone)]
pub struct Failure {
    /// The faults under which it happened; give its text to [`Model::replay`](super::Model::replay).
    pub schedule: Schedule,
    /// The panic message: an assertion of the model, or loom's own finding.
    pub message: String,
    /// Where the panic was raised, `file:line:column`, if known.
    pub location: Option<String>,
    /// The number of the failing execution under `schedule`, from 1.
    pub execution: usize,
    /// Every operation of the failing execution in the order it was made, one a line.
    pub trace: String,
}

/// As [`Display`](fmt::Display): an `unwrap` in a test shows the trace as it should be read.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.message.lines().next().unwrap_or("panic");
        writeln!(f, "{first} [schedule `{}`, execution {}]", self.schedule, self.execution)?;
        for line in self.message.lines().skip(1) {
            writeln!(f, "{line}")?;
        }
        if let Some(location) = &self.location {
            writeln!(f, "at {location}")?;
        }
        writeln!(f, "replay: the same model with `.replay(\"{}\", ..)`", self.schedule)?;
        f.write_str(&self.trace)
    }
}

/// What a finished check explored.
#[derive(Debug, Clone)]
pub struct Report {
    /// Executions over all schedules: interleavings times choices of stale reads.
    pub executions: usize,
    /// Schedules explored, the one without faults included.
    pub schedules: usize,
    /// Schedules in which every death that they ask for took place: distinct (sets of) kill points.
    pub kill_points: usize,
    /// Executions in which at least one thread died.
    pub executions_with_death: usize,
    /// Wall time.
    pub elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} executions ({} with a death), {} schedules, {} kill points, {:.1?}",
            self.executions,
            self.executions_with_death,
            self.schedules,
            self.kill_points,
            self.elapsed
        )
    }
}
