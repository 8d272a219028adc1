//! A mailbox in a segment: how it lies there, how it is made, and what an attach checks.
//!
//! ```text
//! offset      +128                                         +1024    next multiple of 4096
//! | preamble  | control | producers | consumers | attached | header | heap: slots, messages
//! ```

use std::alloc::Layout;
use std::ptr::NonNull;

use shm_core::heap::{Heap, HeapOptions, Local};
use shm_core::primitive::{AtomicU64, Ordering};
use shm_core::{Peers, Segment, SegmentId};

use super::Options;
use super::cells::{SIZES, SLOT};
use super::shared::Parcel;
use crate::mpmc::shared::{Shared, Slot};
use crate::mpmc::word::Word;
use crate::preamble::{self, ALIGN, Kind, Unit, real_capacity};
use crate::{Error, place::place};

const SHARED_AT: usize = preamble::SIZE;
const HEADER_AT: usize = SHARED_AT + size_of::<Shared>();
const HEAD: usize = HEADER_AT + size_of::<Header>();
const PAGE: usize = 4096;
/// Bytes of a heap's span, and those of a run that are not the block's.
const SPAN: usize = 1 << 16;
const SPAN_HEAD: usize = 4096;
/// More than a heap's own words take, without its lines.
const HEAP_HEAD: usize = PAGE;
const LINE: usize = 512;

const UNIT: Unit = Unit { kind: Kind::Mailbox, ..Unit::BYTE };

/// Written before the mailbox is finished, read at attach, and copied out.
#[derive(Debug)]
#[repr(C, align(128))]
struct Header {
    /// Where the slots begin, from the heap's start.
    slots_at: AtomicU64,
    /// The longest message, in bytes.
    longest: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == ALIGN && size_of::<Slot<Parcel>>() as u64 == SLOT);

/// The numbers that options come to.
struct Plan {
    slots: usize,
    heap: usize,
}

fn spans_for(bytes: usize) -> Option<usize> {
    Some(bytes.checked_add(SPAN_HEAD)?.div_ceil(SPAN))
}

fn plan(options: &Options) -> Result<Plan, Error> {
    let slots = real_capacity(options.messages)?;
    let all = || {
        let of_slots = spans_for(slots.checked_mul(SLOT as usize)?)?;
        let of_producers = options.producers.checked_mul(SIZES.len())?;
        let spans = spans_for(options.bytes)?.checked_add(of_slots)?.checked_add(of_producers)?;
        let words = HEAP_HEAD + options.handles.checked_mul(LINE)? + spans.checked_mul(8)?;
        words.checked_next_multiple_of(PAGE)?.checked_add(spans.checked_mul(SPAN)?)
    };
    let heap = all().filter(|&heap| heap < isize::MAX as usize / 2);
    Ok(Plan { slots, heap: heap.ok_or(Error::Capacity(options.bytes))? })
}

/// Bytes for a mailbox, wherever it begins.
pub(super) fn required_size(options: &Options) -> Result<usize, Error> {
    Ok(HEAD.next_multiple_of(PAGE) + PAGE + plan(options)?.heap)
}

fn heap_at(offset: usize) -> Option<usize> {
    offset.checked_add(HEAD)?.checked_next_multiple_of(PAGE)
}

fn of_heap(error: shm_core::Error) -> Error {
    Error::Heap(error.to_string())
}

/// Makes a mailbox in zeroed memory, for a group that is known by `id`.
pub(super) fn create<P: Peers + Clone>(
    segment: &Segment,
    offset: usize,
    (peers, id): (P, SegmentId),
    options: &Options,
) -> Result<(), Error> {
    let Plan { slots, heap } = plan(options)?;
    let heap_at = heap_at(offset).ok_or(Error::Capacity(options.bytes))?;
    let size = heap_at - offset + heap;
    let place_in_heap = HeapOptions::default().offset(heap_at).size(heap).threads(options.handles);
    preamble::try_create(segment, offset, UNIT, slots, size, |start| {
        build(segment, start, slots, (peers, id), place_in_heap)
    })
}

