//! What submitters and workers have: the queue, the group, and a place in the count.

use shm_core::{Owner, Peers, Segment};

use super::place::Place;
use super::shared::Work;
use crate::mpmc::look;
use crate::ring::Stop;
use crate::spsc::Element;
use crate::{Error, Side, SideStats};

/// One handle's part in a work queue, counted as long as it lives.
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
        peers: P,
        side: Side,
    ) -> Result<Self, Error> {
        Self::arrive(Place::attach(segment, offset)?, peers, side)
    }

    fn arrive(place: Place<T>, peers: P, side: Side) -> Result<Self, Error> {
        // Registers this process before its first publication (see `barrier`).
        shm_core::barrier::mode();
        let me = peers.me().ok_or(Error::NotAMember)?;
        let ring = place.work(&peers, me).ring;
        ring.shared.attached.arrive(me, side)?;
        ring.shared.has_arrived(side);
        Ok(End { place, peers, me, side })
    }

    pub(crate) fn another(&self) -> Result<Self, Error>
    where
        P: Clone,
    {
        Self::arrive(self.place.clone(), self.peers.clone(), self.side)
    }

    /// The queue; nothing in a process that inherited the handle by `fork`.
    pub(crate) fn work(&self) -> Result<Work<'_, T, P>, Stop> {
        if self.peers.me() != Some(self.me) {
            return Err(Stop::Forked);
        }
        Ok(self.look())
    }

    /// The same for looking only.
    pub(crate) fn look(&self) -> Work<'_, T, P> {
        self.place.work(&self.peers, self.me)
    }

    pub(crate) fn peers(&self) -> &P {
        &self.peers
    }

    pub(crate) fn stats(&self) -> SideStats {
        look::stats(self.look().ring.shared, self.side)
    }

    pub(crate) fn close(&self) {
        if let Ok(work) = self.work() {
            work.ring.shared.close();
        }
    }
}

impl<T: Element, P: Peers> Drop for End<T, P> {
    fn drop(&mut self) {
        let Ok(work) = self.work() else { return };
        if work.ring.shared.attached.leave(self.me, self.side) {
            // Somebody may be waiting for us, the last of this side.
            work.ring.shared.ring_everybody();
        }
    }
}
