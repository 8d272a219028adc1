//! The consumer's half of the protocol: look, read in place, give the room back.

use shm_core::Peers;
use shm_core::barrier::light_barrier;
use shm_core::primitive::Ordering;

use super::shared::{Ring, Shared, WORD, size_of_message};
use crate::Side;
use crate::broadcast::park::{Look, wait};
use crate::ring::Stop;
use crate::wait::{Deadline, Patience};

/// Where the consumer stands.
#[derive(Debug)]
pub(crate) struct RecvSide {
    head: u64,
    /// The producer's position when last looked at.
    tail: u64,
    pub(crate) patience: Patience,
}

/// A message that is there: where its length stands, and what that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) position: u64,
    pub(crate) len: usize,
}

impl RecvSide {
    /// Goes on where the ring stands. The caller holds the role.
    pub(crate) fn resume(shared: &Shared, capacity: u64) -> Result<Self, Stop> {
        let (head, tail) = shared.positions(capacity)?;
        Ok(RecvSide { head, tail, patience: Patience::default() })
    }

    /// How many bytes are there.
    #[inline(always)]
    fn ready<P>(&mut self, ring: Ring<'_, P>) -> Result<u64, Stop> {
        let ready = self.tail - self.head;
        if ready > 0 { Ok(ready) } else { self.refresh(ring) }
    }

    #[inline(always)]
    fn refresh<P>(&mut self, ring: Ring<'_, P>) -> Result<u64, Stop> {
        // Acquire: pairs with the Release in `SendSide::commit`: the messages are written.
        let tail = ring.shared.producer.0.position.load(Ordering::Acquire);
        let ready = tail.wrapping_sub(self.head);
        if ready > ring.capacity {
            return Err(Stop::Corrupted);
        }
        self.tail = tail;
        if ready > 0 { Ok(ready) } else { Err(Stop::NotYet) }
    }

    /// Also says whether anything will ever come.
    #[cold]
    fn ready_or_end<P: Peers>(&mut self, ring: Ring<'_, P>) -> Result<u64, Stop> {
        match self.ready(ring) {
            Err(Stop::NotYet) => {}
            done => return done,
        }
        let end = match () {
            () if ring.shared.is_closed() => Stop::Closed,
            () if ring.shared.is_deserted(Side::Producer, ring.peers) => Stop::Disconnected,
            () => return Err(Stop::NotYet),
        };
        // Once more: the last of them may have sent something before it closed, left or died.
        match self.refresh(ring) {
            Err(Stop::NotYet) => Err(end),
            done => done,
        }
    }

    /// Whether a receive would not wait.
    pub(crate) fn is_ready<P: Peers>(&self, ring: Ring<'_, P>) -> bool {
        // Relaxed: confirmed by the receive itself.
        let tail = ring.shared.producer.0.position.load(Ordering::Relaxed);
        tail != self.head
            || ring.shared.is_closed()
            || ring.shared.is_deserted(Side::Producer, ring.peers)
    }

    #[cold]
    fn wait_slowly<P: Peers>(
        &mut self,
        ring: Ring<'_, P>,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        let (bell, counters) = (&ring.shared.control.0.data, &ring.shared.consumer.0.counters);
        counters.count_empty();
        let mut patience = self.patience;
        let found = wait(&mut patience, bell, counters, ring.peers, deadline, |look| match look {
            Look::Quick => self.ready(ring),
            Look::Fully => self.ready_or_end(ring),
        });
        self.patience = patience;
        found
    }

    /// Waits for the next message. It stays ours until [`release`](Self::release).
    #[inline(always)]
    pub(crate) fn find<P: Peers>(
        &mut self,
        ring: Ring<'_, P>,
        deadline: Deadline,
    ) -> Result<Found, Stop> {
        let ready = match self.ready(ring) {
            Err(Stop::NotYet) => self.wait_slowly(ring, deadline)?,
            done => done?,
        };
        let len = ring.header(self.head).with(|header| {
            // SAFETY: the message is published, so its words are the consumer's, whose one thread we
            // are, and the producer finished them before.
            unsafe { header.read() }
        });
        // What another process wrote is believed only as far as it lies in the ring.
        match usize::try_from(len) {
            Ok(len) if size_of_message(len).is_some_and(|size| size <= ready) => {
                Ok(Found { position: self.head, len })
            }
            _ => Err(Stop::Corrupted),
        }
    }

    /// Gives the room of the message back. The linearization point of every receive.
    #[inline(always)]
    pub(crate) fn release<P>(&mut self, ring: Ring<'_, P>, found: Found) {
        let before = self.head;
        self.head += size_of_message(found.len).unwrap_or(WORD);
        let words = &ring.shared.consumer.0;
        // Release: we have finished reading; pairs with the Acquire in `SendSide::refresh`.
        words.position.store(self.head, Ordering::Release);
        light_barrier();
        let control = &ring.shared.control.0;
        // Relaxed: the barrier above pairs with the heavy one in `listen`, before which the producer
        // stores this.
        let awaited = control.awaited.load(Ordering::Relaxed);
        if before < awaited && awaited <= self.head && control.space.ring() {
            words.counters.count_wake();
        }
    }
}
