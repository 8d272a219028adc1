//! The pool.

use std::ffi::OsString;
use std::marker::PhantomData;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipc_queue::bell::Doorbell;
use rustix::pipe::{PipeFlags, pipe_with};
use shm_core::Segment;

use crate::child::Launch;
use crate::error::{PoolError, TaskError};
use crate::future::TaskHandle;
use crate::keeper::Keeper;
use crate::shared::Shared;
use crate::slot::Slot;
use crate::state::{Job, State};
use crate::task::{Registry, Task};
use crate::{codec, worker};

/// Tasks that [`Pool::map`] has under way at once, so that an endless iterator is not drawn in.
const INTAKE: usize = 4096;

/// What workers may take to end when a pool is dropped with tasks in it.
const DROP_GRACE: Duration = Duration::from_millis(100);

/// Looks before a waiting thread sleeps: some tens of microseconds.
const SPIN: u32 = 2000;

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

/// Options of a [`Pool`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    workers: Option<usize>,
    attempts: Option<u32>,
    launch: Launch,
}

impl Builder {
    /// How many workers; by default as many as the processors this process may use
    /// ([`std::thread::available_parallelism`]: affinity and cgroup quota).
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = Some(workers);
        self
    }

    /// How often a pure task is started before its worker's death counts as its fault; 3 by
    /// default.
    #[must_use]
    pub fn attempts(mut self, attempts: NonZero<u32>) -> Builder {
        self.attempts = Some(attempts.get());
        self
    }

    /// Sets an environment variable in the workers.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Builder {
        self.launch.env.push((key.into(), value.into()));
        self
    }

    /// Starts the workers.
    ///
    /// Returns when their processes exist; they become ready meanwhile, and tasks may be submitted
    /// at once. Cost: about a millisecond a worker, whatever the size of this process.
    ///
    /// # Errors
    ///
    /// [`PoolError::NotInitialised`], [`PoolError::NoWorkers`], [`PoolError::DuplicateTask`];
    /// [`PoolError::Memory`], [`PoolError::Queue`] and [`PoolError::System`] when memory, files
    /// or processes run out.
    pub fn build(self) -> Result<Pool, PoolError> {
        if !worker::is_initialised() {
            return Err(PoolError::NotInitialised);
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let workers = self.workers.unwrap_or(cores);
        if workers == 0 {
            return Err(PoolError::NoWorkers);
        }
        let fingerprint = Registry::collect()?.fingerprint();
        let segment = Segment::anonymous(4096)?;
        let bell = Doorbell::at(&segment, 0)?;
        // Spinning pays only while everybody who spins has a processor of his own.
        let spin = if workers < cores { SPIN } else { 0 };
        let (calls, call) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(PoolError::system("pipe2"))?;
        let state = State::new(workers, fingerprint, self.attempts.unwrap_or(3));
        let shared = Arc::new(Shared::new(segment, bell, state, workers, spin, call));
        let keeper = Keeper::new(Arc::clone(&shared), self.launch, workers, calls);
        let mut pool = Pool { shared, threads: Vec::new(), owner: std::process::id() };
        pool.start(keeper)?;
        Ok(pool)
    }
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
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(&mut self, mut keeper: Keeper) -> Result<(), PoolError> {
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
        self.threads.push(spawn("proc-pool keeper", Box::new(run))?);
        let shared = Arc::clone(&self.shared);
        let driver = spawn("proc-pool driver", Box::new(move || shared.drive_alone()))?;
        self.shared.set_driver(driver.thread().clone());
        self.threads.push(driver);
        match started.recv() {
            Ok(result) => result,
            Err(_) => {
                Err(PoolError::WorkersDoNotStart { reason: "the keeper panicked".to_owned() })
            }
        }
    }

    /// Hands a task to the pool; gives a handle to its result at once.
    ///
    /// An input that does not serialise is an error of the handle. Dropping the handle leaves the
    /// task running.
    pub fn submit<T: Task>(&self, task: T, input: T::Input) -> TaskHandle<T> {
        let _ = task;
        let slot = Arc::new(Slot::default());
        match codec::encode(&input) {
            Ok(input) => self.enqueue(Job {
                name: T::NAME,
                id: T::ID,
                pure: T::PURE,
                input: Arc::new(input),
                slot: Arc::clone(&slot),
                attempts: 0,
            }),
            Err(reason) => {
                // Nobody has the handle yet, so there is nobody to tell.
                slot.set(Err(TaskError::Encode { task: T::NAME, reason }), &mut Vec::new());
            }
        }
        TaskHandle::new(slot, Arc::clone(&self.shared), PhantomData)
    }

    fn enqueue(&self, job: Job) {
        let mut state = self.shared.lock();
        let idle = state.pending() == 0;
        state.submit(job);
        drop(state);
        if idle {
            self.shared.wake_driver();
        }
    }

    /// Runs the task on every input, in parallel; the results come in the order of the inputs.
    ///
    /// Inputs are taken from the iterator as the work proceeds, some thousand ahead. Several
    /// parameters are tuples: Python's `starmap`.
    ///
    /// # Errors
    ///
    /// The first input's error, in order of inputs; tasks that were submitted run on, their
    /// results are dropped.
    pub fn map<T: Task>(
        &self,
        task: T,
        inputs: impl IntoIterator<Item = T::Input>,
    ) -> Result<Vec<T::Output>, TaskError> {
        let mut inputs = inputs.into_iter();
        let mut waiting = std::collections::VecDeque::new();
        let mut results = Vec::with_capacity(inputs.size_hint().0);
        loop {
            waiting.extend(
                inputs.by_ref().take(INTAKE - waiting.len()).map(|input| self.submit(task, input)),
            );
            let Some(first) = waiting.pop_front() else { return Ok(results) };
            results.push(first.wait()?);
        }
    }

    /// Process ids of the workers that exist just now.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.pids.iter().map(|pid| pid.get()).filter(|&pid| pid != 0).collect()
    }

    /// Bytes that went to the workers and came from them, counted at the transport: what is in
    /// shared memory and was handed over as a handle is not in it.
    #[must_use]
    pub fn bytes_moved(&self) -> u64 {
        self.shared.lock().bytes_moved()
    }

    /// Waits until every task is done, then ends the workers.
    ///
    /// # Errors
    ///
    /// [`PoolError::WorkersDoNotStart`] when the pool had ended before because it could run no
    /// workers.
    pub fn close(self) -> Result<(), PoolError> {
        self.shared.drive(None, || self.shared.lock().pending() == 0);
        let ended = self.shared.lock().ended().map(str::to_owned);
        self.end("the pool was closed", Duration::MAX);
        match ended {
            Some(reason) => Err(PoolError::WorkersDoNotStart { reason }),
            None => Ok(()),
        }
    }

    fn end(&self, reason: &str, grace: Duration) {
        self.shared.lock().end(reason.to_owned());
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
    }
}
