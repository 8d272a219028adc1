//! A lock's wait as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{WaitOn, park};
use crate::futex::Waited;
use crate::group::Peers;
use crate::lock::wait::Wait;

/// Waits in the caller's task; [`lock::wait`](crate::lock) is the same in the caller's thread.
pub(crate) fn wait<'a, P: Peers, W: Wait<'a>>(peers: &'a P, wait: W) -> Waiting<'a, P, W> {
    Waiting { peers, wait: Some(wait), asleep: None }
}

/// Dropped before it is ready, it has taken nothing and owes nobody a wake.
#[must_use = "a future does nothing unless it is awaited"]
pub(crate) struct Waiting<'a, P: Peers, W: Wait<'a>> {
    peers: &'a P,
    /// `None` once it is over.
    wait: Option<W>,
    asleep: Option<WaitOn<'a>>,
}

impl<'a, P: Peers, W: Wait<'a>> Waiting<'a, P, W> {
    /// One look, and what to sleep on if it was in vain.
    fn step(&mut self) -> Option<W::Output> {
        let wait = self.wait.as_mut()?;
        // Before the look: a death that comes after it ends the sleep.
        let ticket = self.peers.ticket();
        if let Some(output) = wait.look(self.peers, true) {
            self.wait = None;
            return Some(output);
        }
        self.asleep = wait
            .announce()
            .map(|sleep| park(self.peers, sleep.word, sleep.expected, ticket, sleep.at_most));
        None
    }
}

// What is waited for is never pinned: it is moved between calls like any value.
impl<'a, P: Peers, W: Wait<'a>> Unpin for Waiting<'a, P, W> {}

impl<'a, P: Peers, W: Wait<'a>> Future for Waiting<'a, P, W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<W::Output> {
        loop {
            if let Some(asleep) = &mut self.asleep {
                let Poll::Ready(waited) = Pin::new(asleep).poll(context) else {
                    return Poll::Pending;
                };
                self.asleep = None;
                if let Some(wait) = &mut self.wait {
                    wait.woke(waited);
                }
            }
            if let Some(output) = self.step() {
                return Poll::Ready(output);
            }
            if self.wait.is_none() {
                // Polled after its end.
                return Poll::Pending;
            }
        }
    }
}

impl<'a, P: Peers, W: Wait<'a>> Drop for Waiting<'a, P, W> {
    fn drop(&mut self) {
        let woken = self.asleep.take().is_some_and(WaitOn::abandon);
        if let Some(wait) = &mut self.wait {
            if woken {
                wait.woke(Waited::Woken);
            }
            wait.give_up();
        }
    }
}
