//! Tasks that are refused since they ended too many workers: seen, and let in again.

use crate::death::DeathNotice;
use crate::pool::Pool;
use crate::task::Task;
use crate::{codec, error::TaskError};

/// A task with one argument that is refused; from [`Pool::quarantined`].
///
/// It ended several workers in a row (crashed, exited, or was running when they were killed):
/// as many as [`Builder::quarantine_after`](crate::Builder::quarantine_after) says. Whoever submits
/// it again gets [`TaskError::Quarantined`] at once, and no worker is spent on it. Arguments are
/// told apart by a hash of their bytes; shared data by its handle, whatever it holds by then. Calls
/// of actors are never refused: their state has as much part in it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Quarantined {
    /// The task's name.
    pub task: &'static str,
    /// The hash of its argument.
    pub argument: u64,
    /// Workers that it ended in a row.
    pub deaths: u32,
    /// Submissions that were refused since.
    pub refused: u64,
    /// How the last of the workers ended.
    pub last: DeathNotice,
}

impl Pool {
    /// What is refused: tasks that ended several workers in a row, each with the argument that it
    /// did it with.
    ///
    /// ```standalone_crate
    /// use proc_pool::{Pool, TaskError, task};
    ///
    /// #[task(pure)]
    /// fn fragile(x: u32) -> u32 {
    ///     if x == 13 {
    ///         std::process::abort();
    ///     }
    ///     x
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = Pool::builder().workers(2).build()?;
    ///     // It takes three workers with it.
    ///     assert!(matches!(pool.submit(fragile, 13).wait(), Err(TaskError::WorkerDied { .. })));
    ///     assert_eq!(pool.quarantined()[0].deaths, 3);
    ///     // And no more.
    ///     assert!(matches!(pool.submit(fragile, 13).wait(), Err(TaskError::Quarantined { .. })));
    ///     assert_eq!(pool.submit(fragile, 12).wait()?, 12);
    ///     assert!(pool.lift_quarantine(fragile, 13)?);
    ///     assert!(pool.quarantined().is_empty());
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.shared().lock().suspects().list()
    }

    /// Lets this task be run with this argument again; whether it had been refused.
    ///
    /// # Errors
    ///
    /// [`TaskError::Encode`].
    pub fn lift_quarantine<T: Task>(&self, task: T, input: T::Input) -> Result<bool, TaskError> {
        let _ = task;
        let input =
            codec::encode(&input).map_err(|reason| TaskError::Encode { task: T::NAME, reason })?;
        Ok(self.shared().lock().suspects().lift_one(T::ID, &input))
    }

    /// Lets everything be run again; how many arguments had been refused.
    pub fn lift_all_quarantines(&self) -> usize {
        self.shared().lock().suspects().lift(|_, _| true)
    }
}
