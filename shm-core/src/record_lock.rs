//! POSIX record locks on the first byte of a file: who uses it, by the kernel's word.
//!
//! A record lock belongs to a process and a file. The kernel releases it when the process ends,
//! however it ends; a forked child does not inherit it. It is also released when the process closes
//! *any* descriptor of the file, which is why [`name`](crate::name) is careful with descriptors.

use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

/// How a process uses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// One of its users.
    Shared,
    /// About to take its name away.
    Exclusive,
}

/// Takes the lock, or changes the one that this process holds; `false` when another process's lock
/// stands in the way. Never waits.
pub(crate) fn try_lock(file: &File, lock: Lock) -> Result<bool, Errno> {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
    };
    match call(file, libc::F_SETLK, &mut first_byte(kind)) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Releases this process's lock.
pub(crate) fn unlock(file: &File) -> Result<(), Errno> {
    call(file, libc::F_SETLK, &mut first_byte(libc::F_UNLCK))
}

/// The lock that another process holds, an exclusive one if there is one. Changes nothing.
pub(crate) fn held_by_another(file: &File) -> Result<Option<Lock>, Errno> {
    let mut lock = first_byte(libc::F_WRLCK);
    call(file, libc::F_GETLK, &mut lock)?;
    Ok(match i32::from(lock.l_type) {
        libc::F_UNLCK => None,
        libc::F_WRLCK => Some(Lock::Exclusive),
        _ => Some(Lock::Shared),
    })
}

fn first_byte(kind: libc::c_int) -> libc::flock {
    // SAFETY: `flock` is plain data; all-zero is one of its values.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_len = 1;
    lock
}

fn call(file: &File, command: libc::c_int, lock: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: a valid descriptor; both commands read one `flock` through the pointer, and
    // `F_GETLK` writes one.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut *lock) };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
