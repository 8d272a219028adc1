//! Taking names away: those of the dead, of the last one out, and of whom nobody needs any more.
//!
//! A name is unlinked only by a process that holds the exclusive lock which its file's lifetime asks
//! for ([`name`](crate::name)), and only while the name still shows that file. So it never takes
//! away what somebody uses, nor a newer file of the same name.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::directory::{self, DIR, PREFIX};
use crate::header::{Header, Kind, Lifetime};
use crate::name::{Inode, Table, inode_of, shows, table, uses};
use crate::record_lock::{Byte, Lock, held_by_another, try_lock};
use crate::{Error, raw};

/// Removes every named segment that no living process uses; gives how many.
///
/// Of what was made in a [`Scope`](crate::Scope) that means: the scope's process is dead. What is
/// to be kept stays. Only files that carry this crate's header are touched, and never those of
/// another user. Creating a named segment does this by itself.
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

/// Takes away the name of a segment that nobody uses: one that was made to be
/// [kept](crate::Options::keep), or any that its users left behind.
///
/// # Errors
///
/// [`Error::NotFound`]; [`Error::InUse`], by whatever process; [`Error::NotASegment`] and its like
/// for a file that is not this crate's; [`Error::BadName`]; [`Error::System`].
pub fn remove(name: &str) -> Result<(), Error> {
    let path = directory::path_of(name)?;
    let mut table = table();
    let files = table.get_or_insert_default();
    let in_use = || Error::InUse { name: name.to_owned() };
    let inode = match rustix::fs::lstat(&path) {
        Ok(stat) => inode_of(&stat),
        Err(Errno::NOENT) => return Err(Error::NotFound { name: name.to_owned() }),
        Err(errno) => return Err(Error::system("lstat")(errno)),
    };
    // Opening and closing a file that this process uses would release our lock on it.
    if uses(files, inode) {
        return Err(in_use());
    }
    let flags = directory::OPEN | OFlags::RDWR;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(Error::system("open"))?;
    let file = File::from(file);
    let (header, stat) = Header::read_of_any_size(file.as_fd())?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Error::NotASegment { what: "it belongs to another user" });
    }
    for byte in [Byte::Users, Byte::Taker, Byte::Scope] {
        if !try_lock(&file, byte, Lock::Exclusive).map_err(Error::system("fcntl(F_SETLK)"))? {
            return Err(in_use());
        }
    }
    if !take_away(&file, &path, inode_of(&stat), &header) {
        return Err(Error::NotFound { name: name.to_owned() });
    }
    Ok(())
}

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its users were dead: removed.
    Removed,
    /// Another process is just removing it.
    Going,
    /// In use, or not ours to remove.
    Stays,
}

pub(crate) fn remove_if_dead(files: &Table, path: &Path) -> Fate {
    let euid = rustix::process::geteuid().as_raw();
    let Ok(stat) = rustix::fs::lstat(path) else { return Fate::Stays };
    // Opening and closing a file that this process uses would release our lock on it.
    if stat.st_uid != euid || files.contains_key(path) || uses(files, inode_of(&stat)) {
        return Fate::Stays;
    }
    let flags = directory::OPEN | OFlags::RDWR;
    let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else { return Fate::Stays };
    let file = File::from(fd);
    let (header, stat) = match Header::read_of_any_size(file.as_fd()) {
        Ok(found) => found,
        Err(_) => return Fate::Stays,
    };
    if take_away_if_unused(&file, path, inode_of(&stat), &header) {
        return Fate::Removed;
    }
    // Whose lock says that it stays, and whose that it is going: a scope's own is exclusive, too.
    let (stays, going) = match header.lifetime {
        Lifetime::Keep => return Fate::Stays,
        Lifetime::Users => (Byte::Users, Byte::Users),
        Lifetime::Scope => (Byte::Scope, Byte::Taker),
    };
    match (held_by_another(&file, going), held_by_another(&file, stays)) {
        (Ok(Some(Lock::Exclusive)), _) => Fate::Going,
        // Unlinked or unlocked since we looked.
        (_, Ok(None)) => Fate::Going,
        _ => Fate::Stays,
    }
}

/// Unlinks the name if those for whom it was there are gone, and if it still shows this inode.
pub(crate) fn take_away_if_unused(file: &File, path: &Path, inode: Inode, header: &Header) -> bool {
    let needed: &[Byte] = match header.lifetime {
        Lifetime::Keep => return false,
        Lifetime::Users => &[Byte::Users],
        Lifetime::Scope => &[Byte::Taker, Byte::Scope],
    };
    let is_ours = |byte: &Byte| try_lock(file, *byte, Lock::Exclusive) == Ok(true);
    needed.iter().all(is_ours) && take_away(file, path, inode, header)
}

/// Unlinks the name if it still shows this inode. To be called with the exclusive lock held.
pub(crate) fn take_away(file: &File, path: &Path, inode: Inode, header: &Header) -> bool {
    if !shows(path, inode) {
        return false;
    }
    if header.kind == Kind::Raw {
        // First: if we are killed now, the name that tells of the other one is still there.
        raw::take_away(file, path);
    }
    rustix::fs::unlink(path).is_ok()
}
