//! A ring in a segment: how it lies there, how it is made, and what an attach checks.
//!
//! ```text
//! offset      +128                            +512
//! | preamble  | control | producer | consumer | units: capacity × unit size
//! ```

use std::ptr::NonNull;

use shm_core::Segment;

use crate::Error;
use crate::place::place;
use crate::preamble::{self, ALIGN, Found, Unit, real_capacity};
use crate::ring::Shared;
use crate::spsc::slots::Slot;

const SHARED_AT: usize = preamble::SIZE;
const UNITS_AT: usize = SHARED_AT + 3 * 128;

#[cfg(not(loom))]
const _: () = assert!(SHARED_AT + size_of::<Shared>() == UNITS_AT);

/// Bytes that a ring of at least `asked` units takes.
pub(crate) fn required_size(unit: Unit, asked: usize) -> Result<usize, Error> {
    real_capacity(asked)?
        .checked_mul(unit.size)
        .and_then(|units| units.checked_add(UNITS_AT))
        .filter(|&size| isize::try_from(size).is_ok())
        .ok_or(Error::Capacity(asked))
}

/// A ring that this process has mapped and checked.
#[derive(Debug)]
pub(crate) struct Mapped {
    shared: NonNull<Shared>,
    units: NonNull<u8>,
    capacity: u64,
    _segment: Segment,
}

// SAFETY: the pointers lead into shared memory that the segment keeps mapped; the words there are
// atomics, and the units are handed from one side to the other by them.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Makes a ring in zeroed memory.
    pub(crate) fn create(
        segment: &Segment,
        offset: usize,
        unit: Unit,
        asked: usize,
    ) -> Result<(), Error> {
        let (capacity, size) = (real_capacity(asked)?, required_size(unit, asked)?);
        preamble::create(segment, offset, unit, capacity, size, |start| {
            // SAFETY: within the placed range.
            let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
            // SAFETY: in bounds, aligned (`ALIGN` divides `SHARED_AT`), and nobody looks at it
            // before the magic number is there.
            unsafe { shared.write(Shared::default()) };
        })
    }

    /// Checks everything that another process wrote and maps the ring.
    pub(crate) fn attach(segment: &Segment, offset: usize, unit: Unit) -> Result<Self, Error> {
        let found = preamble::read(segment, offset)?;
        found.require(unit)?;
        Self::open(segment, offset, &found)
    }

    /// The same for whoever does not touch the units, whatever they are.
    pub(crate) fn attach_any(segment: &Segment, offset: usize) -> Result<(Self, usize), Error> {
        let found = preamble::read(segment, offset)?;
        found.require_ring()?;
        Ok((Self::open(segment, offset, &found)?, found.size))
    }

    fn open(segment: &Segment, offset: usize, found: &Found) -> Result<Self, Error> {
        let size = found
            .capacity
            .checked_mul(found.size)
            .and_then(|units| units.checked_add(UNITS_AT))
            .ok_or(Error::Corrupted("the capacity is larger than memory"))?;
        let start = place(segment, offset, size, ALIGN)?;
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: within the placed range, or one past its end for units of size 0.
        let units = unsafe { start.add(UNITS_AT) };
        Ok(Mapped { shared, units, capacity: found.capacity as u64, _segment: segment.clone() })
    }

    #[inline(always)]
    pub(crate) fn shared(&self) -> &Shared {
        // SAFETY: `open` checked bounds and alignment, the segment keeps it mapped, any bytes are
        // valid atomics, and `create` finished them before it showed the magic number.
        unsafe { self.shared.as_ref() }
    }

    /// The first unit.
    #[inline(always)]
    pub(crate) fn units(&self) -> NonNull<u8> {
        self.units
    }

    /// The units as slots of the type that `attach` has checked.
    #[inline(always)]
    pub(crate) fn slots<T>(&self) -> &[Slot<T>] {
        // SAFETY: `attach` compared size and alignment with `T`'s, `open` checked that `capacity`
        // of them lie in the segment, and a slot's content is only reached by raw pointers.
        unsafe { std::slice::from_raw_parts(self.units.cast().as_ptr(), self.capacity as usize) }
    }

    /// In units; a power of two.
    #[inline(always)]
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }
}
