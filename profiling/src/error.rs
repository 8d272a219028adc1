//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Everything this crate can fail with.
///
/// A process that comes or goes while it is being looked at is *not* an error anywhere: it is
/// left out of that sample, and its last state stays in the record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process at the root of the tree does not exist (any more).
    #[error("no process {pid}: pass the id of a process that is still running")]
    NoSuchProcess {
        /// The id that was asked for.
        pid: u32,
    },
    /// `/proc` could not be read at all.
    #[error("cannot read {path}: mount procfs on /proc, and run as the user who owns the process")]
    ProcUnreadable {
        /// The file that was refused.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The sampling interval is zero.
    #[error("a sampling interval of zero would never let the processor go: use 1 ms or more")]
    ZeroInterval,
    /// The sampling thread could not be started.
    #[error("cannot start the sampling thread: raise the limit of threads, or sample by hand")]
    Thread {
        /// What the operating system said.
        source: io::Error,
    },
    /// A recording could not be read.
    #[cfg(feature = "recording")]
    #[error("cannot read the recording {path}: name a file that `memtree run` or `attach` wrote")]
    ReadRecording {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is no recording, or not a whole one.
    #[cfg(feature = "recording")]
    #[error("{path} is no recording ({reason}): record again, or name another file")]
    NoRecording {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A recording of a version that this crate does not read.
    #[cfg(feature = "recording")]
    #[error(
        "{path} is a recording of version {found}, and this program reads version {known}: \
         read it with the program that wrote it, or record again"
    )]
    RecordingVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that can be read.
        known: u32,
    },
    /// A recording could not be written.
    #[cfg(feature = "recording")]
    #[error("cannot write the recording to {path}: choose a writable folder with room for it")]
    WriteRecording {
        /// Where it was to go.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The report could not be written.
    #[error("cannot write the report to {path}: choose a writable folder with room for it")]
    WriteReport {
        /// Where the report was to go.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The process does not show a heap profile.
    #[error(
        "process {pid} has no heap profile: build it with `profiling::heap::Profiler` as its global \
         allocator, in another mode than off"
    )]
    #[cfg(feature = "heap")]
    NoHeapProfile {
        /// The id that was asked for.
        pid: u32,
    },
    /// A heap profile could not be opened or read.
    #[error("cannot read the heap profile {path}: check that it exists and belongs to this user")]
    #[cfg(feature = "heap")]
    HeapProfileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is no heap profile, or a damaged one.
    #[error("{path} is no heap profile that this version can read: {what}; record it again")]
    #[cfg(feature = "heap")]
    HeapProfileInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The heap profiler could not be switched on.
    #[error("the heap profiler is not running: {what}")]
    #[cfg(feature = "heap")]
    HeapProfilerOff {
        /// What is missing, and what to do.
        what: &'static str,
    },
}

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;
