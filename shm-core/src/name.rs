//! Named files: published whole, in one step, and gone with their last user.
//!
//! The name is `/dev/shm/shm-core.NAME`. Whoever uses the file holds a shared record lock on its
//! first byte ([`record_lock`]); the kernel releases it when the process ends, however it ends.
//! Record locks rather than `flock`: a forked child must not keep a name alive that it does not use.
//!
//! | step of `create` | killed after it |
//! |---|---|
//! | `O_TMPFILE`, size, header | no name: the kernel frees everything |
//! | locks | the same |
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
//! Two kinds of files have another [`Lifetime`], which their header tells. One that is *kept* is
//! opened without the exclusive lock and left without an unlink. One of a *scope* ends with it: the
//! scope's process holds another byte exclusively as long as the scope lives, and whoever takes
//! the name away must hold that instead. Its users' locks then only tell who they are. Since that
//! byte does not say whose lock it is, whoever tries it holds a third one first, openers too: so
//! nobody takes somebody who is removing the name for a scope that lives.
//!
//! A process's record locks on a file vanish when it closes *any* descriptor of that file. So each
//! process opens a named file once and shares the descriptor ([`TABLE`]), closes it only under the
//! table's lock, and shows others an `O_PATH` descriptor, whose closing touches no lock.

use std::collections::HashMap;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Error;
use crate::directory;
use crate::header::{Header, Lifetime};
use crate::record_lock::{self, Byte, Lock, held_by_another, try_lock};
use crate::sweep::{Fate, remove_if_dead, take_away, take_away_if_unused};

/// How long to go on when somebody holds the exclusive lock, which takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The named files that this process has open, by path.
static TABLE: Mutex<Option<Table>> = Mutex::new(None);

pub(crate) type Table = HashMap<PathBuf, Entry>;

#[derive(Debug)]
pub(crate) struct Entry {
    pub file: Weak<NamedFile>,
    inode: Inode,
}

/// Stands in for a place that there was no descriptor left for; opened with the first named file.
static NOWHERE: OnceLock<OwnedFd> = OnceLock::new();

const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Device and inode number: which file it is, whatever its name.
pub(crate) type Inode = (u64, u64);

pub(crate) fn inode_of(stat: &Stat) -> Inode {
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
    /// Whether this process may write the file.
    writable: bool,
    /// Whether this process holds the scope's lock.
    ///
    /// Relaxed: changed once, by the scope's end; nothing else hangs on it.
    scope: AtomicBool,
    /// The process whose lock it is. A forked child inherits this value, but not the lock.
    ///
    /// Relaxed everywhere: read and written by one process, under the table's lock or in `Drop`.
    user: AtomicU32,
}

