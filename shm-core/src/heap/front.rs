//! One thread's spans: allocating from them, freeing into them, getting and giving up spans.
//!
//! What stands here is private to the thread and may be lost at any instant; the truth is in the
//! heap's words. The one hint that lies in the heap, a span's first word, is written by the span's
//! line alone: the span's place in the owner's list. Relaxed suffices for it.
//!
//! Blocks are found a word of A at a time: the bits that are clear when the thread turns to a word
//! are its to give out, because nobody else sets any. Nothing is counted: whether a span is empty
//! is asked when one of its words becomes zero, and then of the words.

// Orderings: Relaxed for words that only this thread writes (A, hints, descriptors of our spans).

mod leave;
mod supply;
mod word;

use super::class::{CLASSES, ENTRIES, LARGE, LARGE_AT, Place, SPAN};
use super::memory::{Ground, Memory};
use super::run;
use super::span::{free_elsewhere, full, is_unused};
use super::steps::{self, Held, NotFreed};
use super::words::{BlockId, CellId, Desc, State};
use crate::primitive::Ordering;
use crate::{Error, Peers};
use word::Current;

/// Runs of ours that an allocation of a large block looks at: whether others have freed them.
const RUN_PROBES: usize = 4;

/// What a line's thread knows of its spans and entries.
#[derive(Debug)]
pub(crate) struct Front {
    pub line: usize,
    /// State and line of the descriptors of our spans.
    mine: u64,
    classes: Box<[Current; CLASSES]>,
    /// Entries that hold nothing.
    entries: Vec<CellId>,
    /// Offsets of entries that have held nothing yet.
    fresh: std::ops::Range<u64>,
    /// The entry that was taken last: it may be about to hold something.
    taken: CellId,
    entry_spans: Vec<u64>,
    runs: Vec<u32>,
    /// Where the look for runs that others have freed goes on.
    next_run: usize,
    /// Spans that we gave back last: their memory is there, and in the caches. A hint.
    released: Vec<u32>,
    /// Where the search for a free span goes on.
    cursor: u64,
    orphan_cursor: u64,
}

impl Front {
    /// Of a line that was just claimed, and holds nothing.
    pub fn new(memory: &Memory, line: usize) -> Front {
        Front {
            line,
            mine: Desc::new(State::Owned, 0, line, 0, 0).0 & Desc::WHOSE,
            classes: Box::new(std::array::from_fn(|_| Current::default())),
            entries: Vec::new(),
            fresh: memory.entries(line),
            taken: CellId::NONE,
            entry_spans: Vec::new(),
            runs: Vec::new(),
            next_run: 0,
            released: Vec::new(),
            cursor: 0,
            orphan_cursor: 0,
        }
    }

    /// Allocates a block of this class into an entry, if both are at hand.
    #[inline(always)]
    pub fn allocate_held(&mut self, memory: &Memory, class: usize) -> Option<Held> {
        let entry = *self.entries.last()?;
        let held = self.allocate_now(memory, class, entry)?;
        self.entries.pop();
        Some(held)
    }

    /// Allocates a block of this class into an entry, or into nobody's hands, if one is at hand.
    #[inline(always)]
    pub fn allocate_now(&mut self, memory: &Memory, class: usize, entry: CellId) -> Option<Held> {
        let current = self.classes.get_mut(class)?;
        let free = current.free;
        if free == 0 {
            return None;
        }
        current.free = free & (free - 1);
        let index = u64::from(free.trailing_zeros());
        let home = current.homes + index * 8;
        let block = BlockId::at(current.blocks + index * current.size);
        let words = (memory.at(home), memory.at(current.a), free & free.wrapping_neg());
        let word = (entry != CellId::NONE).then(|| memory.at(entry.offset()));
        let stamp = steps::allocate((entry, word), words, block, current.epoch);
        Some(Held { entry, block, stamp, home: CellId::at(home) })
    }

    /// The same, and if none is at hand one is looked for.
    pub fn allocate(
        &mut self,
        memory: &Memory,
        peers: &impl Peers,
        class: usize,
        entry: CellId,
    ) -> Result<Held, Error> {
        loop {
            if let Some(held) = self.allocate_now(memory, class, entry) {
                return Ok(held);
            }
            if !self.classes[class].turn_again(memory, class) {
                self.next_word(memory, peers, class)?;
            }
        }
    }

    /// Allocates a run of spans for one block of `size` bytes.
    #[cold]
    pub fn allocate_large(
        &mut self,
        memory: &Memory,
        peers: &impl Peers,
        size: u64,
        entry: CellId,
    ) -> Result<Held, Error> {
        self.collect_runs(memory, RUN_PROBES);
        let count = size.saturating_add(LARGE_AT).div_ceil(SPAN);
        if count > memory.spans() {
            return Err(full(memory, size));
        }
        let line = self.line;
        let found =
            self.find(memory, peers, count, |head| run::claim_run(memory, head, count, line))?;
        let (span, desc) = found.ok_or_else(|| full(memory, size))?;
        self.own(memory, span, desc);
        let span_at = memory.span_at(span);
        let (place, block) = (Place::new(span_at, 0), BlockId::at(span_at + LARGE_AT));
        let words = (memory.at(place.home), memory.at(place.a), place.bit);
        let word = (entry != CellId::NONE).then(|| memory.at(entry.offset()));
        let stamp = steps::allocate((entry, word), words, block, desc.epoch());
        Ok(Held { entry, block, stamp, home: CellId::at(place.home) })
    }

