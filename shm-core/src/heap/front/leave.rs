//! Spans leave a thread: those that nothing is in become free, the others orphans.

// Orderings: Relaxed for words that only this thread writes (A, hints, descriptors of our spans).

use super::Front;
use crate::heap::class::{CLASSES, LARGE};
use crate::heap::memory::{Ground, Memory};
use crate::heap::run;
use crate::heap::span::{abandon, drain_span, is_empty, is_unused};
use crate::heap::words::{CellId, Desc};
use crate::primitive::Ordering;

impl Front {
    /// A span of ours leaves its list.
    pub(super) fn disown(&mut self, memory: &Memory, span: u64, class: usize) {
        let list = match self.classes.get_mut(class) {
            Some(current) => &mut current.owned,
            None => &mut self.runs,
        };
        let hint = memory.at(memory.span_at(span));
        // Relaxed: see the module.
        let place = hint.load(Ordering::Relaxed) as usize;
        hint.store(0, Ordering::Relaxed);
        if list.get(place).copied() != Some(span as u32) {
            // A hint that somebody has overwritten.
            list.retain(|&other| u64::from(other) != span);
            return;
        }
        list.swap_remove(place);
        if let Some(&moved) = list.get(place) {
            memory.at(memory.span_at(moved.into())).store(place as u64, Ordering::Relaxed);
        }
    }

    /// A span is not the current one any more: if it is empty it is released.
    pub(super) fn leave(&mut self, memory: &Memory, span_at: u64, class: usize) {
        if span_at == 0 || span_at == self.classes[class].span_at {
            return;
        }
        let Some(span) = memory.span_in(span_at) else { return };
        if is_unused(memory, span_at, class) {
            // Relaxed: it is ours.
            let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
            self.disown(memory, span, class);
            self.release(memory, span, desc);
        }
    }

    /// Gives back those of `most` runs of ours that others have freed.
    pub(super) fn collect_runs(&mut self, memory: &Memory, most: usize) {
        for _ in 0..most.min(self.runs.len()) {
            let Some(&span) = self.runs.get(self.next_run) else {
                self.next_run = 0;
                continue;
            };
            let span = u64::from(span);
            if drain_span(memory, memory.span_at(span), LARGE) == 0 {
                self.next_run += 1;
                continue;
            }
            // Relaxed: it is ours.
            let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
            // Another takes its place in the list.
            self.disown(memory, span, LARGE);
            run::give_back(memory, span, desc);
            self.remember(span);
        }
    }

    /// Releases every span of ours that nothing is in, also current ones.
    pub fn give_up_empty(&mut self, memory: &Memory) {
        // As many looks as there are runs, from the first.
        self.next_run = 0;
        self.collect_runs(memory, usize::MAX);
        for class in 0..CLASSES {
            // Nothing more comes from a word whose span we give up.
            self.classes[class].free = 0;
            let mut place = 0;
            while let Some(&span) = self.classes[class].owned.get(place) {
                let span = u64::from(span);
                drain_span(memory, memory.span_at(span), class);
                if !is_unused(memory, memory.span_at(span), class) {
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
    pub(super) fn give_up_entries(&mut self, memory: &Memory) {
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

    pub(super) fn forget_current(&mut self, span_at: u64, class: usize) {
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
