//! What the handles of both sides have: the queue, the group, and a place in the count.

use shm_core::{Owner, Peers, Segment};

use super::place::Place;
use super::shared::{Queue, Shared};
use crate::bell::Bell;
use crate::preamble::Kind;
use crate::ring::Stop;
use crate::spsc::Element;
use crate::wait::SideStats;
use crate::{Error, Side};

/// A mapped queue whose handles are counted.
pub(crate) trait Counting: Clone {
    fn shared(&self) -> &Shared;
}

impl<T: Element> Counting for Place<T> {
    #[inline(always)]
    fn shared(&self) -> &Shared {
        Place::shared(self)
    }
}

/// One handle's part in a queue, counted as long as it lives.
#[derive(Debug)]
pub(crate) struct Part<M: Counting, P: Peers> {
    place: M,
    peers: P,
    me: Owner,
    side: Side,
}

/// The part in a queue whose slots hold the elements.
pub(crate) type End<T, P> = Part<Place<T>, P>;

impl<M: Counting, P: Peers> Part<M, P> {
    pub(crate) fn arrive(place: M, peers: P, side: Side) -> Result<Self, Error> {
        // Registers this process before its first publication (see `barrier`).
        shm_core::barrier::mode();
        let me = peers.me().ok_or(Error::NotAMember)?;
        place.shared().attached.arrive(me, side)?;
        place.shared().has_arrived(side);
        Ok(Part { place, peers, me, side })
    }

    /// Another handle of this side.
    pub(crate) fn another(&self) -> Result<Self, Error>
    where
        P: Clone,
    {
        Self::arrive(self.place.clone(), self.peers.clone(), self.side)
    }

    /// Where the queue lies; nothing in a process that inherited the handle by `fork`.
    #[inline(always)]
    pub(crate) fn place(&self) -> Result<&M, Stop> {
        if self.peers.me() == Some(self.me) { Ok(&self.place) } else { Err(Stop::Forked) }
    }

    /// The same for looking only.
    #[inline(always)]
    pub(crate) fn place_to_look_at(&self) -> &M {
        &self.place
    }

    #[inline(always)]
    pub(crate) fn peers(&self) -> &P {
        &self.peers
    }

    #[inline(always)]
    pub(crate) fn me(&self) -> Owner {
        self.me
    }

    pub(crate) fn hint(&self) -> u64 {
        self.place.shared().direction(self.side).hint()
    }

    /// What this side sleeps on.
    pub(crate) fn bell(&self) -> &Bell {
        self.place.shared().bell_of(self.side)
    }

    pub(crate) fn close(&self) {
        if let Ok(place) = self.place() {
            place.shared().close();
        }
    }

    /// What the waits of this side have cost.
    pub(crate) fn stats(&self) -> SideStats {
        self.place.shared().direction(self.side).counters.read()
    }
}

impl<M: Counting, P: Peers> Drop for Part<M, P> {
    fn drop(&mut self) {
        let Ok(place) = self.place() else { return };
        if place.shared().attached.leave(self.me, self.side) {
            // Somebody may be waiting for us, the last of this side.
            place.shared().ring_everybody();
        }
    }
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

    /// The queue; nothing in a process that inherited the handle by `fork`.
    #[inline(always)]
    pub(crate) fn queue(&self) -> Result<Queue<'_, T, P>, Stop> {
        Ok(self.place()?.queue(&self.peers, self.me))
    }

    /// The same for looking only.
    pub(crate) fn look(&self) -> Queue<'_, T, P> {
        self.place.queue(&self.peers, self.me)
    }
}
