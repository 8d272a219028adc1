//! One thread's spans: allocating from them, freeing into them, getting and giving up spans.
//!
//! What stands here is private to the thread and may be lost at any instant; the truth is in the
//! heap's words. The one hint that lies in the heap, a span's first word, is written by the span's
//! line alone: `used blocks 32 | place in the owner's list 32`. Relaxed suffices for it.
//!
//! Blocks are found a word of A at a time: the bits that are clear when the thread turns to a word
//! are its to give out, because nobody else sets any. They count as used from then on, so that an
//! allocation neither searches nor counts; what is left of them is counted back when the thread
//! turns to another word.

// Orderings: Relaxed for words that only this thread writes (A, hints, descriptors of our spans).

use super::class::{A_AT, CLASSES, ENTRIES, HOMES_AT, LARGE, LARGE_AT, Place, SPAN, TABLE};
use super::memory::{Ground, Memory};
use super::recover;
use super::run;
use super::span::{abandon, count_used, drain_span, free_elsewhere, full, is_empty, looks_empty};
use super::steps::{self, Held, NotFreed};
use super::words::{BlockId, CellId, Desc, State};
use crate::primitive::Ordering;
use crate::{Error, Peers};

/// Owned spans that an allocation looks at before it takes another.
const PROBES: usize = 16;
/// Descriptors that it looks at for orphans.
const ORPHAN_PROBES: u64 = 64;

