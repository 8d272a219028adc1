//! The words of a broadcast ring, in shared memory.

use std::marker::PhantomData;

use shm_core::primitive::{AtomicU32, AtomicU64, Ordering};
use shm_core::{MAX_MEMBERS, Owner, Peers};

use super::park::Counters;
use super::row::{Row, Word};
use super::words::words_of;
use crate::Error;
use crate::bell::Bell;
use crate::ring::Line;

/// Readers that a ring can have at a time.
pub(crate) const READERS: usize = MAX_MEMBERS;

/// Bits of [`Control::flags`], set by `fetch_or` and never cleared.
const CLOSED: u32 = 1;
const HAD_PRODUCER: u32 = 1 << 1;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) control: Line<Control>,
    pub(crate) producer: Line<ProducerWords>,
    rows: [Line<Row>; READERS],
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            control: Line::default(),
            producer: Line::default(),
            rows: std::array::from_fn(|_| Line::default()),
        }
    }
}

/// Read by everybody, written rarely.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Control {
    flags: AtomicU32,
    /// Readers listen, the producer rings: there is something to receive.
    pub(crate) data: Bell,
    /// The producer listens, readers ring: there is room.
    pub(crate) space: Bell,
    /// Rows in use: one more than the highest that was ever taken.
    mark: AtomicU32,
    /// The producer sleeps until all cursors are at least here.
    pub(crate) awaited: AtomicU64,
}

/// The producer's line.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ProducerWords {
    /// Elements sent since the ring was created.
    pub(crate) tail: AtomicU64,
    /// Elements that were ever begun to be written. Only grows.
    pub(crate) reserved: AtomicU64,
    /// The producer writes no element of this position or a later one before it looks at the
    /// readers again.
    pub(super) limit: AtomicU64,
    /// The owner that produces; 0: nobody.
    role: AtomicU32,
    pub(crate) counters: Counters,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Shared>() == (2 + READERS) * 128);

impl Shared {
    #[inline(always)]
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `close`: what was sent before it is seen.
        self.control.0.flags.load(Ordering::Acquire) & CLOSED != 0
    }

    /// The producer's word that it sends no more.
    pub(crate) fn close(&self) {
        // Release: pairs with the Acquire in `is_closed`.
        self.control.0.flags.fetch_or(CLOSED, Ordering::Release);
        self.control.0.data.ring();
    }

    /// Makes `me` the producer, if there is none or it is dead.
    pub(crate) fn take_role(&self, me: Owner, peers: &impl Peers) -> Result<(), Error> {
        let role = &self.producer.0.role;
        // Relaxed: compared again by the exchange.
        let held = role.load(Ordering::Relaxed);
        if Owner::from_bits(held).is_some_and(|owner| !peers.is_gone(owner)) {
            return Err(Error::ProducerThere);
        }
        // Acquire: pairs with the Release in `leave_role`: what the one before us did is seen; of
        // the dead, by the proof. Relaxed on failure: nothing is done then.
        role.compare_exchange(held, me.to_bits(), Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| Error::ProducerThere)?;
        // Release: the role comes before; pairs with the Acquire in `is_deserted`.
        self.control.0.flags.fetch_or(HAD_PRODUCER, Ordering::Release);
        Ok(())
    }

    /// The producer leaves: readers must not wait for it.
    pub(crate) fn leave_role(&self) {
        // Release: what we sent comes before; pairs with the Acquire in `take_role` and
        // `is_deserted`.
        self.producer.0.role.store(0, Ordering::Release);
        self.control.0.data.ring();
    }

    /// Whether there has been a producer, and none is left. What it had sent is seen then.
    pub(crate) fn is_deserted(&self, peers: &impl Peers) -> bool {
        // Acquire: pairs with the Release in `take_role`: the role that is read below is that
        // producer's, or a later word.
        if self.control.0.flags.load(Ordering::Acquire) & HAD_PRODUCER == 0 {
            return false;
        }
        // Acquire: pairs with the Release in `leave_role`.
        let held = self.producer.0.role.load(Ordering::Acquire);
        Owner::from_bits(held).is_none_or(|owner| peers.is_gone(owner))
    }

    /// The producer's word that it writes nothing from that position on before it looks at the readers
    /// again.
    pub(crate) fn promise(&self, limit: u64) {
        // Release: the tail comes before; pairs with the Acquire in `promised`.
        self.producer.0.limit.store(limit, Ordering::Release);
    }

    /// What the producer has promised; the tail is seen to be a ring's length before it, or later.
    pub(crate) fn promised(&self) -> u64 {
        // Acquire: pairs with the Release in `promise`.
        self.producer.0.limit.load(Ordering::Acquire)
    }

    pub(crate) fn rows_in_use(&self) -> &[Line<Row>] {
        // Relaxed: raised before a row is taken; for the producer the barriers of `refill` and
        // `join` order it.
        let mark = self.control.0.mark.load(Ordering::Relaxed) as usize;
        self.rows.get(..mark).unwrap_or(&self.rows)
    }

    pub(crate) fn row(&self, index: usize) -> &Row {
        &self.rows[index].0
    }

    /// Takes a row that is free or a dead reader's.
    pub(crate) fn take_row(&self, me: Owner, peers: &impl Peers) -> Result<usize, Error> {
        for (index, row) in self.rows.iter().enumerate() {
            // Relaxed: compared again by the exchange.
            let seen = Word(row.0.owner.load(Ordering::Relaxed));
            if seen.owner().is_some_and(|owner| !peers.is_gone(owner)) {
                continue;
            }
            let mine = Word::joining(me);
            // Acquire: the last stores to the row of who had it come before ours; pairs with the
            // Release in `leave_row`. Relaxed on failure: another has it.
            let taken =
                row.0.owner.compare_exchange(seen.0, mine.0, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                // Relaxed: the heavy barrier of whoever blocks comes after it.
                self.control.0.mark.fetch_max(index as u32 + 1, Ordering::Relaxed);
                return Ok(index);
            }
        }
        Err(Error::TooManyReaders { max: READERS })
    }

    /// A reader leaves: the producer must not wait for it.
    pub(crate) fn leave_row(&self, index: usize) {
        // Release: our last copy comes before; pairs with the Acquire in `lowest` and `take_row`.
        self.row(index).owner.store(Word::FREE.0, Ordering::Release);
        self.control.0.space.ring();
    }
}

/// A ring as an operation sees it, wherever it lies.
#[derive(Debug)]
pub(crate) struct Ring<'a, T, P> {
    pub(crate) shared: &'a Shared,
    /// `words_of::<T>()` words for each element.
    pub(crate) words: &'a [AtomicU64],
    /// A power of two.
    pub(crate) capacity: u64,
    pub(crate) peers: &'a P,
    pub(crate) elements: PhantomData<T>,
}

impl<T, P> Clone for Ring<'_, T, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, P> Copy for Ring<'_, T, P> {}

impl<T, P> Ring<'_, T, P> {
    /// The words of the element of that position.
    #[inline(always)]
    pub(crate) fn element(&self, position: u64) -> &[AtomicU64] {
        let first = (position & (self.capacity - 1)) as usize * words_of::<T>();
        self.words.get(first..first + words_of::<T>()).unwrap_or(&[])
    }
}
