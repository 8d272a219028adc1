//! Named files: published whole, in one step, and gone with their last user.
//!
//! The name is `/dev/shm/shm-core.NAME`. Whoever uses the file holds a shared record lock on its
//! first byte ([`record_lock`]); the kernel releases it when the process ends, however it ends.
//! Record locks rather than `flock`: a forked child must not keep a name alive that it does not use.
//!
//! | step of `create` | killed after it |
//! |---|---|
//! | `O_TMPFILE`, size, header | no name: the kernel frees everything |
//! | shared lock | the same |
//! | `linkat` (**published**) | a name without a lock: the next create, open or sweep removes it |
//!
//! | step of `open` | killed after it |
//! |---|---|
//! | open, header read and checked | nothing was changed |
//! | try the exclusive lock: granted means that all users are dead | lock freed by the kernel |
//! | …then unlink, and there is no such segment | the rest is the kernel's |
//! | refused: shared lock; the name still shows this inode? (**a user**) | as one killed while using |
//!
//! | step of leaving | killed after it |
//! |---|---|
//! | release own shared lock | the name stays while others use it; else the next sweep removes it |
//! | try the exclusive lock: refused means others use it, done | lock freed by the kernel |
//! | the name still shows this inode? `unlink` | the rest is the kernel's |
//!
//! Own lock first released, then the exclusive one tried: two that leave at once cannot both see
//! the other and both leave the name behind. Whoever takes a shared lock and then goes without
//! being a user must not: a leaver may have seen that lock and left the name to it. That is why an
//! opener reads the header first. Whoever locks after an unlink finds another inode (or none)
//! behind the name, and tries again: [`open`].
//!
//! A process's record locks on a file vanish when it closes *any* descriptor of that file. So each
//! process opens a named file once and shares the descriptor ([`TABLE`]), closes it only under the
//! table's lock, and shows others an `O_PATH` descriptor, whose closing touches no lock.

use std::collections::HashMap;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Error;
use crate::directory::{self, DIR, PREFIX};
use crate::header::Header;
use crate::record_lock::{self, Lock, held_by_another, try_lock};

/// How long to go on when somebody holds the exclusive lock, which takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The named files that this process has open, by path.
static TABLE: Mutex<Option<Table>> = Mutex::new(None);

type Table = HashMap<PathBuf, Entry>;

#[derive(Debug)]
struct Entry {
    file: Weak<NamedFile>,
    inode: Inode,
}

/// Device and inode number: which file it is, whatever its name.
type Inode = (u64, u64);

fn inode_of(stat: &Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

/// A named file in use by this process; dropping the last reference leaves it.
#[derive(Debug)]
pub(crate) struct NamedFile {
    /// Bears the record lock. Closed in `Drop`, where it can be done under the table's lock.
    file: ManuallyDrop<File>,
    /// What callers see of it: see [`NamedFile::place`].
    place: OnceLock<OwnedFd>,
    path: PathBuf,
    inode: Inode,
    header: Header,
    /// The process whose lock it is. A forked child inherits this value, but not the lock.
    ///
    /// Relaxed everywhere: read and written by one process, under the table's lock or in `Drop`.
    user: AtomicU32,
}

impl NamedFile {
    fn new(file: File, path: PathBuf, header: Header, stat: &Stat) -> Arc<NamedFile> {
        Arc::new(NamedFile {
            file: ManuallyDrop::new(file),
            place: OnceLock::new(),
            path,
            inode: inode_of(stat),
            header,
            user: AtomicU32::new(std::process::id()),
        })
    }

    /// The file itself, to be mapped. No other descriptor of it may be closed in this process.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its header, read and checked when it was opened.
    pub fn header(&self) -> Header {
        self.header
    }

    /// A descriptor that tells which file it is (`fstat`), and that may be duplicated and closed.
    ///
    /// With no descriptor left in the process, the file's own: still true, but not to be closed.
    pub fn place(&self) -> BorrowedFd<'_> {
        if self.place.get().is_none() {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            if let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) {
                // Two threads at once: the second's descriptor is closed, which touches no lock.
                let _ = self.place.set(fd);
            }
        }
        self.place.get().map_or(self.file.as_fd(), AsFd::as_fd)
    }

    /// Makes this process a user of what it inherited by `fork`. `false`: the name is taken away.
    fn adopt(&self) -> Result<bool, Error> {
        let locked = try_lock(&self.file, Lock::Shared).map_err(Error::system("fcntl(F_SETLK)"))?;
        if locked && shows(&self.path, self.inode) {
            // Relaxed: under the table's lock, see `user`.
            self.user.store(std::process::id(), Ordering::Relaxed);
            return Ok(true);
        }
        Ok(false)
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        // What was inherited by `fork` and not opened since is another process's to leave. The
        // table may have been locked by a thread that does not exist here: no waiting for it.
        let inherited = *self.user.get_mut() != std::process::id();
        let mut guard = if inherited { TABLE.try_lock().ok() } else { Some(table()) };
        if let Some(files) = guard.as_mut().and_then(|table| table.as_mut())
            && files.get(&self.path).is_some_and(|entry| std::ptr::eq(entry.file.as_ptr(), self))
        {
            // Only our own entry: after somebody unlinked our name by hand, a new file may stand
            // there.
            files.remove(&self.path);
        }
        if !inherited && record_lock::unlock(&self.file).is_ok() {
            remove_if_unused(&self.file, &self.path, self.inode);
        }
        // Closed before the table is unlocked: closing it after another thread opened the same
        // file anew would release that thread's lock.
        // SAFETY: dropped here only, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.file) };
        drop(guard);
    }
}

