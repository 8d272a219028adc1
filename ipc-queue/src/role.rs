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
    /// Without a group: `0 | claim (31 bits) | 0 (9) | dead (1) | pid (22, all that Linux gives)`; claims
    /// count from 1, so that the word of a holder is never 0.
    fn new(pid: u32, claim: u32) -> Self {
        Holder(u64::from(claim) << 32 & !MEMBER | u64::from(pid) & PID)
    }

    /// In a group: `1 | owner (30 bits) | claim (10) | dead (1) | pid (22)`.
    fn member(owner: Owner, pid: u32, claim: u32) -> Self {
        let claim = u64::from(claim) << CLAIM_SHIFT & CLAIM;
        Holder(MEMBER | u64::from(owner.to_bits()) << OWNER_SHIFT | claim | u64::from(pid) & PID)
    }

    /// Whom a role's word names, called dead or not.
    fn named_by(word: u64) -> Option<Holder> {
        (word != 0).then_some(Holder(word & !DEAD))
    }

    /// The process id, as the holder itself sees it (in its own pid namespace).
    pub fn pid(self) -> u32 {
        (self.0 & PID) as u32
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
const PID: u64 = (1 << 22) - 1;
/// In a role's word, never in a `Holder`: somebody with proof has called the holder dead. It goes with the
/// holder, so that no report of a death, however late, speaks of a successor.
const DEAD: u64 = 1 << 22;
const CLAIM_SHIFT: u32 = 23;
const CLAIM: u64 = (1 << OWNER_SHIFT) - (1 << CLAIM_SHIFT);

fn word(shared: &Shared, side: Side) -> &AtomicU64 {
    match side {
        Side::Producer => &shared.control.0.producer,
        Side::Consumer => &shared.control.0.consumer,
    }
}

/// Who holds `side` now.
pub(crate) fn holder(shared: &Shared, side: Side) -> Option<Holder> {
    // Relaxed: for people, and to be compared again by a take-over.
    Holder::named_by(word(shared, side).load(Ordering::Relaxed))
}

/// Whether somebody has called dead who holds `side` now.
pub(crate) fn is_called_dead(shared: &Shared, side: Side) -> bool {
    // Relaxed: after the Acquire of the bit in `ended`, which is set after this one.
    word(shared, side).load(Ordering::Relaxed) & DEAD != 0
}

/// Calls `dead` so, of which the caller has proof, and wakes its peer. May be repeated, also by others
/// where a caller died in the middle. Whoever takes the role over meanwhile is not meant.
pub(crate) fn disconnect(shared: &Shared, dead: Holder) -> Result<(), Error> {
    for side in [Side::Producer, Side::Consumer] {
        let (word, called) = (word(shared, side), dead.0 | DEAD);
        // Relaxed: published by the Release in `Shared::end`; on failure only compared.
        let before = word.compare_exchange(dead.0, called, Ordering::Relaxed, Ordering::Relaxed);
        if before.is_ok() || before == Err(called) {
            shared.end(bit(side));
            return Ok(());
        }
    }
    Err(Error::NotHeld { pid: dead.pid() })
}

/// Claims `side` for this process: from nobody, or from `from`, which the caller knows dead. A
/// take-over also makes the side alive again, for the peer and for us.
pub(crate) fn claim(shared: &Shared, side: Side, from: Option<Holder>) -> Result<Holder, Error> {
    let mine = Holder::new(std::process::id(), next_claim(shared));
    claim_if(shared, side, mine, |held| match from {
        _ if held == from => Ok(()),
        None => Err(Error::RoleTaken { side, pid: held.map_or(0, Holder::pid) }),
        Some(_) => Err(Error::RoleChanged { side }),
    })
}

/// Makes `mine` the holder if `may` says that it may follow the one that is.
fn claim_if(
    shared: &Shared,
    side: Side,
    mine: Holder,
    may: impl Fn(Option<Holder>) -> Result<(), Error>,
) -> Result<Holder, Error> {
    let word = word(shared, side);
    // Relaxed: compared again by the exchange.
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        may(Holder::named_by(seen))?;
        // Acquire: pairs with the Release in `release` of the holder before us: its last position is
        // ours to go on from; of one who is gone the proof has brought it. Relaxed on failure: looked
        // at again.
        match word.compare_exchange(seen, mine.0, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    // Of the holder before us only; ours is never set while we live. Set late, it costs a look.
    shared.revive(bit(side));
    Ok(mine)
}

fn next_claim(shared: &Shared) -> u32 {
    // Relaxed: only makes claims differ from each other; 0 is left out after 2³² claims.
    let claim = shared.control.0.claims.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    // Not 0 in the bits that a holder without a group has for it.
    if claim & (u32::MAX >> 1) == 0 { 1 } else { claim }
}

/// The bit of `ended` that says that the holder of a side may have been called dead.
fn bit(side: Side) -> u32 {
    match side {
        Side::Producer => ring::PRODUCER_DEAD,
        Side::Consumer => ring::CONSUMER_DEAD,
    }
}

/// Claims `side` as a member of a group: from nobody, or from a member that is gone.
pub(crate) fn claim_among(shared: &Shared, side: Side, peers: &dyn Peers) -> Result<Holder, Error> {
    let me = peers.me().ok_or(Error::NotAMember)?;
    let mine = Holder::member(me, std::process::id(), next_claim(shared));
    claim_if(shared, side, mine, |held| match held.filter(|held| !held.is_gone(peers)) {
        Some(held) => Err(Error::RoleTaken { side, pid: held.pid() }),
        None => Ok(()),
    })
}

/// Whether `side` is held by a member of the group that is gone: its last position is then visible.
pub(crate) fn is_gone(shared: &Shared, side: Side, peers: &dyn Peers) -> bool {
    holder(shared, side).is_some_and(|held| held.is_gone(peers))
}

/// Gives `side` back, if `mine` still holds it.
pub(crate) fn release(shared: &Shared, side: Side, mine: Holder) {
    // The second, where somebody has called us dead and was wrong.
    for held in [mine.0, mine.0 | DEAD] {
        let word = word(shared, side);
        // Release: our last position comes before; pairs with the Acquire in `claim_if`. Relaxed on
        // failure: somebody took the role over, and nothing of ours is left to give.
        if word.compare_exchange(held, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}
