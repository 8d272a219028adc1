//! Handles to results: waited for, awaited, or called back.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::codec::{self, Arrived};
use crate::error::TaskError;
use crate::shared::Shared;
use crate::slot::{Callback, Outcome, Slot};
use crate::task::Task;

/// The result of a submitted task, now or later.
///
/// Wait for it, or `.await` it: it is a [`Future`] for any executor, which needs no thread of the
/// executor's while the task runs. Dropping it detaches, also half-way through an `.await`: the
/// task runs on.
///
/// ```standalone_crate
/// use std::future::Future;
/// use std::task::{Context, Poll, Waker};
/// # use proc_pool::{Pool, task};
/// #[task(pure)]
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// async fn sum_of_squares(pool: &Pool) -> Result<u64, proc_pool::TaskError> {
///     let (nine, sixteen) = (pool.submit(square, 3), pool.submit(square, 4));
///     Ok(nine.await? + sixteen.await?)
/// }
///
/// #[proc_pool::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = Pool::builder().workers(2).build()?;
///     // Any executor will do; this one asks again and again.
///     let mut sum = Box::pin(sum_of_squares(&pool));
///     let sum = loop {
///         if let Poll::Ready(sum) = sum.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
///             break sum?;
///         }
///     };
///     assert_eq!(sum, 25);
///     Ok(())
/// }
/// ```
#[must_use = "dropping a handle leaves the task running, and its result unseen"]
pub struct TaskHandle<T: Task> {
    pub(crate) slot: Arc<Slot>,
    pub(crate) shared: Arc<Shared>,
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
        self.shared.wait_for(None, &mut &*self.slot);
        self.finish()
    }

    /// Waits for the result, at most so long; gives the handle back when it was not there in time.
    ///
    /// # Errors
    ///
    /// The outer error is the handle itself; the inner one is the task's.
    pub fn wait_timeout(self, limit: Duration) -> Result<Result<T::Output, TaskError>, Self> {
        let deadline = Instant::now().checked_add(limit);
        if self.shared.wait_for(deadline, &mut &*self.slot) {
            return Ok(self.finish());
        }
        Err(self)
    }

    /// Has `callback` called with the result.
    ///
    /// It runs on a thread of the pool's, once, after the callbacks of tasks that were done before;
    /// never on a thread that waits or submits, and under no lock: it may use the pool. While it
    /// runs, other callbacks wait, but no task and no result does. If it panics, that is printed as
    /// for any thread, and the next one runs. [`Pool::close`](crate::Pool::close) returns after all
    /// of them have run.
    ///
    /// ```standalone_crate
    /// # use proc_pool::{Pool, task};
    /// # use std::sync::mpsc::channel;
    /// # #[task(pure)]
    /// # fn square(x: u64) -> u64 {
    /// #     x * x
    /// # }
    /// # #[proc_pool::main]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder().workers(1).build()?;
    /// let (sender, results) = channel();
    /// for x in 1..=3 {
    ///     let sender = sender.clone();
    ///     pool.submit(square, x).on_done(move |result| {
    ///         let _ = sender.send(result);
    ///     });
    /// }
    /// pool.close()?;
    /// drop(sender);
    /// let sum: u64 = results.iter().sum::<Result<u64, _>>()?;
    /// assert_eq!(sum, 14);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_done(self, callback: impl FnOnce(Result<T::Output, TaskError>) + Send + 'static) {
        let callback = Callback(Box::new(|outcome| callback(decode::<T>(outcome))));
        match self.slot.call(callback) {
            Some((callback, outcome)) => self.shared.callbacks.call(callback, outcome),
            None => self.shared.drive_for_others(),
        }
    }

    /// Stops the task. Whether it was stopped: then its error is [`TaskError::Cancelled`], soon.
    /// `false` when it is done already.
    ///
    /// A task that was not started never will be. One that runs loses its worker, which is killed
    /// and replaced; its other tasks run elsewhere and do not notice. Cost: some microseconds, and
    /// the start of a worker if the task was running.
    ///
    /// ```standalone_crate
    /// # use proc_pool::{Pool, TaskError, task};
    /// #[task]
    /// fn for_ever() {
    ///     loop {
    ///         std::thread::park();
    ///     }
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let (running, waiting) = (pool.submit(for_ever, ()), pool.submit(for_ever, ()));
    ///     assert!(waiting.cancel() && running.cancel());
    ///     assert!(matches!(running.wait(), Err(TaskError::Cancelled { .. })));
    ///     Ok(())
    /// }
    /// ```
    pub fn cancel(&self) -> bool {
        // What has been answered is taken first: it is done.
        let mut state = self.shared.lock();
        state.pump();
        let stopped = !self.slot.is_done() && state.cancel(&self.slot);
        drop(state);
        // Somebody may wait for it.
        self.shared.bell.ring();
        stopped
    }

    pub(crate) fn finish(self) -> Result<T::Output, TaskError> {
        self.take()
    }

    fn take(&self) -> Result<T::Output, TaskError> {
        match self.slot.take() {
            Some(outcome) => decode::<T>(outcome),
            // Only a future that is polled again after it was ready comes here.
            None => Err(TaskError::Decode { task: T::NAME, reason: "it was taken".to_owned() }),
        }
    }
}

/// Cancel-safe: a result that has come stays in the handle until it is ready. The pool's own thread
/// takes the answer and wakes the executor.
impl<T: Task> Future for TaskHandle<T> {
    type Output = Result<T::Output, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.slot.poll(context.waker()) {
            return Poll::Ready(self.take());
        }
        self.shared.drive_for_others();
        Poll::Pending
    }
}

impl<T: Task> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").field("task", &T::NAME).field("done", &self.is_done()).finish()
    }
}

pub(crate) fn decode<T: Task>(outcome: Outcome) -> Result<T::Output, TaskError> {
    let answer = outcome?;
    let (bytes, blobs) = answer.body.split_at(answer.head.bytes as usize);
    codec::decode(bytes, &mut Arrived { rest: blobs }).map_err(|reason| TaskError::Decode {
        task: T::NAME,
        reason: format!("its result: {reason}"),
    })
}
