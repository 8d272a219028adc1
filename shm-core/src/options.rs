//! How a segment is made and mapped, in the manner of [`std::fs::OpenOptions`].

use std::os::fd::OwnedFd;

use rustix::fs::Mode;

use crate::header::{Header, Lifetime, MAX_SIZE};
use crate::{Error, ReadOnlySegment, Segment};

/// How a segment is made and mapped: [`Segment::options`].
///
/// | option | when made | when opened or attached |
/// |---|---|---|
/// | [`size`](Options::size), [`maximum`](Options::maximum) | yes | refused: the segment has its own |
/// | [`mode`](Options::mode), [`keep`](Options::keep) | named ones | refused |
/// | [`owner`](Options::owner) | refused | named ones |
/// | [`prefault`](Options::prefault), [`core_dump`](Options::core_dump) | yes | yes |
///
/// ```
/// use shm_core::Segment;
///
/// let segment = Segment::options().size(4096).maximum(1 << 30).core_dump(false).anonymous()?;
/// assert_eq!((segment.size(), segment.maximum()), (4096, 1 << 30));
/// segment.grow(1 << 20)?; // for everybody who is attached, at the same address
/// assert_eq!(segment.size(), 1 << 20);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    size: Option<usize>,
    maximum: Option<usize>,
    mode: Option<u32>,
    owner: Option<u32>,
    keep: bool,
    pub(crate) prefault: bool,
    pub(crate) core_dump: bool,
    /// Set by a scope only.
    scoped: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            size: None,
            maximum: None,
            mode: None,
            owner: None,
            keep: false,
            prefault: false,
            core_dump: true,
            scoped: false,
        }
    }
}

impl Options {
    /// Size in bytes; to be given for every new segment.
    pub fn size(&mut self, bytes: usize) -> &mut Self {
        self.size = Some(bytes);
        self
    }

    /// Bytes that the segment may [`grow`](Segment::grow) to; its size if not given.
    ///
    /// Address space for all of it is reserved in every process, so that nothing ever moves. That
    /// counts in `RLIMIT_AS`; memory it costs none.
    pub fn maximum(&mut self, bytes: usize) -> &mut Self {
        self.maximum = Some(bytes);
        self
    }