impl NamedFile {
    fn new(
        file: File,
        path: PathBuf,
        header: Header,
        inode: Inode,
        (writable, scope): (bool, bool),
    ) -> Arc<NamedFile> {
        Arc::new(NamedFile {
            file: ManuallyDrop::new(file),
            place: OnceLock::new(),
            path,
            inode,
            header,
            writable,
            scope: AtomicBool::new(scope),
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

    /// The name that it was created or opened by.
    pub fn name(&self) -> &str {
        let file = self.path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.strip_prefix(directory::PREFIX).unwrap_or(file)
    }

    /// Whether its name still leads to it.
    pub fn is_still_called_so(&self) -> bool {
        shows(&self.path, self.inode)
    }

    /// A descriptor that tells which file it is (`fstat`), and that may be duplicated and closed.
    ///
    /// With no descriptor left in the process, that of a file that is nothing to anybody: never
    /// the file's own, which must not be closed.
    pub fn place(&self) -> BorrowedFd<'_> {
        if self.place.get().is_none() {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            if let Ok(fd) = rustix::fs::open(path, PLACE, Mode::empty()) {
                // Two threads at once: the second's descriptor is closed, which touches no lock.
                let _ = self.place.set(fd);
            }
        }
        self.place.get().or(NOWHERE.get()).map_or(rustix::stdio::stdin(), AsFd::as_fd)
    }

    /// Takes the name of a scope's file away. Its users go on without one.
    pub fn end_scope(&self) {
        // First: in a forked child the table may be locked by a thread that does not exist there.
        if !self.is_own() {
            return;
        }
        let _table = table();
        // Relaxed: see the field.
        if self.scope.swap(false, Ordering::Relaxed) {
            take_away(&self.file, &self.path, self.inode, &self.header);
            let _ = record_lock::unlock(&*self.file, Byte::Scope);
        }
    }

    fn is_own(&self) -> bool {
        // Relaxed: see the field.
        self.user.load(Ordering::Relaxed) == std::process::id()
    }

    /// Makes this process a user of what it inherited by `fork`. `false`: the name is taken away.
    fn adopt(&self) -> Result<bool, Error> {
        let locked = try_lock(&*self.file, Byte::Users, Lock::Shared).map_err(locking())?;
        if locked && shows(&self.path, self.inode) {
            // Relaxed: under the table's lock, see `user`.
            self.user.store(std::process::id(), Ordering::Relaxed);
            // Relaxed: see the field. The scope stays the parent's.
            self.scope.store(false, Ordering::Relaxed);
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
        if !inherited && record_lock::unlock(&*self.file, Byte::Users).is_ok() {
            // A scope's file whose scope is this process's own: as if the scope had ended.
            take_away_if_unused(&self.file, &self.path, self.inode, &self.header);
        }
        // Closed before the table is unlocked: closing it after another thread opened the same
        // file anew would release that thread's lock.
        // SAFETY: dropped here only, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.file) };
        drop(guard);
    }
}

/// Publishes a new file, of this user alone, as [`create_with`] does.
pub(crate) fn create(
    name: &str,
    header: Header,
    fill: impl FnOnce(&File) -> Result<(), Error>,
) -> Result<Arc<NamedFile>, Error> {
    create_with(name, header, Mode::RUSR | Mode::WUSR, fill)
}

/// Publishes a new file with this header under `name`; `fill` runs before anybody can open it.
pub(crate) fn create_with(
    name: &str,
    header: Header,
    mode: Mode,
    fill: impl FnOnce(&File) -> Result<(), Error>,
) -> Result<Arc<NamedFile>, Error> {
    let path = directory::path_of(name)?;
    crate::sweep()?;
    let file = directory::unnamed(header.file_size())?;
    header.write(&file)?;
    fill(&file)?;
    // Here, where nothing is lost by an error, and last: the umask had its say about the file.
    rustix::fs::fchmod(&file, mode).map_err(Error::system("fchmod"))?;
    publish(file, name, path, header)
}

/// Gives a file its name, in one step, with the user's lock already held.
fn publish(file: File, name: &str, path: PathBuf, header: Header) -> Result<Arc<NamedFile>, Error> {
    let mut table = table();
    let files = table.get_or_insert_default();
    prepare_nowhere()?;
    // A file that nobody else can know yet: the locks are never refused.
    try_lock(&file, Byte::Users, Lock::Shared).map_err(locking())?;
    let scope = header.lifetime == Lifetime::Scope;
    if scope {
        try_lock(&file, Byte::Scope, Lock::Exclusive).map_err(locking())?;
    }
    let stat = rustix::fs::fstat(&file).map_err(Error::system("fstat"))?;
    link(&file, &path, |patient| match remove_if_dead(files, &path) {
        Fate::Removed => Ok(()),
        Fate::Going if patient => {
            std::thread::yield_now();
            Ok(())
        }
        Fate::Going => Err(Error::Busy { name: name.to_owned() }),
        Fate::Stays => Err(Error::AlreadyExists { name: name.to_owned() }),
    })?;
    let named = NamedFile::new(file, path, header, inode_of(&stat), (true, scope));
    insert(files, &named);
    Ok(named)
}

/// Gives a file without a name this one. Where there is such a name already, `make_way` decides;
/// it is told whether there is time left to wait.
pub(crate) fn link(
    file: &File,
    path: &Path,
    mut make_way: impl FnMut(bool) -> Result<(), Error>,
) -> Result<(), Error> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::linkat(CWD, &source, CWD, path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => make_way(Instant::now() < deadline)?,
            Err(errno) => return Err(Error::system("linkat")(errno)),
        }
    }
}

/// Sees that [`NamedFile::place`] has something harmless to show.
fn prepare_nowhere() -> Result<(), Error> {
    if NOWHERE.get().is_none() {
        let fd = rustix::fs::open("/dev/null", PLACE, Mode::empty());
        let _ = NOWHERE.set(fd.map_err(Error::system("open(/dev/null)"))?);
    }
    Ok(())
}

fn insert(files: &mut Table, named: &Arc<NamedFile>) {
    let entry = Entry { file: Arc::downgrade(named), inode: named.inode };
    files.insert(named.path.clone(), entry);
}

/// Opens the file called `name` of this user for writing, as [`open_with`] does.
pub(crate) fn open(name: &str) -> Result<Arc<NamedFile>, Error> {
    open_with(name, rustix::process::geteuid().as_raw(), true)
}

/// Opens the file called `name`, if it is that user's, and becomes one of its users. `write`:
/// whether a file that may only be read will not do.
pub(crate) fn open_with(name: &str, owner: u32, write: bool) -> Result<Arc<NamedFile>, Error> {
    let path = directory::path_of(name)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(named) = try_open(name, &path, owner)? {
            if write && !named.writable {
                return Err(Error::ReadOnly { name: name.to_owned() });
            }
            return Ok(named);
        }
        if Instant::now() > deadline {
            return Err(Error::Busy { name: name.to_owned() });
        }
        std::thread::yield_now();
    }
}

