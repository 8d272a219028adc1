//! The words of a queue for several producers and consumers, in shared memory.

use shm_core::primitive::{AtomicU32, AtomicU64, Ordering, UnsafeCell};
use shm_core::{Owner, Peers};

use super::attached::Attached;
use super::word::{State, Word};
use crate::Side;
use crate::bell::Bell;
use crate::ring::Line;
use crate::wait::Counters;

/// Bits of [`Control::flags`], set by `fetch_or` and never cleared.
const CLOSED: u32 = 1;
/// There has been a producer; a consumer.
const HAD_PRODUCER: u32 = 1 << 1;
const HAD_CONSUMER: u32 = 1 << 2;

/// Positions that nobody has told of yet: each handle may hold back some tens, also in its grave.
const FURTHEST: u64 = 1 << 31;

#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Shared {
    control: Line<Control>,
    producers: Line<Direction>,
    consumers: Line<Direction>,
    pub(crate) attached: Attached,
}

/// Read by everybody, written rarely.
#[derive(Debug, Default)]
#[repr(C)]
struct Control {
    flags: AtomicU32,
    /// Consumers listen, producers ring: there is something to take.
    data: Bell,
    /// Producers listen, consumers ring: there is room.
    space: Bell,
}

/// What the handles of one side share.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Direction {
    /// All positions below have been claimed (taken, for consumers). Only grows, and is never ahead
    /// of the truth; a new or idle handle begins here.
    hint: AtomicU64,
    pub(crate) counters: Counters,
}

/// One slot, alone on its cache lines as long as the element is small.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Slot<T> {
    pub(crate) word: AtomicU64,
    pub(crate) value: UnsafeCell<T>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot<u64>>() == 64 && size_of::<Slot<[u64; 8]>>() == 128);
#[cfg(not(loom))]
const _: () = assert!(size_of::<Shared>() == 7 * 128);

impl Shared {
    pub(crate) fn direction(&self, side: Side) -> &Direction {
        match side {
            Side::Producer => &self.producers.0,
            Side::Consumer => &self.consumers.0,
        }
    }

    /// What `side` sleeps on.
    #[inline(always)]
    pub(crate) fn bell_of(&self, side: Side) -> &Bell {
        match side {
            Side::Producer => &self.control.0.space,
            Side::Consumer => &self.control.0.data,
        }
    }

    #[inline(always)]
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `close`: what came before it is seen.
        self.control.0.flags.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(crate) fn close(&self) {
        // Release: pairs with the Acquire in `is_closed`.
        self.control.0.flags.fetch_or(CLOSED, Ordering::Release);
        self.ring_everybody();
    }

    pub(crate) fn ring_everybody(&self) {
        self.control.0.data.ring();
        self.control.0.space.ring();
    }

    /// A handle of `side` has been counted.
    pub(crate) fn has_arrived(&self, side: Side) {
        // Release: the count comes before; pairs with the Acquire in `is_deserted`.
        self.control.0.flags.fetch_or(had(side), Ordering::Release);
    }

    /// Whether there was somebody on `side`, and nobody is left.
    pub(crate) fn is_deserted(&self, side: Side, peers: &impl Peers) -> bool {
        // Acquire: pairs with the Release in `has_arrived`: whoever set it is in the counts.
        self.control.0.flags.load(Ordering::Acquire) & had(side) != 0
            && !self.attached.anybody(side, peers)
    }
}

fn had(side: Side) -> u32 {
    match side {
        Side::Producer => HAD_PRODUCER,
        Side::Consumer => HAD_CONSUMER,
    }
}

impl Direction {
    #[inline(always)]
    pub(crate) fn hint(&self) -> u64 {
        // Relaxed: only a place to begin at; what is found there decides.
        self.hint.load(Ordering::Relaxed)
    }

    /// All positions below `position` are claimed. Never goes back, so that it is near the truth
    /// whoever was stopped for however long.
    #[inline]
    pub(crate) fn tell(&self, position: u64) {
        let hint = self.hint();
        if hint < position {
            // Relaxed: see `hint`. Lost to another: that one told as much, more or less.
            let _ =
                self.hint.compare_exchange(hint, position, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// A queue as an operation sees it, wherever it lies.
#[derive(Debug)]
pub(crate) struct Queue<'a, T, P> {
    pub(crate) shared: &'a Shared,
    /// A power of two.
    pub(crate) slots: &'a [Slot<T>],
    pub(crate) peers: &'a P,
    pub(crate) me: Owner,
}

impl<T, P> Clone for Queue<'_, T, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, P> Copy for Queue<'_, T, P> {}

impl<T, P> Queue<'_, T, P> {
    #[inline(always)]
    pub(crate) fn slot(&self, position: u64) -> &Slot<T> {
        // The length is a power of two: a mask, and no bounds check survives it.
        &self.slots[position as usize & (self.slots.len() - 1)]
    }

    #[inline(always)]
    pub(crate) fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Whether a word that was found where `cursor` leads can be there at all: it is of this slot,
    /// and not further ahead than hints lag behind.
    pub(crate) fn is_possible(&self, seen: Word, cursor: u64, hint: u64) -> bool {
        let known = cursor.max(hint);
        let position = seen.position(known);
        let of_this_slot = (position ^ cursor) & (self.capacity() - 1) == 0;
        of_this_slot && position <= known.saturating_add(FURTHEST) && seen.state() != State::Strange
    }

    /// Where a cursor goes on that met a later position than its own in a slot: all up to a lap
    /// before that are past.
    #[inline]
    pub(crate) fn behind(&self, seen: Word, cursor: u64) -> u64 {
        let a_lap_before = seen.position(cursor).saturating_sub(self.capacity());
        a_lap_before.max(cursor).saturating_add(1)
    }

    /// Gives the slot of `position`, which one who is proven dead had in hand, back for the next
    /// lap.
    #[cold]
    pub(crate) fn free_of_the_dead(&self, seen: Word, position: u64) {
        let free = Word::free(position + self.capacity());
        // Release: what the dead did to the element, which the proof brought us, comes before;
        // pairs with the Acquire in `claim`. Relaxed on failure: somebody else has freed it.
        let _ = self.slot(position).word.compare_exchange(
            seen.0,
            free.0,
            Ordering::Release,
            Ordering::Relaxed,
        );
    }
}
