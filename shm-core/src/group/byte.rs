//! One record lock a member, each on a byte of its own: the proof that a process is wholly gone.
//!
//! The kernel releases record locks after the last thread of the process has ended, however it
//! ended, and in whatever pid namespace: see [`record_lock`](crate::record_lock). Byte 0 is the
//! name's; member `i` locks byte `i + 1`.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Takes the lock of `index` for this process; `false` when another holds it. Never waits.
pub(crate) fn try_lock(file: BorrowedFd<'_>, index: usize) -> Result<bool, Errno> {
    match call(file, libc::F_SETLK, &mut byte(index, libc::F_WRLCK)) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Releases it.
pub(crate) fn unlock(file: BorrowedFd<'_>, index: usize) -> Result<(), Errno> {
    call(file, libc::F_SETLK, &mut byte(index, libc::F_UNLCK))
}

/// Whether no *other* process holds the lock of `index`.
pub(crate) fn is_free(file: BorrowedFd<'_>, index: usize) -> Result<bool, Errno> {
    let mut lock = byte(index, libc::F_WRLCK);
    call(file, libc::F_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) == libc::F_UNLCK)
}

fn byte(index: usize, kind: libc::c_int) -> libc::flock {
    // SAFETY: `flock` is plain data; all-zero is one of its values.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = index as libc::off_t + 1;
    lock.l_len = 1;
    lock
}

fn call(file: BorrowedFd<'_>, command: libc::c_int, lock: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: a valid descriptor; both commands read one `flock` through the pointer, and
    // `F_GETLK` writes one.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut *lock) };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
