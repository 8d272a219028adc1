//! Where a heap's words lie: its geometry, and the mapped memory behind it.

use std::ops::Range;
use std::ptr::NonNull;

use rustix::fs::FallocateFlags;

use super::class::{HOMES_AT, LARGE_AT, Place, SPAN, SPAN_SHIFT};
use super::words::{BlockId, CellId, Desc, MAX_LEN, MAX_LINES};
use crate::header::DATA_OFFSET;
use crate::primitive::{AtomicU64, Ordering};
use crate::{Error, Segment};

/// What the protocol's steps need to know of a heap: where its words are.
///
/// The real one is [`Memory`]; models have a handful of words in its place.
pub(crate) trait Ground {
    /// The word at an offset that is known to lie in the heap.
    fn at(&self, offset: u64) -> &AtomicU64;
    /// The cell of that number, which may come from a corrupted word.
    fn cell(&self, cell: CellId) -> Option<&AtomicU64>;
    /// How many lines there are.
    fn lines(&self) -> usize;
    /// A line's word.
    fn line(&self, line: usize) -> &AtomicU64;
    /// The cell that a line's thread is working on.
    fn intent(&self, line: usize) -> &AtomicU64;
    /// The entries in a line, as offsets in steps of 8.
    fn entries(&self, line: usize) -> Range<u64>;
    /// How many spans there are.
    fn spans(&self) -> u64;
    /// A span's descriptor.
    fn desc(&self, span: u64) -> &AtomicU64;
    /// The span that holds an offset of a block.
    fn span_of(&self, block: BlockId) -> Option<u64>;
    /// The words of a block, if one of this span's begins there.
    fn place(&self, span: u64, desc: Desc, block: BlockId) -> Option<Place>;
    /// The entries in a span of entries.
    fn span_entries(&self, span: u64) -> Range<u64>;
    /// Makes the spans `first + 1 .. first + count`, and the block of `first`, read as a free
    /// span must, and gives their memory back to the system where it can.
    fn clear(&self, first: u64, count: u64);
    /// Another span is about to become an orphan.
    fn note_orphan(&self);
    /// The word at this offset will be read soon. A hint.
    fn fetch(&self, _offset: u64) {}
}

/// Bytes of a line: its word, its intent, and entries.
pub(crate) const LINE: u64 = 512;
const ENTRIES_AT: u64 = 16;
/// Cells that are found by name.
pub(crate) const ROOTS: u64 = 128;
/// Bytes of a root: its name's hash and the cell.
pub(crate) const ROOT: u64 = 16;
const ROOTS_AT: u64 = 256;
/// How many orphans there may be: never too few by more than what a racing reset missed.
const ORPHANS_AT: u64 = 128;
const LINES_AT: u64 = ROOTS_AT + ROOTS * ROOT;
/// Blocks of large runs begin on a page.
const PAGE: u64 = 4096;
/// From this size on, a run's memory goes back to the system when it is freed.
const WORTH_A_CALL: u64 = 4;

/// Sizes and offsets of a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub len: u64,
    pub lines: usize,
    pub spans: u64,
    descs_at: u64,
    pub spans_at: u64,
}

impl Geometry {
    /// The bytes that a heap of so many lines and spans needs.
    pub fn needed(lines: usize, spans: u64) -> u64 {
        let descs_at = LINES_AT + lines as u64 * LINE;
        (descs_at + spans * 8).next_multiple_of(PAGE) + spans * SPAN
    }

    /// The largest heap in `len` bytes.
    pub fn new(len: u64, lines: usize) -> Result<Geometry, Error> {
        let least = Geometry::needed(lines, 1);
        if lines == 0 || lines > MAX_LINES {
            return Err(Error::BadHeap { what: "it has 1 to 512 lines, one for each thread" });
        }
        if len < least || len > MAX_LEN {
            return Err(Error::BadHeapSize { size: len, least, most: MAX_LEN });
        }
        let mut spans = len >> SPAN_SHIFT;
        while Geometry::needed(lines, spans) > len {
            spans -= 1;
        }
        let descs_at = LINES_AT + lines as u64 * LINE;
        let spans_at = (descs_at + spans * 8).next_multiple_of(PAGE);
        Ok(Geometry { len, lines, spans, descs_at, spans_at })
    }
}

/// A heap in mapped memory.
#[derive(Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    /// Where the heap begins in the segment.
    start: u64,
    pub geometry: Geometry,
    /// Whether offsets that are given out carry the block's stamp.
    pub hardened: bool,
    /// Spans whose blocks are known by plain offsets: all, or none of a hardened heap.
    plain_spans: u64,
    /// What the handles of a hardened heap are mixed with: another heap's is another.
    pub key: u64,
    /// Keeps the memory mapped.
    pub segment: Segment,
}

