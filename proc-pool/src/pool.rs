//! The pool.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::builder::Builder;
use crate::codec;
use crate::error::{PoolError, TaskError};
use crate::future::TaskHandle;
use crate::imap::{Imap, ImapUnordered};
use crate::intent::Intent;
use crate::keeper::Keeper;
use crate::options::TaskOptions;
use crate::scope::Scope;
use crate::shared::Shared;
use crate::slot::Slot;
use crate::state::{Call, Ended, Job, Named, Sink};
use crate::stats::PoolStats;
use crate::task::Task;

/// What workers may take to end when a pool is dropped with tasks in it.
const DROP_GRACE: Duration = Duration::from_millis(100);

/// Results that room is made for before the first has come.
const ROOM: usize = 1 << 16;

/// A pool of worker processes.
///
/// A worker that dies is replaced. What it had not begun runs elsewhere; what it had finished is
/// delivered; the one task that it was running fails with [`TaskError::WorkerDied`], or runs again
/// if it was declared `#[task(pure)]`. Nobody else's task is touched.
///
/// ```standalone_crate
/// use proc_pool::{Pool, task};
///
/// #[task(pure)]
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// #[proc_pool::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = Pool::builder().workers(2).build()?;
///     assert_eq!(pool.map(square, 1..=4)?, [1, 4, 9, 16]);
///     let nine = pool.submit(square, 3);
///     assert_eq!(nine.wait()?, 9);
///     Ok(())
/// }
/// ```
///
/// Dropping a pool fails what is not done and ends the workers within 100 ms;
/// [`close`](Pool::close) waits for everything first.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// A forked child has the value, but neither the threads nor the children.
    owner: u32,
}

