//! A flag to wait for.

use std::time::Duration;

use super::deadline::Deadline;
use super::error::LockError;
use super::wait::{Sleep, Wait, wait};
use crate::futex::Futex;
use crate::group::Peers;
use crate::primitive::Ordering;

const SET: u32 = 1;
const WAITERS: u32 = 2;

/// A flag that processes wait for until another sets it: Python's `Event`.
///
/// Zeroed memory is one that is not set. Setting is one exchange: a process killed in it has set the
/// flag or has not, and the sleepers are woken in either case.
///
/// ```
/// use shm_core::lock::Event;
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let ready = Shared::new(Event::new())?;
/// ready.set();
/// ready.wait(&group)?; // returns at once
/// ready.clear();
/// assert!(!ready.is_set());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Event {
    word: Futex,
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl Event {
    /// One that is not set.
    #[must_use]
    pub fn new() -> Event {
        Event { word: Futex::new(0) }
    }

    /// Whether it is set. If so, what was done before [`set`](Event::set) is seen.
    #[must_use]
    pub fn is_set(&self) -> bool {
        // Acquire: pairs with the Release in `set`.
        self.word.word().load(Ordering::Acquire) & SET != 0
    }

    /// Sets it and wakes everybody who waits.
    pub fn set(&self) {
        // Release: pairs with the Acquire in `is_set` and `wait`.
        if self.word.word().swap(SET, Ordering::Release) & WAITERS != 0 {
            self.word.wake_all();
        }
    }

    /// Takes it back.
    pub fn clear(&self) {
        // Relaxed: nothing is published by it; a mark of sleepers stays.
        self.word.word().fetch_and(!SET, Ordering::Relaxed);
    }

    /// Waits until it is set.
    ///
    /// # Errors
    /// [`LockError::NotAMember`].
    pub fn wait<P: Peers>(&self, peers: &P) -> Result<(), LockError<()>> {
        self.wait_until(peers, Deadline::Never)
    }

    /// Waits until it is set, for at most `timeout`.
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

    /// Waits until it is set, as a future: for any executor, see the module.
    ///
    /// # Errors
    /// [`LockError::NotAMember`].
    #[cfg(feature = "async")]
    pub async fn wait_async<P: Peers>(&self, peers: &P) -> Result<(), LockError<()>> {
        peers.me().ok_or(LockError::NotAMember)?;
        crate::asynchronous::wait(peers, Looking { event: self, seen: 0 }).await;
        Ok(())
    }

    fn wait_until<P: Peers>(&self, peers: &P, deadline: Deadline) -> Result<(), LockError<()>> {
        peers.me().ok_or(LockError::NotAMember)?;
        Ok(wait(peers, deadline, Looking { event: self, seen: 0 })?)
    }
}

/// A wait for the flag.
#[derive(Debug)]
struct Looking<'a> {
    event: &'a Event,
    /// What the last look found.
    seen: u32,
}

impl<'a> Wait<'a> for Looking<'a> {
    type Output = ();

    fn look<P: Peers>(&mut self, _peers: &P, _may_sleep: bool) -> Option<()> {
        // Acquire: pairs with the Release in `set`.
        self.seen = self.event.word.word().load(Ordering::Acquire);
        (self.seen & SET != 0).then_some(())
    }

    fn announce(&mut self) -> Option<Sleep<'a>> {
        let word = &self.event.word;
        // Relaxed: the sleep compares the word again, in one step with falling asleep.
        let marked =
            word.word().compare_exchange(self.seen, WAITERS, Ordering::Relaxed, Ordering::Relaxed);
        marked.ok().map(|_| Sleep::on(word, WAITERS))
    }
}
