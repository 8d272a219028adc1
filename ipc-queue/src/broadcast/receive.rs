//! The reader's half of the protocol: join, look, copy, recheck, pass on.

use shm_core::barrier::{Mode as Barrier, heavy_barrier, light_barrier};
use shm_core::primitive::Ordering;
use shm_core::{Owner, Peers};

use super::park::{Look, wait};
use super::row::{Mode, Word};
use super::shared::Ring;
use super::words::copy_out;
use crate::Error;
use crate::ring::Stop;
use crate::wait::{Deadline, Patience};

/// With which element a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// With the next that is sent.
    Now,
    /// With the oldest that is still there; for a reader that blocks, with the oldest that the
    /// producer, which looks at its readers once in a ring's length or when it is full, cannot be
    /// about to overwrite.
    Oldest,
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    Stopped(Stop),
    /// So many elements were overwritten before they were received.
    Lagged(u64),
}

impl From<Stop> for Missed {
    fn from(stop: Stop) -> Self {
        Missed::Stopped(stop)
    }
}

/// Where one reader stands.
#[derive(Debug)]
pub(crate) struct Reading {
    row: usize,
    /// The position of the next element.
    at: u64,
    /// The producer's position when last looked at.
    tail: u64,
    /// Whether what was copied may have been overwritten meanwhile.
    rechecks: bool,
    pub(crate) patience: Patience,
}

impl Reading {
    /// Takes a row and begins to read.
    pub(crate) fn join<T, P: Peers>(
        ring: Ring<'_, T, P>,
        me: Owner,
        mode: Mode,
        start: Start,
    ) -> Result<Reading, Error> {
        let row = ring.shared.take_row(me, ring.peers)?;
        let producer = &ring.shared.producer.0;
        let words = ring.shared.row(row);
        // Only a lower bound of where we start, looked at again below.
        let bound = ring.shared.promised().saturating_sub(ring.capacity);
        // Relaxed: a producer that sees us without this cursor is one that the barrier below orders
        // before us.
        words.cursor.store(bound, Ordering::Relaxed);
        // Relaxed: as above.
        words.owner.store(Word::reading(me, mode).0, Ordering::Relaxed);
        // Pairs with the light barrier in `look_at_readers`. If that comes first, we see below the
        // limit that was stored before it, or a later one, and the tail of then. If ours comes first,
        // the producer sees our cursor; what it may have written by an earlier look is in whatever
        // limit we see.
        let reached = heavy_barrier();
        let limit = ring.shared.promised();
        // Relaxed: no older than the limit, by the Acquire in `promised`; what lies there is found by
        // the next look at it.
        let tail = producer.tail.load(Ordering::Relaxed);
        let at = match (start, mode) {
            (Start::Now, _) => tail,
            (Start::Oldest, Mode::Block) => {
                bound.max(limit.saturating_sub(ring.capacity)).min(tail)
            }
            (Start::Oldest, Mode::Overwrite) => {
                // Relaxed: rechecked by every receive.
                let reserved = producer.reserved.load(Ordering::Relaxed);
                reserved.saturating_sub(ring.capacity).min(tail)
            }
        };
        let rechecks = mode == Mode::Overwrite || reached == Barrier::Fences;
        let mut reading = Reading { row, at, tail: at, rechecks, patience: Patience::default() };
        reading.pass(ring, 0);
        // The producer may have waited for the cursor that we began with.
        ring.shared.control.0.space.ring();
        Ok(reading)
    }

    pub(crate) fn row(&self) -> usize {
        self.row
    }

    /// Elements that this reader has done with.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// How many elements there are, at least one; looks at the producer's line only if none is known
    /// of.
    #[inline(always)]
    pub(crate) fn ready<T, P>(&mut self, ring: Ring<'_, T, P>) -> Result<u64, Stop> {
        let known = self.tail - self.at;
        if known > 0 { Ok(known) } else { self.refresh(ring) }
    }

    #[inline(always)]
    fn refresh<T, P>(&mut self, ring: Ring<'_, T, P>) -> Result<u64, Stop> {
        // Acquire: pairs with the Release in `publish`: the elements are written.
        let tail = ring.shared.producer.0.tail.load(Ordering::Acquire);
        if tail < self.at {
            return Err(Stop::Corrupted);
        }
        self.tail = tail;
        match tail - self.at {
            0 => Err(Stop::NotYet),
            ready => Ok(ready),
        }
    }

    /// Also says whether anything will ever come.
    #[cold]
    fn ready_or_end<T, P: Peers>(&mut self, ring: Ring<'_, T, P>) -> Result<u64, Stop> {
        match self.ready(ring) {
            Err(Stop::NotYet) => {}
            done => return done,
        }
        let end = match () {
            () if ring.shared.is_closed() => Stop::Closed,
            () if ring.shared.is_deserted(ring.peers) => Stop::Disconnected,
            () => return Err(Stop::NotYet),
        };
        // Once more: the last of them may have sent something before it closed, left or died.
        match self.refresh(ring) {
            Err(Stop::NotYet) => Err(end),
            done => done,
        }
    }