/// Publishes a new file with this header under `name`; `fill` runs before anybody can open it.
pub(crate) fn create(
    name: &str,
    header: Header,
    fill: impl FnOnce(&File) -> Result<(), Error>,
) -> Result<Arc<NamedFile>, Error> {
    let path = directory::path_of(name)?;
    sweep()?;
    let file = directory::unnamed(header.file_size())?;
    header.write(&file)?;
    fill(&file)?;
    publish(file, name, path, header)
}

/// Gives a file its name, in one step, with the user's lock already held.
fn publish(file: File, name: &str, path: PathBuf, header: Header) -> Result<Arc<NamedFile>, Error> {
    let mut table = table();
    let files = table.get_or_insert_default();
    // A file that nobody else can know yet: the lock is never refused.
    try_lock(&file, Lock::Shared).map_err(Error::system("fcntl(F_SETLK)"))?;
    let stat = rustix::fs::fstat(&file).map_err(Error::system("fstat"))?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::linkat(CWD, &source, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => break,
            Err(Errno::EXIST) => match remove_if_dead(files, &path) {
                Fate::Removed => {}
                Fate::Going if Instant::now() < deadline => std::thread::yield_now(),
                Fate::Going => return Err(Error::Busy { name: name.to_owned() }),
                Fate::Stays => return Err(Error::AlreadyExists { name: name.to_owned() }),
            },
            Err(errno) => return Err(Error::system("linkat")(errno)),
        }
    }
    let named = NamedFile::new(file, path, header, &stat);
    insert(files, &named);
    Ok(named)
}

fn insert(files: &mut Table, named: &Arc<NamedFile>) {
    let entry = Entry { file: Arc::downgrade(named), inode: named.inode };
    files.insert(named.path.clone(), entry);
}

/// Opens the file called `name` and becomes one of its users.
pub(crate) fn open(name: &str) -> Result<Arc<NamedFile>, Error> {
    let path = directory::path_of(name)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(named) = try_open(name, &path)? {
            return Ok(named);
        }
        if Instant::now() > deadline {
            return Err(Error::Busy { name: name.to_owned() });
        }
        std::thread::yield_now();
    }
}

/// `None`: somebody was just taking the name away; try again.
fn try_open(name: &str, path: &Path) -> Result<Option<Arc<NamedFile>>, Error> {
    // Outlives the guard: dropping the last reference takes the table's lock.
    let known;
    let mut table = table();
    let files = table.get_or_insert_default();
    if let Some(entry) = files.get(path) {
        known = entry.file.upgrade();
        match &known {
            // Another thread is dropping the last reference and waits for our lock.
            None => return Ok(None),
            // Relaxed: under the table's lock, see `user`.
            Some(named) if named.user.load(Ordering::Relaxed) != std::process::id() => {
                return Ok(if named.adopt()? { known } else { None });
            }
            Some(named) if shows(path, named.inode) => return Ok(known),
            // Unlinked by hand under its users: whatever stands there now is another segment.
            Some(_) => {}
        }
    }
    let not_found = || Error::NotFound { name: name.to_owned() };
    let file = match rustix::fs::open(path, directory::OPEN, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Err(not_found()),
        Err(Errno::LOOP) => return Err(Error::NotASegment { what: "it is a symbolic link" }),
        Err(Errno::ISDIR | Errno::NXIO) => return Err(Error::NOT_REGULAR),
        Err(errno) => return Err(Error::system("open")(errno)),
    };
    let (header, stat) = match usable(files, &file) {
        Ok(found) => found,
        Err(error) => {
            close_unused(files, file);
            return Err(error);
        }
    };
    let inode = inode_of(&stat);
    if try_lock(&file, Lock::Exclusive).map_err(Error::system("fcntl(F_SETLK)"))? {
        // Its users are dead: the name goes, as it would have gone with the last of them.
        return match shows(path, inode).then(|| rustix::fs::unlink(path)) {
            Some(Ok(())) => Err(not_found()),
            Some(Err(errno)) => Err(Error::system("unlink")(errno)),
            None => Ok(None),
        };
    }
    let shared = try_lock(&file, Lock::Shared).map_err(Error::system("fcntl(F_SETLK)"))?;
    if !shared || !shows(path, inode) {
        return Ok(None);
    }
    let named = NamedFile::new(file, path.to_owned(), header, &stat);
    insert(files, &named);
    Ok(Some(named))
}

