//! The handle that receives, and a message in its hands.

use std::ops::Deref;
use std::time::Duration;

use shm_core::{Group, Owner, Peers};

use super::place::Place;
use super::receive::{Found, RecvSide};
use super::shared::Ring;
use crate::bell::Bell;
use crate::ring::Stop;
use crate::select::source::Source;
use crate::wait::Deadline;
use crate::{Error, RecvError, Side, SideStats};

/// The consumer of a ring of messages.
///
/// A receive costs some nanoseconds, whatever the message's size, and no system call unless the ring
/// is empty or the producer sleeps. Dropping it lets another take its place.
#[derive(Debug)]
pub struct Consumer<P: Peers = Group> {
    place: Place,
    peers: P,
    me: Owner,
    side: RecvSide,
}

impl<P: Peers> Source for Consumer<P> {
    fn is_ready(&self) -> bool {
        // In a forked child every operation says so at once.
        self.peers.me() != Some(self.me) || self.side.is_ready(self.place.ring(&self.peers))
    }

    fn bell(&self) -> &Bell {
        &self.place.shared().control.0.data
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn peers(&self) -> Option<&dyn Peers> {
        Some(&self.peers)
    }
}

impl<P: Peers> Consumer<P> {
    pub(super) fn attach(place: Place, peers: P) -> Result<Self, Error> {
        // Registers this process before its first publication (see `barrier`).
        shm_core::barrier::mode();
        let me = peers.me().ok_or(Error::NotAMember)?;
        place.shared().take_role(Side::Consumer, me, &peers)?;
        match RecvSide::resume(place.shared(), place.ring(&peers).capacity) {
            Ok(side) => Ok(Consumer { place, peers, me, side }),
            Err(_) => {
                place.shared().leave_role(Side::Consumer);
                Err(Error::Corrupted("the positions are further apart than the capacity"))
            }
        }
    }

    /// What an operation works with; nothing in a process that inherited the handle by `fork`.
    #[inline(always)]
    fn parts(&mut self) -> Result<(&mut RecvSide, Ring<'_, P>), Stop> {
        if self.peers.me() != Some(self.me) {
            return Err(Stop::Forked);
        }
        Ok((&mut self.side, self.place.ring(&self.peers)))
    }

    #[inline(always)]
    fn find(&mut self, deadline: Deadline) -> Result<Found, Stop> {
        let (side, ring) = self.parts()?;
        side.find(ring, deadline)
    }

    /// The message that was just found.
    #[inline(always)]
    fn lend(&mut self, found: Found) -> Result<Message<'_, P>, RecvError> {
        let (side, ring) = self.parts()?;
        Ok(Message { side, ring, found })
    }

    #[inline(always)]
    fn recv_until(&mut self, deadline: Deadline) -> Result<Message<'_, P>, RecvError> {
        let found = self.find(deadline)?;
        self.lend(found)
    }

    /// Receives the next message, waiting as long as it takes. It is released when it is dropped;
    /// forgotten instead, it is received again.
    ///
    /// # Errors
    /// When everything sent has been received: [`RecvError::Closed`]; [`RecvError::Disconnected`] if
    /// there was a producer and it has left or died. [`RecvError::Forked`], [`RecvError::Corrupted`].
    #[inline]
    pub fn recv(&mut self) -> Result<Message<'_, P>, RecvError> {
        self.recv_until(Deadline::Never)
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    /// [`RecvError::Empty`], or as [`recv`](Self::recv).
    #[inline]
    pub fn try_recv(&mut self) -> Result<Message<'_, P>, RecvError> {
        self.recv_until(Deadline::Now)
    }

    /// [`recv`](Self::recv) as a future, for any executor: see [`futures`](crate::futures). Dropped
    /// before it is ready, it has received nothing.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    #[cfg(feature = "async")]
    pub async fn recv_async(&mut self) -> Result<Message<'_, P>, RecvError> {
        let found = crate::futures::until(self, |consumer| match consumer.find(Deadline::Now) {
            Err(Stop::NotYet) => None,
            done => Some(done),
        })
        .await?;
        self.lend(found)
    }

    /// Receives the next message, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::Timeout`], or as [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Message<'_, P>, RecvError> {
        self.recv_until(Deadline::after(timeout))
    }

    /// Receives and waits until the ring is closed or has no producer any more, and is drained; why it
    /// ended.
    ///
    /// ```
    /// let (mut producer, mut consumer) = ipc_queue::message::channel(64)?;
    /// producer.send(b"one")?;
    /// producer.send(b"two")?;
    /// drop(producer);
    /// let mut all = Vec::new();
    /// let end = consumer.for_each(|message| all.extend_from_slice(message));
    /// assert_eq!((all.as_slice(), end), (&b"onetwo"[..], ipc_queue::RecvError::Disconnected));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(&mut self, mut f: impl FnMut(&[u8])) -> RecvError {
        loop {
            match self.recv() {
                Ok(message) => f(&message),
                Err(end) => return end,
            }
        }
    }

    /// Whether the producer closed the ring (there may be messages left to receive).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.place.shared().is_closed()
    }

    /// Whether no message is there to be received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// Bytes of the ring that are in use, as far as one look tells.
    #[must_use]
    pub fn used(&self) -> usize {
        self.place.ring(&self.peers).used() as usize
    }

    /// Bytes that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.place.ring(&self.peers).capacity as usize
    }

    /// What the waits of this consumer, and of those before it, have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.place.shared().consumer.0.counters.read()
    }

    /// How often a blocked receive looks again before it sleeps, at most (it adapts below that);
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

impl<P: Peers> Drop for Consumer<P> {
    fn drop(&mut self) {
        if let Ok((_, ring)) = self.parts() {
            ring.shared.leave_role(Side::Consumer);
        }
    }
}

/// A message, read in place: a byte slice, aligned to 8. Its room is given back when it is dropped.
#[derive(Debug)]
pub struct Message<'a, P: Peers = Group> {
    side: &'a mut RecvSide,
    ring: Ring<'a, P>,
    found: Found,
}

impl<P: Peers> Deref for Message<'_, P> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let at = self.ring.payload(self.found.position);
        // SAFETY: the message lies there, in the ring, and is the consumer's until it is released;
        // any bytes are valid `u8`.
        unsafe { std::slice::from_raw_parts(at, self.found.len) }
    }
}

impl<P: Peers> Drop for Message<'_, P> {
    #[inline]
    fn drop(&mut self) {
        // In a child that inherited it by `fork` it is the parent's.
        if self.ring.peers.me().is_some() {
            self.side.release(self.ring, self.found);
        }
    }
}
