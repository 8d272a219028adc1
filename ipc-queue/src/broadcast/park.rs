//! Waiting, in a group: look again for a while, then sleep on a bell that wakes all its listeners.

use std::time::Instant;

use shm_core::Peers;

use crate::bell::Bell;
use crate::ring::Stop;
pub(crate) use crate::wait::Counters;
use crate::wait::{Deadline, Patience};

/// How an attempt is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As soon as there is something.
    Quick,
    /// Before a sleep: also see whether anybody is left to wait for.
    Fully,
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
        counters.count_spin();
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
        counters.count_park();
        let start = Instant::now();
        bell.wait_in(ticket, peers, deaths, left);
        patience.look_shorter(start.elapsed());
        if let Some(found) = settled(attempt(Look::Quick)) {
            return found;
        }
    }
}
