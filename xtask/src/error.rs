//! What can go wrong before a command has even run.

/// What every function here returns when it cannot go on.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command could not be carried out. A *failing test* is no error: it is a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line was not understood.
    #[error("{0}")]
    Usage(String),
    /// A program could not be started.
    #[error("cannot run `{line}`: {source}; is the program installed and on PATH?")]
    Start {
        /// The command as a person would type it.
        line: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program ran and printed something we cannot use.
    #[error("{0}")]
    Output(String),
}

impl Error {
    /// An error about the file or folder `path`.
    pub fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }
}
