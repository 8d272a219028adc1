//! A mutex that tells its next owner when the last one died.

use crate::linear::{Item, Process, Specification};

/// A robust mutex: free at first, held by one process, and after the death of its holder given to
/// the next one with a warning, once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mutex;

/// Operations of [`Mutex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MutexOp {
    /// Take it; waits while it is held.
    Lock,
    /// Take it if it is free.
    TryLock,
    /// Give it back.
    Unlock,
    /// The death of a process takes effect on it. Not called by users.
    HolderDies,
}

/// Responses of [`Mutex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MutexRet {
    /// It is yours.
    Locked,
    /// It is yours; the last owner died with it.
    OwnerDied,
    /// Somebody holds it.
    Busy,
    /// It is given back.
    Unlocked,
    /// It was not yours to give back.
    NotOwner,
    /// The death took effect.
    Released,
}

/// States of [`Mutex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MutexState {
    /// Nobody holds it.
    Free,
    /// This process holds it.
    Held(Process),
    /// Its holder died.
    Abandoned,
}

impl Specification for Mutex {
    type State = MutexState;
    type Op = MutexOp;
    type Ret = MutexRet;

    fn init(&self) -> MutexState {
        MutexState::Free
    }

    fn step(&self, state: &MutexState, by: Process, op: &MutexOp) -> Vec<(MutexState, MutexRet)> {
        use MutexState::{Abandoned, Free, Held};
        match (op, *state) {
            (MutexOp::Lock | MutexOp::TryLock, Free) => vec![(Held(by), MutexRet::Locked)],
            (MutexOp::Lock | MutexOp::TryLock, Abandoned) => {
                vec![(Held(by), MutexRet::OwnerDied)]
            }
            (MutexOp::Lock, Held(_)) => Vec::new(),
            (MutexOp::TryLock, held) => vec![(held, MutexRet::Busy)],
            (MutexOp::Unlock, Held(holder)) if holder == by => vec![(Free, MutexRet::Unlocked)],
            (MutexOp::Unlock, other) => vec![(other, MutexRet::NotOwner)],
            (MutexOp::HolderDies, Held(holder)) if holder == by => {
                vec![(Abandoned, MutexRet::Released)]
            }
            (MutexOp::HolderDies, other) => vec![(other, MutexRet::Released)],
        }
    }

    fn at_death(&self, _: Process, _: u64) -> Option<MutexOp> {
        Some(MutexOp::HolderDies)
    }

    fn item(&self, _: &MutexOp, ret: Option<&MutexRet>) -> Item {
        match ret {
            Some(MutexRet::Busy | MutexRet::NotOwner) => Item::observation(),
            _ => Item::effect(),
        }
    }
}
