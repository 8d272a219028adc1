//! What the handles of both sides have: the queue, the group, and a place in the count.

use shm_core::{Owner, Peers, Segment};

use super::look;
use super::place::Place;
use super::shared::Queue;
use crate::preamble::Kind;
use crate::ring::Stop;
use crate::spsc::Element;
use crate::wait::SideStats;
use crate::{Error, Side};

/// One handle's part in a queue, counted as long as it lives.
#[derive(Debug)]
pub(crate) struct End<T: Element, P: Peers> {
    place: Place<T>,
    peers: P,
    me: Owner,
    side: Side,
}

impl<T: Element, P: Peers> End<T, P> {
    pub(crate) fn attach(
        segment: &Segment,
        offset: usize,
        kind: Kind,
        peers: P,
        side: Side,
    ) -> Result<Self, Error> {
        Self::arrive(Place::attach(segment, offset, kind)?, peers, side)
    }

    fn arrive(place: Place<T>, peers: P, side: Side) -> Result<Self, Error> {
        // Registers this process before its first publication (see `barrier`).
        shm_core::barrier::mode();
        let me = peers.me().ok_or(Error::NotAMember)?;
        place.shared().attached.arrive(me, side)?;
        place.shared().has_arrived(side);
        Ok(End { place, peers, me, side })
    }

    /// Another handle of this side.
    pub(crate) fn another(&self) -> Result<Self, Error>
    where
        P: Clone,
    {
        Self::arrive(self.place.clone(), self.peers.clone(), self.side)
    }

    /// The queue; nothing in a process that inherited the handle by `fork`.
    #[inline(always)]
    pub(crate) fn queue(&self) -> Result<Queue<'_, T, P>, Stop> {
        if self.peers.me() != Some(self.me) {
            return Err(Stop::Forked);
        }
        Ok(self.place.queue(&self.peers, self.me))
    }

    /// The same for looking only.
    pub(crate) fn look(&self) -> Queue<'_, T, P> {
        self.place.queue(&self.peers, self.me)
    }

    pub(crate) fn peers(&self) -> &P {
        &self.peers
    }

    pub(crate) fn hint(&self) -> u64 {
        self.place.shared().direction(self.side).hint()
    }

    pub(crate) fn close(&self) {
        if self.queue().is_ok() {
            self.place.shared().close();
        }
    }

    pub(crate) fn stats(&self, side: Side) -> SideStats {
        look::stats(self.place.shared(), side)
    }
}

impl<T: Element, P: Peers> Drop for End<T, P> {
    fn drop(&mut self) {
        let Ok(queue) = self.queue() else { return };
        if queue.shared.attached.leave(self.me, self.side) {
            // Somebody may be waiting for us, the last of this side.
            queue.shared.ring_everybody();
        }
    }
}
