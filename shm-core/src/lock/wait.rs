//! One wait, in steps: by a thread that sleeps, or by a future.
//!
//! Each lock says what it looks for and what it sleeps on; the order of the steps, which is what no
//! death may strand, is written here once.

use std::time::Duration;

use super::deadline::Deadline;
use super::error::Stop;
use crate::futex::{Futex, Waited};
use crate::group::Peers;

/// What is waited for in a lock that lives for `'a`.
pub(crate) trait Wait<'a> {
    /// What is had in the end.
    type Output;

    /// Looks for it, and takes it if it is there. `may_sleep`: there is time left to wait in.
    fn look<P: Peers>(&mut self, peers: &P, may_sleep: bool) -> Option<Self::Output>;

    /// After a look in vain: announces a sleep. `None`: look again instead.
    fn announce(&mut self) -> Option<Sleep<'a>>;

    /// The sleep is over.
    fn woke(&mut self, _waited: Waited) {}

    /// No look and no sleep will follow: passes on what the last wake may have been for.
    fn give_up(&mut self) {}
}

/// What to sleep on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleep<'a> {
    pub word: &'a Futex,
    pub expected: u32,
    pub at_most: Option<Duration>,
}

impl<'a> Sleep<'a> {
    /// Until the word changes.
    pub fn on(word: &'a Futex, expected: u32) -> Sleep<'a> {
        Sleep { word, expected, at_most: None }
    }
}

/// Waits in this thread.
pub(crate) fn wait<'a, P: Peers, W: Wait<'a>>(
    peers: &P,
    deadline: Deadline,
    mut wait: W,
) -> Result<W::Output, Stop> {
    loop {
        // Before the look: a death that comes after it ends the sleep.
        let ticket = peers.ticket();
        let left = deadline.left();
        if let Some(output) = wait.look(peers, left.is_some()) {
            return Ok(output);
        }
        let Some(left) = left else {
            wait.give_up();
            return Err(Stop::at(deadline));
        };
        if let Some(sleep) = wait.announce() {
            let bound = match (left, sleep.at_most) {
                (Some(left), Some(most)) => Some(left.min(most)),
                (left, most) => left.or(most),
            };
            wait.woke(peers.park(sleep.word, sleep.expected, ticket, bound));
        }
    }
}
