//! Options of one task.

use std::num::NonZero;
use std::time::Duration;

/// Limits of a task, and what happens when its worker dies; see
/// [`Pool::submit_with`](crate::Pool::submit_with).
///
/// ```
/// use std::time::Duration;
/// use proc_pool::TaskOptions;
///
/// let options = TaskOptions::new().time_limit(Duration::from_secs(5)).memory(512 << 20);
/// assert!(options != TaskOptions::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOptions {
    pub(crate) time_limit: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) memory: Option<NonZero<u64>>,
    pub(crate) memory_factor: u32,
    pub(crate) attempts: Option<NonZero<u32>>,
    pub(crate) backoff: Option<Duration>,
}

impl TaskOptions {
    /// No limits; retries as the pool has them.
    #[must_use]
    pub fn new() -> TaskOptions {
        TaskOptions::default()
    }

    /// How long the task may run, each time that it is started. Then its worker is killed and
    /// replaced, and the task fails with [`TaskError::TimeLimit`](crate::TaskError::TimeLimit); it
    /// is not run again. Looked at some milliseconds late at most on an idle machine.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> TaskOptions {
        self.time_limit = Some(limit);
        self
    }

    /// How long from the submission until the result must be there. Then a task that was not
    /// started never is, and a running one loses its worker; it fails with
    /// [`TaskError::Deadline`](crate::TaskError::Deadline).
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> TaskOptions {
        self.deadline = Some(limit);
        self
    }

    /// How many bytes of data the task may have allocated at once, beyond what its worker had
    /// before. 0 means no limit.
    ///
    /// It is the kernel's `RLIMIT_DATA`, set in the worker for the time of the task: private
    /// writable memory, whether touched or not; shared memory does not count. An allocation beyond
    /// it fails, which ends a Rust program by abort: the task fails with
    /// [`TaskError::MemoryLimit`](crate::TaskError::MemoryLimit), or runs again if it is pure. (Any
    /// abort without a panic is taken for that while there is a limit.)
    /// Threads that the task starts count with their stacks.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> TaskOptions {
        self.memory = NonZero::new(bytes);
        self
    }

    /// With what the memory limit is multiplied each time that a pure task runs again after it
    /// exceeded it; 1 unless said otherwise.
    #[must_use]
    pub fn more_memory(mut self, factor: u32) -> TaskOptions {
        self.memory_factor = factor;
        self
    }

    /// As [`Builder::attempts`](crate::Builder::attempts), for this task.
    #[must_use]
    pub fn attempts(mut self, attempts: NonZero<u32>) -> TaskOptions {
        self.attempts = Some(attempts);
        self
    }

    /// As [`Builder::backoff`](crate::Builder::backoff), for this task.
    #[must_use]
    pub fn backoff(mut self, first: Duration) -> TaskOptions {
        self.backoff = Some(first);
        self
    }
}
