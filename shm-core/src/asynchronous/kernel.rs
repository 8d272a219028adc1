//! What the sleeper asks of the kernel, by address: a word may be gone by then (its future was
//! forgotten, or is just being dropped), so nothing here looks at it from user space.

use rustix::io::Errno;

/// Whether the word at `address` holds `expected`; not if there is no memory.
///
/// `FUTEX_CMP_REQUEUE` that wakes nobody and moves nobody: what is left of it is the comparison.
pub(super) fn holds(address: usize, expected: u32) -> bool {
    // SAFETY: the kernel reads four bytes at the address, if they are there, and changes none.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            address,
            libc::FUTEX_CMP_REQUEUE,
            0_usize,
            0_usize,
            address,
            expected,
        ) == 0
    }
}

/// Wakes one who sleeps on the word at `address`.
pub(super) fn pass_on(address: usize) {
    // SAFETY: the kernel only looks for sleepers by the address, which may be anything.
    unsafe { libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAKE, 1) };
}

/// What became of a sleep on several words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slept {
    /// Woken through this one, and perhaps through others too.
    Woken(usize),
    /// One of them did not hold what was expected, or is not there.
    Changed,
    /// The time was over, or a signal came.
    Over,
    /// The system does not offer it.
    Refused,
}

impl From<Result<usize, Errno>> for Slept {
    fn from(result: Result<usize, Errno>) -> Slept {
        match result {
            Ok(index) => Slept::Woken(index),
            Err(Errno::AGAIN | Errno::FAULT) => Slept::Changed,
            Err(Errno::TIMEDOUT | Errno::INTR) => Slept::Over,
            Err(_) => Slept::Refused,
        }
    }
}
