//! A sealed memory file, mapped: words that several processes share.

use crate::linear::Error;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Neither shorter nor longer, for ever: a mapping that was valid stays valid.
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// The mapping and its file.
#[derive(Debug)]
pub(super) struct Region {
    file: OwnedFd,
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and holds atomics only.
unsafe impl Send for Region {}
// SAFETY: as above; atomics may be shared.
unsafe impl Sync for Region {}

impl Region {
    /// Anonymous memory of this many words, all zero.
    pub fn create(words: usize) -> Result<Self, Error> {
        // SAFETY: the name is a string that ends with zero.
        let raw = unsafe {
            libc::memfd_create(c"linear-log".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
        };
        if raw < 0 {
            return Err(refused("memfd_create"));
        }
        // SAFETY: the descriptor is new and nobody else's.
        let file = unsafe { OwnedFd::from_raw_fd(raw) };
        // The caller has checked that the bytes are a signed offset.
        let bytes = (words * size_of::<u64>()).cast_signed() as libc::off_t;
        // SAFETY: plain system call on our own descriptor.
        if unsafe { libc::ftruncate(file.as_raw_fd(), bytes) } < 0 {
            return Err(refused("ftruncate"));
        }
        // SAFETY: plain system call on our own descriptor.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } < 0 {
            return Err(refused("fcntl(F_ADD_SEALS)"));
        }
        Self::map(file, words)
    }

    /// Memory that [`create`](Self::create) made in another process.
    pub fn open(file: OwnedFd) -> Result<Self, Error> {
        // SAFETY: plain system call on our own descriptor.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 || seals & SEALS != SEALS {
            let reason = "it is not a sealed memory file".to_owned();
            return Err(Error::NotALog { reason });
        }
        let size = std::fs::File::from(
            file.try_clone().map_err(|source| Error::System { call: "dup", source })?,
        )
        .metadata()
        .map_err(|source| Error::System { call: "fstat", source })?
        .len();
        let words = usize::try_from(size).unwrap_or(usize::MAX) / size_of::<u64>();
        Self::map(file, words)
    }

    fn map(file: OwnedFd, words: usize) -> Result<Self, Error> {
        // SAFETY: a new mapping at an address of the system's choice touches nothing of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                words * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(start.cast::<AtomicU64>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => {
                Ok(Self { file, start, words })
            }
            _ => Err(refused("mmap")),
        }
    }

    /// All words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is as long as this, aligned to a page, lives as long as `self`, and
        // can not be cut (it is sealed); other processes touch it by atomics only.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}

fn refused(call: &'static str) -> Error {
    Error::System { call, source: std::io::Error::last_os_error() }
}
