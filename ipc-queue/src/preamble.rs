//! What stands before every queue in a segment: what it is, in which format, of what elements.
//!
//! Every scalar is read once, at attach, checked, and copied out.

use std::ptr::NonNull;

use shm_core::primitive::{AtomicU32, AtomicU64, Ordering};
use shm_core::{Segment, ShmSafe};

use crate::Error;
use crate::place::place;

/// `"ipcqueue"`, which also tells the byte order.
const MAGIC: u64 = u64::from_be_bytes(*b"ipcqueue");
/// Somebody is making the queue.
const BUILDING: u64 = 1;
/// Counts changes of the layout.
const VERSION: u32 = 3;

/// Bytes before the words of a queue.
pub(crate) const SIZE: usize = 128;
/// What every queue is aligned to, and the largest alignment of an element.
pub(crate) const ALIGN: usize = 128;

/// What kind of queue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Typed = 1,
    Bytes = 2,
    Competing = 3,
    Work = 4,
    Once = 5,
    Broadcast = 6,
    Message = 7,
    Mailbox = 8,
}

impl Kind {
    fn name(code: u32) -> &'static str {
        match code {
            1 => "typed ring",
            2 => "byte pipe",
            3 => "queue for several producers and consumers",
            4 => "work queue",
            5 => "oneshot",
            6 => "broadcast ring",
            7 => "ring of messages",
            8 => "mailbox",
            _ => "queue of unknown kind",
        }
    }
}

/// What a queue carries.
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

    pub(crate) fn of<T: ShmSafe>(kind: Kind) -> Unit {
        Unit { kind, size: size_of::<T>(), align: align_of::<T>(), hash: T::LAYOUT.hash() }
    }
}

/// The capacity that a queue gets when asked for `asked` units: the next power of two.
pub(crate) fn real_capacity(asked: usize) -> Result<usize, Error> {
    match asked {
        0 => Err(Error::Capacity(asked)),
        _ => asked.checked_next_power_of_two().ok_or(Error::Capacity(asked)),
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

#[cfg(not(loom))]
const _: () = assert!(size_of::<Preamble>() == SIZE);

fn preamble(
    segment: &Segment,
    offset: usize,
    size: usize,
) -> Result<(NonNull<u8>, &Preamble), Error> {
    let start = place(segment, offset, size.max(SIZE), ALIGN)?;
    // SAFETY: `place` checked bounds and alignment, any bytes are valid atomics, and the segment
    // stays mapped as long as it is borrowed.
    Ok((start, unsafe { start.cast::<Preamble>().as_ref() }))
}

/// Makes a queue of `size` bytes in zeroed memory: `build` is given its start and puts everything
/// behind the preamble there, alone.
pub(crate) fn create(
    segment: &Segment,
    offset: usize,
    unit: Unit,
    capacity: usize,
    size: usize,
    build: impl FnOnce(NonNull<u8>),
) -> Result<(), Error> {
    try_create(segment, offset, unit, capacity, size, |start| {
        build(start);
        Ok(())
    })
}

/// [`create`] with a `build` that may fail: then there is no queue, and the memory is spoiled.
pub(crate) fn try_create(
    segment: &Segment,
    offset: usize,
    unit: Unit,
    capacity: usize,
    size: usize,
    build: impl FnOnce(NonNull<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    if unit.align > ALIGN {
        return Err(Error::ElementAlign(unit.align));
    }
    let (start, preamble) = preamble(segment, offset, size)?;
    // Acquire and Relaxed: makes us the only builder; nothing was published before.
    preamble
        .magic
        .compare_exchange(0, BUILDING, Ordering::Acquire, Ordering::Relaxed)
        .map_err(|_| Error::Exists(offset))?;
    build(start)?;
    // Relaxed here and below: published by the Release that follows.
    preamble.version.store(VERSION, Ordering::Relaxed);
    preamble.kind.store(unit.kind as u32, Ordering::Relaxed);
    preamble.unit_size.store(unit.size as u32, Ordering::Relaxed);
    preamble.unit_align.store(unit.align as u32, Ordering::Relaxed);
    preamble.unit_hash.store(unit.hash, Ordering::Relaxed);
    // Relaxed: as above.
    preamble.capacity.store(capacity as u64, Ordering::Relaxed);
    // Release: all of the above comes before; pairs with the Acquire in `read`.
    preamble.magic.store(MAGIC, Ordering::Release);
    Ok(())
}

/// The scalars of a preamble, copied out, and where the queue begins.
#[derive(Debug)]
pub(crate) struct Found {
    kind: u32,
    pub(crate) size: usize,
    align: usize,
    hash: u64,
    /// A power of two.
    pub(crate) capacity: usize,
}

/// What a queue is: two places with the same one hold the same kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    kind: u32,
    hash: u64,
    capacity: u64,
}

#[cfg(feature = "serde")]
impl Found {
    pub(crate) fn identity(&self) -> Identity {
        Identity { kind: self.kind, hash: self.hash, capacity: self.capacity as u64 }
    }
}

/// Reads what stands at `offset`. That the whole queue lies in the segment is still to be checked.
pub(crate) fn read(segment: &Segment, offset: usize) -> Result<Found, Error> {
    let (_, preamble) = preamble(segment, offset, SIZE)?;
    // Acquire: pairs with the Release in `create`: the queue is finished.
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

impl Found {
    /// Whether it is a queue of that kind and those units.
    pub(crate) fn require(&self, unit: Unit) -> Result<(), Error> {
        self.require_kind(unit.kind)?;
        if (self.size, self.align, self.hash) != (unit.size, unit.align, unit.hash) {
            return Err(Error::ElementType {
                found_size: self.size,
                found_align: self.align,
                size: unit.size,
                align: unit.align,
            });
        }
        Ok(())
    }

    fn require_kind(&self, kind: Kind) -> Result<(), Error> {
        if self.kind == kind as u32 {
            return Ok(());
        }
        Err(Error::Kind { found: Kind::name(self.kind), expected: Kind::name(kind as u32) })
    }

    /// Whether it is a ring for one producer and one consumer.
    pub(crate) fn require_ring(&self) -> Result<(), Error> {
        match self.kind {
            code if code == Kind::Bytes as u32 => Ok(()),
            _ => self.require_kind(Kind::Typed),
        }
    }
}
