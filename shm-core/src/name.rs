//! Named files: published whole, in one step, and gone with their last user.
//!
//! The name is `/dev/shm/shm-core.NAME`. Whoever uses the file holds a shared POSIX record lock on
//! its first byte; the kernel releases it when the process ends, however it ends. Record locks
//! rather than `flock`: a forked child must not keep a name alive that it does not use.
//!
//! | step of `create` | killed after it |
//! |---|---|
//! | `O_TMPFILE`, size, header | no name: the kernel frees everything |
//! | shared lock | the same |
//! | `linkat` (**published**) | a name without a lock: the next opener or sweep removes it |
//!
//! | step of leaving | killed after it |
//! |---|---|
//! | release own shared lock | the name stays while others use it; else the next sweep removes it |
//! | try the exclusive lock: refused means others use it, done | lock freed by the kernel |
//! | the name still shows this inode? `unlink` | the rest is the kernel's |
//!
//! Own lock first released, then the exclusive one tried: two that leave at once cannot both see
//! the other and both leave the name behind. Whoever locks after an unlink finds another inode
//! (or none) behind the name, and tries again: [`open`].
//!
//! A process's record locks on a file vanish when it closes *any* descriptor of that file, so each
//! process opens a named file once and shares the descriptor ([`TABLE`]).

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::header::Header;

const DIR: &str = "/dev/shm";
const PREFIX: &str = "shm-core.";
/// How long to go on when somebody holds the exclusive lock, which takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The named files that this process has open, by path.
static TABLE: Mutex<Option<HashMap<PathBuf, Weak<NamedFile>>>> = Mutex::new(None);

/// A named file in use by this process; dropping the last reference leaves it.
#[derive(Debug)]
pub(crate) struct NamedFile {
    file: File,
    path: PathBuf,
}

impl AsFd for NamedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        let mut table = table();
        // Somebody outside may have unlinked our name by hand, and a new file of that name may
        // stand in the table already: that entry is alive and not ours.
        let files = table.get_or_insert_default();
        if files.get(&self.path).is_some_and(|entry| entry.strong_count() == 0) {
            files.remove(&self.path);
        }
        if set_lock(&self.file, libc::F_UNLCK).is_ok() {
            remove_if_unused(&self.file, &self.path);
        }
    }
}

/// Publishes a new file of this size under `name`; `fill` runs before anybody can open it.
pub(crate) fn create(
    name: &str,
    size: u64,
    fill: impl FnOnce(&File) -> Result<(), Error>,
) -> Result<Arc<NamedFile>, Error> {
    let path = path_of(name)?;
    sweep()?;
    let file = unnamed(size)?;
    fill(&file)?;
    publish(file, name, path)
}

/// A file without a name on the file system of named segments, `size` bytes, all committed.
pub(crate) fn unnamed(size: u64) -> Result<File, Error> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(
        rustix::fs::open(DIR, flags, Mode::RUSR | Mode::WUSR)
            .map_err(Error::system("open(O_TMPFILE)"))?,
    );
    commit(&file, size)?;
    Ok(file)
}

/// Gives a file its name, in one step, with the user's lock already held.
pub(crate) fn publish(file: File, name: &str, path: PathBuf) -> Result<Arc<NamedFile>, Error> {
    let mut table = table();
    set_lock(&file, libc::F_RDLCK).map_err(Error::system("fcntl(F_SETLK)"))?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, &source, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(Error::AlreadyExists { name: name.to_owned() }),
        Err(errno) => return Err(Error::system("linkat")(errno)),
    }
    let named = Arc::new(NamedFile { file, path: path.clone() });
    table.get_or_insert_default().insert(path, Arc::downgrade(&named));
    Ok(named)
}

/// Opens the file called `name` and becomes one of its users.
pub(crate) fn open(name: &str) -> Result<Arc<NamedFile>, Error> {
    let path = path_of(name)?;
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
    let mut table = table();
    let files = table.get_or_insert_default();
    if let Some(entry) = files.get(path) {
        // `None` here: another thread is dropping the last reference and waits for our lock.
        return Ok(entry.upgrade());
    }
    let file = match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Err(Error::NotFound { name: name.to_owned() }),
        Err(errno) => return Err(Error::system("open")(errno)),
    };
    if set_lock(&file, libc::F_RDLCK).is_err() || !is_name_of(path, &file) {
        return Ok(None);
    }
    let named = Arc::new(NamedFile { file, path: path.to_owned() });
    files.insert(path.to_owned(), Arc::downgrade(&named));
    Ok(Some(named))
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
/// assert_eq!(shm_core::sweep()?, 0, "{removed} were removed before");
/// # Ok::<(), shm_core::Error>(())
/// ```
pub fn sweep() -> Result<usize, Error> {
    let table = table();
    let in_use = |path: &Path| table.as_ref().is_some_and(|files| files.contains_key(path));
    let entries = std::fs::read_dir(DIR).map_err(Error::system("readdir"))?;
    let mut removed = 0;
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let path = entry.path();
        // Opening and closing a file that this process uses would release our lock on it.
        if ours && !in_use(&path) && remove_if_dead(&path) {
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove_if_dead(path: &Path) -> bool {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else { return false };
    let file = File::from(fd);
    let is_segment = Header::read(file.as_fd()).is_ok();
    is_segment && remove_if_unused(&file, path)
}

/// Unlinks the name if nobody holds the shared lock, and if it still shows this inode.
fn remove_if_unused(file: &File, path: &Path) -> bool {
    set_lock(file, libc::F_WRLCK).is_ok()
        && is_name_of(path, file)
        && rustix::fs::unlink(path).is_ok()
}

fn is_name_of(path: &Path, file: &File) -> bool {
    match (rustix::fs::stat(path), rustix::fs::fstat(file)) {
        (Ok(named), Ok(held)) => (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino),
        _ => false,
    }
}

/// Every byte gets its page now, so that a full file system is an error here, not a SIGBUS later.
fn commit(file: &File, size: u64) -> Result<(), Error> {
    loop {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC) => {
                let available = rustix::fs::fstatvfs(file)
                    .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
                return Err(Error::NoSpace { size, available, dir: DIR.into() });
            }
            Err(errno) => return Err(Error::system("fallocate")(errno)),
        }
    }
}

pub(crate) fn path_of(name: &str) -> Result<PathBuf, Error> {
    let bad = |why| Err(Error::BadName { name: name.to_owned(), why });
    if name.is_empty() {
        return bad("it is empty");
    }
    if name.len() > 200 {
        return bad("it is longer than 200 bytes");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return bad("it holds another character");
    }
    Ok(Path::new(DIR).join(format!("{PREFIX}{name}")))
}

/// Sets or releases this process's record lock on the file's first byte, without waiting.
fn set_lock(file: &File, kind: libc::c_int) -> Result<(), Errno> {
    // SAFETY: `flock` is plain data; all-zero is one of its values.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_len = 1;
    // SAFETY: a valid descriptor, and F_SETLK reads one `flock` from the pointer.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

fn table() -> MutexGuard<'static, Option<HashMap<PathBuf, Weak<NamedFile>>>> {
    // A panic under this lock leaves the map whole: single inserts and removals only.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        for name in ["", "a/b", "../x", "a b", "ä", &"x".repeat(201)] {
            assert!(matches!(path_of(name), Err(Error::BadName { .. })), "{name:?}");
        }
        assert!(path_of("run-7.data_1").is_ok());
    }
}
