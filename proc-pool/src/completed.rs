//! Several tasks at once: their results in the order in which they come, or any, or all.

use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::drive::Awaited;
use crate::error::TaskError;
use crate::future::TaskHandle;
use crate::shared::Shared;
use crate::slot::Finished;
use crate::task::Task;

/// Where the tasks of these handles say that they are done, each by its place among them.
fn subscribe<'a, T: Task>(
    handles: impl Iterator<Item = &'a TaskHandle<T>> + Clone,
) -> Arc<Finished> {
    let mut pools: Vec<&Arc<Shared>> = Vec::new();
    for handle in handles.clone() {
        if !pools.iter().any(|known| Arc::ptr_eq(known, &handle.shared)) {
            pools.push(&handle.shared);
        }
    }
    let bells = pools.into_iter().map(|shared| shared.bell.clone()).collect();
    let finished = Arc::new(Finished::new(bells));
    for (index, handle) in handles.enumerate() {
        handle.slot.subscribe(&finished, index);
    }
    finished
}

/// Waiting until `has_come` has seen enough of these finish.
struct Enough<'a, F> {
    finished: &'a Finished,
    has_come: F,
}

impl<F: FnMut(&Finished) -> bool> Awaited for Enough<'_, F> {
    fn has_come(&mut self) -> bool {
        (self.has_come)(self.finished)
    }

    fn tell(&self, thread: &Thread) {
        self.finished.tell(thread);
    }
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
    let finished = subscribe(handles.iter().flatten());
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
        let has_come = |finished: &Finished| {
            next = next.or_else(|| finished.pop());
            next.is_some()
        };
        shared.wait_for(None, &mut Enough { finished: &self.finished, has_come });
        let index = next?;
        let handle = self.handles.get_mut(index)?.take()?;
        Some((index, handle.finish()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Task> ExactSizeIterator for AsCompleted<T> {}

/// What [`wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// One task is done: Python's `FIRST_COMPLETED`.
    Any,
    /// One task has failed with a [`TaskError`], or all are done: Python's `FIRST_EXCEPTION`. A
    /// task that gives an `Err` of its own has not failed.
    AnyFailed,
    /// All are done: Python's `ALL_COMPLETED`.
    All,
}

/// What [`wait`] found: places of the handles, in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// Those that are done.
    pub done: Vec<usize>,
    /// Those that are not.
    pub pending: Vec<usize>,
}

/// Waits for one or all of these tasks, for at most `limit` (for ever if `None`); takes no result.
///
/// The handles may belong to several pools. Cost: that of one wait, and one look at each handle.
///
/// ```standalone_crate
/// use std::time::Duration;
/// use proc_pool::{Pool, Until, task, wait};
///
/// #[task]
/// fn sleep(seconds: u64) {
///     std::thread::sleep(Duration::from_secs(seconds));
/// }
///
/// #[proc_pool::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = Pool::builder().workers(2).build()?;
///     let handles = [pool.submit(sleep, 3600), pool.submit(sleep, 0)];
///     let found = wait(&handles, Until::Any, None);
///     assert_eq!(found.done, [1]);
///     let found = wait(&handles, Until::All, Some(Duration::from_millis(10)));
///     assert_eq!(found.pending, [0]);
///     Ok(())
/// }
/// ```
pub fn wait<T: Task>(handles: &[TaskHandle<T>], until: Until, limit: Option<Duration>) -> Waited {
    let enough = |finished: &Finished, left: &mut usize| {
        while let Some(index) = finished.pop() {
            *left -= 1;
            let failed = handles.get(index).is_some_and(|handle| handle.slot.has_failed());
            if until == Until::Any || (until == Until::AnyFailed && failed) {
                return true;
            }
        }
        *left == 0
    };
    if let Some(first) = handles.first() {
        let finished = subscribe(handles.iter());
        let mut left = handles.len();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let has_come = |finished: &Finished| enough(finished, &mut left);
        first.shared.wait_for(deadline, &mut Enough { finished: &finished, has_come });
    }
    let (done, pending) = (0..handles.len()).partition(|&index| handles[index].is_done());
    Waited { done, pending }
}