    /// An entry that holds nothing.
    #[inline(always)]
    pub fn take_entry(&mut self, memory: &Memory, peers: &impl Peers) -> Result<CellId, Error> {
        self.taken = match self.entries.pop() {
            Some(entry) => entry,
            None => self.more_entries(memory, peers)?,
        };
        Ok(self.taken)
    }

    /// An entry holds nothing any more.
    #[inline(always)]
    pub fn return_entry(&mut self, entry: CellId) {
        self.entries.push(entry);
    }

    /// Whether an entry is this line's.
    #[inline]
    pub fn has_entry(&self, memory: &Memory, entry: CellId) -> bool {
        let offset = entry.offset();
        memory.entries(self.line).contains(&offset)
            || memory.span_in(offset).is_some_and(|span| self.entry_spans.contains(&span))
    }

    #[cold]
    fn more_entries(&mut self, memory: &Memory, peers: &impl Peers) -> Result<CellId, Error> {
        if let Some(entry) = self.fresh_entry() {
            return Ok(entry);
        }
        let line = self.line;
        let found = self.find(memory, peers, 1, |span| run::build(memory, span, 1, line))?;
        let (span, desc) = found.ok_or_else(|| full(memory, SPAN))?;
        memory.empty_entries(span);
        let owned = Desc::new(State::Owned, ENTRIES, line, desc.epoch(), 1);
        // Release: all entries are empty before recovery looks at them.
        memory.desc(span).store(owned.0, Ordering::Release);
        self.entry_spans.push(span);
        self.fresh = memory.span_entries(span);
        self.fresh_entry().ok_or_else(|| full(memory, SPAN))
    }

    fn fresh_entry(&mut self) -> Option<CellId> {
        let offset = self.fresh.start;
        if offset >= self.fresh.end {
            return None;
        }
        self.fresh.start = offset + 8;
        Some(CellId::at(offset))
    }

    /// Frees a block, wherever it lies.
    #[inline(always)]
    pub fn free(&mut self, memory: &Memory, block: BlockId) -> Result<(), NotFreed> {
        let span = memory.span_of(block).ok_or(NotFreed::NoBlock)?;
        // Relaxed: whether it is ours changes by our hand only; of another's, the block is the
        // caller's, and so its span stays what it is.
        let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
        let place = memory.place(span, desc, block).ok_or(NotFreed::NoBlock)?;
        self.free_at(memory, (span, desc), place)
    }

    /// Whether a span is ours.
    #[inline(always)]
    pub fn owns(&self, desc: Desc) -> bool {
        desc.0 & Desc::WHOSE == self.mine
    }

    /// Frees the block that begins at an offset in a span of ours, if one store does that, and nothing
    /// is wrong; otherwise nothing has been done, and [`free`](Front::free) says more.
    #[inline(always)]
    pub fn free_here(&self, memory: &Memory, (span_at, desc): (u64, Desc), offset: u64) -> bool {
        let Some(place) = Place::at(span_at, desc.class(), offset) else { return false };
        let a = memory.at(place.a);
        // Relaxed: as in `free_at`.
        let allocated = a.load(Ordering::Relaxed);
        // Relaxed: as in `free_at`.
        let freed = memory.at(place.f).load(Ordering::Relaxed);
        let left = allocated & !place.bit;
        let is_last = left == 0 && !self.is_current(span_at, desc.class());
        if allocated & !freed & place.bit == 0 || is_last {
            return false;
        }
        // Release: as in `free_at`.
        a.store(left, Ordering::Release);
        true
    }

    /// Frees a block that we hold: its home word says where in its span it is.
    #[inline(always)]
    pub fn free_held(&mut self, memory: &Memory, held: Held) -> Result<(), NotFreed> {
        let span = memory.span_in(held.home.offset()).ok_or(NotFreed::NoBlock)?;
        // Relaxed: as in `free`.
        let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
        let place = Place::of_home(memory.span_at(span), held.home.offset());
        self.free_at(memory, (span, desc), place)
    }

    #[inline(always)]
    fn free_at(
        &mut self,
        memory: &Memory,
        (span, desc): (u64, Desc),
        place: Place,
    ) -> Result<(), NotFreed> {
        if !self.owns(desc) {
            return free_elsewhere(memory, (span, desc), place);
        }
        let a = memory.at(place.a);
        // Relaxed: only we write A.
        let allocated = a.load(Ordering::Relaxed);
        // Relaxed: a bit of a block that is ours to free is not set by anybody else.
        let freed = memory.at(place.f).load(Ordering::Relaxed);
        if allocated & !freed & place.bit == 0 {
            return Err(NotFreed::Free);
        }
        let left = allocated & !place.bit;
        // Release: what the entry or cell said before comes before.
        a.store(left, Ordering::Release);
        if left == 0 && !self.is_current(memory.span_at(span), desc.class()) {
            self.perhaps_empty(memory, span, desc);
        }
        Ok(())
    }

    /// Whether blocks of the class come from this span.
    #[inline(always)]
    fn is_current(&self, span_at: u64, class: usize) -> bool {
        self.classes.get(class).is_some_and(|current| current.span_at == span_at)
    }

    /// The last block in a word of a span of ours was freed.
    #[inline(never)]
    fn perhaps_empty(&mut self, memory: &Memory, span: u64, desc: Desc) {
        let class = desc.class();
        if !is_unused(memory, memory.span_at(span), class) {
            return;
        }
        self.disown(memory, span, class);
        if class == LARGE {
            run::give_back(memory, span, desc);
            self.remember(span);
        } else {
            self.release(memory, span, desc);
        }
    }
}