impl Pool {
    /// A pool with as many workers as processors; see [`Pool::builder`] for more.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Pool, PoolError> {
        Pool::builder().build()
    }

    /// Options first.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts the pool's threads and workers.
    ///
    /// `nested`: there are no workers but the driver's thread, which makes these calls first.
    pub(crate) fn start(
        shared: Arc<Shared>,
        mut keeper: Keeper,
        nested: Option<Vec<Call>>,
    ) -> Result<Pool, PoolError> {
        let mut pool = Pool { shared, threads: Vec::new(), owner: std::process::id() };
        let (report, started) = mpsc::channel();
        let run = move || {
            // Nobody waits for the report any more only if the pool's own thread is gone.
            let _ = report.send(keeper.start_all());
            keeper.run();
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let builder = std::thread::Builder::new().name(name.to_owned());
            builder.spawn(run).map_err(PoolError::system("starting a thread"))
        };
        pool.threads.push(spawn("proc-pool keeper", Box::new(run))?);
        let shared = Arc::clone(&pool.shared);
        let drive: Box<dyn FnOnce() + Send> = match nested {
            Some(calls) => Box::new(move || crate::nested::work(&shared, &calls)),
            None => Box::new(move || shared.stand_in()),
        };
        let stand_in = spawn("proc-pool driver", drive)?;
        pool.shared.driving.set_stand_in(stand_in.thread().clone());
        pool.threads.push(stand_in);
        match started.recv() {
            Ok(result) => result.map(|()| pool),
            Err(_) => {
                Err(PoolError::WorkersDoNotStart { reason: "the keeper panicked".to_owned() })
            }
        }
    }

    /// Waits until every worker's initializer has run.
    pub(crate) fn wait_until_ready(&self) -> Result<(), PoolError> {
        let done = || {
            let state = self.shared.lock();
            state.ended().is_some() || state.all_ready()
        };
        self.shared.drive(None, done);
        self.shared.lock().ended().and_then(Ended::error).map_or(Ok(()), Err)
    }

    /// Drives the pool until `done`.
    pub(crate) fn drive(&self, done: impl FnMut() -> bool) {
        self.shared.drive(None, done);
    }

    /// Hands a task to the pool; gives a handle to its result at once. Python's `apply_async`.
    ///
    /// An input that does not serialise is an error of the handle. Dropping the handle leaves the
    /// task running.
    pub fn submit<T: Task>(&self, task: T, input: T::Input) -> TaskHandle<T> {
        self.submit_with(task, input, TaskOptions::default())
    }

    /// As [`submit`](Pool::submit), with limits of time or memory, or another policy for retries.
    ///
    /// ```standalone_crate
    /// use std::time::Duration;
    /// use proc_pool::{Pool, TaskError, TaskOptions, task};
    ///
    /// #[task]
    /// fn collatz_length(mut x: u64) -> u32 {
    ///     let mut steps = 0;
    ///     while x != 1 {
    ///         x = if x % 2 == 0 { x / 2 } else { 3 * x + 1 };
    ///         steps += 1;
    ///     }
    ///     steps
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let limits = TaskOptions::new().time_limit(Duration::from_millis(50));
    ///     assert_eq!(pool.submit_with(collatz_length, 27, limits).wait()?, 111);
    ///     // Zero never comes to one.
    ///     let hopeless = pool.submit_with(collatz_length, 0, limits).wait();
    ///     assert!(matches!(hopeless, Err(TaskError::TimeLimit { .. })));
    ///     Ok(())
    /// }
    /// ```
    pub fn submit_with<T: Task>(
        &self,
        task: T,
        input: T::Input,
        options: TaskOptions,
    ) -> TaskHandle<T> {
        let _ = task;
        self.submit_to::<T>(&input, options, None)
    }

    /// Submits to one worker, or to any.
    pub(crate) fn submit_to<T: Task>(
        &self,
        input: &T::Input,
        options: TaskOptions,
        pin: Option<usize>,
    ) -> TaskHandle<T> {
        let slot = Arc::new(Slot::default());
        match codec::encode(input) {
            Ok(input) => {
                let job = Job::one(Named::of::<T>(), input, Sink::One(Arc::clone(&slot)));
                self.shared.submit(Job { pin, ..job.with(options) });
            }
            Err(reason) => {
                // Nobody has the handle yet, so there is nobody to tell.
                slot.set(Err(TaskError::Encode { task: T::NAME, reason }), &mut Vec::new());
            }
        }
        TaskHandle::new(slot, Arc::clone(&self.shared), PhantomData)
    }

    /// Runs the task on every input, in parallel; the results come in the order of the inputs.
    ///
    /// Inputs are taken from the iterator as the work proceeds, some thousand ahead, and sent in
    /// chunks whose size follows the time that a task takes. Several parameters are tuples:
    /// Python's `starmap`. [`imap`](Pool::imap) gives more control, and each result by itself.
    ///
    /// # Errors
    ///
    /// The first input's error, in order of inputs. Tasks that no worker has been given by then are
    /// not run; results of the others are dropped.
    pub fn map<T: Task>(
        &self,
        task: T,
        inputs: impl IntoIterator<Item = T::Input>,
    ) -> Result<Vec<T::Output>, TaskError> {
        let results = self.imap(task, inputs);
        // `collect` would begin with nothing, since any result may be an error.
        let mut outputs = Vec::with_capacity(results.size_hint().0.min(ROOM));
        for result in results {
            outputs.push(result?);
        }
        Ok(outputs)
    }

    /// Results one by one, in the order of the inputs, which are drawn as the work proceeds: from
    /// endless iterators too.
    ///
    /// Each result is a `Result` of its own, and the stream goes on after an error. Nothing is sent
    /// before the first result is asked for, and no more while results wait to be taken: that is
    /// the back-pressure. Dropping the stream leaves undone what no worker has been given yet.
    ///
    /// Being an iterator, it takes a progress bar from
    /// [indicatif](https://docs.rs/indicatif): `.progress_count(n)`.
    ///
    /// ```standalone_crate
    /// use proc_pool::{Pool, task};
    ///
    /// #[task(pure)]
    /// fn square(x: u64) -> u64 {
    ///     x * x
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = Pool::builder().workers(2).build()?;
    ///     let mut sum = 0;
    ///     for result in pool.imap(square, 1..) {
    ///         sum += result?;
    ///         if sum > 1000 {
    ///             break;
    ///         }
    ///     }
    ///     assert_eq!(sum, 1015);
    ///     Ok(())
    /// }
    /// ```
    pub fn imap<T: Task, I: IntoIterator<Item = T::Input>>(
        &self,
        task: T,
        inputs: I,
    ) -> Imap<T, I::IntoIter> {
        let _ = task;
        Imap::new(Arc::clone(&self.shared), inputs.into_iter())
    }

    /// As [`imap`](Pool::imap), but results come as they are ready, each with the number of its
    /// input, counted from 0.
    ///
    /// ```standalone_crate
    /// # use proc_pool::{Pool, task};
    /// # #[task(pure)]
    /// # fn square(x: u64) -> u64 {
    /// #     x * x
    /// # }
    /// # #[proc_pool::main]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder().workers(2).build()?;
    /// let numbers = [3, 4, 5];
    /// for (index, result) in pool.imap_unordered(square, numbers) {
    ///     assert_eq!(result?, numbers[index] * numbers[index]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap_unordered<T: Task, I: IntoIterator<Item = T::Input>>(
        &self,
        task: T,
        inputs: I,
    ) -> ImapUnordered<T, I::IntoIter> {
        let _ = task;
        ImapUnordered::new(Arc::clone(&self.shared), inputs.into_iter())
    }

    /// Calls `block`, and returns when every task that it submitted through its [`Scope`] is done,
    /// also those whose handles were dropped, and also when it panics.
    ///
    /// ```standalone_crate
    /// # use proc_pool::{Pool, task};
    /// #[task]
    /// fn write(file: String, text: String) {
    ///     std::fs::write(file, text).expect("a file");
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = Pool::builder().workers(2).build()?;
    ///     let file = std::env::temp_dir().join(format!("scope-{}", std::process::id()));
    ///     let name = file.to_str().ok_or("UTF-8")?.to_owned();
    ///     pool.scope(|scope| drop(scope.submit(write, (name, "done".to_owned()))));
    ///     assert_eq!(std::fs::read_to_string(&file)?, "done");
    ///     # std::fs::remove_file(file)?;
    ///     Ok(())
    /// }
    /// ```
    pub fn scope<R>(&self, block: impl FnOnce(&Scope<'_>) -> R) -> R {
        let scope = Scope::new(self);
        block(&scope)
    }

    /// Changes the number of workers.
    ///
    /// New ones are started soon. Those that are too many finish what they run and end; what they
    /// had not begun runs elsewhere.
    ///
    /// # Errors
    ///
    /// [`PoolError::NoWorkers`] for 0.
    pub fn resize(&self, workers: usize) -> Result<(), PoolError> {
        if workers == 0 {
            return Err(PoolError::NoWorkers);
        }
        self.shared.lock().resize(workers);
        Ok(())
    }

    /// Process ids of the workers that exist just now.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.lock().pids()
    }

    /// What the pool has done so far, and what it does just now.
    ///
    /// Cost: some microseconds, and two system calls or three for each worker's memory.
    ///
    /// ```standalone_crate
    /// # use proc_pool::{Pool, task};
    /// # #[task(pure)]
    /// # fn square(x: u64) -> u64 {
    /// #     x * x
    /// # }
    /// # #[proc_pool::main]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder().workers(2).timings().build()?;
    /// pool.map(square, 0..1000)?;
    /// let stats = pool.stats();
    /// assert_eq!((stats.tasks[0].done, stats.tasks[0].failed), (1000, 0));
    /// assert!(stats.workers.iter().all(|worker| worker.resident > 0));
    /// println!("99 of 100 take at most {:?}", stats.tasks[0].work.quantile(0.99));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// Draws [`stats`](Pool::stats) on the terminal, five times a second, until what it gives is
    /// dropped. Nothing is drawn where standard error is no terminal. Cost: a thread.
    ///
    /// # Errors
    ///
    /// [`PoolError::System`] when no thread can be started.
    #[cfg(feature = "live-view")]
    pub fn live_view(&self) -> Result<crate::LiveView, PoolError> {
        crate::LiveView::start(&self.shared)
    }

    /// Bytes that went to the workers and came from them, counted at the transport: what is in
    /// shared memory and was handed over as a handle is not in it.
    #[must_use]
    pub fn bytes_moved(&self) -> u64 {
        self.shared.lock().bytes_moved()
    }

    /// How many workers have died so far, by what they were doing. Workers that ended because they
    /// were told to are counted too, as waiting.
    #[must_use]
    pub fn deaths(&self) -> BTreeMap<Intent, u64> {
        self.shared.lock().deaths.clone()
    }

    /// Waits until every task is done, then ends the workers.
    ///
    /// # Errors
    ///
    /// [`PoolError::WorkersDoNotStart`], [`PoolError::InitializerFailed`] or
    /// [`PoolError::WorkerDiffers`] when the pool had ended before because it could run no workers.
    pub fn close(self) -> Result<(), PoolError> {
        self.shared.drive(None, || self.shared.lock().is_idle());
        let failure = self.shared.lock().ended().and_then(Ended::error);
        self.end("the pool was closed", Duration::MAX);
        failure.map_or(Ok(()), Err)
    }

    /// Ends the pool at once: workers are killed, tasks that are not done fail. Exit hooks do not
    /// run. Returns when no process is left.
    pub fn terminate(self) {
        self.shared.lock().terminate(Ended::Asked("the pool was terminated".to_owned()));
        self.end("the pool was terminated", Duration::ZERO);
    }

    /// What the pool's threads share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn end(&self, reason: &str, grace: Duration) {
        self.shared.lock().end(Ended::Asked(reason.to_owned()));
        self.shared.end_threads(grace);
        self.shared.bell.ring();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        if !self.shared.is_ending() {
            self.end("the pool was dropped", DROP_GRACE);
        }
        for thread in self.threads.drain(..) {
            // A panicked thread has said so on standard error.
            let _ = thread.join();
        }
        self.shared.callbacks.finish();
        crate::arena::clear();
    }
}
