//! POSIX record locks on single bytes of a file: who uses it, by the kernel's word.
//!
//! A record lock belongs to a process and a file. The kernel releases it when the process ends,
//! however it ends; a forked child does not inherit it. It is also released when the process closes
//! *any* descriptor of the file, which is why [`name`](crate::name) is careful with descriptors.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// What a lock is about: a byte of the file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Byte {
    /// Shared: one of the file's users. Exclusive: about to take its name away.
    Users,
    /// Exclusive: the member of a group at this index. Released after the last thread of its process
    /// has ended: the proof that the process is wholly gone.
    Member(usize),
    /// Exclusive: whoever looks whether the scope lives, and takes the name away if not.
    Taker,
    /// Exclusive: the scope that the file was made in, or, with [`Byte::Taker`], who takes its name
    /// away after that.
    Scope,
}

impl Byte {
    /// Where it lies in the file.
    pub fn offset(self) -> u64 {
        match self {
            Byte::Users => 0,
            Byte::Member(index) => index as u64 + 1,
            // Far from the bytes of a group's members.
            Byte::Taker => 65_534,
            Byte::Scope => 65_535,
        }
    }
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// With others.
    Shared,
    /// Alone.
    Exclusive,
}

/// Takes the lock, or changes the one that this process holds; `false` when another process's lock
/// stands in the way. Never waits.
pub(crate) fn try_lock(file: impl AsFd, byte: Byte, lock: Lock) -> Result<bool, Errno> {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
    };
    match call(file.as_fd(), libc::F_SETLK, &mut one(byte, kind)) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Releases this process's lock.
pub(crate) fn unlock(file: impl AsFd, byte: Byte) -> Result<(), Errno> {
    call(file.as_fd(), libc::F_SETLK, &mut one(byte, libc::F_UNLCK))
}

/// The lock that another process holds, an exclusive one if there is one. Changes nothing.
/// A descriptor that may only be read will do.
pub(crate) fn held_by_another(file: impl AsFd, byte: Byte) -> Result<Option<Lock>, Errno> {
    let mut lock = one(byte, libc::F_WRLCK);
    call(file.as_fd(), libc::F_GETLK, &mut lock)?;
    Ok(match i32::from(lock.l_type) {
        libc::F_UNLCK => None,
        libc::F_WRLCK => Some(Lock::Exclusive),
        _ => Some(Lock::Shared),
    })
}

fn one(byte: Byte, kind: libc::c_int) -> libc::flock {
    // SAFETY: `flock` is plain data; all-zero is one of its values.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte.offset() as libc::off_t;
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
