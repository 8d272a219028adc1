//! Words that the parent and its workers see, by which a measurement knows what a worker did.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;

use method::Outcome;

const WORDS: usize = 16;
const SIZE: usize = WORDS * size_of::<AtomicU64>();

/// The words, mapped in this process until it ends.
#[derive(Debug)]
pub struct Board {
    path: String,
    words: &'static [AtomicU64; WORDS],
    _file: File,
}

impl Board {
    /// A new one, all zeros.
    pub fn new() -> Outcome<Board> {
        let fd = rustix::fs::memfd_create("board", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, SIZE as u64)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        Board::map(path, fd.into())
    }

    /// The one that another process told of.
    pub fn open(path: &str) -> Outcome<Board> {
        Board::map(path.into(), OpenOptions::new().read(true).write(true).open(path)?)
    }

    fn map(path: String, file: File) -> Outcome<Board> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let (fd, at) = (file.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: a new mapping of a file of that size, at an address of the system's choice.
        let page = unsafe { libc::mmap(at, SIZE, protection, libc::MAP_SHARED, fd, 0) };
        if page == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: the mapping is large enough, never unmapped, and holds words of zeros at first.
        let words = unsafe { &*page.cast::<[AtomicU64; WORDS]>() };
        Ok(Board { path, words, _file: file })
    }

    /// What a worker needs to open it.
    pub fn path(&self) -> String {
        self.path.clone()
    }

    /// One of the words.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        &self.words[index % WORDS]
    }
}

/// Nanoseconds of the clock that all processes share.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
