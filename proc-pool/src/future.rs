//! Handles to results, and results in the order in which they come.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::{self, Arrived};
use crate::error::TaskError;
use crate::shared::Shared;
use crate::slot::{Finished, Outcome, Slot};
use crate::task::Task;

/// The result of a submitted task, now or later.
///
/// Dropping it detaches: the task runs on.
pub struct TaskHandle<T: Task> {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    task: PhantomData<fn() -> T>,
}

impl<T: Task> TaskHandle<T> {
    pub(crate) fn new(
        slot: Arc<Slot>,
        shared: Arc<Shared>,
        task: PhantomData<fn() -> T>,
    ) -> TaskHandle<T> {
        TaskHandle { slot, shared, task }
    }

    /// Whether the result is there. Whoever asks in a loop should wait instead.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.slot.is_done()
    }

    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// See [`TaskError`].
    pub fn wait(self) -> Result<T::Output, TaskError> {
        self.shared.drive(None, || self.slot.is_done());
        self.finish()
    }

    /// Waits for the result, at most so long; gives the handle back when it was not there in time.
    ///
    /// # Errors
    ///
    /// The outer error is the handle itself; the inner one is the task's.
    pub fn wait_timeout(self, limit: Duration) -> Result<Result<T::Output, TaskError>, Self> {
        let deadline = Instant::now().checked_add(limit);
        if self.shared.drive(deadline, || self.slot.is_done()) {
            return Ok(self.finish());
        }
        Err(self)
    }

    fn finish(self) -> Result<T::Output, TaskError> {
        match self.slot.take() {
            Some(outcome) => decode::<T>(outcome),
            // `wait` takes the handle by value, so nobody else has taken the outcome.
            None => Err(TaskError::Decode { task: T::NAME, reason: "it was taken".to_owned() }),
        }
    }
}

impl<T: Task> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").field("task", &T::NAME).field("done", &self.is_done()).finish()
    }
}

fn decode<T: Task>(outcome: Outcome) -> Result<T::Output, TaskError> {
    let answer = outcome?;
    let (bytes, blobs) = answer.body.split_at(answer.head.bytes as usize);
    codec::decode(bytes, &mut Arrived { rest: blobs }).map_err(|reason| TaskError::Decode {
        task: T::NAME,
        reason: format!("its result: {reason}"),
    })
}

/// The results of these tasks, each with its index, in the order in which they come.
///
/// ```standalone_crate
/// use proc_pool::{Pool, as_completed, task};
///
/// #[task(pure)]
/// fn double(x: u32) -> u32 {
///     2 * x
/// }
///
/// #[proc_pool::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = Pool::new()?;
///     let handles = (0..10).map(|x| pool.submit(double, x));
///     for (index, result) in as_completed(handles) {
///         assert_eq!(result?, 2 * index as u32);
///     }
///     Ok(())
/// }
/// ```
pub fn as_completed<T: Task>(handles: impl IntoIterator<Item = TaskHandle<T>>) -> AsCompleted<T> {
    let handles: Vec<_> = handles.into_iter().map(Some).collect();
    let mut pools: Vec<&Arc<Shared>> = Vec::new();
    for handle in handles.iter().flatten() {
        if !pools.iter().any(|known| Arc::ptr_eq(known, &handle.shared)) {
            pools.push(&handle.shared);
        }
    }
    let bells = pools.into_iter().map(|shared| shared.bell.clone()).collect();
    let finished = Arc::new(Finished::new(bells));
    for (index, handle) in handles.iter().enumerate() {
        if let Some(handle) = handle {
            handle.slot.subscribe(&finished, index);
        }
    }
    AsCompleted { left: handles.len(), handles, finished }
}

/// Iterator of [`as_completed`].
#[derive(Debug)]
pub struct AsCompleted<T: Task> {
    handles: Vec<Option<TaskHandle<T>>>,
    finished: Arc<Finished>,
    left: usize,
}

impl<T: Task> Iterator for AsCompleted<T> {
    type Item = (usize, Result<T::Output, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // This thread drives one pool; others drive themselves and ring its bell.
        let shared = Arc::clone(&self.handles.iter().flatten().next()?.shared);
        let mut next = None;
        shared.drive(None, || {
            next = next.take().or_else(|| self.finished.pop());
            next.is_some()
        });
        let index = next?;
        let handle = self.handles.get_mut(index)?.take()?;
        Some((index, handle.finish()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Task> ExactSizeIterator for AsCompleted<T> {}
