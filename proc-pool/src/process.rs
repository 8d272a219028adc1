//! One process for one task.

use std::fmt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::death::Death;
use crate::error::{PoolError, TaskError};
use crate::future::TaskHandle;
use crate::options::TaskOptions;
use crate::pool::Pool;
use crate::task::Task;

/// A process that runs one task and ends: Python's `multiprocessing.Process`.
///
/// ```standalone_crate
/// use proc_pool::{Death, Process, task};
///
/// #[task]
/// fn add(a: u32, b: u32) -> u32 {
///     a + b
/// }
///
/// #[proc_pool::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let mut process = Process::spawn(add, (2, 3))?;
///     assert_ne!(process.pid(), std::process::id());
///     assert_eq!(process.join()?, 5);
///     assert_eq!(process.exit_status(), Some(Death::Exit(0)));
///     Ok(())
/// }
/// ```
///
/// It ends with its parent, however that ends. Dropping it ends it within 100 ms. Cost: a process,
/// and two threads that look after it.
pub struct Process<T: Task> {
    pool: Pool,
    pid: u32,
    /// `None` once the result was given.
    handle: Option<TaskHandle<T>>,
}

impl<T: Task> Process<T> {
    /// Starts a process that runs this task.
    ///
    /// # Errors
    ///
    /// [`PoolError::NotInitialised`], and what the system may refuse. An input that cannot be sent
    /// is an error of [`join`](Process::join).
    pub fn spawn(task: T, input: T::Input) -> Result<Process<T>, PoolError> {
        let _ = task;
        let pool = Pool::builder().workers(1).in_processes().once(true).build()?;
        let handle = pool.submit_to::<T>(&input, TaskOptions::default(), Some(0));
        let mut state = pool.shared().lock();
        let pid = state.pid_of(0).or(state.end_of(0).map(|end| end.pid)).unwrap_or(0);
        state.let_all_go();
        drop(state);
        Ok(Process { pool, pid, handle: Some(handle) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended, if it has: `Exit(0)` when the task returned, `Exit(101)` when it panicked.
    #[must_use]
    pub fn exit_status(&self) -> Option<Death> {
        self.pool.shared().lock().end_of(0).map(|end| end.death)
    }

    /// Waits for its end; gives the task's result.
    ///
    /// # Errors
    ///
    /// The task's; [`TaskError::WorkerDied`] when the process ended before the task did.
    /// [`TaskError::Cancelled`] when the result was given before.
    pub fn join(&mut self) -> Result<T::Output, TaskError> {
        self.pool.drive(|| self.pool.shared().lock().end_of(0).is_some());
        self.take()
    }

    /// As [`join`](Process::join), for at most so long; `None` when it still runs then.
    pub fn join_timeout(&mut self, limit: Duration) -> Option<Result<T::Output, TaskError>> {
        let deadline = Instant::now().checked_add(limit);
        let shared = self.pool.shared();
        let ended = shared.drive(deadline, || shared.lock().end_of(0).is_some());
        ended.then(|| self.take())
    }

    fn take(&mut self) -> Result<T::Output, TaskError> {
        match self.handle.take() {
            Some(handle) => handle.wait(),
            None => Err(TaskError::Cancelled { task: T::NAME }),
        }
    }

    /// Asks it to end, with SIGTERM, which it may handle.
    pub fn terminate(&self) {
        self.pool.shared().lock().signal(0, Signal::TERM);
    }

    /// Ends it at once, with SIGKILL.
    pub fn kill(&self) {
        self.pool.shared().lock().kill(0);
    }
}

impl<T: Task> fmt::Debug for Process<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("task", &T::NAME)
            .field("pid", &self.pid)
            .field("exit_status", &self.exit_status())
            .finish()
    }
}
