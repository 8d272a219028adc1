//! What submitters and workers have: a part in the queue of indices, and so in the count, and the records.

use shm_core::{Peers, Segment};

use super::place::Place;
use super::shared::Work;
use crate::mpmc::end::{Counting, Part};
use crate::mpmc::shared::Shared;
use crate::ring::Stop;
use crate::spsc::Element;
use crate::{Error, Side};

/// One handle's part in a work queue, counted as long as it lives.
pub(crate) type End<T, P> = Part<Place<T>, P>;

impl<T: Element> Counting for Place<T> {
    fn shared(&self) -> &Shared {
        self.ring_shared()
    }
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

    /// The queue; nothing in a process that inherited the handle by `fork`.
    pub(crate) fn work(&self) -> Result<Work<'_, T, P>, Stop> {
        Ok(self.place()?.work(self.peers(), self.me()))
    }

    /// The same for looking only.
    pub(crate) fn look(&self) -> Work<'_, T, P> {
        self.place_to_look_at().work(self.peers(), self.me())
    }
}
