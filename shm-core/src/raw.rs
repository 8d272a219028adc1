//! Memory without a header, shared with programs that know nothing of this crate: CPython's
//! `multiprocessing.shared_memory`, numpy, anything that calls `shm_open`.
//!
//! The file is `/dev/shm/NAME` and holds the data and nothing else. What this crate makes has a
//! *control file* beside it, a segment of that name whose data says which inode it watches over:
//!
//! | step of `create` | killed after it |
//! |---|---|
//! | both files made, without names | the kernel frees everything |
//! | control file published | the sweep takes it away: the other name is missing or another's |
//! | `linkat` of the file itself (**published**) | the sweep takes both away, that name first |
//!
//! So a sweep knows what is ours by its inode, and never touches a stranger's file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::header::{DATA_OFFSET, Header, Kind, MAX_SIZE};
use crate::name::{self, Inode, NamedFile, inode_of, shows};
use crate::{Error, directory};

/// Bytes of a control file's data: device and inode number.
const RECORD: usize = 16;

/// Named memory in the layout that all programs agree on: bytes, from the file's first to its last.
///
/// Nothing about it can be checked but its owner and its size; what lies where is agreed on
/// elsewhere. One that this crate [`create`](RawSegment::create)d is gone with the last user *of
/// this crate*, as a [`Segment`](crate::Segment) is: other programs are not counted, but keep the
/// memory they have mapped. One that another program created is left to that program.
///
/// It does not grow. CPython and numpy take a file's size when they open it and never look again, and
/// without a header there is nowhere to say how much address space to reserve: whoever needs more
/// makes another one.
///
/// ```
/// use shm_core::RawSegment;
///
/// let name = format!("doc-raw-{}", std::process::id());
/// let ours = RawSegment::create(&name, 4096)?;
/// // In Python: `SharedMemory(name)`, then `np.ndarray(512, np.float64, buffer=shm.buf)`.
/// let theirs = RawSegment::open(&name)?;
/// assert_eq!(theirs.size(), 4096);
/// # Ok::<(), shm_core::Error>(())
/// ```
///
/// # With CPython
///
/// Before Python 3.13 the *resource tracker* of a Python that merely attaches unlinks the name when
/// that Python ends (`python/cpython` issue 82300). Nobody can forbid a program of the same user to
/// do that; what is mapped stays mapped, but nobody finds the name any more. So the attaching
/// Python has to tell its tracker, and from 3.13 on has a parameter for it:
///
/// ```python
/// shm = SharedMemory(name, track=False)                                  # 3.13 and later
/// shm = SharedMemory(name)                                               # before
/// multiprocessing.resource_tracker.unregister(shm._name, "shared_memory")
/// ```
#[derive(Clone, Debug)]
pub struct RawSegment {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    map: MmapRaw,
    file: File,
    name: String,
    /// Held as long as this process uses a file that this crate made.
    control: Option<Arc<NamedFile>>,
}

