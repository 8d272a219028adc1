//! A queue in a segment: how it lies there, how it is made, and what an attach checks.
//!
//! ```text
//! offset      +128                                         +1024 (or the slots' alignment)
//! | preamble  | control | producers | consumers | attached | slots: capacity × slot
//! ```

use std::ptr::NonNull;

use shm_core::primitive::AtomicU64;
use shm_core::{Owner, Segment};

use super::shared::{Queue, Shared, Slot};
use super::word::Word;
use crate::preamble::{self, ALIGN, Kind, Unit, real_capacity};
use crate::spsc::Element;
use crate::{Error, place::place};

const SHARED_AT: usize = preamble::SIZE;
const SLOTS_AT: usize = (SHARED_AT + size_of::<Shared>()).next_multiple_of(ALIGN);

/// Bytes for at least `asked` elements.
pub(crate) fn required_size<T: Element>(asked: usize) -> Result<usize, Error> {
    size_of_queue::<T>(real_capacity(asked)?).ok_or(Error::Capacity(asked))
}

fn size_of_queue<T>(capacity: usize) -> Option<usize> {
    let slots = capacity.checked_mul(size_of::<Slot<T>>())?;
    slots.checked_add(SLOTS_AT).filter(|&size| isize::try_from(size).is_ok())
}

/// Makes a queue in zeroed memory.
pub(crate) fn create<T: Element>(
    segment: &Segment,
    offset: usize,
    kind: Kind,
    asked: usize,
) -> Result<(), Error> {
    let (capacity, size) = (real_capacity(asked)?, required_size::<T>(asked)?);
    let unit = Unit::of::<T>(kind);
    preamble::create(segment, offset, unit, capacity, size, |start| {
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: in bounds, aligned, and nobody looks at it before the queue is finished.
        unsafe { shared.write(Shared::default()) };
        // SAFETY: within the placed range.
        let slots = unsafe { start.add(SLOTS_AT) }.cast::<Slot<T>>();
        for index in 0..capacity {
            // SAFETY: `capacity` slots lie in the placed range.
            let slot = unsafe { slots.add(index) };
            // SAFETY: the slot is ours alone; its word is its first field.
            unsafe { slot.cast::<AtomicU64>().write(AtomicU64::new(Word::free(index as u64).0)) };
        }
    })
}

/// A queue that this process has mapped and checked.
#[derive(Clone, Debug)]
pub(crate) struct Place<T> {
    shared: NonNull<Shared>,
    slots: NonNull<Slot<T>>,
    capacity: usize,
    _segment: Segment,
}

// SAFETY: the pointers lead into shared memory that the segment keeps mapped; the words there are
// atomics, and an element is reached by one thread at a time, by the protocol.
unsafe impl<T: Element> Send for Place<T> {}
// SAFETY: as above; what a shared reference gives is the atomics and raw pointers.
unsafe impl<T: Element> Sync for Place<T> {}

impl<T: Element> Place<T> {
    /// Checks everything that another process wrote and maps the queue.
    pub(crate) fn attach(segment: &Segment, offset: usize, kind: Kind) -> Result<Self, Error> {
        let found = preamble::read(segment, offset)?;
        found.require(Unit::of::<T>(kind))?;
        let size = size_of_queue::<T>(found.capacity)
            .ok_or(Error::Corrupted("the capacity is larger than memory"))?;
        let start = place(segment, offset, size, ALIGN)?;
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: within the placed range.
        let slots = unsafe { start.add(SLOTS_AT) }.cast::<Slot<T>>();
        Ok(Place { shared, slots, capacity: found.capacity, _segment: segment.clone() })
    }

    #[inline(always)]
    pub(crate) fn shared(&self) -> &Shared {
        // SAFETY: `attach` checked bounds and alignment, the segment keeps it mapped, any bytes are
        // valid atomics, and `create` finished them before it showed the magic number.
        unsafe { self.shared.as_ref() }
    }

    #[inline(always)]
    fn slots(&self) -> &[Slot<T>] {
        // SAFETY: `attach` checked type and bounds; a slot's word is an atomic, and its element is
        // only reached by raw pointers.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr(), self.capacity) }
    }

    /// The queue as the operations of a member see it.
    #[inline(always)]
    pub(crate) fn queue<'a, P>(&'a self, peers: &'a P, me: Owner) -> Queue<'a, T, P> {
        Queue { shared: self.shared(), slots: self.slots(), peers, me }
    }
}