    /// Whether a receive would not wait.
    pub(crate) fn is_ready<T, P: Peers>(&self, ring: Ring<'_, T, P>) -> bool {
        // Relaxed: confirmed by the receive itself.
        let tail = ring.shared.producer.0.tail.load(Ordering::Relaxed);
        tail != self.at || ring.shared.is_closed() || ring.shared.is_deserted(ring.peers)
    }

    #[inline(always)]
    pub(crate) fn wait_ready<T, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        match self.ready(ring) {
            Err(Stop::NotYet) => self.wait_slowly(ring, deadline),
            done => done,
        }
    }

    #[cold]
    fn wait_slowly<T, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        let (bell, counters) = (&ring.shared.control.0.data, &ring.shared.row(self.row).counters);
        counters.count_empty();
        let mut patience = self.patience;
        let found = wait(&mut patience, bell, counters, ring.peers, deadline, |look| match look {
            Look::Quick => self.ready(ring),
            Look::Fully => self.ready_or_end(ring),
        });
        self.patience = patience;
        found
    }

    /// Whether elements from our position on were overwritten, or begun to be: how many. To be
    /// asked after they were copied.
    #[inline(always)]
    fn overwritten<T, P>(&self, ring: Ring<'_, T, P>) -> u64 {
        if !self.rechecks {
            return 0;
        }
        // Acquire: pairs with the Release in `announce`: the tail is at least where we go on. That
        // whoever copied a word of a later lap sees it announced is the Acquire's in `copy_out`.
        let reserved = ring.shared.producer.0.reserved.load(Ordering::Acquire);
        reserved.saturating_sub(ring.capacity).saturating_sub(self.at)
    }

    /// We have done with `count` more elements.
    #[inline(always)]
    fn pass<T, P>(&mut self, ring: Ring<'_, T, P>, count: u64) {
        let before = self.at;
        self.at += count;
        let row = ring.shared.row(self.row);
        // Release: we have finished reading; pairs with the Acquire in `lowest`.
        row.cursor.store(self.at, Ordering::Release);
        light_barrier();
        // Relaxed: the barrier above pairs with the heavy one in `listen`, before which the producer
        // stores this.
        let awaited = ring.shared.control.0.awaited.load(Ordering::Relaxed);
        if before < awaited && awaited <= self.at && ring.shared.control.0.space.ring() {
            row.counters.count_wake();
        }
    }

    /// Elements were overwritten before they were copied: goes on behind them.
    #[cold]
    fn lag<T, P>(&mut self, ring: Ring<'_, T, P>, missed: u64) -> Missed {
        self.tail = self.tail.max(self.at + missed);
        self.pass(ring, missed);
        Missed::Lagged(missed)
    }

    /// Receives one element.
    #[inline(always)]
    pub(crate) fn recv<T: Copy, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        deadline: Deadline,
    ) -> Result<T, Missed> {
        self.wait_ready(ring, deadline)?;
        let copied = copy_out::<T>(ring.element(self.at));
        match self.overwritten(ring) {
            0 => {}
            missed => return Err(self.lag(ring, missed)),
        }
        self.pass(ring, 1);
        // SAFETY: the element was published, and nobody has begun to overwrite it: the producer
        // waits for our cursor, or else the recheck has said so.
        Ok(unsafe { copied.assume_init() })
    }

    /// Receives as many elements as there are, at most `values.len()` and at least one.
    #[inline]
    pub(crate) fn recv_some<T: Copy, P: Peers>(
        &mut self,
        ring: Ring<'_, T, P>,
        values: &mut [T],
        deadline: Deadline,
    ) -> Result<usize, Missed> {
        if values.is_empty() {
            return Ok(0);
        }
        let known = self.tail - self.at;
        if known < values.len() as u64 {
            // More than is known of is found by a look, without waiting for it.
            let _ = self.refresh(ring);
        }
        let ready = self.wait_ready(ring, deadline)?.min(ring.capacity);
        let mut received = 0;
        for (position, value) in (self.at..self.at + ready).zip(values) {
            let copied = copy_out::<T>(ring.element(position));
            if self.overwritten(ring) > 0 {
                break;
            }
            // SAFETY: as in `recv`: nothing from our position on was overwritten.
            *value = unsafe { copied.assume_init() };
            received += 1;
        }
        match (received, self.overwritten(ring)) {
            (0, missed) if missed > 0 => Err(self.lag(ring, missed)),
            _ => {
                self.pass(ring, received);
                Ok(received as usize)
            }
        }
    }
}
