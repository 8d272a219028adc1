//! What holds for all of a pool's workers and tasks.

use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, Named};
use super::outcome::outcome;
use crate::codec::Encoded;
use crate::link::Answer;
use crate::protocol::Request;

/// A pool's rules.
#[derive(Debug)]
pub(crate) struct Rules {
    /// This program and its tasks; a worker's must be the same.
    pub build: Vec<u8>,
    /// How often a pure task is started.
    pub attempts: u32,
    /// Workers in a row that a task may end with one argument before that is refused; as many as
    /// `attempts` where nothing is said.
    pub quarantine: Option<u32>,
    /// The pause before a task runs again for the first time.
    pub backoff: Duration,
    /// Run by every worker before its first task.
    pub initializer: Option<Call>,
    /// Run by every worker that ends in order.
    pub exit_hook: Option<Call>,
    /// Items after which a worker is replaced.
    pub recycle_after: Option<u64>,
    /// Whether every task's time is taken.
    pub timings: bool,
    /// Whether a worker that died is replaced.
    pub replace: bool,
}

/// A task for every worker.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub task: Named,
    pub input: Arc<Encoded>,
    /// Reads the result.
    pub check: fn(Answer) -> Result<(), String>,
}

impl Call {
    pub fn request(&self, ticket: u64) -> Request {
        Request {
            ticket,
            task: self.task.id.0,
            bytes: self.input.bytes.len() as u64,
            blobs: self.input.blob_len(),
            ..Request::default()
        }
    }

    /// What its answer says: success, or why not.
    pub fn result(&self, answer: Answer) -> Result<(), String> {
        match outcome(self.task.name, answer) {
            Ok(answer) => (self.check)(answer),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Rules {
    /// What the initializer's result says.
    pub fn initializer_result(&self, answer: Answer) -> Result<(), String> {
        self.initializer.as_ref().map_or(Ok(()), |call| call.result(answer))
    }

    /// How often this job may be started.
    pub fn attempts_of(&self, job: &Job) -> u32 {
        job.options.attempts.map_or(self.attempts, std::num::NonZero::get)
    }

    /// How long to wait before this job, which was lost, is started again: twice as long each time,
    /// but never longer than an hour.
    pub fn pause_of(&self, job: &Job) -> Duration {
        let first = job.options.backoff.unwrap_or(self.backoff);
        let times = 1u32.checked_shl(job.attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        first.saturating_mul(times).min(Duration::from_secs(3600))
    }
}
