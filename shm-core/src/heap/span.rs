//! What is done with one span: draining, counting, giving up; and freeing into another's.

use std::ops::Range;

use super::class::{A_AT, F_AT, LARGE, Place, SPAN, TABLE};
use super::memory::{Ground, Memory};
use super::steps::{self, NotFreed};
use super::words::{BlockId, Desc, Slot, State};
use crate::Error;
use crate::primitive::Ordering;

/// Why there is no room for so many bytes.
pub(crate) fn full(memory: &Memory, size: u64) -> Error {
    let is_free = |&span: &u64| {
        // Relaxed: a count for people.
        Desc(memory.desc(span).load(Ordering::Relaxed)).state() == State::Free
    };
    let free = (0..memory.spans()).filter(is_free).count() as u64 * SPAN;
    Error::HeapFull { size, free, heap: memory.geometry.len }
}

/// A span of ours that is in use becomes an orphan.
pub(crate) fn abandon(memory: &Memory, span: u64) {
    memory.note_orphan();
    // Relaxed: it is ours.
    let orphan = Desc(memory.desc(span).load(Ordering::Relaxed)).become_of(State::Orphan, 0);
    // Release: pairs with the Acquire of the claim: its bitmaps as we left them.
    memory.desc(span).store(orphan.0, Ordering::Release);
}

/// Whether none of these entries of ours holds anything.
pub(crate) fn is_empty(memory: &Memory, entries: Range<u64>) -> bool {
    // Relaxed: our own.
    entries.step_by(8).all(|at| memory.at(at).load(Ordering::Relaxed) == Slot::EMPTY.0)
}

fn words_of(class: usize) -> u64 {
    TABLE.get(class).map_or(1, |cut| cut.words.into())
}

/// Takes in what others have freed in a span of ours; how many blocks.
pub(crate) fn drain_span(memory: &Memory, span_at: u64, class: usize) -> u32 {
    let words = (0..words_of(class)).map(|word| word * 8);
    words
        .map(|at| steps::drain(memory.at(span_at + A_AT + at), memory.at(span_at + F_AT + at)))
        .sum()
}

/// Whether no block of a span of ours is in use, but for those that others have freed since it was
/// drained.
pub(crate) fn is_unused(memory: &Memory, span_at: u64, class: usize) -> bool {
    // Relaxed: it is ours.
    let load = |word| memory.at(span_at + A_AT + word * 8).load(Ordering::Relaxed);
    (0..words_of(class)).all(|word| load(word) == 0)
}

/// Whether a span of ours of a class of blocks has a free one, as it was drained last.
pub(crate) fn has_room(memory: &Memory, span_at: u64, class: usize) -> bool {
    let cut = &TABLE[class];
    // Relaxed: it is ours.
    let load = |word: u32| memory.at(span_at + A_AT + u64::from(word) * 8).load(Ordering::Relaxed);
    (0..cut.words).any(|word| !load(word) & cut.valid(word) != 0)
}

/// Drains a span that was just adopted, and counts what is in it.
pub(crate) fn count_used(memory: &Memory, span_at: u64, class: usize) -> u32 {
    let mut used = 0;
    for at in (0..words_of(class)).map(|word| word * 8) {
        let a = memory.at(span_at + A_AT + at);
        steps::drain(a, memory.at(span_at + F_AT + at));
        // Relaxed: it is ours.
        used += a.load(Ordering::Relaxed).count_ones();
    }
    used
}

/// Whether nothing is in a span, as far as one look tells.
pub(crate) fn looks_empty(memory: &Memory, span: u64, desc: Desc) -> bool {
    let span_at = memory.span_at(span);
    (0..words_of(desc.class())).map(|word| word * 8).all(|at| {
        // Relaxed: the claim decides.
        let allocated = memory.at(span_at + A_AT + at).load(Ordering::Relaxed);
        let freed = memory.at(span_at + F_AT + at).load(Ordering::Relaxed);
        allocated & !freed == 0
    })
}

/// Frees a block of a span that is another's, or nobody's.
#[inline(always)]
pub(crate) fn free_elsewhere(
    memory: &Memory,
    (span, desc): (u64, Desc),
    place: Place,
) -> Result<(), NotFreed> {
    if !desc.has_blocks() {
        return Err(NotFreed::NoBlock);
    }
    if desc.class() == LARGE {
        discard_large(memory, place, (span, desc));
    }
    steps::free_remote(memory, place)
}

/// Frees the block of a class that begins at an offset in a span that is not ours; `false`: nothing has
/// been done. Of a free span the bit in A is clear; runs and entries have no such block. Not inlined:
/// it would cost the free of our own blocks the registers that it has.
#[inline(never)]
pub(crate) fn free_into(memory: &Memory, (span_at, desc): (u64, Desc), offset: u64) -> bool {
    let place = Place::at(span_at, desc.class(), offset);
    place.is_some_and(|place| steps::free_remote(memory, place).is_ok())
}

/// The memory of a large block goes back at once: its owner may not look for long.
#[cold]
#[inline(never)]
fn discard_large(memory: &Memory, place: Place, (span, desc): (u64, Desc)) {
    // Relaxed: see `free_remote`.
    if memory.at(place.f).load(Ordering::Relaxed) & place.bit == 0 {
        memory.discard(span, desc.argument().min(memory.spans() - span));
    }
}

/// Frees a block, from a thread that has no spans.
pub(crate) fn free_anywhere(memory: &Memory, block: BlockId) -> Result<(), NotFreed> {
    let span = memory.span_of(block).ok_or(NotFreed::NoBlock)?;
    // Relaxed: the block is the caller's, and so its span stays what it is.
    let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
    let place = memory.place(span, desc, block).ok_or(NotFreed::NoBlock)?;
    free_elsewhere(memory, (span, desc), place)
}
