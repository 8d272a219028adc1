//! What ends the program early, and with which exit status.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Everything the program can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What the library says.
    #[error("{0}")]
    Profiling(#[from] profiling::Error),
    /// The command to run is not there.
    #[error("no command {command:?}: check its spelling and PATH")]
    NotFound { command: String },
    /// The command to run may not be run.
    #[error("cannot run {command:?} ({source}): it must be an executable file that you may run")]
    NotRunnable { command: String, source: io::Error },
    /// Waiting for the tree went wrong.
    #[error("cannot wait for process {pid} ({source})")]
    Wait { pid: u32, source: io::Error },
    /// A handler for a signal could not be installed.
    #[error("cannot watch for signals ({source})")]
    Signals { source: io::Error },
    /// The duration makes no sense.
    #[error("--for wants a number of seconds that is not negative, and got {seconds}")]
    Duration { seconds: f64 },
    /// No process of the recording made a heap profile.
    #[error(
        "no heap profile in this recording: wrap the program's allocator in `profiling::heap`, or export `--what tree`"
    )]
    NoHeap,
    /// A folder for heap profiles could not be made.
    #[error("cannot make {path} for heap profiles ({source}): remove what is there")]
    HeapFolder { path: PathBuf, source: io::Error },
    /// Nothing to write an export to.
    #[error("cannot write to {path} ({source}): choose a writable folder with room for it")]
    Write { path: PathBuf, source: io::Error },
    /// Standard output was closed or is full.
    #[error("cannot write to standard output ({source})")]
    Output { source: io::Error },
    /// A terminal would not do as it was told.
    #[error("cannot set up the terminal ({source}): redirect the output to a file for plain text")]
    Terminal { source: io::Error },
}

impl Failure {
    /// What the operating system said, where the message does not have it yet.
    pub fn cause(&self) -> String {
        let cause = match self {
            Self::Profiling(error) => error.source(),
            _ => None,
        };
        cause.map_or_else(String::new, |cause| format!(" ({cause})"))
    }

    /// As `env` and `timeout` do: 127 and 126 for a command that cannot be run, 125 for our own
    /// failures.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::NotFound { .. } => 127,
            Self::NotRunnable { .. } => 126,
            _ => 125,
        })
    }
}

/// The result of a command of this program.
pub type Result<T> = std::result::Result<T, Failure>;
