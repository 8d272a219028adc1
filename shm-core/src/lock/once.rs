//! Something that is done once, by one process, for all.

use super::deadline::Deadline;
use super::error::LockError;
use super::wait::{Sleep, Wait, wait};
use crate::futex::Futex;
use crate::group::{Owner, Peers};
use crate::primitive::Ordering;

const DONE: u32 = 1 << 30;
const WAITERS: u32 = 1 << 31;

/// Runs an initialiser once among all processes: [`std::sync::Once`].
///
/// Zeroed memory is one that has not run. If the process that runs the initialiser is killed, or
/// the initialiser panics, the next caller runs its own.
///
/// ```
/// use shm_core::lock::Once;
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let once = Shared::new(Once::new())?;
/// let mut runs = 0;
/// once.call_once(&group, |_| runs += 1)?;
/// once.call_once(&group, |_| runs += 1)?;
/// assert!(once.is_completed() && runs == 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Once {
    /// 0; or the owner that runs it; or `DONE`.
    word: Futex,
}

/// What the initialiser is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnceState {
    is_retry: bool,
}

impl OnceState {
    /// Somebody began before and died, or panicked: what it made may be there in part. `false`
    /// after a panic in another process that cleaned up behind itself.
    #[must_use]
    pub fn is_retry(self) -> bool {
        self.is_retry
    }
}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl Once {
    /// One that has not run.
    #[must_use]
    pub fn new() -> Once {
        Once { word: Futex::new(0) }
    }

    /// Whether it has run to its end. If so, all that it did is seen.
    #[inline]
    #[must_use]
    pub fn is_completed(&self) -> bool {
        // Acquire: pairs with the Release at the end of `run`.
        self.word.word().load(Ordering::Acquire) == DONE
    }

    /// Returns when `f`, or another caller's, has run to its end.
    ///
    /// # Errors
    /// [`LockError::NotAMember`].
    ///
    /// # Panics
    /// If `f` panics: that panic; the next caller runs again.
    #[inline]
    pub fn call_once<P: Peers>(
        &self,
        peers: &P,
        f: impl FnOnce(OnceState),
    ) -> Result<(), LockError<()>> {
        if self.is_completed() {
            return Ok(());
        }
        self.run(peers, f)
    }

    #[cold]
    fn run<P: Peers>(&self, peers: &P, f: impl FnOnce(OnceState)) -> Result<(), LockError<()>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        if let Some(state) = wait(peers, Deadline::Never, Turn { once: self, me, seen: 0 })? {
            let end = End { once: self, to: 0 };
            f(state);
            end.finish();
        }
        Ok(())
    }
}

/// A wait until it is done, or for the caller's turn to do it.
#[derive(Debug)]
struct Turn<'a> {
    once: &'a Once,
    me: Owner,
    /// What the last look found.
    seen: u32,
}

impl<'a> Wait<'a> for Turn<'a> {
    /// `None`: it is done.
    type Output = Option<OnceState>;

    fn look<P: Peers>(&mut self, peers: &P, _may_sleep: bool) -> Option<Option<OnceState>> {
        let word = self.once.word.word();
        loop {
            // Acquire: pairs with the Release at the end of a run.
            self.seen = word.load(Ordering::Acquire);
            if self.seen == DONE {
                return Some(None);
            }
            let running = Owner::from_bits(self.seen);
            let is_retry = running.is_some_and(|owner| peers.is_gone(owner));
            if running.is_some() && !is_retry {
                return None;
            }
            let mine = self.me.to_bits() | self.seen & WAITERS;
            // Acquire: what an earlier runner that panicked has done; after a death the proof
            // was acquired. Relaxed on failure: looked at again.
            let taken =
                word.compare_exchange(self.seen, mine, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                return Some(Some(OnceState { is_retry }));
            }
        }
    }

    fn announce(&mut self) -> Option<Sleep<'a>> {
        let (word, marked) = (&self.once.word, self.seen | WAITERS);
        // Relaxed: the sleep compares the word again.
        let exchange = |from, to| {
            word.word().compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        (self.seen == marked || exchange(self.seen, marked)).then(|| Sleep::on(word, marked))
    }
}

/// Ends a run, also by a panic.
struct End<'a> {
    once: &'a Once,
    to: u32,
}

impl End<'_> {
    fn finish(mut self) {
        self.to = DONE;
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `is_completed` and `run`.
        if self.once.word.word().swap(self.to, Ordering::Release) & WAITERS != 0 {
            self.once.word.wake_all();
        }
    }
}
