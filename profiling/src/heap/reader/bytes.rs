//! A file of words that nobody vouches for.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use crate::error::{Error, Result};

/// An open profile, and its name for errors.
#[derive(Debug)]
pub(super) struct Bytes {
    file: File,
    path: PathBuf,
}

/// A copy of some words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Copied(Vec<u8>);

impl Bytes {
    pub(super) fn new(file: File, path: PathBuf) -> Bytes {
        Bytes { file, path }
    }

    /// Copies `words` words at `offset`.
    pub(super) fn read(&self, offset: usize, words: usize) -> Result<Copied> {
        let mut copy = vec![0; words * 8];
        match self.file.read_exact_at(&mut copy, offset as u64) {
            Ok(()) => Ok(Copied(copy)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.invalid("it is cut short"))
            }
            Err(source) => Err(Error::HeapProfileUnreadable { path: self.path.clone(), source }),
        }
    }

    /// The word at `offset`.
    pub(super) fn word(&self, offset: usize) -> Result<u64> {
        self.read(offset, 1).map(|copy| copy.word(0))
    }

    pub(super) fn length(&self) -> Result<u64> {
        self.metadata().map(|data| data.len())
    }

    /// Memory that the file's pages take, in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        self.metadata().map(|data| data.blocks() * 512)
    }

    fn metadata(&self) -> Result<std::fs::Metadata> {
        let unreadable = |source| Error::HeapProfileUnreadable { path: self.path.clone(), source };
        self.file.metadata().map_err(unreadable)
    }

    pub(super) fn invalid(&self, what: impl Into<String>) -> Error {
        Error::HeapProfileInvalid { path: self.path.clone(), what: what.into() }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Copied {
    /// The word at a byte offset; 0 behind the end, which the caller never asks for.
    pub(super) fn word(&self, offset: usize) -> u64 {
        let bytes = self.0.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    }

    /// So many bytes at a byte offset, cut off at the end.
    pub(super) fn slice(&self, offset: usize, length: usize) -> &[u8] {
        let start = offset.min(self.0.len());
        &self.0[start..offset.saturating_add(length).clamp(start, self.0.len())]
    }

    pub(super) fn words(&self) -> impl Iterator<Item = u64> {
        (0..self.0.len()).step_by(8).map(|at| self.word(at))
    }
}
