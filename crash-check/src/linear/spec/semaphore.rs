//! A semaphore that knows who holds its permits, and takes them back from the dead.

use crate::linear::{Item, Process, Specification};
use std::collections::BTreeMap;

/// A permit-counting semaphore: what a dead process held returns.
#[derive(Debug, Clone, Copy)]
pub struct Semaphore {
    permits: u64,
}

impl Semaphore {
    /// A semaphore with this many permits.
    pub const fn new(permits: u64) -> Self {
        Self { permits }
    }
}

/// Operations of [`Semaphore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SemaphoreOp {
    /// Take this many permits; waits until they are there.
    Acquire(u64),
    /// Take this many permits if they are there.
    TryAcquire(u64),
    /// Give this many back.
    Release(u64),
    /// The death of a process takes effect on it. Not called by users.
    HolderDies,
}

/// Responses of [`Semaphore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SemaphoreRet {
    /// They are yours, or given back.
    Done,
    /// There were not enough.
    Unavailable,
    /// More than this process holds.
    NotHeld,
}

/// Permits by holder.
type Held = BTreeMap<Process, u64>;

fn with(state: &Held, by: Process, permits: u64) -> Held {
    let mut next = state.clone();
    if permits == 0 {
        next.remove(&by);
    } else {
        next.insert(by, permits);
    }
    next
}

impl Specification for Semaphore {
    type State = Held;
    type Op = SemaphoreOp;
    type Ret = SemaphoreRet;

    fn init(&self) -> Held {
        Held::new()
    }

    fn step(&self, state: &Held, by: Process, op: &SemaphoreOp) -> Vec<(Held, SemaphoreRet)> {
        let mine = state.get(&by).copied().unwrap_or(0);
        let free = self.permits.saturating_sub(state.values().sum());
        match *op {
            SemaphoreOp::Acquire(wanted) | SemaphoreOp::TryAcquire(wanted) if wanted <= free => {
                vec![(with(state, by, mine + wanted), SemaphoreRet::Done)]
            }
            SemaphoreOp::Acquire(_) => Vec::new(),
            SemaphoreOp::TryAcquire(_) => vec![(state.clone(), SemaphoreRet::Unavailable)],
            SemaphoreOp::Release(permits) if permits <= mine => {
                vec![(with(state, by, mine - permits), SemaphoreRet::Done)]
            }
            SemaphoreOp::Release(_) => vec![(state.clone(), SemaphoreRet::NotHeld)],
            SemaphoreOp::HolderDies => vec![(with(state, by, 0), SemaphoreRet::Done)],
        }
    }

    fn at_death(&self, _: Process, _: u64) -> Option<SemaphoreOp> {
        Some(SemaphoreOp::HolderDies)
    }

    fn item(&self, _: &SemaphoreOp, ret: Option<&SemaphoreRet>) -> Item {
        match ret {
            Some(SemaphoreRet::Unavailable | SemaphoreRet::NotHeld) => Item::observation(),
            _ => Item::effect(),
        }
    }
}
