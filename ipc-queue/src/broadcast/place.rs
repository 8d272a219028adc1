//! A ring in a segment: how it lies there, how it is made, and what an attach checks.
//!
//! ```text
//! offset      +128
//! | preamble  | control | producer | rows: 48 | elements: capacity × words × 8
//! ```

use std::marker::PhantomData;
use std::ptr::NonNull;

use shm_core::Segment;
use shm_core::primitive::AtomicU64;

use super::shared::{Ring, Shared};
use super::words::words_of;
use crate::preamble::{self, ALIGN, Kind, Unit, real_capacity};
use crate::spsc::Element;
use crate::{Error, place::place};

const SHARED_AT: usize = preamble::SIZE;
const WORDS_AT: usize = (SHARED_AT + size_of::<Shared>()).next_multiple_of(ALIGN);

/// Bytes for at least `asked` elements.
pub(crate) fn required_size<T: Element>(asked: usize) -> Result<usize, Error> {
    size_of_ring::<T>(real_capacity(asked)?).ok_or(Error::Capacity(asked))
}

fn size_of_ring<T>(capacity: usize) -> Option<usize> {
    let words = capacity.checked_mul(words_of::<T>())?.checked_mul(size_of::<AtomicU64>())?;
    words.checked_add(WORDS_AT).filter(|&size| isize::try_from(size).is_ok())
}

/// Makes a ring in zeroed memory.
pub(crate) fn create<T: Element>(
    segment: &Segment,
    offset: usize,
    asked: usize,
) -> Result<(), Error> {
    let (capacity, size) = (real_capacity(asked)?, required_size::<T>(asked)?);
    let unit = Unit::of::<T>(Kind::Broadcast);
    preamble::create(segment, offset, unit, capacity, size, |start| {
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: in bounds, aligned, and nobody looks at it before the ring is finished.
        unsafe { shared.write(Shared::default()) };
    })
}

/// A ring that this process has mapped and checked.
#[derive(Clone, Debug)]
pub(crate) struct Place<T> {
    shared: NonNull<Shared>,
    words: NonNull<AtomicU64>,
    capacity: usize,
    _segment: Segment,
    _elements: PhantomData<T>,
}

// SAFETY: the pointers lead into shared memory that the segment keeps mapped, and everything there
// is atomic words.
unsafe impl<T: Element> Send for Place<T> {}
// SAFETY: as above.
unsafe impl<T: Element> Sync for Place<T> {}

impl<T: Element> Place<T> {
    /// Checks everything that another process wrote and maps the ring.
    pub(crate) fn attach(segment: &Segment, offset: usize) -> Result<Self, Error> {
        let found = preamble::read(segment, offset)?;
        found.require(Unit::of::<T>(Kind::Broadcast))?;
        let size = size_of_ring::<T>(found.capacity)
            .ok_or(Error::Corrupted("the capacity is larger than memory"))?;
        let start = place(segment, offset, size, ALIGN)?;
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: within the placed range.
        let words = unsafe { start.add(WORDS_AT) }.cast::<AtomicU64>();
        let (capacity, _segment) = (found.capacity, segment.clone());
        Ok(Place { shared, words, capacity, _segment, _elements: PhantomData })
    }

    #[inline(always)]
    pub(crate) fn shared(&self) -> &Shared {
        // SAFETY: `attach` checked bounds and alignment, the segment keeps it mapped, any bytes are
        // valid atomics, and `create` finished them before it showed the magic number.
        unsafe { self.shared.as_ref() }
    }

    /// The ring as the operations of a member see it.
    #[inline(always)]
    pub(crate) fn ring<'a, P>(&'a self, peers: &'a P) -> Ring<'a, T, P> {
        let len = self.capacity * words_of::<T>();
        // SAFETY: `attach` checked that so many words lie in the segment; any bytes are valid ones.
        let words = unsafe { std::slice::from_raw_parts(self.words.as_ptr(), len) };
        let (shared, capacity) = (self.shared(), self.capacity as u64);
        Ring { shared, words, capacity, peers, elements: PhantomData }
    }
}
