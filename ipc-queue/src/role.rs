//! Who may produce and who may consume: one process each, claimed by a compare-and-swap.

use std::fmt;

use shm_core::primitive::{AtomicU64, Ordering};

use crate::Error;
use crate::ring::{self, Shared};

/// One of the two sides of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that sends or writes.
    Producer,
    /// The side that receives or reads.
    Consumer,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Producer => "producer",
            Side::Consumer => "consumer",
        })
    }
}

/// Who holds a side: a process, and which of its claims.
///
/// ```
/// use ipc_queue::{Monitor, Side, spsc};
/// use shm_core::Segment;
///
/// let segment = Segment::anonymous(spsc::required_size::<u64>(8)?)?;
/// spsc::create::<u64>(&segment, 0, 8)?;
/// let _producer = spsc::attach_producer::<u64>(&segment, 0)?;
/// let monitor = Monitor::attach(&segment, 0)?;
/// assert_eq!(monitor.holder(Side::Producer).unwrap().pid(), std::process::id());
/// assert_eq!(monitor.holder(Side::Consumer), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(u64);

impl Holder {
    /// `claim << 32 | pid`; claims count from 1, so that the word of a holder is never 0.
    fn new(pid: u32, claim: u32) -> Self {
        Holder(u64::from(claim) << 32 | u64::from(pid))
    }

    /// The process id, as the holder itself sees it (in its own pid namespace).
    pub fn pid(self) -> u32 {
        self.0 as u32
    }
}

fn word(shared: &Shared, side: Side) -> &AtomicU64 {
    match side {
        Side::Producer => &shared.control.0.producer,
        Side::Consumer => &shared.control.0.consumer,
    }
}

/// Who holds `side` now.
pub(crate) fn holder(shared: &Shared, side: Side) -> Option<Holder> {
    // Relaxed: for people, and to be compared again by a take-over.
    match word(shared, side).load(Ordering::Relaxed) {
        0 => None,
        held => Some(Holder(held)),
    }
}

/// Claims `side` for this process: from nobody, or from `from`, which the caller knows dead. A
/// take-over also makes the side alive again, for the peer and for us.
pub(crate) fn claim(shared: &Shared, side: Side, from: Option<Holder>) -> Result<Holder, Error> {
    // Relaxed: only makes claims differ from each other; 0 is left out after 2³² claims.
    let claim = shared.control.0.claims.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
    let mine = Holder::new(std::process::id(), claim);
    let expected = from.map_or(0, |held| held.0);
    // Acquire: pairs with the Release in `release` of the holder before us: its last position is
    // ours to go on from. Relaxed on failure: the word is only reported.
    word(shared, side)
        .compare_exchange(expected, mine.0, Ordering::Acquire, Ordering::Relaxed)
        .map_err(|held| match from {
            None => Error::RoleTaken { side, pid: Holder(held).pid() },
            Some(_) => Error::RoleChanged { side },
        })?;
    // Also for a role that was free: a supervisor may have called dead who had given it back.
    shared.revive(match side {
        Side::Producer => ring::PRODUCER_DEAD,
        Side::Consumer => ring::CONSUMER_DEAD,
    });
    Ok(mine)
}

/// Gives `side` back, if `mine` still holds it.
pub(crate) fn release(shared: &Shared, side: Side, mine: Holder) {
    // Release: our last position comes before; pairs with the Acquire in `claim`. Relaxed on
    // failure: somebody took the role over, and nothing of ours is left to give.
    let _ = word(shared, side).compare_exchange(mine.0, 0, Ordering::Release, Ordering::Relaxed);
}