/// What lies behind the preamble.
fn build<P: Peers + Clone>(
    segment: &Segment,
    start: NonNull<u8>,
    slots: usize,
    (peers, id): (P, SegmentId),
    options: HeapOptions,
) -> Result<(), Error> {
    let heap = Heap::create_for(segment, peers, id, options).map_err(of_heap)?;
    let local = heap.local().map_err(of_heap)?;
    let layout = layout_of(slots)?;
    let slots_at = local.allocate_raw(layout).map_err(of_heap)?;
    let first = heap.pointer(slots_at).ok_or(Error::Corrupted("the slots lie nowhere"))?;
    // SAFETY: so many bytes were allocated there, and nobody else knows of them.
    unsafe { first.write_bytes(0, layout.size()) };
    for index in 0..slots {
        let word = AtomicU64::new(Word::free(index as u64).0);
        // SAFETY: the slot lies in the block.
        let slot = unsafe { first.cast::<Slot<Parcel>>().add(index) };
        // SAFETY: the slot is ours alone; its word is its first field.
        unsafe { slot.cast::<AtomicU64>().write(word) };
    }
    let longest = AtomicU64::new(longest(&local) as u64);
    // SAFETY: within the placed range.
    let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
    // SAFETY: in bounds, aligned, and nobody looks at it before the mailbox is finished.
    unsafe { shared.write(Shared::default()) };
    // SAFETY: within the placed range.
    let header = unsafe { start.add(HEADER_AT) }.cast::<Header>();
    // SAFETY: as above.
    unsafe { header.write(Header { slots_at: AtomicU64::new(slots_at), longest }) };
    Ok(())
}

fn layout_of(slots: usize) -> Result<Layout, Error> {
    let size = slots.checked_mul(SLOT as usize).ok_or(Error::Capacity(slots))?;
    Layout::from_size_align(size, SLOT as usize).map_err(|_| Error::Capacity(slots))
}

/// The longest block that the heap, in which nothing but the slots is in use, has room for.
fn longest<P: Peers + Clone>(local: &Local<P>) -> usize {
    let most = local.heap().stats().free_spans as usize;
    let lengths = (1..=most).rev().map(|spans| spans * SPAN - SPAN_HEAD);
    let fits = |&len: &usize| {
        Layout::from_size_align(len, 8).is_ok_and(|layout| local.allocate(layout).is_ok())
    };
    lengths.into_iter().find(fits).unwrap_or(0)
}

/// A mailbox that this process has mapped and checked.
#[derive(Clone, Debug)]
pub(super) struct Place<P: Peers> {
    shared: NonNull<Shared>,
    slots: NonNull<Slot<Parcel>>,
    pub(super) capacity: usize,
    pub(super) heap: Heap<P>,
    pub(super) slots_at: u64,
    pub(super) longest: usize,
    _segment: Segment,
}

// SAFETY: the pointers lead into shared memory that the segment keeps mapped; the words there are
// atomics, and a parcel is reached by one thread at a time, by the protocol.
unsafe impl<P: Peers + Send + Sync> Send for Place<P> {}
// SAFETY: as above; what a shared reference gives is the atomics and raw pointers.
unsafe impl<P: Peers + Send + Sync> Sync for Place<P> {}

impl<P: Peers + Clone> Place<P> {
    /// Checks everything that another process wrote and maps the mailbox.
    pub(super) fn attach(
        segment: &Segment,
        offset: usize,
        (peers, id): (P, SegmentId),
    ) -> Result<Self, Error> {
        let found = preamble::read(segment, offset)?;
        found.require(UNIT)?;
        let start = place(segment, offset, HEAD, ALIGN)?;
        // SAFETY: within the placed range.
        let shared = unsafe { start.add(SHARED_AT) }.cast::<Shared>();
        // SAFETY: within the placed range.
        let header = unsafe { start.add(HEADER_AT) }.cast::<Header>();
        // SAFETY: in bounds and aligned; any bytes are valid atomics, and the segment is borrowed.
        let header = unsafe { header.as_ref() };
        let heap_at = heap_at(offset).ok_or(Error::Corrupted("it lies behind all memory"))?;
        let heap = Heap::attach_for(segment, peers, id, heap_at).map_err(of_heap)?;
        // Relaxed: published with the magic number, which `read` has acquired.
        let slots_at = header.slots_at.load(Ordering::Relaxed);
        // Relaxed: as above.
        let longest = header.longest.load(Ordering::Relaxed) as usize;
        let size = layout_of(found.capacity)?.size();
        if heap.pointer(slots_at).is_none() || !slots_at.is_multiple_of(SLOT) {
            return Err(Error::Corrupted("the slots lie outside of the heap"));
        }
        let at = usize::try_from(slots_at).ok().and_then(|at| at.checked_add(heap_at));
        let at = at.ok_or(Error::Corrupted("the slots lie outside of the heap"))?;
        let slots = place(segment, at, size, SLOT as usize)?.cast();
        let _segment = segment.clone();
        Ok(Place { shared, slots, capacity: found.capacity, heap, slots_at, longest, _segment })
    }

    #[inline(always)]
    pub(super) fn shared(&self) -> &Shared {
        // SAFETY: `attach` checked bounds and alignment, the segment keeps it mapped, any bytes are
        // valid atomics, and `create` finished them before it showed the magic number.
        unsafe { self.shared.as_ref() }
    }

    #[inline(always)]
    pub(super) fn slots(&self) -> &[Slot<Parcel>] {
        // SAFETY: `attach` checked bounds and alignment; a slot's word is an atomic, and its parcel
        // is only reached by raw pointers.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr(), self.capacity) }
    }
}
