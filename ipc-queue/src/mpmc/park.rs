//! Waiting among many: look again for a while, then sleep on the bell of one's side, in the group.
//!
//! A change wakes one sleeper. So whoever slept passes on what it leaves: if there is still
//! something for its side when it goes, it rings once more. Without that, two elements that become
//! takable at one instant (the head was the last to be finished) would wake one sleeper only. A
//! sleeper that is killed after it was woken passes nothing on; its death wakes everybody.

use std::time::Instant;

use shm_core::Peers;

use super::shared::Queue;
use crate::Side;
use crate::ring::Stop;
use crate::wait::{Deadline, Patience};

/// How an attempt is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// As soon as there is something.
    Quick,
    /// Before a sleep: also see whether anybody is left to wait for.
    Fully,
    /// Only see whether there is something.
    Only,
}

impl<T, P> Queue<'_, T, P> {
    /// There is something for `count` handles of `side`.
    #[inline(always)]
    pub(crate) fn ring(&self, side: Side, count: u32) {
        if self.shared.bell_of(side).ring_some(count) {
            self.shared.direction(side).counters.count_wake();
        }
    }
}

/// What a look found, unless it is to be made again.
fn settled(found: Result<u64, Stop>) -> Option<Result<u64, Stop>> {
    match found {
        Err(Stop::NotYet) => None,
        found => Some(found),
    }
}

/// Makes attempts until one succeeds or the time is over.
#[cold]
pub(crate) fn wait<T, P: Peers>(
    patience: &mut Patience,
    queue: Queue<'_, T, P>,
    side: Side,
    deadline: Deadline,
    mut attempt: impl FnMut(Look) -> Result<u64, Stop>,
) -> Result<(), Stop> {
    let counters = &queue.shared.direction(side).counters;
    if let Some(found) = patience.look_again(&mut || settled(attempt(Look::Quick))) {
        counters.count_spin();
        return found.map(drop);
    }
    let bell = queue.shared.bell_of(side);
    let mut slept = false;
    let found = loop {
        // Before the look, so that a death that the look did not see ends the sleep.
        let deaths = queue.peers.ticket();
        let ticket = bell.listen();
        if let Some(found) = settled(attempt(Look::Fully)) {
            patience.look_longer();
            break found;
        }
        let Some(left) = deadline.left() else { break Err(Stop::Timeout) };
        counters.count_park();
        let start = Instant::now();
        bell.wait_in(ticket, queue.peers, deaths, left);
        slept = true;
        patience.look_shorter(start.elapsed());
        if let Some(found) = settled(attempt(Look::Quick)) {
            break found;
        }
    };
    if slept && attempt(Look::Only).is_ok() {
        queue.ring(side, 1);
    }
    found.map(drop)
}
