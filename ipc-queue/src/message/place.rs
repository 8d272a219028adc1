//! A ring of messages in a segment: how it lies there, how it is made, and what an attach checks.
//!
//! ```text
//! offset      +128                            +512
//! | preamble  | control | producer | consumer | bytes: 2 × capacity
//! ```

use std::ptr::NonNull;

use shm_core::Segment;
use shm_core::primitive::UnsafeCell;

use super::shared::{Ring, Shared, WORD};
use crate::preamble::{self, ALIGN, Kind, Unit, real_capacity};
use crate::{Error, place::place};

const SHARED_AT: usize = preamble::SIZE;
const BYTES_AT: usize = (SHARED_AT + size_of::<Shared>()).next_multiple_of(ALIGN);
/// The smallest ring: a few words.
const LEAST: usize = 64;

const UNIT: Unit = Unit { kind: Kind::Message, ..Unit::BYTE };

fn capacity_for(asked: usize) -> Result<usize, Error> {
    match asked {
        0 => Err(Error::Capacity(asked)),
        _ => real_capacity(asked.max(LEAST)),
    }
}

/// Bytes for a ring that holds at least `asked` bytes.
pub(crate) fn required_size(asked: usize) -> Result<usize, Error> {
    size_of_ring(capacity_for(asked)?).ok_or(Error::Capacity(asked))
}

fn size_of_ring(capacity: usize) -> Option<usize> {
    let bytes = capacity.checked_mul(2)?;
    bytes.checked_add(BYTES_AT).filter(|&size| isize::try_from(size).is_ok())
}

/// Makes a ring in zeroed memory.
pub(crate) fn create(segment: &Segment, offset: usize, asked: usize) -> Result<(), Error> {
    let (capacity, size) = (capacity_for(asked)?, required_size(asked)?);
    preamble::create(segment, offset, UNIT, capacity, size, |start| {
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: in bounds, aligned, and nobody looks at it before the ring is finished.
        unsafe { shared.write(Shared::default()) };
    })
}

/// A ring that this process has mapped and checked.
#[derive(Debug)]
pub(crate) struct Place {
    shared: NonNull<Shared>,
    words: NonNull<UnsafeCell<u64>>,
    /// In bytes.
    capacity: usize,
    _segment: Segment,
}

// SAFETY: the pointers lead into shared memory that the segment keeps mapped; the words there are
// atomics, and the bytes are handed from one side to the other by them.
unsafe impl Send for Place {}

impl Place {
    /// Checks everything that another process wrote and maps the ring.
    pub(crate) fn attach(segment: &Segment, offset: usize) -> Result<Self, Error> {
        let found = preamble::read(segment, offset)?;
        found.require(UNIT)?;
        if found.capacity < LEAST {
            return Err(Error::Corrupted("the capacity is smaller than any that is made"));
        }
        let size = size_of_ring(found.capacity)
            .ok_or(Error::Corrupted("the capacity is larger than memory"))?;
        let start = place(segment, offset, size, ALIGN)?;
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: within the placed range.
        let words = unsafe { start.add(BYTES_AT) }.cast::<UnsafeCell<u64>>();
        Ok(Place { shared, words, capacity: found.capacity, _segment: segment.clone() })
    }

    #[inline(always)]
    pub(crate) fn shared(&self) -> &Shared {
        // SAFETY: `attach` checked bounds and alignment, the segment keeps it mapped, any bytes are
        // valid atomics, and `create` finished them before it showed the magic number.
        unsafe { self.shared.as_ref() }
    }

    /// The ring as the operations of a member see it.
    #[inline(always)]
    pub(crate) fn ring<'a, P>(&'a self, peers: &'a P) -> Ring<'a, P> {
        let len = 2 * self.capacity / WORD as usize;
        // SAFETY: `attach` checked that so many words lie in the segment; a cell's content is only
        // reached by raw pointers.
        let words = unsafe { std::slice::from_raw_parts(self.words.as_ptr(), len) };
        Ring { shared: self.shared(), words, capacity: self.capacity as u64, peers }
    }
}
