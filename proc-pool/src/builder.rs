//! Options of a pool.

use std::ffi::OsString;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use ipc_queue::bell::Doorbell;
use rustix::pipe::{PipeFlags, pipe_with};
use shm_core::Segment;

use crate::budget::{self, Tokens};
use crate::child::Launch;
use crate::error::PoolError;
use crate::fork_server::StartMethod;
use crate::keeper::Keeper;
use crate::link::Answer;
use crate::output::{OutputLine, Sink};
use crate::pool::Pool;
use crate::shared::Shared;
use crate::state::{Call, Named, Rules, State};
use crate::task::{Registry, Task};
use crate::{codec, worker};

/// Looks before a waiting thread sleeps: some tens of microseconds.
const SPIN: u32 = 2000;

/// Options of a [`Pool`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    workers: Option<usize>,
    launch: Launch,
    pin: bool,
    rules: Rules,
    /// How many processes pools inside of the workers may have.
    nested: usize,
    /// Whether it must be processes that run its tasks.
    alone: bool,
    /// The first input that could not be serialised.
    failure: Option<PoolError>,
}

impl Default for Builder {
    fn default() -> Builder {
        let rules = Rules {
            build: Vec::new(),
            attempts: 3,
            quarantine: None,
            backoff: Duration::ZERO,
            initializer: None,
            exit_hook: None,
            recycle_after: None,
            timings: false,
            replace: true,
        };
        let launch = Launch { replace: true, ..Launch::default() };
        Builder { workers: None, launch, pin: false, rules, nested: 0, alone: false, failure: None }
    }
}

/// What an initializer may return: nothing, or a `Result` whose error says why it failed.
#[diagnostic::on_unimplemented(
    message = "an initializer returns nothing, or `Result<(), E>` whose error is a text",
    label = "`{Self}` says neither that it succeeded nor why not",
    note = "keep what the initializer makes with proc_pool::worker_state::set"
)]
pub trait InitializerOutput {
    /// The result as success or a reason.
    fn into_result(self) -> Result<(), String>;
}

impl InitializerOutput for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: std::fmt::Display> InitializerOutput for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