/// The spans of one class, and the word of A that blocks come from.
#[derive(Debug, Default)]
struct Current {
    /// Bits of the word that were clear when we turned to it, and whose blocks are not given out.
    free: u64,
    /// Where the word is.
    a: u64,
    /// Where the home of its first block is.
    homes: u64,
    /// Where its first block begins.
    blocks: u64,
    /// Bytes of a block.
    size: u64,
    epoch: u64,
    /// Offset of the span; 0 is none.
    span_at: u64,
    word: u32,
    next: usize,
    owned: Vec<u32>,
}

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
        if current.free == 0 && !current.turn_again(memory, class) {
            return None;
        }
        let free = current.free;
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
            self.next_word(memory, peers, class)?;
        }
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
        self.taken = CellId::NONE;
        self.entries.push(entry);
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
        // Relaxed: whether it is ours changes by our hand only.
        let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
        if desc.0 & Desc::WHOSE != self.mine {
            return free_elsewhere(memory, block);
        }
        let span_at = memory.span_at(span);
        let place = Place::find(span_at, desc.class(), block).ok_or(NotFreed::NoBlock)?;
        let a = memory.at(place.a);
        // Relaxed: only we write A.
        let allocated = a.load(Ordering::Relaxed);
        // Relaxed: a bit of a block that is ours to free is not set by anybody else.
        let freed = memory.at(place.f).load(Ordering::Relaxed);
        if allocated & !freed & place.bit == 0 {
            return Err(NotFreed::Free);
        }
        // Release: what the entry or cell said before comes before.
        a.store(allocated & !place.bit, Ordering::Release);
        let hint = memory.at(span_at);
        let used = hint.load(Ordering::Relaxed).wrapping_sub(1);
        hint.store(used, Ordering::Relaxed);
        if used as u32 == 0 {
            self.empty(memory, span, desc);
        }
        Ok(())
    }

    /// The last block of a span of ours was freed.
    fn empty(&mut self, memory: &Memory, span: u64, desc: Desc) {
        let class = desc.class();
        if class == LARGE {
            self.forget_run(memory, span);
            run::give_back(memory, span, desc);
        } else if self.classes[class].span_at != memory.span_at(span) {
            self.disown(memory, span, class);
            run::release(memory, span, desc);
        }
    }

    /// The word of the class's span that has room again, the next one that has, or another span.
    #[cold]
    fn next_word(
        &mut self,
        memory: &Memory,
        peers: &impl Peers,
        class: usize,
    ) -> Result<(), Error> {
        let words = TABLE[class].words;
        let current = &mut self.classes[class];
        if current.span_at != 0 {
            for step in 1..words {
                let word = (current.word + step) % words;
                if current.turn_to(memory, class, word) {
                    return Ok(());
                }
            }
            if drain_span(memory, current.span_at, class) > 0 {
                return Ok(());
            }
        }
        self.another_span(memory, peers, class)
    }

    #[cold]
    fn another_span(
        &mut self,
        memory: &Memory,
        peers: &impl Peers,
        class: usize,
    ) -> Result<(), Error> {
        if self.probe_owned(memory, class, PROBES)
            || self.probe_orphans(memory, class, ORPHAN_PROBES)
        {
            return Ok(());
        }
        let line = self.line;
        let found = self.find(memory, peers, 1, |span| run::claim(memory, span, line, class))?;
        if let Some((span, desc)) = found {
            self.own(memory, span, desc);
            return Ok(());
        }
        // Every span has an owner: look at all that we can get something from.
        let all = self.classes[class].owned.len();
        if self.probe_owned(memory, class, all) {
            return Ok(());
        }
        Err(full(memory, TABLE[class].size.into()))
    }

    /// Looks for a span of ours that has room again; it becomes the current one.
    fn probe_owned(&mut self, memory: &Memory, class: usize, most: usize) -> bool {
        for _ in 0..most.min(self.classes[class].owned.len()) {
            let current = &mut self.classes[class];
            current.next = (current.next + 1) % current.owned.len();
            let span = u64::from(current.owned[current.next]);
            let span_at = memory.span_at(span);
            // Relaxed: see the module.
            let used = memory.at(span_at).load(Ordering::Relaxed) as u32;
            if used < TABLE[class].count || drain_span(memory, span_at, class) > 0 {
                self.make_current(memory, span, class);
                return true;
            }
        }
        false
    }

    /// Looks for orphans: one of the class becomes ours, empty ones of other classes free.
    fn probe_orphans(&mut self, memory: &Memory, class: usize, most: u64) -> bool {
        // Relaxed: a hint.
        if memory.orphans().load(Ordering::Relaxed) == 0 {
            return false;
        }
        for _ in 0..most.min(memory.spans()) {
            self.orphan_cursor = (self.orphan_cursor + 1) % memory.spans();
            let span = self.orphan_cursor;
            // Relaxed: the exchange of the claim decides.
            let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
            if desc.state() != State::Orphan {
                continue;
            }
            if desc.class() == class && class < CLASSES {
                if self.adopt(memory, span, desc) && self.classes[class].span_at != 0 {
                    return true;
                }
            } else if looks_empty(memory, span, desc) {
                self.adopt(memory, span, desc);
            }
        }
        false
    }

    /// Takes an orphan over: it is drained, and released if nothing is in it. Whether it is ours.
    fn adopt(&mut self, memory: &Memory, span: u64, seen: Desc) -> bool {
        let Some(desc) = run::adopt(memory, span, seen, self.line) else { return false };
        // Relaxed: a hint.
        let count = memory.orphans();
        let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        let class = desc.class();
        let used = count_used(memory, memory.span_at(span), class);
        if used == 0 && class == LARGE {
            run::give_back(memory, span, desc);
        } else if used == 0 {
            run::release(memory, span, desc);
        } else {
            self.own(memory, span, desc);
            return (used as usize) < TABLE.get(class).map_or(1, |cut| cut.count as usize);
        }
        false
    }

    /// A span is ours now: it goes into its list, and blocks of its class come from it.
    fn own(&mut self, memory: &Memory, span: u64, desc: Desc) {
        let class = desc.class();
        let list = match self.classes.get_mut(class) {
            Some(current) => &mut current.owned,
            None => &mut self.runs,
        };
        let hint = memory.at(memory.span_at(span));
        // Relaxed: see the module.
        let used = hint.load(Ordering::Relaxed) & u64::from(u32::MAX);
        hint.store(used | (list.len() as u64) << 32, Ordering::Relaxed);
        list.push(span as u32);
        if class < CLASSES {
            self.make_current(memory, span, class);
        }
    }

    /// A span of ours leaves its list.
    fn disown(&mut self, memory: &Memory, span: u64, class: usize) {
        let list = match self.classes.get_mut(class) {
            Some(current) => &mut current.owned,
            None => &mut self.runs,
        };
        let hint = memory.at(memory.span_at(span));
        // Relaxed: see the module.
        let place = (hint.load(Ordering::Relaxed) >> 32) as usize;
        hint.store(0, Ordering::Relaxed);
        if list.get(place).copied() != Some(span as u32) {
            // A hint that somebody has overwritten.
            list.retain(|&other| u64::from(other) != span);
            return;
        }
        list.swap_remove(place);
        if let Some(&moved) = list.get(place) {
            let hint = memory.at(memory.span_at(moved.into()));
            let used = hint.load(Ordering::Relaxed) & u64::from(u32::MAX);
            hint.store(used | (place as u64) << 32, Ordering::Relaxed);
        }
    }

    fn make_current(&mut self, memory: &Memory, span: u64, class: usize) {
        let current = &mut self.classes[class];
        current.put_back(memory);
        let last = current.span_at;
        current.span_at = memory.span_at(span);
        // Relaxed: it is ours.
        current.epoch = Desc(memory.desc(span).load(Ordering::Relaxed)).epoch();
        let words = TABLE[class].words;
        let _ = (0..words).find(|&word| current.turn_to(memory, class, word));
        self.leave(memory, last, class);
    }

    /// A span is not the current one any more: if it is empty it is released.
    fn leave(&mut self, memory: &Memory, span_at: u64, class: usize) {
        if span_at == 0 || span_at == self.classes[class].span_at {
            return;
        }
        let Some(span) = memory.span_in(span_at) else { return };
        // Relaxed: see the module, and `free`.
        if memory.at(span_at).load(Ordering::Relaxed) as u32 == 0 {
            let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
            self.disown(memory, span, class);
            run::release(memory, span, desc);
        }
    }

    /// Searches for `count` free spans, and tries to claim what looks free; clears up after the
    /// dead before it gives up.
    fn find(
        &mut self,
        memory: &Memory,
        peers: &impl Peers,
        count: u64,
        claim: impl Fn(u64) -> Option<Desc>,
    ) -> Result<Option<(u64, Desc)>, Error> {
        let me = peers.me().ok_or(Error::Inherited)?;
        for attempt in 0..2 {
            if let Some(found) = self.search(memory, count, &claim) {
                return Ok(Some(found));
            }
            if attempt == 0 {
                recover::everybody(memory, peers, me);
                self.give_up_empty(memory);
                self.give_up_entries(memory);
                self.probe_orphans(memory, CLASSES, memory.spans());
            }
        }
        Ok(None)
    }

    fn search(
        &mut self,
        memory: &Memory,
        count: u64,
        claim: impl Fn(u64) -> Option<Desc>,
    ) -> Option<(u64, Desc)> {
        let spans = memory.spans();
        let (mut length, mut looked) = (0, 0);
        let mut span = if self.cursor < spans { self.cursor } else { 0 };
        // A run may begin at any of the spans, and reach behind the one where the search began.
        while looked < spans + count {
            // Relaxed: the exchange of the claim decides.
            let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
            length = if desc.state() == State::Free { length + 1 } else { 0 };
            span += 1;
            looked += 1;
            if length == count {
                if let Some(desc) = claim(span - count) {
                    self.cursor = span;
                    return Some((span - count, desc));
                }
                length = 0;
            }
            if span == spans {
                (span, length) = (0, 0);
            }
        }
        None
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
        self.collect_runs(memory);
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
        let hint = memory.at(span_at);
        // Relaxed: see the module.
        hint.store(hint.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        Ok(Held { entry, block, stamp, home: CellId::at(place.home) })
    }

    /// Gives back the runs of ours that others have freed.
    fn collect_runs(&mut self, memory: &Memory) {
        let mut place = 0;
        while let Some(&span) = self.runs.get(place) {
            let span = u64::from(span);
            if drain_span(memory, memory.span_at(span), LARGE) == 0 {
                place += 1;
                continue;
            }
            // Relaxed: it is ours.
            let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
            self.disown(memory, span, LARGE);
            run::give_back(memory, span, desc);
        }
    }

    fn forget_run(&mut self, memory: &Memory, span: u64) {
        self.disown(memory, span, LARGE);
    }

    /// Releases every span of ours that nothing is in, also current ones.
    pub fn give_up_empty(&mut self, memory: &Memory) {
        self.collect_runs(memory);
        for class in 0..CLASSES {
            self.classes[class].put_back(memory);
            let mut place = 0;
            while let Some(&span) = self.classes[class].owned.get(place) {
                let span = u64::from(span);
                drain_span(memory, memory.span_at(span), class);
                // Relaxed: see the module.
                if memory.at(memory.span_at(span)).load(Ordering::Relaxed) as u32 != 0 {
                    place += 1;
                    continue;
                }
                self.forget_current(memory.span_at(span), class);
                self.disown(memory, span, class);
                // Relaxed: it is ours.
                let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
                run::release(memory, span, desc);
            }
        }
    }

    /// Releases the spans of entries that hold nothing.
    fn give_up_entries(&mut self, memory: &Memory) {
        for span in std::mem::take(&mut self.entry_spans) {
            let in_hand = memory.span_in(self.taken.offset()) == Some(span);
            if in_hand || !is_empty(memory, memory.span_entries(span)) {
                self.entry_spans.push(span);
                continue;
            }
            self.entries.retain(|entry| memory.span_in(entry.offset()) != Some(span));
            if memory.span_in(self.fresh.start.saturating_sub(8)) == Some(span) {
                self.fresh = 0..0;
            }
            // Relaxed: it is ours.
            let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
            run::release(memory, span, desc);
        }
    }

    fn forget_current(&mut self, span_at: u64, class: usize) {
        let current = &mut self.classes[class];
        if current.span_at == span_at {
            current.span_at = 0;
        }
    }

    /// Leaves all spans: empty ones become free, others orphans. Whether no entry holds anything:
    /// then the line may be left.
    pub fn leave_all(&mut self, memory: &Memory) -> bool {
        self.give_up_empty(memory);
        for class in 0..CLASSES {
            let owned = std::mem::take(&mut self.classes[class]).owned;
            owned.into_iter().for_each(|span| abandon(memory, span.into()));
        }
        std::mem::take(&mut self.runs).into_iter().for_each(|span| abandon(memory, span.into()));
        self.taken = CellId::NONE;
        self.give_up_entries(memory);
        self.entry_spans.is_empty() && is_empty(memory, memory.entries(self.line))
    }
}

