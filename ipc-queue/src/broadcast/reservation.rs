//! Room for a batch, made sure of before its elements are there.

use shm_core::{Group, Peers};

use super::Element;
use super::send::SendSide;
use super::shared::Ring;
use crate::SendError;
use crate::ring::Stop;
use crate::wait::Deadline;

/// Room for some elements: see [`Producer::reserve`](super::Producer::reserve). Dropped without
/// [`commit`](Self::commit), nothing is sent; but elements of the lap before that were written over
/// are lost to readers that do not block.
#[derive(Debug)]
#[must_use = "nothing is sent before `commit`"]
pub struct Reservation<'a, T: Element, P: Peers = Group> {
    side: &'a mut SendSide,
    ring: Ring<'a, T, P>,
    room: u64,
    written: u64,
}

impl<'a, T: Element, P: Peers> Reservation<'a, T, P> {
    pub(super) fn new(
        side: &'a mut SendSide,
        ring: Ring<'a, T, P>,
        count: usize,
        deadline: Deadline,
    ) -> Result<Self, Stop> {
        let room = count as u64;
        if room > ring.capacity {
            return Err(Stop::TooLarge { size: count, most: ring.capacity as usize });
        }
        side.wait_room(ring, room, deadline)?;
        Ok(Reservation { side, ring, room, written: 0 })
    }

    /// Writes the next element.
    ///
    /// # Errors
    /// [`SendError::Full`], with the element, when all that was asked for is written.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), SendError<T>> {
        if self.written == self.room {
            return Err(SendError::Full(value));
        }
        self.side.write(self.ring, self.written, std::slice::from_ref(&value));
        self.written += 1;
        Ok(())
    }

    /// Elements that are still to be written.
    #[must_use]
    pub fn left(&self) -> usize {
        (self.room - self.written) as usize
    }

    /// Sends what was written, as one step; how many elements. Does nothing in a process that
    /// inherited the room by `fork`.
    pub fn commit(self) -> usize {
        if self.written == 0 || self.ring.peers.me().is_none() {
            return 0;
        }
        self.side.publish(self.ring, self.written);
        self.written as usize
    }
}