/// `None`: somebody was just taking the name away; try again.
fn try_open(name: &str, path: &Path, owner: u32) -> Result<Option<Arc<NamedFile>>, Error> {
    // Outlives the guard: dropping the last reference takes the table's lock.
    let known;
    let mut table = table();
    let files = table.get_or_insert_default();
    prepare_nowhere()?;
    if let Some(entry) = files.get(path) {
        known = entry.file.upgrade();
        match &known {
            // Another thread is dropping the last reference and waits for our lock.
            None => return Ok(None),
            Some(named) if !named.is_own() => {
                return Ok(if named.adopt()? { known } else { None });
            }
            Some(named) if shows(path, named.inode) => return Ok(known),
            // Unlinked by hand under its users: whatever stands there now is another segment.
            Some(_) => {}
        }
    }
    let (file, writable) = open_file(name, path)?;
    let (header, stat) = match usable(files, &file, owner) {
        Ok(found) => found,
        Err(error) => {
            close_unused(files, file);
            return Err(error);
        }
    };
    let inode = inode_of(&stat);
    let Some(is_dead) = is_dead(&file, &header, writable).map_err(locking())? else {
        return Ok(None);
    };
    if is_dead {
        // The name goes, as it would have gone with the last user or the scope.
        if writable && !take_away(&file, path, inode, &header) {
            return Ok(None);
        }
        return Err(Error::NotFound { name: name.to_owned() });
    }
    let shared = try_lock(&file, Byte::Users, Lock::Shared).map_err(locking())?;
    if !shared || !shows(path, inode) {
        return Ok(None);
    }
    let named = NamedFile::new(file, path.to_owned(), header, inode, (writable, false));
    insert(files, &named);
    Ok(Some(named))
}

/// The file, for writing if its permissions allow that, and whether they do.
fn open_file(name: &str, path: &Path) -> Result<(File, bool), Error> {
    let open = |access| rustix::fs::open(path, directory::OPEN | access, Mode::empty());
    let (opened, writable) = match open(OFlags::RDWR) {
        Err(Errno::ACCESS | Errno::ROFS) => (open(OFlags::RDONLY), false),
        opened => (opened, true),
    };
    match opened {
        Ok(fd) => Ok((File::from(fd), writable)),
        Err(Errno::NOENT) => Err(Error::NotFound { name: name.to_owned() }),
        Err(Errno::LOOP) => Err(Error::NotASegment { what: "it is a symbolic link" }),
        Err(Errno::ISDIR | Errno::NXIO) => Err(Error::NOT_REGULAR),
        Err(errno) => Err(Error::system("open")(errno)),
    }
}

/// Whether those for whom the name was there are dead; `None` while somebody else finds that out.
/// If so, and the file can be written, this process then holds what it takes to take the name away.
fn is_dead(file: &File, header: &Header, writable: bool) -> Result<Option<bool>, Errno> {
    match header.lifetime {
        Lifetime::Keep => Ok(Some(false)),
        Lifetime::Users if writable => try_lock(file, Byte::Users, Lock::Exclusive).map(Some),
        Lifetime::Users => Ok(Some(held_by_another(file, Byte::Users)?.is_none())),
        Lifetime::Scope if writable => scope_is_dead(file),
        Lifetime::Scope => {
            let is_held = held_by_another(file, Byte::Scope)?.is_some();
            Ok(held_by_another(file, Byte::Taker)?.is_none().then_some(!is_held))
        }
    }
}

fn scope_is_dead(file: &File) -> Result<Option<bool>, Errno> {
    if !try_lock(file, Byte::Taker, Lock::Exclusive)? {
        return Ok(None);
    }
    if try_lock(file, Byte::Scope, Lock::Exclusive)? {
        return Ok(Some(true));
    }
    record_lock::unlock(file, Byte::Taker)?;
    Ok(Some(false))
}

/// The header of a file that may be used: ours, that user's, and not in use under another name.
fn usable(files: &Table, file: &File, owner: u32) -> Result<(Header, Stat), Error> {
    let (header, stat) = Header::read_with_stat(file.as_fd())?;
    if stat.st_uid != owner {
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

/// Whether this process uses the file, under whatever name.
pub(crate) fn uses(files: &Table, inode: Inode) -> bool {
    files.values().any(|entry| entry.inode == inode)
}

/// Whether the name leads to this very file, not through a link.
pub(crate) fn shows(path: &Path, inode: Inode) -> bool {
    rustix::fs::lstat(path).is_ok_and(|stat| inode_of(&stat) == inode)
}

pub(crate) fn table() -> MutexGuard<'static, Option<Table>> {
    // A panic under this lock leaves the map whole: single inserts and removals only.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn locking() -> impl FnOnce(Errno) -> Error {
    Error::system("fcntl(F_SETLK)")
}
