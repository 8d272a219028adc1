//! A count of signals: one process posts, another waits.

use std::time::Duration;

use super::deadline::Deadline;
use super::error::LockError;
use super::wait::{Sleep, Wait, wait};
use crate::futex::Futex;
use crate::group::Peers;
use crate::primitive::Ordering;

const WAITERS: u32 = 1 << 31;

/// A semaphore for *signalling*: what is posted stays posted, whoever dies.
///
/// For sharing out a limited number of places, whose holders may die, use
/// [`Permits`](super::Permits). Zeroed memory is a semaphore at 0. A waiter that is killed has
/// taken nothing, or has taken one signal with it; which of the two is decided by one exchange.
///
/// ```
/// use shm_core::lock::Semaphore;
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let ready = Shared::new(Semaphore::new(0))?;
/// ready.post(2)?;
/// ready.wait(&group)?;
/// assert_eq!(ready.value(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Semaphore {
    /// `count`, and above it whether somebody may sleep.
    word: Futex,
}

/// The semaphore's count would not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a semaphore counts to {}: is anybody waiting for it?", Semaphore::MAX)]
pub struct TooManyPosts;

impl Semaphore {
    /// The largest count.
    pub const MAX: u32 = WAITERS - 1;

    /// A semaphore at `count`, at most [`MAX`](Semaphore::MAX).
    #[must_use]
    pub fn new(count: u32) -> Semaphore {
        Semaphore { word: Futex::new(count.min(Semaphore::MAX)) }
    }

    /// The count now; old news at once.
    #[must_use]
    pub fn value(&self) -> u32 {
        // Relaxed: to show.
        self.word.word().load(Ordering::Relaxed) & !WAITERS
    }

    /// Adds `count` signals, and wakes as many sleepers. What was done before is seen by those
    /// who take the signals.
    ///
    /// # Errors
    /// [`TooManyPosts`]: nothing was added.
    pub fn post(&self, count: u32) -> Result<(), TooManyPosts> {
        let word = self.word.word();
        // Relaxed: compared by the exchange.
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let sum = (seen & !WAITERS).checked_add(count).filter(|sum| *sum <= Semaphore::MAX);
            let next = sum.ok_or(TooManyPosts)? | seen & WAITERS;
            // Release: pairs with the Acquire of whoever takes the signal.
            match word.compare_exchange(seen, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break self.wake(next, count),
                Err(now) => seen = now,
            }
        }
        Ok(())
    }

    fn wake(&self, posted: u32, count: u32) {
        if posted & WAITERS != 0 && self.word.wake(count) < count as usize {
            // Nobody is left asleep: whoever came meanwhile found the signals and took some, or
            // puts the mark back. Relaxed: no sleeper relies on it.
            let _ = self.word.word().compare_exchange(
                posted,
                posted & !WAITERS,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Takes one signal, waiting as long as it takes.
    ///
    /// # Errors
    /// [`LockError::NotAMember`].
    pub fn wait<P: Peers>(&self, peers: &P) -> Result<(), LockError<()>> {
        self.wait_until(peers, Deadline::Never)
    }

    /// Takes one signal if there is one.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], [`LockError::NotAMember`].
    pub fn try_wait<P: Peers>(&self, peers: &P) -> Result<(), LockError<()>> {
        self.wait_until(peers, Deadline::Now)
    }

    /// Takes one signal, waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], [`LockError::NotAMember`].
    pub fn wait_timeout<P: Peers>(
        &self,
        peers: &P,
        timeout: Duration,
    ) -> Result<(), LockError<()>> {
        self.wait_until(peers, Deadline::after(timeout))
    }

    /// Takes one signal, as a future: for any executor, see the module.
    ///
    /// Dropped before it is ready, it has taken none.
    ///
    /// # Errors
    /// [`LockError::NotAMember`].
    #[cfg(feature = "async")]
    pub async fn wait_async<P: Peers>(&self, peers: &P) -> Result<(), LockError<()>> {
        peers.me().ok_or(LockError::NotAMember)?;
        crate::asynchronous::wait(peers, Taking::new(self)).await;
        Ok(())
    }

    fn wait_until<P: Peers>(&self, peers: &P, deadline: Deadline) -> Result<(), LockError<()>> {
        peers.me().ok_or(LockError::NotAMember)?;
        Ok(wait(peers, deadline, Taking::new(self))?)
    }
}

/// A wait for a signal.
#[derive(Debug)]
struct Taking<'a> {
    word: &'a Futex,
    /// What the last look found.
    seen: u32,
    /// Whoever slept cannot know whether others still do.
    mark: u32,
}

impl<'a> Taking<'a> {
    fn new(semaphore: &'a Semaphore) -> Taking<'a> {
        Taking { word: &semaphore.word, seen: 0, mark: 0 }
    }
}

impl<'a> Wait<'a> for Taking<'a> {
    type Output = ();

    fn look<P: Peers>(&mut self, _peers: &P, _may_sleep: bool) -> Option<()> {
        let word = self.word.word();
        // Relaxed, and on failure: compared by an exchange, or slept on by its value.
        self.seen = word.load(Ordering::Relaxed);
        while self.seen & !WAITERS != 0 {
            let next = (self.seen - 1) | self.mark;
            // Acquire: pairs with the Release in `post`.
            match word.compare_exchange(self.seen, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(()),
                Err(now) => self.seen = now,
            }
        }
        None
    }

    fn announce(&mut self) -> Option<Sleep<'a>> {
        let word = self.word.word();
        // Relaxed: the sleep compares the word again, in one step with falling asleep.
        word.compare_exchange(self.seen, WAITERS, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        self.mark = WAITERS;
        Some(Sleep::on(self.word, WAITERS))
    }
}
