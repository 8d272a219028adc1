//! The crate's errors: of a pool, and of one task.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::death::{Death, DeathNotice};
use crate::frames::PanicFrames;

/// Why a pool could not be made, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// `main` does not turn the program into a worker when it is started as one.
    #[error(
        "this program cannot start workers: put #[proc_pool::main] on main, or call proc_pool::init() first in it (in tests: #[proc_pool::test])"
    )]
    NotInitialised,
    /// A pool of no workers.
    #[error("a pool needs at least one worker: ask for 1 or more, or for none in particular")]
    NoWorkers,
    /// Two tasks have the same identity.
    #[error("two tasks are both called {name:?} with the same signature: rename one")]
    DuplicateTask {
        /// Their common name.
        name: &'static str,
    },
    /// The workers die before they are ready.
    #[error("workers do not start: {reason}")]
    WorkersDoNotStart {
        /// What the last one died of, or the system's word.
        reason: String,
    },
    /// The initializer fails in every worker.
    #[error("{reason}")]
    InitializerFailed {
        /// Its name, and what it said last.
        reason: String,
    },
    /// The worker that was started is another program, or another build, than this process.
    #[error("{reason}")]
    WorkerDiffers {
        /// In what, and what to do.
        reason: String,
    },
    /// The input of the initializer, the exit hook or an actor's constructor cannot be sent.
    #[error("the input of {task} cannot be sent: {reason}")]
    Encode {
        /// The task's name.
        task: &'static str,
        /// The serialiser's word.
        reason: String,
    },
    /// An actor or a process inside of a worker, where no more processes are allowed.
    #[error(
        "a worker may not start {wanted} more processes, but {left}: allow it with Builder::nested_processes of the outermost pool"
    )]
    NoProcessLeft {
        /// Processes asked for.
        wanted: usize,
        /// Processes that were left.
        left: usize,
    },
    /// Shared memory could not be had.
    #[error("the pool's shared memory: {0}")]
    Memory(#[from] shm_core::Error),
    /// A queue to a worker could not be made.
    #[error("the queue to a worker: {0}")]
    Queue(#[from] ipc_queue::Error),
    /// The kernel refused a system call.
    #[error("{call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
}

impl PoolError {
    pub(crate) fn system<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> PoolError {
        move |source| PoolError::System { call, source: source.into() }
    }
}

/// Why a task has no result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked; its worker lives on.
    #[error("task {task} panicked at {location}: {message}")]
    Panicked {
        /// The task's name.
        task: &'static str,
        /// The panic's message.
        message: String,
        /// `file:line:column`.
        location: String,
        /// The calls that led there.
        frames: PanicFrames,
    },
    /// The worker died while it ran the task, and the task may not run again, or not once more.
    #[error(
        "the worker running task {task} {notice} (attempt {attempts}); a task declared #[task(pure)] runs again elsewhere, as often as Builder::attempts allows"
    )]
    WorkerDied {
        /// The task's name.
        task: &'static str,
        /// How the worker ended.
        death: Death,
        /// How often the task was started.
        attempts: u32,
        /// What else is known: peak memory, lack of memory, last words.
        notice: Arc<DeathNotice>,
    },
    /// The task has ended too many workers with this argument, and is not run again.
    #[error(
        "task {task} is refused: with this argument it ended {deaths} workers in a row, of which the last {notice}; Pool::quarantined lists what is refused, Pool::lift_quarantine lets it in again"
    )]
    Quarantined {
        /// The task's name.
        task: &'static str,
        /// Workers that it ended in a row.
        deaths: u32,
        /// How the last of them ended.
        notice: Arc<DeathNotice>,
    },
    /// Somebody cancelled the task.
    #[error("task {task} was cancelled")]
    Cancelled {
        /// The task's name.
        task: &'static str,
    },
    /// The task ran too long; its worker was killed and replaced.
    #[error("task {task} ran longer than its time limit of {limit:?}; its worker was replaced")]
    TimeLimit {
        /// The task's name.
        task: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The task was not done in time.
    #[error("task {task} was not done {limit:?} after it was submitted")]
    Deadline {
        /// The task's name.
        task: &'static str,
        /// From submission to deadline.
        limit: Duration,
    },
    /// The task needed more memory than it may have; its worker was replaced.
    #[error(
        "task {task} needed more than its limit of {limit} bytes of data (attempt {attempts}): allow it more with TaskOptions::memory, or, if it is pure, TaskOptions::more_memory"
    )]
    MemoryLimit {
        /// The task's name.
        task: &'static str,
        /// The limit, in bytes.
        limit: u64,
        /// How often the task was started.
        attempts: u32,
    },
    /// The input could not be sent.
    #[error("the input of task {task} cannot be sent: {reason}")]
    Encode {
        /// The task's name.
        task: &'static str,
        /// The serialiser's word.
        reason: String,
    },
    /// The input or the result could not be read where it arrived.
    #[error("task {task}: {reason}")]
    Decode {
        /// The task's name.
        task: &'static str,
        /// Which, and the deserialiser's word.
        reason: String,
    },
    /// The worker does not know the task.
    #[error(
        "the worker does not know task {task}: register it with proc_pool::register before proc_pool::init() in main"
    )]
    Unknown {
        /// The task's name.
        task: &'static str,
    },
    /// The pool was dropped, or can start no more workers.
    #[error("task {task} was not run: {reason}")]
    PoolEnded {
        /// The task's name.
        task: &'static str,
        /// Why the pool ended.
        reason: String,
    },
}
