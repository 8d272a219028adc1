//! Where a thread's blocks come from next: another word, another span of ours, an orphan, a free span.

// Orderings: Relaxed for words that only this thread writes (A, hints, descriptors of our spans).

use super::Front;
use crate::heap::class::{CLASSES, LARGE, TABLE};
use crate::heap::memory::{Ground, Memory};
use crate::heap::span::{count_used, drain_span, full, has_room, looks_empty};
use crate::heap::words::{Desc, State};
use crate::heap::{recover, run};
use crate::primitive::Ordering;
use crate::{Error, Peers};

/// Owned spans that an allocation looks at before it takes another.
const PROBES: usize = 16;
/// Descriptors that it looks at for orphans.
const ORPHAN_PROBES: u64 = 64;
/// Spans given back that are remembered.
const REMEMBERED: usize = 64;

impl Front {
    /// The word of the class's span that has room again, the next one that has, or another span.
    #[cold]
    pub(super) fn next_word(
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
    pub(super) fn another_span(
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
    pub(super) fn probe_owned(&mut self, memory: &Memory, class: usize, most: usize) -> bool {
        for _ in 0..most.min(self.classes[class].owned.len()) {
            let current = &mut self.classes[class];
            current.next = (current.next + 1) % current.owned.len();
            let span = u64::from(current.owned[current.next]);
            let span_at = memory.span_at(span);
            if has_room(memory, span_at, class) || drain_span(memory, span_at, class) > 0 {
                self.make_current(memory, span, class);
                return true;
            }
        }
        false
    }

    /// Looks for orphans: one of the class becomes ours, empty ones of other classes free.
    pub(super) fn probe_orphans(&mut self, memory: &Memory, class: usize, most: u64) -> bool {
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
    pub(super) fn adopt(&mut self, memory: &Memory, span: u64, seen: Desc) -> bool {
        let Some(desc) = run::adopt(memory, span, seen, self.line) else { return false };
        // Relaxed: a hint.
        let count = memory.orphans();
        let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        let class = desc.class();
        let used = count_used(memory, memory.span_at(span), class);
        if used == 0 && class == LARGE {
            run::give_back(memory, span, desc);
        } else if used == 0 {
            self.release(memory, span, desc);
        } else {
            self.own(memory, span, desc);
            return (used as usize) < TABLE.get(class).map_or(1, |cut| cut.count as usize);
        }
        false
    }

    /// A span is ours now: it goes into its list, and blocks of its class come from it.
    pub(super) fn own(&mut self, memory: &Memory, span: u64, desc: Desc) {
        let class = desc.class();
        let list = match self.classes.get_mut(class) {
            Some(current) => &mut current.owned,
            None => &mut self.runs,
        };
        // Relaxed: see the module.
        memory.at(memory.span_at(span)).store(list.len() as u64, Ordering::Relaxed);
        list.push(span as u32);
        if class < CLASSES {
            self.make_current(memory, span, class);
        }
    }

    pub(super) fn make_current(&mut self, memory: &Memory, span: u64, class: usize) {
        let current = &mut self.classes[class];
        let last = current.span_at;
        current.span_at = memory.span_at(span);
        // Relaxed: it is ours.
        current.epoch = Desc(memory.desc(span).load(Ordering::Relaxed)).epoch();
        let words = TABLE[class].words;
        let _ = (0..words).find(|&word| current.turn_to(memory, class, word));
        self.leave(memory, last, class);
    }

    /// A span of ours is empty, and becomes free.
    pub(super) fn release(&mut self, memory: &Memory, span: u64, desc: Desc) {
        run::release(memory, span, desc);
        self.remember(span);
    }

    /// A span of ours has become free: it is tried first when we want one.
    pub(super) fn remember(&mut self, span: u64) {
        if self.released.len() < REMEMBERED {
            self.released.push(span as u32);
        }
    }

    /// Searches for `count` free spans, and tries to claim what looks free; clears up after the
    /// dead before it gives up.
    pub(super) fn find(
        &mut self,
        memory: &Memory,
        peers: &impl Peers,
        count: u64,
        claim: impl Fn(u64) -> Option<Desc>,
    ) -> Result<Option<(u64, Desc)>, Error> {
        let me = peers.me().ok_or(Error::Inherited)?;
        while let Some(span) = self.released.pop().map(u64::from) {
            let fits = span + count <= memory.spans();
            if let Some(desc) = fits.then(|| claim(span)).flatten() {
                return Ok(Some((span, desc)));
            }
        }
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

    pub(super) fn search(
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
}