// SAFETY: the mapping belongs to the process and lives as long as the segment in here; all that is
// reached through the pointer is atomic words, and blocks by the heap's protocol.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// A heap of this geometry at `start` in the segment.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], [`Error::BadHeap`].
    pub fn new(segment: &Segment, start: u64, geometry: Geometry) -> Result<Memory, Error> {
        let size = segment.size() as u64;
        if !start.is_multiple_of(PAGE) {
            return Err(Error::BadHeap { what: "it begins at a multiple of 4096 bytes" });
        }
        if start > size || geometry.len > size - start {
            let end = start.saturating_add(geometry.len);
            return Err(Error::OutOfBounds { start, end, len: size });
        }
        // SAFETY: within the segment's mapping, as was just checked.
        let base = unsafe { segment.data().add(start as usize) };
        let [first, second] = segment.id().0;
        // Fibonacci hashing: the upper bits depend on all of it.
        let key =
            (first ^ second.rotate_left(32) ^ start).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let plain_spans = geometry.spans;
        let segment = segment.clone();
        Ok(Memory { base, start, geometry, hardened: false, plain_spans, key, segment })
    }

    /// The same, hardened or not.
    pub fn harden(mut self, hardened: bool) -> Memory {
        self.hardened = hardened;
        self.plain_spans = if hardened { 0 } else { self.geometry.spans };
        self
    }

    /// Where the heap begins in its segment.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where an offset lies in this process.
    #[inline(always)]
    pub fn pointer(&self, offset: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset as usize)
    }

    /// Where a span begins.
    #[inline(always)]
    pub fn span_at(&self, span: u64) -> u64 {
        self.geometry.spans_at + (span << SPAN_SHIFT)
    }

    /// The span of an offset in one.
    #[inline(always)]
    pub fn span_in(&self, offset: u64) -> Option<u64> {
        let span = offset.wrapping_sub(self.geometry.spans_at) >> SPAN_SHIFT;
        (span < self.geometry.spans).then_some(span)
    }

    /// The span of a block that is known by its plain offset.
    #[inline(always)]
    pub fn span_by_offset(&self, offset: u64) -> Option<u64> {
        let span = offset.wrapping_sub(self.geometry.spans_at) >> SPAN_SHIFT;
        (span < self.plain_spans).then_some(span)
    }

    /// A hint: how many orphans there are.
    pub fn orphans(&self) -> &AtomicU64 {
        self.at(ORPHANS_AT)
    }

    /// Hash and cell of a root.
    pub fn root(&self, root: u64) -> (&AtomicU64, u64) {
        let at = ROOTS_AT + root * ROOT;
        (self.at(at), at + 8)
    }

    /// Gives pages back to the system; they read as zeros then. `false` where that is not possible:
    /// a named segment's memory was taken when it was made, and stays.
    fn punch(&self, from: u64, to: u64) -> bool {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let at = DATA_OFFSET + self.start + from;
        // Of a named segment this descriptor is a path, and the call is refused.
        rustix::fs::fallocate(&self.segment, flags, at, to - from).is_ok()
    }
}

impl Ground for Memory {
    #[inline(always)]
    fn at(&self, offset: u64) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.geometry.len);
        let word = self.pointer(offset).cast::<AtomicU64>();
        // SAFETY: callers give offsets of the geometry, or such as were compared with it: mapped as
        // long as `self` lives, and aligned, because the heap begins on a page.
        unsafe { &*word }
    }

    fn cell(&self, cell: CellId) -> Option<&AtomicU64> {
        let offset = cell.offset();
        (cell != CellId::NONE && offset + 8 <= self.geometry.len).then(|| self.at(offset))
    }

    fn lines(&self) -> usize {
        self.geometry.lines
    }

    fn line(&self, line: usize) -> &AtomicU64 {
        self.at(LINES_AT + (line % self.geometry.lines) as u64 * LINE)
    }

    #[inline(always)]
    fn intent(&self, line: usize) -> &AtomicU64 {
        self.at(LINES_AT + line as u64 * LINE + 8)
    }

    fn entries(&self, line: usize) -> Range<u64> {
        let start = LINES_AT + line as u64 * LINE;
        start + ENTRIES_AT..start + LINE
    }

    fn spans(&self) -> u64 {
        self.geometry.spans
    }

    #[inline(always)]
    fn desc(&self, span: u64) -> &AtomicU64 {
        self.at(self.geometry.descs_at + span * 8)
    }

    #[inline(always)]
    fn span_of(&self, block: BlockId) -> Option<u64> {
        self.span_in(block.offset())
    }

    #[inline(always)]
    fn place(&self, span: u64, desc: Desc, block: BlockId) -> Option<Place> {
        Place::find(self.span_at(span), desc.class(), block)
    }

    fn span_entries(&self, span: u64) -> Range<u64> {
        let start = self.span_at(span);
        start + HOMES_AT..start + SPAN
    }

    fn note_orphan(&self) {
        // Relaxed: a hint. Before the span becomes one, so that it counts too many, not too few.
        self.orphans().fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn fetch(&self, offset: u64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: reads nothing: the address may be any.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(self.pointer(offset).cast()) };
    }

    fn clear(&self, first: u64, count: u64) {
        let start = self.span_at(first);
        let end = start + count * SPAN;
        if count >= WORTH_A_CALL && self.punch(start + LARGE_AT, end) {
            return;
        }
        for span in first + 1..first + count {
            let start = self.span_at(span);
            for offset in (start..start + HOMES_AT).step_by(8) {
                // Relaxed: published with the descriptor.
                self.at(offset).store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Memory {
    /// Gives the memory of a large block back before the block itself is: it is still the caller's.
    pub fn discard(&self, span: u64, count: u64) {
        if count >= WORTH_A_CALL {
            let start = self.span_at(span);
            let _ = self.punch(start + LARGE_AT, start + count * SPAN);
        }
    }

    /// Empties the entries in a span that the caller is building.
    pub fn empty_entries(&self, span: u64) {
        let entries = self.span_entries(span);
        let (start, len) = (self.pointer(entries.start), entries.end - entries.start);
        // SAFETY: within the mapping; while a span is being built, its builder alone reaches it.
        unsafe { start.write_bytes(0, len as usize) };
    }

    /// Gives the memory of an empty span, beyond its words, back to the system.
    pub fn discard_blocks(&self, span: u64) -> u64 {
        let start = self.span_at(span);
        if self.punch(start + PAGE, start + SPAN) { SPAN - PAGE } else { 0 }
    }
}
