//! Reading a profile: of a running process, of a dead one, of one's own.
//!
//! The reader copies with `pread` and maps nothing: a file that is cut short under its hands is an
//! error, not a signal; and no foreign word is ever used before it was compared with its bounds.

mod bytes;
mod find;
mod live;
mod sites;
mod tables;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use self::bytes::Bytes;
use super::format::{Layout, MAGIC, Shape, VERSION, header};
use super::snapshot::Snapshot;
use crate::error::{Error, Result};

/// A heap profile, open for reading.
///
/// It keeps the profile's memory alive: when the process is killed,
/// [`snapshot`](Profile::snapshot) goes on working, and says what was true at the death.
#[derive(Debug)]
pub struct Profile {
    bytes: Bytes,
    layout: Layout,
}

impl Profile {
    /// Opens a profile by its file's name.
    ///
    /// # Errors
    ///
    /// [`Error::HeapProfileUnreadable`], or [`Error::HeapProfileInvalid`] when the file is not a
    /// whole profile of this version.
    pub fn open(path: impl AsRef<Path>) -> Result<Profile> {
        let path = path.as_ref();
        match File::open(path) {
            Ok(file) => Profile::new(file, path.to_owned()),
            Err(source) => Err(Error::HeapProfileUnreadable { path: path.to_owned(), source }),
        }
    }

    /// Takes over an open file, got over a socket or by inheritance, say.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn from_file(file: File) -> Result<Profile> {
        Profile::new(file, PathBuf::from("(an open file)"))
    }

    /// The profile of a running process, found under `/proc/PID/fd`. The process notices nothing.
    ///
    /// Costs one `readlink` a descriptor that the process has open.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProcess`], [`Error::NoHeapProfile`] if it has none or has not allocated
    /// since it was forked, [`Error::HeapProfileUnreadable`] if it belongs to someone else.
    pub fn of_process(pid: u32) -> Result<Profile> {
        find::of_process(pid)
    }

    /// The profiles that were left in a folder ([`DIRECTORY_VARIABLE`](super::DIRECTORY_VARIABLE)),
    /// of living processes and dead ones, in the order of their names; each may be damaged by
    /// itself.
    ///
    /// # Errors
    ///
    /// [`Error::HeapProfileUnreadable`] if the folder cannot be listed.
    pub fn in_directory(directory: impl AsRef<Path>) -> Result<Vec<(PathBuf, Result<Profile>)>> {
        find::in_directory(directory.as_ref())
    }

    fn new(file: File, path: PathBuf) -> Result<Profile> {
        let bytes = Bytes::new(file, path);
        let words = bytes.read(0, 64)?;
        let at = |offset: usize| words.word(offset);
        if at(header::MAGIC) != MAGIC {
            return Err(bytes.invalid("it does not begin as one, or was made on another machine"));
        }
        if at(header::VERSION) != VERSION {
            let other = at(header::VERSION);
            return Err(bytes.invalid(format!("its version is {other}, not {VERSION}")));
        }
        let shape = Shape::from_words([at(header::SHAPE), at(header::SHAPE + 8)])
            .ok_or_else(|| bytes.invalid("its sizes are out of bounds"))?;
        let layout = Layout::new(shape);
        let length = bytes.length()?;
        if at(header::LENGTH) != layout.length as u64 || length != layout.length as u64 {
            let needed = layout.length;
            return Err(bytes.invalid(format!("it has {length} bytes, not {needed}")));
        }
        if at(header::STATE) != header::READY {
            return Err(bytes.invalid("its process died, or is, before its first record"));
        }
        Ok(Profile { bytes, layout })
    }

    /// One look at the whole profile. Takes no lock, and its process goes on meanwhile.
    ///
    /// Counters and sites are read one after another: in a running process they are some
    /// microseconds to milliseconds apart. Cost: copying what is used of the profile, a megabyte
    /// for a small program.
    ///
    /// # Errors
    ///
    /// [`Error::HeapProfileInvalid`] when something in it cannot be true,
    /// [`Error::HeapProfileUnreadable`] when the file cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot> {
        tables::snapshot(&self.bytes, &self.layout)
    }

    /// Checks every invariant of the profile: what [`snapshot`](Self::snapshot) checks, and that
    /// each live block is where a free would look for it.
    ///
    /// # Errors
    ///
    /// [`Error::HeapProfileInvalid`] with the first invariant that is broken. In a running process
    /// a block that moves meanwhile may be reported wrongly: validate dead or stopped ones.
    pub fn validate(&self) -> Result<()> {
        live::validate(&self.bytes, &self.layout)?;
        self.snapshot().map(drop)
    }
}

impl AsFd for Profile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bytes.as_fd()
    }
}
