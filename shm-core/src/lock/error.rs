//! Why a lock was not simply taken.

use std::fmt;

use super::deadline::Deadline;

/// What makes data suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A thread panicked while it held the lock.
    Panicked,
    /// A process died while it held the lock: the data are as it left them, at any instruction.
    OwnerDied,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Panicked => "a thread panicked while it held the lock",
            Cause::OwnerDied => "a process was killed while it held the lock",
        })
    }
}

/// The lock, taken, with data that somebody may have left half changed.
///
/// Look at the data, mend them, and call the lock's `clear_poison`: until then everybody gets this.
pub struct Poisoned<G> {
    guard: G,
    cause: Cause,
}

impl<G> Poisoned<G> {
    pub(crate) fn new(guard: G, cause: Cause) -> Poisoned<G> {
        Poisoned { guard, cause }
    }

    /// What happened.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The guard, whatever the data look like.
    #[must_use]
    pub fn into_inner(self) -> G {
        self.guard
    }

    /// The guard, to look at the data first.
    #[must_use]
    pub fn get_ref(&self) -> &G {
        &self.guard
    }

    /// The guard, to mend the data.
    pub fn get_mut(&mut self) -> &mut G {
        &mut self.guard
    }
}

impl<G> fmt::Debug for Poisoned<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poisoned").field("cause", &self.cause).finish_non_exhaustive()
    }
}

/// Why a lock was not simply taken. `G` is the guard: [`Poisoned`] carries it.
#[derive(thiserror::Error)]
pub enum LockError<G> {
    /// Taken, but the data may be half changed.
    #[error("{}: mend the data, then clear the poison", .0.cause)]
    Poisoned(Poisoned<G>),
    /// Another holds it; `try_…` does not wait.
    #[error("the lock is held by another: try again, or wait for it")]
    WouldBlock,
    /// Another still held it when the time was over.
    #[error("the lock was held by others until the time was over")]
    TimedOut,
    /// The group handle was inherited by `fork`: it stands for the parent.
    #[error(
        "this process inherited its group by fork and is no member: join the group in the child (`Group::attach`)"
    )]
    NotAMember,
}

/// A wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    WouldBlock,
    TimedOut,
}

impl Stop {
    /// The end of the patience that `deadline` gave.
    pub fn at(deadline: Deadline) -> Stop {
        match deadline {
            Deadline::Now => Stop::WouldBlock,
            _ => Stop::TimedOut,
        }
    }
}

impl<G> From<Stop> for LockError<G> {
    fn from(stop: Stop) -> LockError<G> {
        match stop {
            Stop::WouldBlock => LockError::WouldBlock,
            Stop::TimedOut => LockError::TimedOut,
        }
    }
}

impl<G> LockError<G> {
    /// The guard of a poisoned lock, whatever the data look like.
    ///
    /// # Errors
    /// The error itself, if the lock was not taken.
    pub fn into_guard(self) -> Result<G, LockError<G>> {
        match self {
            LockError::Poisoned(poisoned) => Ok(poisoned.into_inner()),
            other => Err(other),
        }
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Poisoned(poisoned) => f.debug_tuple("Poisoned").field(poisoned).finish(),
            LockError::WouldBlock => f.write_str("WouldBlock"),
            LockError::TimedOut => f.write_str("TimedOut"),
            LockError::NotAMember => f.write_str("NotAMember"),
        }
    }
}
