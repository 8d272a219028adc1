//! Plain shared memory: bytes that every user may read and write.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::Mode;

use crate::backing::{self, Backing};
use crate::header::Header;
use crate::memory::Memory;
use crate::options::Options;
use crate::{Error, SegmentId, name, state};

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
    pub(crate) memory: Arc<Memory>,
}

impl Segment {
    /// Options for a segment: a maximum, permissions, a name that stays, and more.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

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
        Segment::options().size(size).anonymous()
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
        Segment::options().size(size).create(name)
    }

    /// Opens the segment that another program (or this one) created under `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], also when all its users are dead: then its name is removed; whatever
    /// [`Segment::attach`] says of a file that is not a segment, was built otherwise, is truncated
    /// or corrupted; [`Error::NotASegment`] for a link, a hard link or another user's file;
    /// [`Error::ReadOnly`] when its permissions allow no more; [`Error::Busy`].
    pub fn open(name: &str) -> Result<Segment, Error> {
        Segment::options().open(name)
    }

    /// Attaches to the anonymous segment behind a descriptor that was inherited or received.
    ///
    /// Everything about the file is checked first: magic number, format version, byte order,
    /// pointer width, page size, sizes against the file's, and that it can no longer
    /// shrink.
    ///
    /// # Errors
    ///
    /// [`Error::NotASegment`], [`Error::Incompatible`], [`Error::Truncated`],
    /// [`Error::Corrupted`], [`Error::WrongType`] (it holds an array); [`Error::System`].
    pub fn attach(fd: OwnedFd) -> Result<Segment, Error> {
        Segment::options().attach(fd)
    }

    pub(crate) fn make_anonymous(header: Header, options: &Options) -> Result<Segment, Error> {
        let file = backing::memfd(&header)?;
        Segment::of(Memory::map(Backing::Memfd(file), header, true, options))
    }

    pub(crate) fn make_named(
        name: &str,
        header: Header,
        mode: Mode,
        options: &Options,
    ) -> Result<Segment, Error> {
        let named = name::create_with(name, header, mode, |_| Ok(()))?;
        Segment::of(Memory::map(Backing::Named(named), header, true, options))
    }

    pub(crate) fn open_with(name: &str, options: &Options) -> Result<Segment, Error> {
        Segment::of(Memory::open(name, true, options))
    }

    pub(crate) fn attach_with(fd: OwnedFd, options: &Options) -> Result<Segment, Error> {
        Segment::of(Memory::attach(fd, true, options))
    }

    fn of(memory: Result<Memory, Error>) -> Result<Segment, Error> {
        Ok(Segment { memory: Arc::new(memory?) })
    }

    /// Where the memory begins in this process: page-aligned, valid for reads and writes of
    /// [`size`](Segment::size) bytes as long as this segment or a clone of it lives. It stays where
    /// it is when the segment grows.
    ///
    /// Other processes may write it at any time: shared words must be accessed as atomics, and
    /// references into it are sound only while a protocol excludes writers.
    #[must_use]
    pub fn data(&self) -> NonNull<u8> {
        // A successful mapping is never at address zero.
        NonNull::new(self.memory.data()).unwrap_or(NonNull::dangling())
    }

    /// Size of the memory in bytes: as it was asked for, or as any process has since made it
    /// [`grow`](Segment::grow). It never becomes smaller. One load, and an `fstat` the first time
    /// that this process sees a larger one.
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

    /// The name that it was created or opened by; `None` if it is anonymous.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.memory.named().map(|named| named.name())
    }

    /// Makes the segment `size` bytes large, for every process that has it or will: at the same
    /// addresses and offsets, with zeros in what is new. No effect if it is that large already,
    /// also when another process has just made it so.
    ///
    /// A named segment takes the memory now. Killed in the middle, it has grown or it has not; what
    /// was taken in vain is used the next time.
    ///
    /// # Errors
    ///
    /// [`Error::BadSize`] beyond the [`maximum`](Segment::maximum); [`Error::NoSpace`] when
    /// `/dev/shm` is too full, [`Error::OutOfMemory`] for an anonymous one; [`Error::System`]. The
    /// segment then stays as it was.
    pub fn grow(&self, size: usize) -> Result<(), Error> {
        let (size, now) = (size as u64, self.memory.size());
        let maximum = self.memory.header.maximum;
        if size > maximum {
            return Err(Error::BadSize { size, max: maximum });
        }
        if size <= now {
            return Ok(());
        }
        self.memory.backing.extend(now, size)?;
        self.memory.state().set_grown(size);
        Ok(())
    }

    /// Bytes of a run: the unit of [`punch`](Segment::punch) and [`commit`](Segment::commit). 64
    /// KiB for a maximum up to 30 GiB.
    #[must_use]
    pub fn run_size(&self) -> usize {
        state::run_size(self.memory.header.maximum) as usize
    }

    /// Gives the memory of whole runs back to the system. They read as zeros from then on.
    ///
    /// In a *named* segment they must not be touched before they are [`commit`](Segment::commit)ted
    /// again: another file may have taken the room, and a touch that finds none is fatal (SIGBUS).
    /// In an anonymous one a touch takes new memory. Killed in the middle, the runs are called
    /// missing whether they are or not, and `commit` mends that.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`]; the last run may end with the segment.
    /// [`Error::System`].
    ///
    /// There is no safe form of it. What is given back turns into zeros under every reference into it,
    /// in this process and in others, whatever structure lies there; and who has such references, a
    /// segment that is shared by many does not know. Structures that know (a heap's free runs, a
    /// program's own buffers) call it for theirs.
    ///
    /// # Safety
    ///
    /// - No process uses the memory of the range, or punches or commits in it, at the same time;
    /// - of a named segment none touches it before it is committed again.
    pub unsafe fn punch(&self, range: Range<usize>) -> Result<(), Error> {
        let runs = self.runs(&range)?;
        self.memory.state().set_uncommitted(runs);
        backing::punch(self.memory.backing.file(), range.start as u64..range.end as u64)
    }

    /// Takes memory for whole runs, where it is missing.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::OutOfMemory`] when there is none; the runs are then still
    /// called missing. As [`punch`](Segment::punch) otherwise.
    ///
    /// ```
    /// use shm_core::Segment;
    ///
    /// let segment = Segment::anonymous(1 << 20)?;
    /// let runs = 0..4 * segment.run_size();
    /// // SAFETY: nobody else knows of this segment, and nothing refers to its memory.
    /// unsafe { segment.punch(runs.clone()) }?;
    /// assert!(!segment.is_committed(runs.clone())?);
    /// segment.commit(runs.clone())?;
    /// assert!(segment.is_committed(runs)?);
    /// # Ok::<(), shm_core::Error>(())
    /// ```
    pub fn commit(&self, range: Range<usize>) -> Result<(), Error> {
        let runs = self.runs(&range)?;
        self.memory.backing.commit(range.start as u64..range.end as u64)?;
        self.memory.state().set_committed(runs);
        Ok(())
    }

    /// Whether no run of the range was given back and not taken again.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`].
    pub fn is_committed(&self, range: Range<usize>) -> Result<bool, Error> {
        Ok(self.memory.state().is_committed(self.runs(&range)?))
    }

    fn runs(&self, range: &Range<usize>) -> Result<Range<u64>, Error> {
        let (run, size) = (state::run_size(self.memory.header.maximum), self.memory.size());
        let (start, end) = (range.start as u64, range.end as u64);
        if start > end || end > size {
            return Err(Error::OutOfBounds { start, end, len: size });
        }
        for at in [start, end] {
            if !at.is_multiple_of(run) && at != size {
                return Err(Error::Misaligned { at, run });
            }
        }
        Ok(start / run..end.div_ceil(run))
    }

    /// Checks what a program of this user could have done to a *named* segment's file meanwhile:
    /// truncated it, or written over its size. Of a memfd the kernel sees to that.
    ///
    /// A file that shrinks under a mapping makes touching the lost part fatal (SIGBUS): nothing
    /// can be promised about it. This tells before, never for certain.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`], [`Error::Corrupted`]; [`Error::System`].
    pub fn validate(&self) -> Result<(), Error> {
        self.memory.validate()
    }
}

/// The file of an anonymous segment, to be inherited by a child or sent over a Unix socket.
///
/// Of a *named* segment this is an `O_PATH` descriptor: it tells which file it is (`fstat`) and
/// can be duplicated and closed, but neither mapped nor attached to. Other programs open the name.
/// In a process that has no descriptor left for it, it is that of `/dev/null`.
impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.backing.as_fd()
    }
}
