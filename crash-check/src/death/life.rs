//! How survivors learn of a death: the hint and the proof.

use std::sync::atomic::Ordering;

use super::kernel::{self, OWNER_DIED, WAITERS};
use super::run;
use super::sync::AtomicU32;

/// The life word of one *thread*: a robust futex that the kernel stamps after its last store.
///
/// That the thread is dead follows; that its process is, does not. Handles share the word.
#[derive(Debug)]
pub struct Life {
    word: AtomicU32,
}

impl Life {
    #[track_caller]
    pub(super) fn of_thread(name: &str) -> Self {
        // Armed from the start, and `WAITERS` set once and for all: without it the kernel would
        // wake nobody, with it exactly one.
        let word = AtomicU32::new(WAITERS | 1);
        run::watch(name, word.share());
        Self { word }
    }

    /// Is the thread dead? One Acquire load: whoever reads `true` sees every store of the dead.
    ///
    /// `false` may be old news.
    #[track_caller]
    #[must_use]
    pub fn is_dead(&self) -> bool {
        // Acquire: pairs with the kernel's Release stamp.
        self.word.load(Ordering::Acquire) & OWNER_DIED != 0
    }

    /// The word itself, to sleep on (with the value last loaded from it).
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        &self.word
    }
}

impl Clone for Life {
    fn clone(&self) -> Self {
        Self { word: self.word.share() }
    }
}

/// Proof of the death of a *process*: the record lock on its participant's byte, free.
///
/// It comes after the stamps of all its threads. Between the first stamp and the proof other
/// threads of the process may still store.
#[derive(Debug)]
pub struct Proof {
    process: String,
    ended: AtomicU32,
}

impl Proof {
    #[track_caller]
    pub(super) fn of_process(name: &str) -> Self {
        let ended = run::process(name, || AtomicU32::new(0));
        Self { process: name.to_owned(), ended }
    }

    /// Is the process gone? One Acquire load: whoever reads `true` sees every store of the dead.
    #[track_caller]
    #[must_use]
    pub fn is_gone(&self) -> bool {
        // Acquire: pairs with the kernel's release of the lock after the last thread's end.
        let ended = self.ended.load(Ordering::Acquire);
        !run::is_muted() && kernel::all_gone(ended, run::threads_of(&self.process))
    }
}

impl Clone for Proof {
    fn clone(&self) -> Self {
        Self { process: self.process.clone(), ended: self.ended.share() }
    }
}