impl RawSegment {
    /// Makes a new file of `size` bytes, all zero and all of its memory taken.
    ///
    /// # Errors
    ///
    /// As [`Segment::create`](crate::Segment::create): a name that either of the two files would
    /// need is taken if the other's is.
    pub fn create(name: &str, size: usize) -> Result<RawSegment, Error> {
        let path = directory::raw_path_of(name)?;
        if size == 0 || size as u64 > MAX_SIZE {
            return Err(Error::BadSize { size: size as u64, max: MAX_SIZE });
        }
        let own = Mode::RUSR | Mode::WUSR;
        let file = directory::unnamed(size as u64)?;
        rustix::fs::fchmod(&file, own).map_err(Error::system("fchmod"))?;
        let (device, inode) = inode_of(&rustix::fs::fstat(&file).map_err(Error::system("fstat"))?);
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&device.to_ne_bytes());
        record[8..].copy_from_slice(&inode.to_ne_bytes());
        let header = Header::new(Kind::Raw, RECORD as u64)?;
        let control =
            name::create(name, header, |control| crate::fill::write_all(control, &record))?;
        // Before anybody can find it: an error now takes the control file's name away again.
        let map = map(&file, size)?;
        name::link(&file, &path, |_| Err(Error::AlreadyExists { name: name.to_owned() }))?;
        let (name, control) = (name.to_owned(), Some(control));
        Ok(RawSegment { inner: Arc::new(Inner { map, file, name, control }) })
    }

    /// Opens the memory called `name`, whichever program made it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::NotASegment`] for a link, a directory or another user's file,
    /// [`Error::Truncated`] for an empty one; [`Error::BadName`]; [`Error::System`].
    pub fn open(name: &str) -> Result<RawSegment, Error> {
        let path = directory::raw_path_of(name)?;
        let own = rustix::process::geteuid().as_raw();
        let control = match name::open(name) {
            Ok(control) if control.header().kind == Kind::Raw => Some(control),
            // A segment of this crate may have the same name as a stranger's file.
            Ok(_) | Err(Error::NotFound { .. } | Error::NotASegment { .. }) => None,
            Err(error) => return Err(error),
        };
        let file = open_file(name, &path)?;
        let stat = rustix::fs::fstat(&file).map_err(Error::system("fstat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::NOT_REGULAR);
        }
        if stat.st_uid != own {
            return Err(Error::NotASegment { what: "it belongs to another user" });
        }
        let size = usize::try_from(stat.st_size).unwrap_or(0);
        if size == 0 {
            return Err(Error::Truncated { file: 0, needed: 1 });
        }
        // A stranger's file may have taken the name after ours was unlinked.
        let control = control.filter(|control| watched(control.file()) == Some(inode_of(&stat)));
        let map = map(&file, size)?;
        Ok(RawSegment { inner: Arc::new(Inner { map, file, name: name.to_owned(), control }) })
    }

    /// Where the memory begins in this process: page-aligned, valid for reads and writes of
    /// [`size`](RawSegment::size) bytes as long as this or a clone of it lives, **and as long as no
    /// program truncates the file**: nothing but good manners keeps one from that.
    ///
    /// Other programs may write it at any time: see [`Segment::data`](crate::Segment::data).
    #[must_use]
    pub fn data(&self) -> NonNull<u8> {
        // A successful mapping is never at address zero.
        NonNull::new(self.inner.map.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    /// Size of the memory in bytes, as it was when this process mapped it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.inner.map.len()
    }

    /// The name, without a slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether this crate made it, and sees to its end.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.inner.control.is_some()
    }

    /// Whether the file still has all of the memory, and still has its name.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`]; [`Error::NotFound`] when the name is gone, or leads to another file:
    /// this process keeps its memory, but nobody finds it any more.
    pub fn validate(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let stat = rustix::fs::fstat(&inner.file).map_err(Error::system("fstat"))?;
        let (file, needed) = (u64::try_from(stat.st_size).unwrap_or(0), self.size() as u64);
        if file < needed {
            return Err(Error::Truncated { file, needed });
        }
        if !shows(&directory::raw_path_of(&inner.name)?, inode_of(&stat)) {
            return Err(Error::NotFound { name: inner.name.clone() });
        }
        Ok(())
    }
}

fn map(file: &File, size: usize) -> Result<MmapRaw, Error> {
    MmapOptions::new().len(size).map_raw(file).map_err(Error::system("mmap"))
}

fn open_file(name: &str, path: &Path) -> Result<File, Error> {
    match rustix::fs::open(path, directory::OPEN | OFlags::RDWR, Mode::empty()) {
        Ok(fd) => Ok(File::from(fd)),
        Err(Errno::NOENT) => Err(Error::NotFound { name: name.to_owned() }),
        Err(Errno::LOOP) => Err(Error::NotASegment { what: "it is a symbolic link" }),
        Err(Errno::ISDIR | Errno::NXIO) => Err(Error::NOT_REGULAR),
        Err(errno) => Err(Error::system("open")(errno)),
    }
}

/// Which file a control file watches over.
fn watched(control: &File) -> Option<Inode> {
    let mut record = [0; RECORD];
    control.read_exact_at(&mut record, DATA_OFFSET).ok()?;
    let (device, inode) = record.split_at(8);
    Some((u64::from_ne_bytes(device.try_into().ok()?), u64::from_ne_bytes(inode.try_into().ok()?)))
}

/// The file that a control file of this path watches over, if it is there.
pub(crate) fn watched_stat(control: &File, path: &Path) -> Option<Stat> {
    let stat = rustix::fs::lstat(watched_path(path)?).ok()?;
    (watched(control)? == inode_of(&stat)).then_some(stat)
}

fn watched_path(control: &Path) -> Option<PathBuf> {
    let name = control.file_name()?.to_str()?.strip_prefix(directory::PREFIX)?;
    directory::raw_path_of(name).ok()
}

/// Takes away the name of the file that a control file of this path watches over, if it still
/// shows that file. Called by whoever is about to take the control file's own name away.
pub(crate) fn take_away(control: &File, path: &Path) {
    if let (Some(inode), Some(path)) = (watched(control), watched_path(path))
        && shows(&path, inode)
    {
        // Failing would mean that somebody else just did it, or that nobody may.
        let _ = rustix::fs::unlink(path);
    }
}
