//! The handle that sends, and room that it writes in.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use shm_core::{Group, Owner, Peers};

use super::place::Place;
use super::send::SendSide;
use super::shared::Ring;
use crate::bell::Bell;
use crate::ring::Stop;
use crate::select::source::Source;
use crate::wait::Deadline;
use crate::{Error, SendError, Side, SideStats};

/// The producer of a ring of messages.
///
/// A send costs some nanoseconds and the copy, or none with [`reserve`](Self::reserve), and no system
/// call unless the ring is full or the consumer sleeps. Dropping it lets another take its place; until
/// one does, a consumer that has drained the ring is told that it is disconnected.
#[derive(Debug)]
pub struct Producer<P: Peers = Group> {
    place: Place,
    peers: P,
    me: Owner,
    side: SendSide,
}

/// Among others it is waited for until there is room for a message as long as the last that found
/// none.
impl<P: Peers> Source for Producer<P> {
    fn is_ready(&self) -> bool {
        // In a forked child every operation says so at once.
        self.peers.me() != Some(self.me) || self.side.is_ready(self.place.ring(&self.peers))
    }

    fn bell(&self) -> &Bell {
        // Before the announcement that follows: the consumer rings only for what is waited for.
        if self.peers.me() == Some(self.me) {
            self.side.await_room(self.place.ring(&self.peers));
        }
        &self.place.shared().control.0.space
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn peers(&self) -> Option<&dyn Peers> {
        Some(&self.peers)
    }
}

impl<P: Peers> Producer<P> {
    pub(super) fn attach(place: Place, peers: P) -> Result<Self, Error> {
        // Registers this process before its first publication (see `barrier`).
        shm_core::barrier::mode();
        let me = peers.me().ok_or(Error::NotAMember)?;
        place.shared().take_role(Side::Producer, me, &peers)?;
        match SendSide::resume(place.shared(), place.ring(&peers).capacity) {
            Ok(side) => Ok(Producer { place, peers, me, side }),
            Err(_) => {
                place.shared().leave_role(Side::Producer);
                Err(Error::Corrupted("the positions are further apart than the capacity"))
            }
        }
    }

    /// What an operation works with; nothing in a process that inherited the handle by `fork`.
    #[inline(always)]
    fn parts(&mut self) -> Result<(&mut SendSide, Ring<'_, P>), Stop> {
        if self.peers.me() != Some(self.me) {
            return Err(Stop::Forked);
        }
        Ok((&mut self.side, self.place.ring(&self.peers)))
    }

    /// Where a message of so many bytes begins, once there is room.
    #[inline(always)]
    fn find_room(&mut self, len: usize, deadline: Deadline) -> Result<u64, Stop> {
        let (side, ring) = self.parts()?;
        side.reserve(ring, len, deadline)
    }

    /// The room that was just found.
    #[inline(always)]
    fn lend(&mut self, position: u64, len: usize) -> Result<Reservation<'_, P>, Stop> {
        let (side, ring) = self.parts()?;
        Ok(Reservation { side, ring, position, len })
    }

