//! The words of a work queue in shared memory, and what its operations do with them.

use shm_core::barrier::light_barrier;
use shm_core::primitive::{AtomicU32, AtomicU64, Ordering, UnsafeCell};
use shm_core::{Owner, Peers, Ticket};

use super::record::{Record, State};
use crate::bell::Bell;
use crate::mpmc::shared::Queue;
use crate::ring::Line;

/// Records that a work queue can have: its returned set is one word of 64 bits for each 64 of them.
pub(crate) const MOST: usize = 4096;

/// The ticket of a group in which nobody has died yet: a handle begins with it, so that it looks at
/// all records before its first operation if there was a death.
pub(crate) const BEFORE_ANY_DEATH: Ticket = Ticket(0);

/// Beside the ring of indices.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared {
    control: Line<Control>,
    /// Records to look at before the ring: a hint, as the ring is.
    returned: [AtomicU64; MOST / 64],
}

#[derive(Debug, Default)]
#[repr(C)]
struct Control {
    /// Whether `returned` may hold something.
    some_returned: AtomicU32,
    /// So often is an item given out again. Written before the queue is finished.
    limit: AtomicU32,
    /// Joiners listen: a record that one of them marked has come to its end.
    ended: Bell,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Shared>() == 128 + 512);

/// An item and what has become of it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Slot<T> {
    pub(crate) word: AtomicU64,
    pub(crate) value: UnsafeCell<T>,
}

impl Shared {
    pub(crate) fn new(limit: u32) -> Shared {
        let returned = std::array::from_fn(|_| AtomicU64::new(0));
        let shared = Shared { control: Line::default(), returned };
        // Relaxed: published with the queue.
        shared.control.0.limit.store(limit, Ordering::Relaxed);
        shared
    }

    pub(crate) fn limit(&self) -> u32 {
        // Relaxed: never changes.
        self.control.0.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self) -> &Bell {
        &self.control.0.ended
    }

    /// Puts a record that is queued into the returned set.
    pub(crate) fn put_back(&self, index: usize) {
        let Some(word) = self.returned.get(index / 64) else { return };
        // Relaxed: published by the exchange that follows.
        word.fetch_or(1 << (index % 64), Ordering::Relaxed);
        // Release: the bit comes before; pairs with the Acquire in `take_returned`.
        self.control.0.some_returned.swap(1, Ordering::Release);
    }

    #[inline]
    pub(crate) fn has_returned(&self) -> bool {
        // Relaxed: only whether to look.
        self.control.0.some_returned.load(Ordering::Relaxed) != 0
    }

    /// Takes one record out of the returned set.
    pub(crate) fn take_returned(&self) -> Option<usize> {
        if !self.has_returned() {
            return None;
        }
        // Acquire: pairs with the Release in `put_back`: bits that were put before our 0 are seen
        // below; whoever puts one later says so anew.
        self.control.0.some_returned.swap(0, Ordering::Acquire);
        for (at, word) in self.returned.iter().enumerate() {
            // Relaxed: a bit is a hint; the record's own word decides.
            let bits = word.load(Ordering::Relaxed);
            if bits == 0 {
                continue;
            }
            let bit = bits & bits.wrapping_neg();
            // Relaxed: there may be more. An exchange, which passes on what `put_back` released.
            self.control.0.some_returned.swap(1, Ordering::Relaxed);
            // Relaxed: as above. Lost to another: the caller looks again.
            word.fetch_and(!bit, Ordering::Relaxed);
            return Some(at * 64 + bit.trailing_zeros() as usize);
        }
        None
    }
}

/// A work queue as an operation sees it, wherever it lies.
#[derive(Debug)]
pub(crate) struct Work<'a, T, P> {
    pub(crate) shared: &'a Shared,
    pub(crate) slots: &'a [Slot<T>],
    /// The indices of queued records: a hint.
    pub(crate) ring: Queue<'a, u32, P>,
}

impl<T, P> Clone for Work<'_, T, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, P> Copy for Work<'_, T, P> {}

impl<T, P: Peers> Work<'_, T, P> {
    pub(crate) fn me(&self) -> Owner {
        self.ring.me
    }

    pub(crate) fn record(&self, index: usize) -> Record {
        // Acquire: whoever acts on a state sees what led to it; pairs with the Release in `change`.
        Record(self.slots[index].word.load(Ordering::Acquire))
    }

    /// One change of a record, from what `record` gave.
    pub(crate) fn change(&self, index: usize, from: Record, to: Record) -> bool {
        let word = &self.slots[index].word;
        // Release: an item is written before it is queued, and read before its record is free;
        // pairs with the Acquire in `record`. Relaxed on failure: looked at again.
        word.compare_exchange(from.0, to.0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// The change of a record that is reserved in our name, which nobody else changes.
    pub(crate) fn queue(&self, index: usize, reserved: Record) {
        // Release: the item is written before; pairs with the Acquire in `record`.
        self.slots[index].word.store(reserved.queued().0, Ordering::Release);
    }

    /// Looks at all records after a death: what the dead had reserved is free, what they had leased
    /// is given out again, and whatever is queued is in the returned set, since the ring's index of
    /// it may have died with somebody.
    #[cold]
    pub(crate) fn look_after_the_dead(&self) {
        for index in 0..self.slots.len() {
            self.look_after(index);
        }
    }

    fn look_after(&self, index: usize) {
        loop {
            let seen = self.record(index);
            let changed = match seen.state() {
                State::Queued => {
                    self.shared.put_back(index);
                    self.ring.ring(crate::Side::Consumer, 1);
                    return;
                }
                State::Reserved(owner) if self.ring.peers.is_gone(owner) => {
                    self.change(index, seen, seen.freed())
                }
                State::Leased(owner) if self.ring.peers.is_gone(owner) => {
                    self.give_back(index, seen)
                }
                _ => return,
            };
            if changed {
                return;
            }
        }
    }

    /// Ends a lease that did not end well.
    pub(crate) fn give_back(&self, index: usize, leased: Record) -> bool {
        let next = leased.given_back(self.shared.limit());
        if !self.change(index, leased, next) {
            return false;
        }
        if next.state() == State::Queued {
            self.shared.put_back(index);
            self.ring.ring(crate::Side::Consumer, 1);
        } else {
            self.has_ended(leased);
        }
        true
    }

    /// A record has come to its end: tells joiners, and workers that only waited for that.
    pub(crate) fn has_ended(&self, last: Record) {
        if last.is_joined() {
            self.shared.ended().ring();
        }
        let queue = self.ring.shared;
        let bell = queue.bell_of(crate::Side::Consumer);
        // Between the record's end and the look whether anybody sleeps, as in every ring of a bell.
        light_barrier();
        if bell.has_listener()
            && (queue.is_closed() || queue.is_deserted(crate::Side::Producer, self.ring.peers))
        {
            bell.ring();
        }
    }

    /// Two equal looks at all records of which none is what `is_pending`: there was an instant, since
    /// the call, at which none was. Else the first that is.
    pub(crate) fn snapshot(
        &self,
        is_pending: impl Fn(Record) -> bool,
    ) -> Result<(), Option<usize>> {
        let all = || (0..self.slots.len()).map(|index| self.record(index));
        let mut first = Vec::with_capacity(self.slots.len());
        for (index, record) in all().enumerate() {
            if is_pending(record) {
                return Err(Some(index));
            }
            first.push(record);
        }
        if all().eq(first) { Ok(()) } else { Err(None) }
    }
}
