//! A 32-bit word in shared memory that threads of any process can sleep on.
//!
//! The kernel's own service (`futex(2)`, the shared form): [`Futex::wait`] sleeps as long as the
//! word holds what the caller expects, [`Futex::wake`] wakes sleepers. Nothing is kept in the
//! kernel for a word on which nobody sleeps, a sleeper that is killed is simply gone, and a zeroed
//! word is a valid one. What the word means is its user's business.
//!
//! A wake may be spurious everywhere: a signal, a wake meant for an earlier sleep. Look at your
//! condition again.

use std::time::Duration;

use crate::primitive::{AtomicU32, WaitQueue};

/// Why a [`Futex::wait`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Woken, or disturbed for another reason, such as a signal: look again.
    Woken,
    /// The word did not hold the expected value, so there was no sleep.
    Changed,
    /// The time was over.
    TimedOut,
}

/// A word to sleep on. Four bytes; zeroed memory is a valid one.
///
/// ```
/// use shm_core::futex::{Futex, Waited};
/// use std::time::Duration;
///
/// let futex = Futex::new(0);
/// assert_eq!(futex.wait(1, None), Waited::Changed);
/// assert_eq!(futex.wait(0, Some(Duration::from_millis(1))), Waited::TimedOut);
/// assert_eq!(futex.wake_all(), 0);
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Futex {
    word: AtomicU32,
    queue: WaitQueue,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Futex>() == 4 && align_of::<Futex>() == 4);

impl Futex {
    /// A word holding `value`.
    pub fn new(value: u32) -> Self {
        Futex { word: AtomicU32::new(value), queue: WaitQueue::new() }
    }

    /// The word itself.
    #[inline(always)]
    pub fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Sleeps while the word holds `expected`, for at most `timeout`. The kernel compares and
    /// falls asleep in one step with respect to [`wake`](Self::wake): a wake that comes after a
    /// change of the word is never lost between the two. No memory ordering is promised.
    #[track_caller]
    pub fn wait(&self, expected: u32, timeout: Option<Duration>) -> Waited {
        match self.queue.wait(&self.word, expected, timeout) {
            Err(rustix::io::Errno::AGAIN) => Waited::Changed,
            Err(rustix::io::Errno::TIMEDOUT) => Waited::TimedOut,
            _ => Waited::Woken,
        }
    }

    /// Wakes up to `count` sleepers; how many there were. One system call, some 140 ns when
    /// nobody sleeps: look at a word of your own first.
    #[track_caller]
    pub fn wake(&self, count: u32) -> usize {
        self.queue.wake(&self.word, count)
    }

    /// Wakes every sleeper; how many there were.
    #[track_caller]
    pub fn wake_all(&self) -> usize {
        // The kernel takes a signed count.
        self.wake(i32::MAX.unsigned_abs())
    }
}

/// Sleeps while *every* word holds what is expected of it, until woken through any of them, for at
/// most `timeout`. At most 128 words. `None`: this system cannot do it (before Linux 5.16, or
/// refused by a filter); look again after a while instead.
///
/// A wake may come through two words at once; look at all of them.
#[track_caller]
pub fn wait_any(words: &[(&Futex, u32)], timeout: Option<Duration>) -> Option<Waited> {
    use rustix::io::Errno;
    let words = words.iter().map(|(futex, expected)| (&futex.word, *expected));
    match crate::primitive::wait_any(words, timeout) {
        Ok(()) => Some(Waited::Woken),
        Err(Errno::AGAIN) => Some(Waited::Changed),
        Err(Errno::TIMEDOUT) => Some(Waited::TimedOut),
        Err(Errno::NOSYS | Errno::PERM) => None,
        Err(_) => Some(Waited::Woken),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::primitive::Ordering;
    use std::sync::Arc;

    #[test]
    fn a_sleeper_is_woken_by_a_change_and_a_wake() {
        let futex = Arc::new(Futex::new(0));
        let sleeper = {
            let futex = futex.clone();
            std::thread::spawn(move || {
                while futex.word().load(Ordering::Acquire) == 0 {
                    futex.wait(0, None);
                }
            })
        };
        futex.word().store(1, Ordering::Release);
        futex.wake_all();
        sleeper.join().unwrap();
    }

    #[test]
    fn a_timed_wait_ends() {
        assert_eq!(Futex::new(7).wait(7, Some(Duration::from_millis(2))), Waited::TimedOut);
    }

    #[test]
    fn an_endless_timeout_is_not_an_error() {
        assert_eq!(Futex::new(7).wait(8, Some(Duration::MAX)), Waited::Changed);
    }
}
