//! Waiting, in a group: look again for a while, then sleep on a bell that wakes all its listeners.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use shm_core::Peers;

use crate::SideStats;
use crate::bell::Bell;
use crate::ring::Stop;
use crate::wait::{Deadline, Patience};

/// How an attempt is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As soon as there is something.
    Quick,
    /// Before a sleep: also see whether anybody is left to wait for.
    Fully,
}

/// What the waits of one handle have cost.
///
/// Relaxed everywhere: counts to show, each by itself. Not part of the protocol, so these are plain
/// atomics and no model's business.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    spins: AtomicU64,
    parks: AtomicU64,
    wakes: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> SideStats {
        SideStats {
            // Relaxed: see the type.
            spins: self.spins.load(Relaxed),
            parks: self.parks.load(Relaxed),
            wakes: self.wakes.load(Relaxed),
        }
    }

    #[cold]
    pub(crate) fn count_wake(&self) {
        add_one(&self.wakes);
    }
}

fn add_one(counter: &AtomicU64) {
    // Relaxed, and a plain store: one writer, and a lost count would be no harm.
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

/// What a look found, unless it is to be made again.
fn settled(found: Result<u64, Stop>) -> Option<Result<u64, Stop>> {
    match found {
        Err(Stop::NotYet) => None,
        found => Some(found),
    }
}

/// Makes attempts until one gives something or the time is over.
#[cold]
pub(crate) fn wait(
    patience: &mut Patience,
    bell: &Bell,
    counters: &Counters,
    peers: &impl Peers,
    deadline: Deadline,
    mut attempt: impl FnMut(Look) -> Result<u64, Stop>,
) -> Result<u64, Stop> {
    if let Deadline::Now = deadline {
        return attempt(Look::Fully);
    }
    if let Some(found) = patience.look_again(&mut || settled(attempt(Look::Quick))) {
        add_one(&counters.spins);
        return found;
    }
    loop {
        // Before the look, so that a death that the look did not see ends the sleep.
        let deaths = peers.ticket();
        let ticket = bell.listen();
        if let Some(found) = settled(attempt(Look::Fully)) {
            patience.look_longer();
            return found;
        }
        let Some(left) = deadline.left() else { return Err(Stop::Timeout) };
        add_one(&counters.parks);
        let start = Instant::now();
        bell.wait_in(ticket, peers, deaths, left);
        patience.look_shorter(start.elapsed());
        if let Some(found) = settled(attempt(Look::Quick)) {
            return found;
        }
    }
}
