//! The producer's half of the protocol: room, announce, write, publish.

use shm_core::Peers;
use shm_core::barrier::light_barrier;
use shm_core::primitive::Ordering;

use super::park::{Look, wait};
use super::row::Word;
use super::shared::{Ring, Shared};
use super::words::copy_in;
use crate::ring::{Line, Stop};
use crate::wait::{Deadline, Patience};

/// No ring has sent so many: a century of one element a nanosecond is less.
const FURTHEST: u64 = 1 << 62;

/// Where the producer stands.
#[derive(Debug)]
pub(crate) struct SendSide {
    tail: u64,
    /// Ever begun to be written, by us or by one before us.
    reserved: u64,
    /// Below this there is room, whatever the readers do.
    limit: u64,
    pub(crate) patience: Patience,
}

impl SendSide {
    /// Goes on where the ring stands. The caller holds the role.
    pub(crate) fn resume(shared: &Shared, capacity: u64) -> Result<Self, Stop> {
        // Relaxed: the role brings what the producer before us did: by its Release when it left, by
        // the proof of its death when it was taken over.
        let tail = shared.producer.0.tail.load(Ordering::Relaxed);
        let reserved = shared.producer.0.reserved.load(Ordering::Relaxed);
        if reserved < tail || reserved - tail > capacity || reserved > FURTHEST {
            return Err(Stop::Corrupted);
        }
        Ok(SendSide { tail, reserved, limit: tail, patience: Patience::default() })
    }

    /// Elements sent since the ring was created.
    #[inline(always)]
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Room for at least `want` elements: how many.
    #[inline(always)]
    fn room<T, P: Peers>(&mut self, ring: Ring<'_, T, P>, want: u64) -> Result<u64, Stop> {
        if ring.shared.is_closed() {
            return Err(Stop::Closed);
        }
        let room = self.limit - self.tail;
        if room >= want { Ok(room) } else { self.look_at_readers(ring, want) }
    }

    /// Looks how far the readers that block have come.
    #[inline(never)]
    fn look_at_readers<T, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        want: u64,
    ) -> Result<u64, Stop> {
        let most = self.tail + ring.capacity;
        // A reader that the look below misses sees this by the barrier that follows and the heavy one
        // in `Reading::join`.
        ring.shared.promise(most);
        light_barrier();
        let lowest = self.lowest(ring, (self.tail + want).saturating_sub(ring.capacity));
        let limit = (lowest + ring.capacity).min(most);
        ring.shared.promise(limit.max(self.reserved));
        self.limit = limit.max(self.tail);
        let room = self.limit - self.tail;
        if room >= want { Ok(room) } else { Err(Stop::NotYet) }
    }

    /// The lowest cursor of the readers that block. One of the dead that is below `needed` does not
    /// count: its row is there for the next reader.
    fn lowest<T, P: Peers>(&self, ring: Ring<'_, T, P>, needed: u64) -> u64 {
        let mut lowest = self.tail;
        for Line(row) in ring.shared.rows_in_use() {
            // Acquire: pairs with the Release in `leave_row`: who was there before reads no more.
            let word = Word(row.owner.load(Ordering::Acquire));
            if !word.is_blocking() {
                continue;
            }
            // Acquire: pairs with the Release in `Reading::pass`: the reader has finished with what
            // lies before it.
            let cursor = row.cursor.load(Ordering::Acquire);
            let is_dead = || word.owner().is_none_or(|owner| ring.peers.is_gone(owner));
            if cursor >= needed || !is_dead() {
                lowest = lowest.min(cursor);
            }
        }
        lowest
    }

    /// Waits for room for `want` elements.
    #[inline(always)]
    pub(crate) fn wait_room<T, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        want: u64,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        match self.room(ring, want) {
            Err(Stop::NotYet) => self.wait_slowly(ring, want, deadline),
            done => done,
        }
    }

    #[cold]
    fn wait_slowly<T, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        want: u64,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        ring.shared.producer.0.counters.count_full();
        if let Deadline::Now = deadline {
            return Err(Stop::NotYet);
        }
        self.await_room(ring, want);
        let (bell, counters) = (&ring.shared.control.0.space, &ring.shared.producer.0.counters);
        let mut patience = self.patience;
        let found = wait(&mut patience, bell, counters, ring.peers, deadline, |_: Look| {
            self.room(ring, want)
        });
        self.patience = patience;
        found
    }

    /// Whether a send would not wait.
    pub(crate) fn is_ready<T, P: Peers>(&self, ring: Ring<'_, T, P>) -> bool {
        let needed = (self.tail + 1).saturating_sub(ring.capacity);
        self.limit > self.tail || ring.shared.is_closed() || self.lowest(ring, needed) >= needed
    }

    /// Tells the readers which cursor is waited for. Before listening.
    pub(crate) fn await_room<T, P>(&self, ring: Ring<'_, T, P>, want: u64) {
        let awaited = (self.tail + want).saturating_sub(ring.capacity);
        // Relaxed: the heavy barrier in `listen` comes after it; pairs with the light one in
        // `Reading::pass`.
        ring.shared.control.0.awaited.store(awaited, Ordering::Relaxed);
    }

    /// From here on `count` elements, behind `already`, are being overwritten.
    #[inline(always)]
    fn announce(&mut self, shared: &Shared, already: u64, count: u64) {
        self.reserved = self.reserved.max(self.tail + already + count);
        // Release: the tail comes before, so that who goes on where this says does not pass it; pairs
        // with the Acquire in `overwritten`. The Release store of each word comes after it.
        shared.producer.0.reserved.store(self.reserved, Ordering::Release);
    }

    /// Writes elements behind `already` others that are written and not published. The caller has
    /// room for them.
    #[inline(always)]
    pub(crate) fn write<T: Copy, P>(&mut self, ring: Ring<'_, T, P>, already: u64, values: &[T]) {
        self.announce(ring.shared, already, values.len() as u64);
        for (position, value) in (self.tail + already..).zip(values) {
            copy_in(ring.element(position), value);
        }
    }

    /// Hands `count` written elements to the readers. The linearization point of every send.
    #[inline(always)]
    pub(crate) fn publish<T, P>(&mut self, ring: Ring<'_, T, P>, count: u64) {
        self.tail += count;
        let words = &ring.shared.producer.0;
        // Release: the elements are written before; pairs with the Acquire in `Reading::ready`.
        words.tail.store(self.tail, Ordering::Release);
        if ring.shared.control.0.data.ring() {
            words.counters.count_wake();
        }
    }

    /// Sends one element.
    #[inline(always)]
    pub(crate) fn send<T: Copy, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        value: &T,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        self.wait_room(ring, 1, deadline)?;
        self.write(ring, 0, std::slice::from_ref(value));
        self.publish(ring, 1);
        Ok(())
    }

    /// Sends from the front of `values` as many as there is room for, at least one, as one step;
    /// how many.
    #[inline]
    pub(crate) fn send_some<T: Copy, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        values: &[T],
        deadline: Deadline,
    ) -> Result<usize, Stop> {
        if values.is_empty() {
            return Ok(0);
        }
        // More room than one element takes is found by a look, without waiting for it.
        let _ = self.room(ring, (values.len() as u64).min(ring.capacity));
        let room = self.wait_room(ring, 1, deadline)?;
        let some = values.get(..room as usize).unwrap_or(values);
        self.write(ring, 0, some);
        self.publish(ring, some.len() as u64);
        Ok(some.len())
    }
}
