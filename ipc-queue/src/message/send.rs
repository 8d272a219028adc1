//! The producer's half of the protocol: room, write in place, publish.

use shm_core::Peers;
use shm_core::primitive::Ordering;

use super::shared::{Ring, Shared, WORD, size_of_message};
use crate::Side;
use crate::broadcast::park::{Look, wait};
use crate::ring::Stop;
use crate::wait::{Deadline, Patience};

/// Where the producer stands.
#[derive(Debug)]
pub(crate) struct SendSide {
    tail: u64,
    /// The consumer's position when last looked at.
    head: u64,
    /// Room that was last asked for in vain.
    wanted: u64,
    pub(crate) patience: Patience,
}

impl SendSide {
    /// Goes on where the ring stands. The caller holds the role.
    pub(crate) fn resume(shared: &Shared, capacity: u64) -> Result<Self, Stop> {
        let (head, tail) = shared.positions(capacity)?;
        Ok(SendSide { tail, head, wanted: WORD, patience: Patience::default() })
    }

    /// Whether there is room for `size` bytes.
    #[inline(always)]
    fn room<P>(&mut self, ring: Ring<'_, P>, size: u64) -> Result<u64, Stop> {
        if ring.shared.is_closed() {
            return Err(Stop::Closed);
        }
        let room = ring.capacity - (self.tail - self.head);
        if room >= size { Ok(room) } else { self.refresh(ring, size) }
    }

    #[inline(always)]
    fn refresh<P>(&mut self, ring: Ring<'_, P>, size: u64) -> Result<u64, Stop> {
        // Acquire: pairs with the Release in `RecvSide::release`: the consumer has finished with the
        // bytes that we are about to overwrite.
        let head = ring.shared.consumer.0.position.load(Ordering::Acquire);
        let used = self.tail.wrapping_sub(head);
        if used > ring.capacity {
            return Err(Stop::Corrupted);
        }
        self.head = head;
        let room = ring.capacity - used;
        if room >= size { Ok(room) } else { Err(Stop::NotYet) }
    }

    /// Also says whether anybody will ever make room.
    #[cold]
    fn room_or_end<P: Peers>(&mut self, ring: Ring<'_, P>, size: u64) -> Result<u64, Stop> {
        match self.room(ring, size) {
            Err(Stop::NotYet) if ring.shared.is_deserted(Side::Consumer, ring.peers) => {
                // Once more: what the last of them gave back is room.
                match self.room(ring, size) {
                    Err(Stop::NotYet) => Err(Stop::Disconnected),
                    done => done,
                }
            }
            done => done,
        }
    }

    /// Waits for room for a message of `len` bytes; where it begins.
    #[inline(always)]
    pub(crate) fn reserve<P: Peers>(
        &mut self,
        ring: Ring<'_, P>,
        len: usize,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        let size = match size_of_message(len) {
            Some(size) if size <= ring.capacity => size,
            _ => return Err(Stop::TooLarge { size: len, most: ring.longest() }),
        };
        match self.room(ring, size) {
            Err(Stop::NotYet) => self.wait_slowly(ring, size, deadline)?,
            done => done?,
        };
        Ok(self.tail)
    }

    #[cold]
    fn wait_slowly<P: Peers>(
        &mut self,
        ring: Ring<'_, P>,
        size: u64,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        self.wanted = size;
        self.await_room(ring);
        let control = &ring.shared.control.0;
        let counters = &ring.shared.producer.0.counters;
        counters.count_full();
        let mut patience = self.patience;
        let found =
            wait(
                &mut patience,
                &control.space,
                counters,
                ring.peers,
                deadline,
                |look| match look {
                    Look::Quick => self.room(ring, size),
                    Look::Fully => self.room_or_end(ring, size),
                },
            );
        self.patience = patience;
        found
    }

    /// Tells the consumer where it must come to for the room that was last asked for in vain. Before
    /// listening.
    pub(crate) fn await_room<P>(&self, ring: Ring<'_, P>) {
        let awaited = (self.tail + self.wanted).saturating_sub(ring.capacity);
        // Relaxed: the heavy barrier in `listen` comes after it; pairs with the light one in
        // `RecvSide::release`.
        ring.shared.control.0.awaited.store(awaited, Ordering::Relaxed);
    }

    /// Whether a send of that size would not wait.
    pub(crate) fn is_ready<P: Peers>(&self, ring: Ring<'_, P>) -> bool {
        // Relaxed: confirmed by the send itself.
        let head = ring.shared.consumer.0.position.load(Ordering::Relaxed);
        ring.capacity.saturating_sub(self.tail.wrapping_sub(head)) >= self.wanted
            || ring.shared.is_closed()
            || ring.shared.is_deserted(Side::Consumer, ring.peers)
    }

    /// Hands the message of `len` bytes that was written at our position to the consumer. The
    /// linearization point of every send. The caller has reserved at least so much.
    #[inline(always)]
    pub(crate) fn commit<P>(&mut self, ring: Ring<'_, P>, len: usize) {
        ring.header(self.tail).with_mut(|header| {
            // SAFETY: there is room, so the word is the producer's, whose one thread we are.
            unsafe { header.write(len as u64) }
        });
        self.tail += size_of_message(len).unwrap_or(0);
        let words = &ring.shared.producer.0;
        // Release: the message is written before; pairs with the Acquire in `RecvSide::refresh`.
        words.position.store(self.tail, Ordering::Release);
        if ring.shared.control.0.data.ring() {
            words.counters.count_wake();
        }
    }
}