/// The header of a file that may be used: ours, this user's, and not in use under another name.
fn usable(files: &Table, file: &File) -> Result<(Header, Stat), Error> {
    let (header, stat) = Header::read_with_stat(file.as_fd())?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Error::NotASegment { what: "it belongs to another user" });
    }
    if uses(files, inode_of(&stat)) {
        return Err(Error::NotASegment { what: "it is a second name of a segment in use here" });
    }
    Ok((header, stat))
}

/// Closes a file that was opened in vain, unless closing it would release a lock of this process.
fn close_unused(files: &Table, file: File) {
    let in_use = rustix::fs::fstat(&file).is_ok_and(|stat| uses(files, inode_of(&stat)));
    if in_use {
        // A hard link, made by hand, to a segment in use: one descriptor is the price.
        std::mem::forget(file);
    }
}

fn uses(files: &Table, inode: Inode) -> bool {
    files.values().any(|entry| entry.inode == inode)
}

/// Removes every named segment that no living process uses; gives how many.
///
/// Only files that carry this crate's header are touched, and never those of another user.
/// Creating a named segment does this by itself.
///
/// # Errors
///
/// [`Error::System`] when `/dev/shm` cannot be listed.
///
/// ```
/// let removed = shm_core::sweep()?;
/// println!("{removed} segments of dead processes were removed");
/// # Ok::<(), shm_core::Error>(())
/// ```
pub fn sweep() -> Result<usize, Error> {
    let mut table = table();
    let files = table.get_or_insert_default();
    let entries = std::fs::read_dir(DIR).map_err(Error::system("open(/dev/shm)"))?;
    let mut removed = 0;
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if ours && remove_if_dead(files, &entry.path()) == Fate::Removed {
            removed += 1;
        }
    }
    Ok(removed)
}

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its users were dead: removed.
    Removed,
    /// Another process is just removing it.
    Going,
    /// In use, or not ours to remove.
    Stays,
}

fn remove_if_dead(files: &Table, path: &Path) -> Fate {
    let euid = rustix::process::geteuid().as_raw();
    let Ok(stat) = rustix::fs::lstat(path) else { return Fate::Stays };
    // Opening and closing a file that this process uses would release our lock on it.
    if stat.st_uid != euid || files.contains_key(path) || uses(files, inode_of(&stat)) {
        return Fate::Stays;
    }
    let Ok(fd) = rustix::fs::open(path, directory::OPEN, Mode::empty()) else {
        return Fate::Stays;
    };
    let file = File::from(fd);
    let Ok((_, stat)) = Header::read_with_stat(file.as_fd()) else { return Fate::Stays };
    if remove_if_unused(&file, path, inode_of(&stat)) {
        return Fate::Removed;
    }
    match held_by_another(&file) {
        Ok(Some(Lock::Exclusive)) => Fate::Going,
        // Unlinked or unlocked since we looked.
        Ok(None) => Fate::Going,
        Ok(Some(Lock::Shared)) | Err(_) => Fate::Stays,
    }
}

/// Unlinks the name if nobody holds a lock, and if it still shows this inode.
fn remove_if_unused(file: &File, path: &Path, inode: Inode) -> bool {
    try_lock(file, Lock::Exclusive) == Ok(true)
        && shows(path, inode)
        && rustix::fs::unlink(path).is_ok()
}

/// Whether the name leads to this very file, not through a link.
fn shows(path: &Path, inode: Inode) -> bool {
    rustix::fs::lstat(path).is_ok_and(|stat| inode_of(&stat) == inode)
}

fn table() -> MutexGuard<'static, Option<Table>> {
    // A panic under this lock leaves the map whole: single inserts and removals only.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}
