//! A work queue in a segment: how it lies there, how it is made, and what an attach checks.
//!
//! ```text
//! offset      +128      +768           +1664                  + capacity × 64
//! | preamble  | control | ring's words | ring: capacity × 64  | records: capacity × record
//! ```

use std::ptr::NonNull;

use shm_core::primitive::AtomicU64;
use shm_core::{Owner, Segment};

use super::shared::{MOST, Shared, Slot, Work};
use crate::mpmc::shared::{Queue, Shared as RingShared, Slot as RingSlot};
use crate::mpmc::word::Word;
use crate::preamble::{self, ALIGN, Kind, Unit, real_capacity};
use crate::spsc::Element;
use crate::{Error, place::place};

const SHARED_AT: usize = preamble::SIZE;
const RING_AT: usize = (SHARED_AT + size_of::<Shared>()).next_multiple_of(ALIGN);
const RING_SLOTS_AT: usize = (RING_AT + size_of::<RingShared>()).next_multiple_of(ALIGN);

fn records_at(capacity: usize) -> usize {
    (RING_SLOTS_AT + capacity * size_of::<RingSlot<u32>>()).next_multiple_of(ALIGN)
}

fn capacity(asked: usize) -> Result<usize, Error> {
    real_capacity(asked).ok().filter(|&real| real <= MOST).ok_or(Error::Capacity(asked))
}

fn size_of_queue<T>(capacity: usize) -> Option<usize> {
    let records = capacity.checked_mul(size_of::<Slot<T>>())?;
    records.checked_add(records_at(capacity)).filter(|&size| isize::try_from(size).is_ok())
}

/// Bytes for at least `asked` items.
pub(crate) fn required_size<T: Element>(asked: usize) -> Result<usize, Error> {
    size_of_queue::<T>(capacity(asked)?).ok_or(Error::Capacity(asked))
}

/// Makes a work queue in zeroed memory: zeroed records are free.
pub(crate) fn create<T: Element>(
    segment: &Segment,
    offset: usize,
    asked: usize,
    redeliveries: u8,
) -> Result<(), Error> {
    let (capacity, size) = (capacity(asked)?, required_size::<T>(asked)?);
    let unit = Unit::of::<T>(Kind::Work);
    preamble::create(segment, offset, unit, capacity, size, |start| {
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: in bounds, aligned, and nobody looks at it before the queue is finished.
        unsafe { shared.write(Shared::new(redeliveries.into())) };
        // SAFETY: within the placed range.
        let ring = unsafe { start.add(RING_AT) }.cast::<RingShared>();
        // SAFETY: as above.
        unsafe { ring.write(RingShared::default()) };
        // SAFETY: within the placed range.
        let slots = unsafe { start.add(RING_SLOTS_AT) }.cast::<RingSlot<u32>>();
        for index in 0..capacity {
            // SAFETY: `capacity` slots lie in the placed range.
            let slot = unsafe { slots.add(index) };
            // SAFETY: the slot is ours alone; its word is its first field.
            unsafe { slot.cast::<AtomicU64>().write(AtomicU64::new(Word::free(index as u64).0)) };
        }
    })
}

/// A work queue that this process has mapped and checked.
#[derive(Clone, Debug)]
pub(crate) struct Place<T> {
    shared: NonNull<Shared>,
    ring: NonNull<RingShared>,
    ring_slots: NonNull<RingSlot<u32>>,
    records: NonNull<Slot<T>>,
    capacity: usize,
    _segment: Segment,
}

// SAFETY: the pointers lead into shared memory that the segment keeps mapped; the words there are
// atomics, and an item is reached by one thread at a time, by the protocol.
unsafe impl<T: Element> Send for Place<T> {}
// SAFETY: as above; what a shared reference gives is the atomics and raw pointers.
unsafe impl<T: Element> Sync for Place<T> {}

impl<T: Element> Place<T> {
    /// Checks everything that another process wrote and maps the queue.
    pub(crate) fn attach(segment: &Segment, offset: usize) -> Result<Self, Error> {
        let found = preamble::read(segment, offset)?;
        found.require(Unit::of::<T>(Kind::Work))?;
        let size = (found.capacity <= MOST).then(|| size_of_queue::<T>(found.capacity)).flatten();
        let size = size.ok_or(Error::Corrupted("the capacity is larger than any"))?;
        let start = place(segment, offset, size, ALIGN)?;
        // SAFETY: within the placed range, this and the three that follow.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: as above.
        let ring = unsafe { start.add(RING_AT) }.cast::<RingShared>();
        // SAFETY: as above.
        let ring_slots = unsafe { start.add(RING_SLOTS_AT) }.cast::<RingSlot<u32>>();
        // SAFETY: as above.
        let records = unsafe { start.add(records_at(found.capacity)) }.cast::<Slot<T>>();
        let _segment = segment.clone();
        Ok(Place { shared, ring, ring_slots, records, capacity: found.capacity, _segment })
    }

    /// The words of the ring of indices, where handles are counted, too.
    pub(crate) fn ring_shared(&self) -> &RingShared {
        // SAFETY: `attach` checked bounds and alignment, the segment keeps it mapped, any bytes are
        // valid atomics, and `create` finished them before it showed the magic number.
        unsafe { self.ring.as_ref() }
    }

    /// The queue as the operations of a member see it.
    pub(crate) fn work<'a, P>(&'a self, peers: &'a P, me: Owner) -> Work<'a, T, P> {
        // SAFETY: `attach` checked bounds and alignment, the segment keeps it mapped, any bytes are
        // valid atomics, and `create` finished them before it showed the magic number.
        let shared = unsafe { self.shared.as_ref() };
        // SAFETY: as above; an element is only reached by raw pointers.
        let ring_slots =
            unsafe { std::slice::from_raw_parts(self.ring_slots.as_ptr(), self.capacity) };
        // SAFETY: as above.
        let slots = unsafe { std::slice::from_raw_parts(self.records.as_ptr(), self.capacity) };
        let ring = Queue { shared: self.ring_shared(), slots: ring_slots, peers, me };
        Work { shared, slots, ring }
    }
}