    #[inline(always)]
    fn reserve_until(
        &mut self,
        len: usize,
        deadline: Deadline,
    ) -> Result<Reservation<'_, P>, SendError<()>> {
        let refused = |stop| SendError::from_stop(stop, ());
        let position = self.find_room(len, deadline).map_err(refused)?;
        self.lend(position, len).map_err(refused)
    }

    #[inline(always)]
    fn send_until(&mut self, message: &[u8], deadline: Deadline) -> Result<(), SendError<()>> {
        let mut room = self.reserve_until(message.len(), deadline)?;
        room.copy_from_slice(message);
        room.commit();
        Ok(())
    }

    /// Sends a copy of `message`, waiting for room as long as it takes.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] if it is longer than [`longest`](Self::longest);
    /// [`SendError::Closed`]; [`SendError::Disconnected`] if there is no room and the consumer has left
    /// or died; [`SendError::Forked`], [`SendError::Corrupted`].
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        self.send_until(message, Deadline::Never)
    }

    /// Sends a copy of `message` if there is room now.
    ///
    /// # Errors
    /// [`SendError::Full`], or as [`send`](Self::send).
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        self.send_until(message, Deadline::Now)
    }

    /// [`send`](Self::send) as a future, for any executor: see [`futures`](crate::futures). Dropped
    /// before it is ready, it has sent nothing.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[cfg(feature = "async")]
    pub async fn send_async(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        crate::futures::until(self, |producer| match producer.try_send(message) {
            Err(SendError::Full(())) => None,
            done => Some(done),
        })
        .await
    }

    /// [`reserve`](Self::reserve) as a future, as above.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[cfg(feature = "async")]
    pub async fn reserve_async(&mut self, len: usize) -> Result<Reservation<'_, P>, SendError<()>> {
        let refused = |stop| SendError::from_stop(stop, ());
        let found =
            crate::futures::until(self, |producer| match producer.find_room(len, Deadline::Now) {
                Err(Stop::NotYet) => None,
                done => Some(done),
            });
        let position = found.await.map_err(refused)?;
        self.lend(position, len).map_err(refused)
    }

    /// Sends a copy of `message`, waiting for room at most `timeout`.
    ///
    /// # Errors
    /// [`SendError::Timeout`], or as [`send`](Self::send).
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<(), SendError<()>> {
        self.send_until(message, Deadline::after(timeout))
    }

    /// Waits for room for a message of `len` bytes, to be written in place.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_, P>, SendError<()>> {
        self.reserve_until(len, Deadline::Never)
    }

    /// [`reserve`](Self::reserve) without waiting.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation<'_, P>, SendError<()>> {
        self.reserve_until(len, Deadline::Now)
    }

    /// [`reserve`](Self::reserve), waiting at most `timeout`.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn reserve_timeout(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<Reservation<'_, P>, SendError<()>> {
        self.reserve_until(len, Deadline::after(timeout))
    }

    /// Closes the ring for good: later sends fail, the consumer drains what is there and then gets
    /// [`Closed`](crate::RecvError::Closed).
    pub fn close(&mut self) {
        if let Ok((_, ring)) = self.parts() {
            ring.shared.close();
        }
    }

    /// Whether this producer, or one before it, closed the ring.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.place.shared().is_closed()
    }

    /// Bytes that the ring holds: of each message its length, rounded up to 8, and 8 more.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.place.ring(&self.peers).capacity as usize
    }

    /// The longest message that can be sent, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.place.ring(&self.peers).longest()
    }

    /// Bytes of the ring that are in use, as far as one look tells.
    #[must_use]
    pub fn used(&self) -> usize {
        self.place.ring(&self.peers).used() as usize
    }

    /// What the waits of this producer, and of those before it, have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.place.shared().producer.0.counters.read()
    }

    /// How often a blocked send looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy threads than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.side.patience.limit(looks);
    }

    /// Walks over the messages that are there; how many. For tests and the curious: meaningful while
    /// nobody sends or receives.
    ///
    /// # Errors
    /// [`Error::Corrupted`], which says what is impossible.
    pub fn validate(&self) -> Result<usize, Error> {
        self.place.ring(&self.peers).validate()
    }
}

impl<P: Peers> Drop for Producer<P> {
    fn drop(&mut self) {
        if let Ok((_, ring)) = self.parts() {
            ring.shared.leave_role(Side::Producer);
        }
    }
}

/// Room for a message, to be written in place: it reads as a byte slice, with whatever stood there.
/// Dropped without [`commit`](Self::commit), nothing is sent.
#[derive(Debug)]
#[must_use = "nothing is sent before `commit`"]
pub struct Reservation<'a, P: Peers = Group> {
    side: &'a mut SendSide,
    ring: Ring<'a, P>,
    position: u64,
    len: usize,
}

impl<P: Peers> Reservation<'_, P> {
    /// Sends the message. Does nothing in a process that inherited the room by `fork`.
    #[inline]
    pub fn commit(self) {
        let len = self.len;
        self.commit_first(len);
    }

    /// Sends only the first `len` bytes (all, if there are not so many).
    #[inline]
    pub fn commit_first(self, len: usize) {
        if self.ring.peers.me().is_some() {
            self.side.commit(self.ring, len.min(self.len));
        }
    }
}

impl<P: Peers> Deref for Reservation<'_, P> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let at = self.ring.payload(self.position);
        // SAFETY: so many bytes from there on are the producer's, whose one thread we are, until it
        // commits; any bytes are valid `u8`.
        unsafe { std::slice::from_raw_parts(at, self.len) }
    }
}

impl<P: Peers> DerefMut for Reservation<'_, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let at = self.ring.payload(self.position);
        // SAFETY: as in `deref`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(at, self.len) }
    }
}
