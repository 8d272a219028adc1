//! The file behind a segment: an anonymous memfd, or a named file.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::header::{DATA_OFFSET, Header, MAX_SIZE};
use crate::name::NamedFile;
use crate::{Error, budget};

/// A file that outlives its mapping.
#[derive(Debug)]
pub(crate) enum Backing {
    /// Freed by the kernel with its last user, whatever happens.
    Memfd(File),
    /// Has a name in the file system, taken away by its last user.
    Named(Arc<NamedFile>),
}

impl AsFd for Backing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Backing::Memfd(file) => file.as_fd(),
            Backing::Named(named) => named.as_fd(),
        }
    }
}

/// A new memfd with this header; its data reads as zeros. It can no longer shrink.
pub(crate) fn memfd(header: &Header) -> Result<File, Error> {
    budget::check(header.size)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("shm-core", flags).map_err(Error::system("memfd_create"))?;
    let file = File::from(fd);
    rustix::fs::ftruncate(&file, header.file_size()).map_err(Error::system("ftruncate"))?;
    header.write(&file)?;
    // A peer that shrank the file would make our reads beyond its end fatal.
    seal(&file, SealFlags::SHRINK)?;
    Ok(file)
}

pub(crate) fn seal(fd: impl AsFd, seals: SealFlags) -> Result<(), Error> {
    match rustix::fs::fcntl_add_seals(fd, seals) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::BUSY) => Err(Error::StillWritable),
        Err(errno) => Err(Error::system("fcntl(F_ADD_SEALS)")(errno)),
    }
}

/// The file's seals; none for a file of a kind that has no seals.
pub(crate) fn seals(fd: impl AsFd) -> SealFlags {
    rustix::fs::fcntl_get_seals(fd).unwrap_or(SealFlags::empty())
}

/// Maps the data of the file (not its header), shared, for reading and writing.
pub(crate) fn map_writable(fd: BorrowedFd<'_>, header: &Header) -> Result<MmapRaw, Error> {
    options(header)?.map_raw(&fd).map_err(Error::system("mmap"))
}

/// Maps the data of the file, shared, for reading. `populate` fills the page table at once:
/// cheaper than faulting for data that will be read whole.
pub(crate) fn map_read_only(
    fd: BorrowedFd<'_>,
    header: &Header,
    populate: bool,
) -> Result<MmapRaw, Error> {
    let mut options = options(header)?;
    if populate {
        options.populate();
    }
    options.map_raw_read_only(&fd).map_err(Error::system("mmap"))
}

fn options(header: &Header) -> Result<MmapOptions, Error> {
    let len = usize::try_from(header.size)
        .ok()
        .filter(|_| header.size > 0 && header.size <= MAX_SIZE)
        .ok_or(Error::BadSize { size: header.size, max: MAX_SIZE })?;
    let mut options = MmapOptions::new();
    options.offset(DATA_OFFSET).len(len);
    Ok(options)
}

/// The size in bytes of `len` elements of `element` bytes, if it can be mapped at all.
pub(crate) fn array_size(len: usize, element: usize) -> Result<u64, Error> {
    let size = (len as u64).saturating_mul(element as u64);
    if size == 0 || size > MAX_SIZE {
        return Err(Error::BadSize { size, max: MAX_SIZE });
    }
    Ok(size)
}
