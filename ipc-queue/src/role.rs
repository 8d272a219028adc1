//! Who may produce and who may consume: one process each, claimed by a compare-and-swap.
//!
//! A holder that is a member of a group says so in its word: then any other member of the group can
//! tell whether it is gone, and whoever claims the role next takes it over.

use std::fmt;

use shm_core::primitive::{AtomicU64, Ordering};
use shm_core::{Owner, Peers};

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
    /// Without a group: `0 | claim (31 bits) | pid (32)`; claims count from 1, so that the word of a
    /// holder is never 0.
    fn new(pid: u32, claim: u32) -> Self {
        Holder(u64::from(claim) << 32 & !MEMBER | u64::from(pid))
    }

    /// In a group: `1 | owner (30 bits) | claim (11) | pid (22, all that Linux gives)`.
    fn member(owner: Owner, pid: u32, claim: u32) -> Self {
        let claim = u64::from(claim) << PID_BITS & CLAIM;
        Holder(MEMBER | u64::from(owner.to_bits()) << OWNER_SHIFT | claim | u64::from(pid) & PID)
    }

    /// The process id, as the holder itself sees it (in its own pid namespace).
    pub fn pid(self) -> u32 {
        if self.0 & MEMBER == 0 { self.0 as u32 } else { (self.0 & PID) as u32 }
    }

    /// Who of its group it is, if it is a member of one.
    #[must_use]
    pub fn owner(self) -> Option<Owner> {
        if self.0 & MEMBER == 0 {
            return None;
        }
        Owner::from_bits((self.0 >> OWNER_SHIFT) as u32)
    }

    fn is_gone(self, peers: &dyn Peers) -> bool {
        self.owner().is_some_and(|owner| peers.is_gone(owner))
    }
}

/// The holder is a member of a group.
const MEMBER: u64 = 1 << 63;
const OWNER_SHIFT: u32 = 33;
const PID_BITS: u32 = 22;
const PID: u64 = (1 << PID_BITS) - 1;
const CLAIM: u64 = (1 << OWNER_SHIFT) - 1 - PID;

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
    let mine = Holder::new(std::process::id(), next_claim(shared));
    let expected = from.map_or(0, |held| held.0);
    // Acquire: pairs with the Release in `release` of the holder before us: its last position is
    // ours to go on from. Relaxed on failure: the word is only reported.
    word(shared, side)
        .compare_exchange(expected, mine.0, Ordering::Acquire, Ordering::Relaxed)
        .map_err(|held| match from {
            None => Error::RoleTaken { side, pid: Holder(held).pid() },
            Some(_) => Error::RoleChanged { side },
        })?;
    revive(shared, side);
    Ok(mine)
}

fn next_claim(shared: &Shared) -> u32 {
    // Relaxed: only makes claims differ from each other; 0 is left out after 2³² claims.
    let claim = shared.control.0.claims.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    // Not 0 in the bits that a holder without a group has for it.
    if claim & (u32::MAX >> 1) == 0 { 1 } else { claim }
}

/// Also for a role that was free: a supervisor may have called dead who had given it back.
fn revive(shared: &Shared, side: Side) {
    shared.revive(match side {
        Side::Producer => ring::PRODUCER_DEAD,
        Side::Consumer => ring::CONSUMER_DEAD,
    });
}

/// Claims `side` as a member of a group: from nobody, or from a member that is gone.
pub(crate) fn claim_among(shared: &Shared, side: Side, peers: &dyn Peers) -> Result<Holder, Error> {
    let me = peers.me().ok_or(Error::NotAMember)?;
    let mine = Holder::member(me, std::process::id(), next_claim(shared));
    loop {
        let held = holder(shared, side);
        if let Some(held) = held.filter(|held| !held.is_gone(peers)) {
            return Err(Error::RoleTaken { side, pid: held.pid() });
        }
        let seen = held.map_or(0, |held| held.0);
        // Acquire: pairs with the Release in `release` of the holder before us: its last position is
        // ours to go on from; of one who is gone the proof has brought it. Relaxed on failure: looked
        // at again.
        let word = word(shared, side);
        if word.compare_exchange(seen, mine.0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            revive(shared, side);
            return Ok(mine);
        }
    }
}

/// Whether `side` is held by a member of the group that is gone: its last position is then visible.
pub(crate) fn is_gone(shared: &Shared, side: Side, peers: &dyn Peers) -> bool {
    holder(shared, side).is_some_and(|held| held.is_gone(peers))
}

/// Gives `side` back, if `mine` still holds it.
pub(crate) fn release(shared: &Shared, side: Side, mine: Holder) {
    // Release: our last position comes before; pairs with the Acquire in `claim`. Relaxed on
    // failure: somebody took the role over, and nothing of ours is left to give.
    let _ = word(shared, side).compare_exchange(mine.0, 0, Ordering::Release, Ordering::Relaxed);
}
