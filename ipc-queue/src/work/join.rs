//! Waiting for the end of all items.

use shm_core::Peers;

use super::record::Record;
use super::shared::{BEFORE_ANY_DEATH, Work};
use crate::ring::Stop;
use crate::wait::Deadline;

/// Waits for an instant at which nothing is queued or leased. A joiner marks one busy record, and
/// whoever brings that one to its end sees the mark in the very exchange that does so.
pub(crate) fn join<T, P: Peers>(work: Work<'_, T, P>, deadline: Deadline) -> Result<(), Stop> {
    let mut looked_after = BEFORE_ANY_DEATH;
    loop {
        let deaths = work.ring.peers.ticket();
        if looked_after != deaths {
            work.look_after_the_dead();
            looked_after = deaths;
        }
        // Before the look: a record that ends after it was marked ends the sleep below.
        let ticket = work.shared.ended().listen();
        let Err(pending) = work.snapshot(Record::is_busy) else { return Ok(()) };
        let left = deadline.left().ok_or(Stop::Timeout)?;
        let Some(index) = pending else { continue };
        let busy = work.record(index);
        if !busy.is_busy() || !(busy.is_joined() || work.change(index, busy, busy.joined())) {
            continue;
        }
        work.shared.ended().wait_in(ticket, work.ring.peers, deaths, left);
    }
}