impl Current {
    /// Whether the word of A, all of whose blocks were given out, has room again.
    #[inline(never)]
    fn turn_again(&mut self, memory: &Memory, class: usize) -> bool {
        self.span_at != 0 && self.turn_to(memory, class, self.word)
    }

    /// Whether this word of A has room; allocations come from it then.
    fn turn_to(&mut self, memory: &Memory, class: usize, word: u32) -> bool {
        self.put_back(memory);
        let cut = &TABLE[class];
        let first = word * 64;
        let rest = cut.count - first;
        let valid = if rest >= 64 { u64::MAX } else { (1 << rest) - 1 };
        self.a = self.span_at + A_AT + u64::from(word) * 8;
        // Relaxed: only we write A.
        self.free = !memory.at(self.a).load(Ordering::Relaxed) & valid;
        self.homes = self.span_at + HOMES_AT + u64::from(first) * 8;
        self.blocks = self.span_at + u64::from(cut.start + first * cut.size);
        (self.size, self.word) = (cut.size.into(), word);
        let hint = memory.at(self.span_at);
        let used = hint.load(Ordering::Relaxed).wrapping_add(self.free.count_ones().into());
        hint.store(used, Ordering::Relaxed);
        self.free != 0
    }

    /// Counts back what was not given out of the word; blocks come from no word then.
    fn put_back(&mut self, memory: &Memory) {
        let left = std::mem::take(&mut self.free).count_ones();
        if left > 0 {
            let hint = memory.at(self.span_at);
            let used = hint.load(Ordering::Relaxed).wrapping_sub(left.into());
            hint.store(used, Ordering::Relaxed);
        }
    }
}