    /// Permission bits of a named file, whatever the umask says; `0o600` if not given.
    ///
    /// Has to let the owner read and write. Others can use it only where they say whose segments
    /// they trust: [`owner`](Options::owner).
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = Some(mode);
        self
    }

    /// Whose segment may be opened: a user id; this process's effective one if not given.
    ///
    /// A name in `/dev/shm` can be taken by anybody first. The owner is looked up in the opened
    /// file.
    pub fn owner(&mut self, user: u32) -> &mut Self {
        self.owner = Some(user);
        self
    }

    /// Lets a name outlive its users: neither the last one out nor a sweep takes it away, only
    /// [`remove`](crate::remove). What state its memory is in after a kill is then yours to judge.
    pub fn keep(&mut self, keep: bool) -> &mut Self {
        self.keep = keep;
        self
    }

    /// Brings all of the memory in when it is mapped, so that no first touch has to wait (some
    /// 0.5 ms a MiB). Linux 5.14; older kernels ignore it.
    pub fn prefault(&mut self, prefault: bool) -> &mut Self {
        self.prefault = prefault;
        self
    }

    /// Whether this process's core dumps hold the memory; they do if not given.
    pub fn core_dump(&mut self, dumped: bool) -> &mut Self {
        self.core_dump = dumped;
        self
    }

    /// A new anonymous segment: [`Segment::anonymous`] says more.
    ///
    /// # Errors
    ///
    /// [`Error::BadSize`], [`Error::OutOfMemory`]; [`Error::BadOption`] for what only a name can
    /// have or an opener say, or a maximum below the size; [`Error::System`].
    pub fn anonymous(&self) -> Result<Segment, Error> {
        refuse("mode", self.mode.is_some(), "an anonymous segment has no permissions")?;
        refuse("keep", self.keep, "an anonymous segment has no name to keep")?;
        Segment::make_anonymous(self.header()?, self)
    }

    /// A new segment that other programs open by `name`: [`Segment::create`] says more.
    ///
    /// # Errors
    ///
    /// As [`Segment::create`], and [`Error::BadOption`] for a mode that shuts its owner out, for
    /// what an opener says, or a maximum below the size.
    ///
    /// ```
    /// use shm_core::{Segment, remove};
    ///
    /// let name = format!("doc-keep-{}", std::process::id());
    /// drop(Segment::options().size(100).keep(true).create(&name)?);
    /// assert_eq!(Segment::open(&name)?.size(), 100); // still there
    /// remove(&name)?;
    /// # Ok::<(), shm_core::Error>(())
    /// ```
    pub fn create(&self, name: &str) -> Result<Segment, Error> {
        Segment::make_named(name, self.header()?, self.checked_mode()?, self)
    }

    /// Opens a named segment: [`Segment::open`] says more.
    ///
    /// # Errors
    ///
    /// As [`Segment::open`], and [`Error::BadOption`] for what only its maker can say.
    pub fn open(&self, name: &str) -> Result<Segment, Error> {
        self.only_for_mapping()?;
        Segment::open_with(name, self)
    }

    /// Opens a named segment for reading: [`ReadOnlySegment::open`] says more.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    pub fn open_read_only(&self, name: &str) -> Result<ReadOnlySegment, Error> {
        self.only_for_mapping()?;
        ReadOnlySegment::open_with(name, self)
    }

    /// Attaches to an anonymous segment: [`Segment::attach`] says more.
    ///
    /// # Errors
    ///
    /// As [`Segment::attach`], and [`Error::BadOption`] for what only its maker can say.
    pub fn attach(&self, fd: OwnedFd) -> Result<Segment, Error> {
        self.only_for_mapping()?;
        refuse("owner", self.owner.is_some(), "whoever sends a descriptor vouches for it")?;
        Segment::attach_with(fd, self)
    }

    /// Attaches to an anonymous segment for reading: [`ReadOnlySegment::attach`] says more.
    ///
    /// # Errors
    ///
    /// As [`Options::attach`].
    pub fn attach_read_only(&self, fd: OwnedFd) -> Result<ReadOnlySegment, Error> {
        self.only_for_mapping()?;
        refuse("owner", self.owner.is_some(), "whoever sends a descriptor vouches for it")?;
        ReadOnlySegment::attach_with(fd, self)
    }

    /// The user whose named file may be opened.
    pub(crate) fn accepted_owner(&self) -> u32 {
        self.owner.unwrap_or_else(|| rustix::process::geteuid().as_raw())
    }

    /// For what is made in a scope.
    pub(crate) fn scoped(&mut self) -> &mut Self {
        self.scoped = true;
        self
    }

    fn header(&self) -> Result<Header, Error> {
        refuse("owner", self.owner.is_some(), "what is made belongs to its maker")?;
        let Some(size) = self.size else {
            return Err(Error::BadOption { option: "size", why: "a new segment needs one" });
        };
        let maximum = self.maximum.unwrap_or(size);
        if size == 0 || maximum as u64 > MAX_SIZE {
            return Err(Error::BadSize { size: maximum as u64, max: MAX_SIZE });
        }
        refuse("maximum", maximum < size, "it is below the size")?;
        refuse("keep", self.keep && self.scoped, "what is made in a scope ends with it")?;
        let lifetime = match (self.keep, self.scoped) {
            (true, _) => Lifetime::Keep,
            (_, true) => Lifetime::Scope,
            _ => Lifetime::Users,
        };
        Ok(Header { lifetime, maximum: maximum as u64, ..Header::plain(size as u64)? })
    }

    fn checked_mode(&self) -> Result<Mode, Error> {
        let mode = self.mode.unwrap_or(0o600);
        refuse("mode", mode & 0o600 != 0o600, "its owner must be able to read and write")?;
        refuse("mode", mode & !0o666 != 0, "only read and write permissions mean anything here")?;
        Ok(Mode::from_raw_mode(mode))
    }

    fn only_for_mapping(&self) -> Result<(), Error> {
        let why = "only the maker of a segment can say that";
        refuse("size", self.size.is_some(), why)?;
        refuse("maximum", self.maximum.is_some(), why)?;
        refuse("mode", self.mode.is_some(), why)?;
        refuse("keep", self.keep, why)
    }
}

fn refuse(option: &'static str, given: bool, why: &'static str) -> Result<(), Error> {
    if given { Err(Error::BadOption { option, why }) } else { Ok(()) }
}
