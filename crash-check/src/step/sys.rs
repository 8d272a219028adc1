//! The system calls of the stepper, each wrapped once, so that `unsafe` stays in one place.
//!
//! References: `memfd_create(2)`, `mmap(2)`, `fork(2)`, `prctl(2)`, `pidfd_open(2)`, `waitpid(2)`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

/// A process id, as the kernel counts it.
pub(super) type Pid = libc::pid_t;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `memfd_create(2)` then `ftruncate(2)`: an anonymous file of `len` zero bytes, which a structure
/// that insists on seals may seal.
pub(super) fn memfd(name: &CStr, len: usize) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a C string that outlives the call.
    let raw = check(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    let len = libc::off_t::try_from(len)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "length exceeds off_t"))?;
    // SAFETY: no memory is passed; the descriptor is ours.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), len) })?;
    Ok(fd)
}

/// Maps `len` bytes of `fd` shared and writable, at an address of the kernel's choice.
pub(super) fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<NonNull<u8>> {
    map_at(std::ptr::null_mut(), fd, len, 0)
}

/// Maps `len` bytes of `fd` over what is mapped at `base` now.
///
/// # Safety
///
/// - `base..base + len` is a mapping of the caller's own, and nothing borrowed from it is alive
///   across the call in a way that the changed contents could invalidate.
pub(super) unsafe fn map_over(
    base: NonNull<u8>,
    fd: BorrowedFd<'_>,
    len: usize,
) -> io::Result<NonNull<u8>> {
    map_at(base.as_ptr(), fd, len, libc::MAP_FIXED)
}

fn map_at(at: *mut u8, fd: BorrowedFd<'_>, len: usize, flags: i32) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | flags;
    // SAFETY: without MAP_FIXED the kernel picks a free range; with it the caller (`map_over`)
    // answers for the range.
    let base = unsafe { libc::mmap(at.cast(), len, protection, flags, fd.as_raw_fd(), 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned address zero"))
}

/// `munmap(2)`.
///
/// # Safety
///
/// - `base..base + len` was returned by [`map`] and is not used again.
pub(super) unsafe fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise; a failure would mean a bad range, and leaks at worst.
    let _ = unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

/// Bytes in the file behind `fd`.
pub(super) fn file_len(fd: BorrowedFd<'_>) -> io::Result<(u64, u64, u64)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` has room for the structure that the kernel writes.
    check(unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: `fstat` succeeded, so the structure is filled in.
    let stat = unsafe { stat.assume_init() };
    Ok((u64::try_from(stat.st_size).unwrap_or(0), stat.st_dev, stat.st_ino))
}

/// `dup2(2)`: makes `number` another name of `fd`.
pub(super) fn replace_fd(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed. The caller owns `number` and wants it replaced.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// `fork(2)`: `None` in the child.
///
/// The C library makes its allocator usable in a child of a many-threaded process. Locks of
/// *other* threads stay locked in it for ever; see [`super::session`] for what that means here.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the child runs only what `session` and `child` let it run, and leaves by `_exit`;
    // it never returns into the caller's frames.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// Ends this process at once: no destructors, no exit handlers.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// This process.
pub(super) fn this_process() -> Pid {
    Pid::try_from(std::process::id()).unwrap_or(0)
}

/// Asks the kernel to kill this process when the thread that forked it ends, and ends it now if
/// that has happened already.
pub(super) fn die_with(parent: Pid) {
    // SAFETY: the request takes a signal number and no memory.
    let armed = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: `getppid` has no precondition.
    let now = unsafe { libc::getppid() };
    if armed != 0 || now != parent {
        exit_now(super::child::EXIT_ORPHAN);
    }
}

/// `kill(2)`. A process that is gone already is not an error here.
pub(super) fn kill(pid: Pid, signal: i32) {
    // SAFETY: no memory is passed. `pid` is an unreaped child of ours, so it names no stranger.
    let _ = unsafe { libc::kill(pid, signal) };
}

/// Stops this process until its tracer lets it go on.
pub(super) fn stop_self() {
    // SAFETY: `raise` takes a valid signal number and no memory.
    let _ = unsafe { libc::raise(libc::SIGSTOP) };
}

/// What `waitpid(2)` said of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Nothing to report yet.
    Nothing,
    /// Stopped by this signal, under trace.
    Stopped(i32),
    /// Ended with this code.
    Exited(i32),
    /// Ended by this signal.
    Killed(i32),
}

/// `waitpid(pid, __WALL [| WNOHANG])` on one child of the calling thread.
pub(super) fn wait(pid: Pid, block: bool) -> io::Result<Status> {
    let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
    let mut raw = 0;
    loop {
        // SAFETY: `raw` is a live integer that the kernel may write.
        match check(unsafe { libc::waitpid(pid, &raw mut raw, flags) }) {
            Ok(0) => return Ok(Status::Nothing),
            Ok(_) if libc::WIFSTOPPED(raw) => return Ok(Status::Stopped(libc::WSTOPSIG(raw))),
            Ok(_) if libc::WIFSIGNALED(raw) => return Ok(Status::Killed(libc::WTERMSIG(raw))),
            Ok(_) => return Ok(Status::Exited(libc::WEXITSTATUS(raw))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A descriptor that polls readable once the process `pid` has ended.
pub(super) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and no memory.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let raw = check(RawFd::try_from(raw).unwrap_or(-1))?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Waits until `fd` is readable; `false` when `limit` went by first.
pub(super) fn readable_within(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `entry` is one live pollfd, and the count says one.
    match check(unsafe { libc::poll(&raw mut entry, 1, millis) }) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

/// Processor time that the process `pid` has used, or zero when it is gone.
pub(super) fn cpu_time(pid: Pid) -> Duration {
    let mut clock = 0;
    // SAFETY: `clock` is a live integer that the C library may write.
    if unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } != 0 {
        return Duration::ZERO;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec that the kernel may write.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Is the process `pid` asleep until somebody wakes it? One letter of `/proc/PID/stat` says so;
/// the uninterruptible sleep (`D`) is short, and the kernel's own affair.
pub(super) fn is_asleep(pid: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state == Some('S')
}

/// Sleeps on a futex word shared between processes, at most for `limit`.
pub(super) fn futex_wait(word: &std::sync::atomic::AtomicU32, expected: u32, limit: Duration) {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(limit.subsec_nanos()),
    };
    // SAFETY: `word` and `time` are live for the whole call; the kernel only reads them. Every
    // result is treated alike, since the caller looks at the word again.
    let _ = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const time)
    };
}

/// Wakes one of those who sleep on `word`.
pub(super) fn futex_wake_one(word: &std::sync::atomic::AtomicU32) {
    // SAFETY: `word` is live; the kernel uses only its address.
    let _ = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}
