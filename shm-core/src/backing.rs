//! The file behind a segment: an anonymous memfd, or a named file.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, Stat};
use rustix::io::Errno;

use crate::header::{DATA_OFFSET, Header, Kind, MAX_SIZE};
use crate::mapping::{self, Mapping};
use crate::name::NamedFile;
use crate::{Error, budget, directory};

/// A file that outlives its mapping.
#[derive(Debug)]
pub(crate) enum Backing {
    /// Freed by the kernel with its last user, whatever happens.
    Memfd(File),
    /// Has a name in the file system, taken away by its last user.
    Named(Arc<NamedFile>),
}

impl Backing {
    /// The file, for mapping it. Not for callers: see [`NamedFile::file`].
    pub fn file(&self) -> BorrowedFd<'_> {
        match self {
            Backing::Memfd(file) => file.as_fd(),
            Backing::Named(named) => named.file().as_fd(),
        }
    }

    /// Makes the file longer, from `now` to `size` bytes of data; no effect if it is that long.
    pub fn extend(&self, now: u64, size: u64) -> Result<(), Error> {
        match self {
            Backing::Memfd(file) => {
                budget::check(size - now)?;
                lengthen(file, DATA_OFFSET + size)
            }
            Backing::Named(named) => {
                directory::expect_room(size - now)?;
                directory::commit(named.file(), DATA_OFFSET + now..DATA_OFFSET + size)
            }
        }
    }

    /// Takes memory for these bytes of data, where it is missing.
    pub fn commit(&self, data: Range<u64>) -> Result<(), Error> {
        if matches!(self, Backing::Memfd(_)) {
            budget::check(data.end - data.start)?;
        }
        directory::commit(self.file(), DATA_OFFSET + data.start..DATA_OFFSET + data.end)
    }
}

/// Sets a memfd's length. The kernel refuses to shorten it (a seal): somebody made it longer.
fn lengthen(file: &File, length: u64) -> Result<(), Error> {
    directory::expect_within_limit(length)?;
    match rustix::fs::ftruncate(file, length) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) if file.metadata().is_ok_and(|file| file.len() >= length) => Ok(()),
        Err(errno) => Err(Error::system("ftruncate")(errno)),
    }
}

/// Gives the memory of these bytes of data back to the system.
pub(crate) fn punch(fd: BorrowedFd<'_>, data: Range<u64>) -> Result<(), Error> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let length = data.end - data.start;
    if length == 0 {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(fd, flags, DATA_OFFSET + data.start, length) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("fallocate(PUNCH_HOLE)")(errno)),
        }
    }
}

/// What callers may have: the memfd, or the place of a named file.
impl AsFd for Backing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Backing::Memfd(file) => file.as_fd(),
            Backing::Named(named) => named.place(),
        }
    }
}

/// A new memfd with this header; its data reads as zeros. It can no longer shrink.
pub(crate) fn memfd(header: &Header) -> Result<File, Error> {
    budget::check(header.size)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("shm-core", flags).map_err(Error::system("memfd_create"))?;
    let file = File::from(fd);
    let size = match header.kind {
        Kind::Plain | Kind::Group | Kind::Raw => header.file_size(),
        // Up to a whole huge page; memory is taken for what is used of it.
        Kind::Array => mapping::file_len(length(header)?) as u64,
    };
    lengthen(&file, size)?;
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

/// The header of a file that came from outside and that nobody can shrink any more.
///
/// The seal is looked up before the size is: the other way round the file could be shrunk, and
/// only then sealed, between the two.
pub(crate) fn read_sealed(fd: BorrowedFd<'_>) -> Result<Header, Error> {
    let seals = seals(fd);
    let header = Header::read(fd)?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err(Error::NotASegment { what: "its file can be shrunk by another process" });
    }
    Ok(header)
}

/// Maps the data of the file (not its header), shared, for reading and writing.
pub(crate) fn map_writable(fd: BorrowedFd<'_>, header: &Header) -> Result<MmapRaw, Error> {
    let mut options = MmapOptions::new();
    options.offset(DATA_OFFSET).len(length(header)?);
    options.map_raw(&fd).map_err(Error::system("mmap"))
}

/// Maps a segment's file, header included, with address space for all that it may grow to.
pub(crate) fn map_segment(
    fd: BorrowedFd<'_>,
    header: &Header,
    writable: bool,
) -> Result<Mapping, Error> {
    Mapping::anywhere(fd, in_memory(header.maximum)?, writable).map_err(Error::system("mmap"))
}

/// Maps the whole file, header included, shared, for reading and writing.
pub(crate) fn map_whole(fd: BorrowedFd<'_>, header: &Header) -> Result<Mapping, Error> {
    Mapping::new(fd, length(header)?, true, false).map_err(Error::system("mmap"))
}

/// Maps the whole file, shared, for reading. With `populate`, and where all of it is in memory
/// already, the page table is filled at once. Holes are left alone: filling those of a file that
/// claims a terabyte would take the machine's memory. Nor is little data worth it: the kernel maps
/// what lies around a first touch with it, which costs less than asking for each page.
pub(crate) fn map_read_only(
    backing: &Backing,
    header: &Header,
    stat: &Stat,
    populate: bool,
) -> Result<Mapping, Error> {
    let fd = backing.file();
    let in_memory = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    let size = length(header)?;
    let populate = populate && size >= mapping::HUGE && in_memory >= header.size;
    match Mapping::new(fd, size, false, populate) {
        // Before Linux 6.7 a sealed file could be mapped through a read-only descriptor alone. A
        // named file is never sealed, and closing another descriptor of it would end our claim to
        // the name.
        Err(Errno::PERM) if matches!(backing, Backing::Memfd(_)) => {
            Mapping::new(reopen_read_only(fd)?.as_fd(), size, false, populate)
        }
        mapped => mapped,
    }
    .map_err(Error::system("mmap"))
}

fn reopen_read_only(fd: BorrowedFd<'_>) -> Result<File, Error> {
    File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).map_err(Error::system("open"))
}

fn length(header: &Header) -> Result<usize, Error> {
    in_memory(header.size)
}

fn in_memory(size: u64) -> Result<usize, Error> {
    usize::try_from(size)
        .ok()
        .filter(|_| size > 0 && size <= MAX_SIZE)
        .ok_or(Error::BadSize { size, max: MAX_SIZE })
}

/// The size in bytes of `len` elements of `element` bytes, if it can be mapped at all.
pub(crate) fn array_size(len: usize, element: usize) -> Result<u64, Error> {
    let size = (len as u64).saturating_mul(element as u64);
    if size == 0 || size > MAX_SIZE {
        return Err(Error::BadSize { size, max: MAX_SIZE });
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShmSafe;

    #[test]
    fn sealed_data_can_be_mapped_through_a_read_only_descriptor() {
        let header = Header::array(8, &u64::LAYOUT).unwrap();
        let file = memfd(&header).unwrap();
        seal(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SEAL).unwrap();
        let reopened = reopen_read_only(file.as_fd()).unwrap();
        assert!(rustix::io::write(&reopened, b"x").is_err());
        Mapping::new(reopened.as_fd(), 8, false, false).unwrap();
    }
}
