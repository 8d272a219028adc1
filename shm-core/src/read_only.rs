//! Plain shared memory of others, for reading.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::memory::Memory;
use crate::options::Options;
use crate::{Error, SegmentId};

/// A [`Segment`](crate::Segment) that this process can read and not write: a stray store through
/// it is a fault here, not damage there.
///
/// Of a named segment its owner's permissions may allow no more than this. It counts as a user of
/// the name; but whoever may not write a file may not take its name away either, so that the name
/// then stays, after the last one out, until a sweep by its owner.
///
/// ```
/// use shm_core::{ReadOnlySegment, Segment};
/// use std::os::fd::AsFd;
///
/// let ours = Segment::anonymous(4096)?;
/// // SAFETY: within the segment; nobody else writes.
/// unsafe { ours.data().as_ptr().write(7) };
/// let theirs = ReadOnlySegment::attach(ours.as_fd().try_clone_to_owned()?)?;
/// // SAFETY: within the segment; nobody writes any more.
/// assert_eq!(unsafe { theirs.data().read() }, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReadOnlySegment {
    memory: Arc<Memory>,
}

impl ReadOnlySegment {
    /// Opens a named segment for reading. See [`Segment::open`](crate::Segment::open).
    ///
    /// # Errors
    ///
    /// As there; never [`Error::ReadOnly`].
    pub fn open(name: &str) -> Result<ReadOnlySegment, Error> {
        Options::default().open_read_only(name)
    }

    /// Attaches to an anonymous segment for reading; a descriptor that was opened for reading alone
    /// will do. See [`Segment::attach`](crate::Segment::attach).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn attach(fd: OwnedFd) -> Result<ReadOnlySegment, Error> {
        Options::default().attach_read_only(fd)
    }

    pub(crate) fn open_with(name: &str, options: &Options) -> Result<ReadOnlySegment, Error> {
        ReadOnlySegment::of(Memory::open(name, false, options))
    }

    pub(crate) fn attach_with(fd: OwnedFd, options: &Options) -> Result<ReadOnlySegment, Error> {
        ReadOnlySegment::of(Memory::attach(fd, false, options))
    }

    fn of(memory: Result<Memory, Error>) -> Result<ReadOnlySegment, Error> {
        Ok(ReadOnlySegment { memory: Arc::new(memory?) })
    }

    /// Where the memory begins in this process: page-aligned, valid for reads of
    /// [`size`](ReadOnlySegment::size) bytes as long as this or a clone of it lives.
    ///
    /// Other processes may write it at any time: see [`Segment::data`](crate::Segment::data).
    #[must_use]
    pub fn data(&self) -> *const u8 {
        self.memory.data()
    }

    /// Size of the memory in bytes, now: see [`Segment::size`](crate::Segment::size).
    #[must_use]
    #[inline]
    pub fn size(&self) -> usize {
        self.memory.size() as usize
    }

    /// Bytes that it may grow to.
    #[must_use]
    pub fn maximum(&self) -> usize {
        self.memory.header.maximum as usize
    }

    /// The segment's identity, the same in every process.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.memory.header.id
    }

    /// The name that it was opened by; `None` if it is anonymous.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.memory.named().map(|named| named.name())
    }

    /// Whether its file still has the memory: see [`Segment::validate`](crate::Segment::validate).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn validate(&self) -> Result<(), Error> {
        self.memory.validate()
    }
}