impl Builder {
    /// How many workers; by default as many as the processors this process may use
    /// ([`std::thread::available_parallelism`]: affinity and cgroup quota).
    ///
    /// Each takes three of this process's open files, five with [`output`](Builder::output): the
    /// usual limit of 1024 suffices for some 300 workers.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = Some(workers);
        self
    }

    /// How often a pure task is started before its worker's death counts as its fault; 3 by
    /// default. A task that kills every worker that it meets costs that many workers, no more.
    pub fn attempts(mut self, attempts: NonZero<u32>) -> Builder {
        self.rules.attempts = attempts.get();
        self
    }

    /// How many workers in a row a task may end with the same argument, in whatever submissions,
    /// before the pool refuses it with [`TaskError::Quarantined`](crate::TaskError::Quarantined): as
    /// many as [`attempts`](Builder::attempts) says (3) unless said otherwise; [`NonZero::MAX`] for
    /// never. Any answer of it, a panic too, starts the count anew. See
    /// [`Pool::quarantined`](crate::Pool::quarantined).
    pub fn quarantine_after(mut self, deaths: NonZero<u32>) -> Builder {
        self.rules.quarantine = Some(deaths.get());
        self
    }

    /// How long a pure task whose worker died waits before it runs again; each further time twice
    /// as long, an hour at most. By default it does not wait.
    pub fn backoff(mut self, first: Duration) -> Builder {
        self.rules.backoff = first;
        self
    }

    /// Has every worker run this task before any other, also those that take the place of others.
    /// It usually keeps something for later tasks: see [`worker_state`](crate::worker_state).
    ///
    /// With an initializer, [`build`](Builder::build) waits until it has run in every worker. If it
    /// fails (returns an `Err`, panics, or ends its worker) in three workers in a row, the pool
    /// ends with [`PoolError::InitializerFailed`].
    pub fn initializer<T: Task<Output: InitializerOutput>>(
        mut self,
        task: T,
        input: T::Input,
    ) -> Builder {
        let _ = task;
        self.rules.initializer = self.initializer_call::<T>(&input);
        self
    }

    fn initializer_call<T: Task<Output: InitializerOutput>>(
        &mut self,
        input: &T::Input,
    ) -> Option<Call> {
        self.call::<T>(input, |answer| {
            let output = crate::future::decode::<T>(Ok(answer)).map_err(|error| error.to_string());
            output.and_then(InitializerOutput::into_result)
        })
    }

    /// Has every worker that ends in order run this task at last: when the pool is closed or
    /// dropped, becomes smaller, or recycles the worker. A dropped pool gives it 100 ms.
    ///
    /// **A worker that is killed does not run it.** What it returns is not looked at.
    pub fn exit_hook<T: Task>(mut self, task: T, input: T::Input) -> Builder {
        let _ = task;
        self.rules.exit_hook = self.call::<T>(&input, |_| Ok(()));
        self
    }

    fn call<T: Task>(
        &mut self,
        input: &T::Input,
        check: fn(Answer) -> Result<(), String>,
    ) -> Option<Call> {
        match codec::encode(input) {
            // Files would have to be sent again to every worker that comes later, and are: the
            // input keeps them open.
            Ok(input) => Some(Call { task: Named::of::<T>(), input: Arc::new(input), check }),
            Err(reason) => {
                self.failure.get_or_insert(PoolError::Encode { task: T::NAME, reason });
                None
            }
        }
    }

    /// Replaces a worker once it has run about these many tasks (a chunk is not broken off): for
    /// libraries that leak. Python's `maxtasksperchild`.
    pub fn recycle_after_tasks(mut self, tasks: NonZero<u64>) -> Builder {
        self.rules.recycle_after = Some(tasks.get());
        self
    }

    /// Replaces a worker once more than these many bytes of it are resident, shared memory that it
    /// has touched included. Looked at after tasks, every 5 ms at most.
    pub fn recycle_above(mut self, bytes: NonZero<u64>) -> Builder {
        self.launch.settings.resident_limit = bytes.get();
        self
    }

    /// Takes the time of every single task, for [`Pool::stats`]: what it waited and what it took.
    /// Costs some hundred nanoseconds a task. Items of streams are timed in any case.
    pub fn timings(mut self) -> Builder {
        self.rules.timings = true;
        self
    }

    /// Has `sink` get what workers write to standard output and error, line by line, instead of
    /// having it mixed with this process's own.
    ///
    /// Lines are whole, those of one worker and stream come in order, and none is lost, also not
    /// when the worker is killed: what it wrote is read to the end. (Rust's standard output is
    /// buffered up to the end of a line, C's longer.) They come later than a task's result, perhaps;
    /// all have come when [`Pool::close`] or the pool's drop returns.
    ///
    /// `sink` runs on a thread of the pool's; while it is slow, workers that write much wait. Lines
    /// beyond 1 MiB come in pieces. Cost: two files a worker.
    ///
    /// ```standalone_crate
    /// use std::sync::mpsc;
    /// use proc_pool::{OutputStream, Pool, task};
    ///
    /// #[task]
    /// fn complain(number: u32) {
    ///     eprintln!("number {number} is bad");
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let (send, receive) = mpsc::channel();
    ///     let sink = move |line| drop(send.send(line));
    ///     let pool = Pool::builder().workers(2).output(sink).build()?;
    ///     pool.submit(complain, 13).wait()?;
    ///     let line = receive.recv()?;
    ///     assert_eq!((line.text.as_str(), line.stream), ("number 13 is bad", OutputStream::Err));
    ///     Ok(())
    /// }
    /// ```
    pub fn output(mut self, sink: impl Fn(OutputLine) + Send + Sync + 'static) -> Builder {
        self.launch.output = Some(Sink(Arc::new(sink)));
        self
    }

    /// As [`output`](Builder::output), with each line as a `tracing` event (target
    /// `proc_pool::worker`, level `INFO`), and with the workers' own `tracing` events as such: same
    /// level, text and fields as one message, target in the field `from`; spans are left out.
    ///
    /// The level of the subscriber at the time of [`build`](Builder::build) holds for the workers.
    /// They have a subscriber then, so an initializer should not set one.
    #[cfg(feature = "tracing")]
    pub fn output_to_tracing(mut self) -> Builder {
        self.launch.settings.events = 1;
        self.output(|line| crate::events::tell_line(&line))
    }

    /// How workers are started: [`StartMethod::Spawn`] by default.
    ///
    /// ```standalone_crate
    /// use proc_pool::{Pool, StartMethod, task, worker_state};
    ///
    /// #[task]
    /// fn load(size: u64) {
    ///     worker_state::set((0..size).collect::<Vec<u64>>());
    /// }
    ///
    /// #[task(pure)]
    /// fn look_up(index: usize) -> Option<u64> {
    ///     worker_state::with(|table: &mut Vec<u64>| table.get(index).copied())
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = Pool::builder()
    ///         .workers(2)
    ///         .start_method(StartMethod::Server)
    ///         .preload(load, 100_000)
    ///         .build()?;
    ///     assert_eq!(pool.map(look_up, [3, 100_000])?, [Some(3), None]);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// With a server, death is the same as with `Spawn`: workers are children of this process, and
    /// end with it. A server that is killed costs no worker; another is started with the next
    /// worker that is needed, and preloads again.
    pub fn start_method(mut self, method: StartMethod) -> Builder {
        self.launch.method = method;
        self
    }

    /// Has programs that tasks started, and left running in their worker's process group, end also
    /// when this process is SIGKILLed. They end with their worker in any case, and with the pool;
    /// but when this process is killed nobody is left to see to it, unless somebody waits for that.
    ///
    /// Cost: one small process a pool, of this program, which sleeps. With [`StartMethod::Server`] the
    /// fork server does it anyway, and this changes nothing. Needs Linux 6.9; before, nothing
    /// happens. A program that leaves the group (`setsid`) is nobody's.
    pub fn guard_groups(mut self) -> Builder {
        self.launch.guard = true;
        self
    }

    /// Has the fork server run this task once, before it forks workers: what it leaves in
    /// [`worker_state`](crate::worker_state), or in statics, every worker has, copy-on-write.
    /// Implies [`StartMethod::Server`].
    ///
    /// The task must leave no thread behind, nor anything that a copy of the process could not use
    /// (a connection, say): threads are not copied by a fork, locks that they hold are. With a
    /// preload, [`build`](Builder::build) waits until it has run. If it fails, the pool does not
    /// start, with [`PoolError::InitializerFailed`]. If it fails later, in a server that takes the
    /// place of one that was killed, it is tried three times in a row; then the pool goes on with the
    /// workers that it has, and when the last of them is gone it ends with that error.
    pub fn preload<T: Task<Output: InitializerOutput>>(
        mut self,
        task: T,
        input: T::Input,
    ) -> Builder {
        let _ = task;
        self.launch.preload = self.initializer_call::<T>(&input);
        self.launch.method = StartMethod::Server;
        self
    }

    /// How many processes the pools may have that tasks of this one make, and those that theirs
    /// make, all together; none by default, so that the whole tree has no more than this pool's
    /// workers.
    ///
    /// A pool inside of a worker takes as many workers of what is left as it asks for, and gives
    /// them back when it ends, or is killed. Where nothing is left, **its tasks run in the worker**,
    /// one at a time, on a thread beside the task that waits for them: nothing waits for a process,
    /// so nothing is stuck. Then a nested task that ends its process ends the worker (and counts
    /// as the outer task's death); one that runs cannot be cancelled or stopped by a limit of time,
    /// has no limit of memory, and its output is the worker's. A [`Process`](crate::Process) and actors
    /// must have processes: they fail with [`PoolError::NoProcessLeft`].
    ///
    /// Inside of a worker this option does nothing: the outermost pool's holds.
    ///
    /// ```standalone_crate
    /// use proc_pool::{Pool, task};
    ///
    /// #[task(pure)]
    /// fn square(x: u64) -> u64 {
    ///     x * x
    /// }
    ///
    /// #[task(pure)]
    /// fn sum_of_squares(n: u64) -> u64 {
    ///     let pool = Pool::new().expect("a pool in a worker");
    ///     pool.map(square, 0..n).expect("squares").into_iter().sum()
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = Pool::builder().workers(2).nested_processes(2).build()?;
    ///     assert_eq!(pool.map(sum_of_squares, [3, 4, 5])?, [5, 14, 30]);
    ///     Ok(())
    /// }
    /// ```
    pub fn nested_processes(mut self, processes: usize) -> Builder {
        self.nested = processes;
        self
    }

    /// Each task in a process, or none.
    pub(crate) fn in_processes(mut self) -> Builder {
        self.alone = true;
        self
    }

    /// What a pool inside of a worker pays with for its workers; none outside of one.
    fn tokens(&self, workers: usize) -> Result<Option<Tokens>, PoolError> {
        if !worker::is_worker() {
            return Ok(None);
        }
        let others = usize::from(self.launch.method == StartMethod::Server || self.launch.guard);
        let empty = budget::new(0)?;
        let tokens = Tokens::take(budget::inherited().unwrap_or(&empty), workers, others);
        let left = tokens.workers();
        if self.alone && left < workers {
            return Err(PoolError::NoProcessLeft { wanted: workers, left });
        }
        Ok(Some(tokens))
    }

    /// What the pools inside of this one's workers pay with.
    fn budget(&self) -> Result<Option<Segment>, PoolError> {
        match budget::inherited() {
            Some(budget) => Ok(Some(budget.clone())),
            None if worker::is_worker() || self.nested == 0 => Ok(None),
            None => budget::new(self.nested).map(Some),
        }
    }

    /// What a pool without processes does instead of starting workers: these calls, first of all.
    fn without_processes(&mut self) -> Vec<Call> {
        (self.launch.method, self.launch.guard) = (StartMethod::Spawn, false);
        let preload = self.launch.preload.take();
        preload.into_iter().chain(self.rules.initializer.clone()).collect()
    }

    /// Sets an environment variable in the workers.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Builder {
        self.launch.env.push((key.into(), value.into()));
        self
    }

    /// Adds this to the workers' nice value: 10 leaves the processors to others that want them. A
    /// negative one needs a privilege; a worker that is refused says so on standard error.
    pub fn nice(mut self, increment: i32) -> Builder {
        self.launch.settings.nice = increment;
        self
    }

    /// Ties each worker to one processor of those that this process may use, in turn.
    pub fn pin_workers(mut self) -> Builder {
        self.pin = true;
        self
    }

    /// Workers that die have no successor; `exit_on_panic`: a panic ends a worker.
    pub(crate) fn once(mut self, exit_on_panic: bool) -> Builder {
        self.rules.replace = false;
        self.launch.replace = false;
        self.launch.settings.exit_on_panic = exit_on_panic;
        self
    }

    /// Starts the workers.
    ///
    /// Returns when their processes exist; they become ready meanwhile, and tasks may be submitted
    /// at once. With an [`initializer`](Builder::initializer), returns when that has run. Cost:
    /// about a millisecond a worker, whatever the size of this process.
    ///
    /// # Errors
    ///
    /// [`PoolError::NotInitialised`], [`PoolError::NoWorkers`], [`PoolError::DuplicateTask`];
    /// [`PoolError::InitializerFailed`], [`PoolError::Encode`]; [`PoolError::NoProcessLeft`];
    /// [`PoolError::Memory`], [`PoolError::Queue`] and [`PoolError::System`] when memory, files or processes run out.
    pub fn build(mut self) -> Result<Pool, PoolError> {
        if !worker::is_initialised() {
            return Err(PoolError::NotInitialised);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let workers = self.workers.unwrap_or(cores);
        if workers == 0 {
            return Err(PoolError::NoWorkers);
        }
        self.rules.build = crate::build::own(&Registry::collect()?);
        self.launch.settings.build = self.rules.build.clone();
        if self.pin {
            self.launch.processors = processors()?;
        }
        #[cfg(feature = "tracing")]
        if self.launch.settings.events > 0 {
            self.launch.settings.events = crate::events::level_number();
        }
        let segment = Segment::anonymous(4096)?;
        let bell = Doorbell::at(&segment, 0)?;
        // Spinning pays only while everybody who spins has a processor of his own.
        let spin = if workers < cores { SPIN } else { 0 };
        self.launch.settings.spin = spin;
        let (calls, call) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(PoolError::system("pipe2"))?;
        self.launch.settings.budget = self.budget()?;
        let tokens = self.tokens(workers)?;
        let workers = tokens.as_ref().map_or(workers, Tokens::workers);
        let nested = (workers == 0).then(|| self.without_processes());
        let first = nested.as_ref().is_some_and(|calls| !calls.is_empty());
        let has_initializer = first || self.rules.initializer.is_some();
        let state = State::new(workers, self.rules).paid_with(tokens);
        let shared = Arc::new(Shared::new(segment, bell, state, spin, call));
        let keeper = Keeper::new(Arc::clone(&shared), self.launch, calls);
        let pool = Pool::start(shared, keeper, nested)?;
        if has_initializer {
            pool.wait_until_ready()?;
        }
        Ok(pool)
    }
}

/// The processors that this process may use.
fn processors() -> Result<Vec<u32>, PoolError> {
    let set =
        rustix::thread::sched_getaffinity(None).map_err(PoolError::system("sched_getaffinity"))?;
    let most = rustix::thread::CpuSet::MAX_CPU;
    Ok((0..most).filter(|&cpu| set.is_set(cpu)).map(|cpu| cpu as u32).collect())
}
