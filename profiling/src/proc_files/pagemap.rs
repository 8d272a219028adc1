//! `/proc/PID/pagemap`: for each page of a process, whether it is there and who else has it.
//!
//! Since Linux 4.2 the owner of a process may read the flags used here without privilege; the
//! frame numbers, which are hidden then, are not needed.

use std::os::fd::{AsFd, OwnedFd};

use super::{ProcessDirectory, ReadError};

/// One entry: the flags of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageEntry(u64);

/// The page is in memory.
const PRESENT: u64 = 1 << 63;
/// The page is of a file, or of shared memory.
const FILE_OR_SHARED: u64 = 1 << 61;
/// No other process maps the page.
const EXCLUSIVE: u64 = 1 << 56;

impl PageEntry {
    /// An anonymous page in memory.
    pub(crate) fn is_anonymous(self) -> bool {
        self.0 & PRESENT != 0 && self.0 & FILE_OR_SHARED == 0
    }

    /// An anonymous page in memory that somebody else has too.
    pub(crate) fn is_shared(self) -> bool {
        self.is_anonymous() && self.0 & EXCLUSIVE == 0
    }

    #[cfg(test)]
    pub(crate) const fn of(anonymous: bool, exclusive: bool) -> Self {
        let flags = if anonymous { PRESENT } else { 0 };
        Self(flags | if exclusive { EXCLUSIVE } else { 0 })
    }
}

/// An open `pagemap`.
#[derive(Debug)]
pub(crate) struct Pagemap(OwnedFd);

impl Pagemap {
    pub(crate) fn open(directory: &ProcessDirectory) -> Result<Self, ReadError> {
        directory.open_file(c"pagemap").map(Self)
    }

    /// The entries of `count` pages from page number `first` on. Those that cannot be read (the
    /// process is gone) are missing at the end.
    pub(crate) fn read(&self, first: u64, count: usize, entries: &mut Vec<PageEntry>) {
        entries.clear();
        let mut bytes = vec![0u8; count * 8];
        let read = rustix::io::pread(self.0.as_fd(), &mut bytes[..], first.saturating_mul(8));
        let whole = bytes[..read.unwrap_or(0)].chunks_exact(8);
        entries.extend(
            whole.filter_map(|entry| Some(PageEntry(u64::from_ne_bytes(entry.try_into().ok()?)))),
        );
    }
}
