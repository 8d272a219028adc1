//! Plain shared memory: bytes that every user may read and write.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::backing::{self, Backing};
use crate::header::{Header, Kind, MAX_SIZE};
use crate::{Error, SegmentId, name};
use memmap2::MmapRaw;

/// A piece of memory that several processes map: the ground on which queues, locks and pools
/// stand. Clones share one mapping.
///
/// *Anonymous* segments (the default choice) are memfds: they have no name to leak, and are handed
/// to other processes as file descriptors. *Named* ones are opened by name by unrelated programs;
/// the name is gone with the last user, even if all of them are killed and one new segment is
/// created or [`sweep`](crate::sweep) is called afterwards.
///
/// The memory reads as zeros at first. It is raw: reading and writing it is the business of the
/// structures built in it, through the pointer that [`data`](Segment::data) gives.
///
/// ```
/// use shm_core::Segment;
/// use std::os::fd::AsFd;
///
/// let ours = Segment::anonymous(4096)?;
/// // In another process, with the descriptor that was inherited or received:
/// let theirs = Segment::attach(ours.as_fd().try_clone_to_owned()?)?;
/// assert_eq!(ours.id(), theirs.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Segment {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // Unmapped before the file is left.
    map: MmapRaw,
    backing: Backing,
    header: Header,
}

impl Segment {
    /// A new anonymous segment of `size` bytes.
    ///
    /// Memory is taken when it is first touched. Cost: six system calls; the example
    /// `bench_attach` measures them.
    ///
    /// # Errors
    ///
    /// [`Error::BadSize`]; [`Error::OutOfMemory`] when the machine or the memory cgroup does not
    /// have that much left (checked from 8 MiB on); [`Error::System`].
    pub fn anonymous(size: usize) -> Result<Segment, Error> {
        let header = plain_header(size)?;
        let file = backing::memfd(&header)?;
        Segment::map(Backing::Memfd(file), header)
    }

    /// A new segment that other programs open by `name`: see [`Segment::open`].
    ///
    /// All of its memory is taken now, so that it cannot run out later. It is published whole: an
    /// opener finds it complete or not at all. Removes what dead processes left, first.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`], [`Error::BadSize`], [`Error::AlreadyExists`]; [`Error::NoSpace`] when
    /// `/dev/shm` is too full; [`Error::System`].
    ///
    /// ```
    /// use shm_core::{Error, Segment};
    ///
    /// let name = format!("doc-create-{}", std::process::id());
    /// let ours = Segment::create(&name, 4096)?;
    /// let theirs = Segment::open(&name)?;
    /// assert_eq!(theirs.size(), 4096);
    /// drop((ours, theirs));
    /// assert!(matches!(Segment::open(&name), Err(Error::NotFound { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn create(name: &str, size: usize) -> Result<Segment, Error> {
        let header = plain_header(size)?;
        let named = name::create(name, header, |_| Ok(()))?;
        Segment::map(Backing::Named(named), header)
    }

    /// Opens the segment that another program (or this one) created under `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], also when all its users are dead: then its name is removed; whatever
    /// [`Segment::attach`] says of a file that is not a segment, was built otherwise, is truncated
    /// or corrupted; [`Error::NotASegment`] for a link, a hard link or another user's file;
    /// [`Error::Busy`].
    pub fn open(name: &str) -> Result<Segment, Error> {
        let named = name::open(name)?;
        let header = named.header();
        expect_plain(&header)?;
        Segment::map(Backing::Named(named), header)
    }

    /// Attaches to the anonymous segment behind a descriptor that was inherited or received.
    ///
    /// Everything about the file is checked first: magic number, format version, byte order,
    /// pointer width, sizes against the file's, and that it can no longer shrink.
    ///
    /// # Errors
    ///
    /// [`Error::NotASegment`], [`Error::Incompatible`], [`Error::Truncated`],
    /// [`Error::Corrupted`], [`Error::WrongType`] (it holds an array); [`Error::System`].
    pub fn attach(fd: OwnedFd) -> Result<Segment, Error> {
        let header = backing::read_sealed(fd.as_fd())?;
        expect_plain(&header)?;
        Segment::map(Backing::Memfd(File::from(fd)), header)
    }

    fn map(backing: Backing, header: Header) -> Result<Segment, Error> {
        let map = backing::map_writable(backing.file(), &header)?;
        Ok(Segment { inner: Arc::new(Inner { map, backing, header }) })
    }

    /// Where the memory begins in this process: page-aligned, valid for reads and writes of
    /// [`size`](Segment::size) bytes as long as this segment or a clone of it lives.
    ///
    /// Other processes may write it at any time: shared words must be accessed as atomics, and
    /// references into it are sound only while a protocol excludes writers.
    #[must_use]
    pub fn data(&self) -> NonNull<u8> {
        let start = self.inner.map.as_mut_ptr();
        // A successful mapping is never at address zero.
        NonNull::new(start).unwrap_or(NonNull::dangling())
    }

    /// Size of the memory in bytes, as it was asked for.
    #[must_use]
    pub fn size(&self) -> usize {
        self.inner.map.len()
    }

    /// The segment's identity, the same in every process.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.inner.header.id
    }
}

/// The file of an anonymous segment, to be inherited by a child or sent over a Unix socket.
///
/// Of a *named* segment this is an `O_PATH` descriptor: it tells which file it is (`fstat`) and
/// can be duplicated and closed, but neither mapped nor attached to. Other programs open the name.
impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.backing.as_fd()
    }
}

fn plain_header(size: usize) -> Result<Header, Error> {
    let size = size as u64;
    if size == 0 || size > MAX_SIZE {
        return Err(Error::BadSize { size, max: MAX_SIZE });
    }
    Header::plain(size)
}

fn expect_plain(header: &Header) -> Result<(), Error> {
    if header.kind == Kind::Plain {
        return Ok(());
    }
    Err(Error::WrongType { found: header.type_hash, wanted: "plain memory".to_owned() })
}
