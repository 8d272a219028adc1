//! One shared file, mapped: the stuff that regions and copies are made of.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use super::sys;

/// A file and a mapping of all of it; unmapped and closed when dropped.
#[derive(Debug)]
pub(super) struct Memory {
    base: NonNull<u8>,
    len: usize,
    fd: OwnedFd,
}

// SAFETY: only the address and the descriptor are given out; whoever dereferences the raw pointer
// answers for races, in one process as in several.
unsafe impl Send for Memory {}
// SAFETY: as above; `&Memory` changes nothing of its own.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps a fresh file of `len` zero bytes.
    pub(super) fn new(len: usize) -> io::Result<Memory> {
        Memory::map(sys::memfd(c"crash-check", len)?, len)
    }

    /// Maps all of a file that is there already.
    pub(super) fn of(fd: BorrowedFd<'_>) -> io::Result<Memory> {
        let (len, ..) = sys::file_len(fd)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Memory::map(fd.try_clone_to_owned()?, len)
    }

    fn map(fd: OwnedFd, len: usize) -> io::Result<Memory> {
        let base = sys::map(fd.as_fd(), len)?;
        Ok(Memory { base, len, fd })
    }

    /// A fresh file that holds `image`.
    pub(super) fn holding(image: &[u8]) -> io::Result<Memory> {
        let memory = Memory::new(image.len())?;
        memory.write(image);
        Ok(memory)
    }

    // Inlined: every instruction of an unoptimised build is stepped.
    #[inline(always)]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Appends the bytes to `into`. Only while the processes that write them are stopped or gone.
    pub(super) fn append_to(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.resize(start + self.len, 0);
        let Some(to) = into.get_mut(start..) else { return };
        // SAFETY: both ranges hold `len` bytes and do not overlap; writers are stopped or gone,
        // so the bytes do not change while they are copied.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr(), to.as_mut_ptr(), self.len) };
    }

    /// Puts `image` in place of the first bytes. Only while nobody else runs on them.
    pub(super) fn write(&self, image: &[u8]) {
        let len = self.len.min(image.len());
        // SAFETY: both ranges hold at least `len` bytes and do not overlap, and nobody else runs.
        unsafe { std::ptr::copy_nonoverlapping(image.as_ptr(), self.base.as_ptr(), len) };
    }

    /// Puts `other`, of the same length, in the place of this memory in the calling process:
    /// under the same address and the same descriptor number.
    pub(super) fn replace_with(&self, other: &Memory) -> io::Result<()> {
        sys::replace_fd(other.fd.as_fd(), self.fd.as_raw_fd())?;
        // SAFETY: the range is this very mapping; what is borrowed from it are atomics, whose
        // values may change at any time.
        unsafe { sys::map_over(self.base, self.fd.as_fd(), self.len) }.map(drop)
    }

    /// Length of the file now, device, inode.
    pub(super) fn file(&self) -> io::Result<(u64, u64, u64)> {
        sys::file_len(self.fd.as_fd())
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no borrow outlives `self`.
        unsafe { sys::unmap(self.base, self.len) };
    }
}
