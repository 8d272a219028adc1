//! The crate's errors: of a pool, and of one task.

use std::io;

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

/// How a worker process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Death {
    /// Killed by this signal; 9 is SIGKILL, which is also what the out-of-memory killer sends.
    Signal(i32),
    /// Ended itself with this exit code, `std::process::exit` inside a task, say.
    Exit(i32),
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Death::Signal(9) => f.write_str("was killed by signal 9 (SIGKILL)"),
            Death::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Death::Exit(code) => write!(f, "exited with code {code}"),
        }
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
    },
    /// The worker died while it ran the task, and the task may not run again, or not once more.
    #[error(
        "the worker running task {task} {death} (attempt {attempts}); a task declared #[task(pure)] runs again elsewhere, as often as Builder::attempts allows"
    )]
    WorkerDied {
        /// The task's name.
        task: &'static str,
        /// How the worker ended.
        death: Death,
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
