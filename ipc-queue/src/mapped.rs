//! A ring in a segment: how it lies there, how it is made, and what an attach checks.
//!
//! ```text
//! offset      +128                            +512
//! | preamble  | control | producer | consumer | units: capacity × unit size
//! ```
//! Every scalar of the preamble is read once, at attach, and copied out.

use std::ptr::NonNull;

use shm_core::primitive::{AtomicU32, AtomicU64, Ordering};
use shm_core::{Segment, ShmSafe};

use crate::Error;
use crate::place::place;
use crate::ring::Shared;
use crate::spsc::slots::Slot;

/// `"ipcqueue"`, which also tells the byte order.
const MAGIC: u64 = u64::from_be_bytes(*b"ipcqueue");
/// Somebody is making the ring.
const BUILDING: u64 = 1;
/// Counts changes of the layout.
const VERSION: u32 = 1;

/// What a ring carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Typed = 1,
    Bytes = 2,
}

impl Kind {
    fn name(code: u32) -> &'static str {
        match code {
            1 => "typed ring",
            2 => "byte pipe",
            _ => "queue of unknown kind",
        }
    }
}

/// What the units of a ring are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) align: usize,
    /// Structural hash of the element type.
    pub(crate) hash: u64,
}

impl Unit {
    pub(crate) const BYTE: Unit =
        Unit { kind: Kind::Bytes, size: 1, align: 1, hash: u8::LAYOUT.hash() };

    pub(crate) fn of<T: ShmSafe>() -> Unit {
        Unit {
            kind: Kind::Typed,
            size: size_of::<T>(),
            align: align_of::<T>(),
            hash: T::LAYOUT.hash(),
        }
    }
}

/// Relaxed everywhere but in `magic`: written before its Release, read after its Acquire.
#[derive(Debug)]
#[repr(C, align(128))]
struct Preamble {
    /// 0, `BUILDING` or `MAGIC`.
    magic: AtomicU64,
    version: AtomicU32,
    kind: AtomicU32,
    unit_size: AtomicU32,
    unit_align: AtomicU32,
    capacity: AtomicU64,
    unit_hash: AtomicU64,
}

const SHARED_AT: usize = 128;
const UNITS_AT: usize = SHARED_AT + 3 * 128;
const ALIGN: usize = 128;

#[cfg(not(loom))]
const _: () = assert!(size_of::<Preamble>() == SHARED_AT);
#[cfg(not(loom))]
const _: () = assert!(SHARED_AT + size_of::<Shared>() == UNITS_AT);

/// The capacity that a ring gets when asked for `asked` units: the next power of two.
fn real_capacity(asked: usize) -> Result<usize, Error> {
    match asked {
        0 => Err(Error::Capacity(asked)),
        _ => asked.checked_next_power_of_two().ok_or(Error::Capacity(asked)),
    }
}

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
        if unit.align > ALIGN {
            return Err(Error::ElementAlign(unit.align));
        }
        let capacity = real_capacity(asked)?;
        let start = place(segment, offset, required_size(unit, asked)?, ALIGN)?;
        // SAFETY: `place` checked bounds and alignment, and any bytes are valid atomics.
        let preamble = unsafe { start.cast::<Preamble>().as_ref() };
        // Acquire and Relaxed: makes us the only builder; nothing was published before.
        preamble
            .magic
            .compare_exchange(0, BUILDING, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| Error::Exists(offset))?;
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: in bounds, aligned (`ALIGN` divides `SHARED_AT`), and nobody looks at it before
        // the magic number is there.
        unsafe { shared.write(Shared::default()) };
        // Relaxed here and below: published by the Release that follows.
        preamble.version.store(VERSION, Ordering::Relaxed);
        preamble.kind.store(unit.kind as u32, Ordering::Relaxed);
        preamble.unit_size.store(unit.size as u32, Ordering::Relaxed);
        preamble.unit_align.store(unit.align as u32, Ordering::Relaxed);
        preamble.unit_hash.store(unit.hash, Ordering::Relaxed);
        // Relaxed: as above.
        preamble.capacity.store(capacity as u64, Ordering::Relaxed);
        // Release: all of the above comes before; pairs with the Acquire in `open`.
        preamble.magic.store(MAGIC, Ordering::Release);
        Ok(())
    }

    /// Checks everything that another process wrote and maps the ring.
    pub(crate) fn attach(segment: &Segment, offset: usize, unit: Unit) -> Result<Self, Error> {
        let (mapped, found) = Self::open(segment, offset)?;
        if found.kind != unit.kind as u32 {
            return Err(Error::Kind {
                found: Kind::name(found.kind),
                expected: Kind::name(unit.kind as u32),
            });
        }
        if (found.size, found.align, found.hash) != (unit.size, unit.align, unit.hash) {
            return Err(Error::ElementType {
                found_size: found.size,
                found_align: found.align,
                size: unit.size,
                align: unit.align,
            });
        }
        Ok(mapped)
    }

    /// The same for whoever does not touch the units, whatever they are.
    pub(crate) fn attach_any(segment: &Segment, offset: usize) -> Result<(Self, usize), Error> {
        let (mapped, found) = Self::open(segment, offset)?;
        Ok((mapped, found.size))
    }

    fn open(segment: &Segment, offset: usize) -> Result<(Self, Found), Error> {
        let start = place(segment, offset, UNITS_AT, ALIGN)?;
        // SAFETY: `place` checked bounds and alignment, and any bytes are valid atomics.
        let preamble = unsafe { start.cast::<Preamble>().as_ref() };
        let found = Found::read(preamble, offset)?;
        let capacity = found.capacity;
        let units = capacity
            .checked_mul(found.size)
            .and_then(|units| units.checked_add(UNITS_AT))
            .ok_or(Error::Corrupted("the capacity is larger than memory"))?;
        place(segment, offset, units, ALIGN)?;
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: within the placed range, or one past its end for units of size 0.
        let units = unsafe { start.add(UNITS_AT) };
        let mapped = Mapped { shared, units, capacity: capacity as u64, _segment: segment.clone() };
        Ok((mapped, found))
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

/// The scalars of a preamble, copied out.
#[derive(Debug)]
struct Found {
    kind: u32,
    size: usize,
    align: usize,
    hash: u64,
    capacity: usize,
}

impl Found {
    fn read(preamble: &Preamble, offset: usize) -> Result<Self, Error> {
        // Acquire: pairs with the Release in `create`: the ring is finished.
        if preamble.magic.load(Ordering::Acquire) != MAGIC {
            return Err(Error::NotAQueue(offset));
        }
        // Relaxed here and below: after the Acquire above.
        let version = preamble.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(Error::Version { found: version, expected: VERSION });
        }
        // Relaxed: after the Acquire above.
        let found = Found {
            kind: preamble.kind.load(Ordering::Relaxed),
            // Relaxed: after the Acquire above.
            size: preamble.unit_size.load(Ordering::Relaxed) as usize,
            align: preamble.unit_align.load(Ordering::Relaxed) as usize,
            hash: preamble.unit_hash.load(Ordering::Relaxed),
            capacity: usize::try_from(preamble.capacity.load(Ordering::Relaxed))
                .map_err(|_| Error::Corrupted("the capacity is larger than memory"))?,
        };
        if !found.capacity.is_power_of_two() {
            return Err(Error::Corrupted("the capacity is not a power of two"));
        }
        if !found.align.is_power_of_two() || found.align > ALIGN {
            return Err(Error::Corrupted("the element alignment is impossible"));
        }
        Ok(found)
    }
}
