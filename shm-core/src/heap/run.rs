//! Spans leave FREE and come back to it: single ones, and runs of several.

// Orderings: Release for a store that must follow another, as in `steps`; Relaxed for a failed
// exchange, after which nothing is read.

use super::class::LARGE;
use super::memory::{Ground, Memory};
use super::words::{Desc, State};
use crate::primitive::{Ordering, fence};

/// Whether a span is free; its descriptor.
fn free(ground: &impl Ground, span: u64) -> Option<Desc> {
    // Relaxed: the exchange decides.
    let seen = Desc(ground.desc(span).load(Ordering::Relaxed));
    (seen.state() == State::Free).then_some(seen)
}

fn exchange(ground: &impl Ground, span: u64, seen: Desc, new: Desc) -> bool {
    // Acquire: pairs with the Release of FREE or ORPHAN: the bitmaps are as that one left them.
    let (ok, lost) = (Ordering::Acquire, Ordering::Relaxed);
    ground.desc(span).compare_exchange(seen.0, new.0, ok, lost).is_ok()
}

/// A span is used anew: recovery may still read what it takes for a home in it.
fn begin_use() {
    // Release: whatever is written into the span from now on, plain bytes too, is seen after its
    // epoch by whoever reads it by Acquire and the epoch then (`recover::is_of`).
    fence(Ordering::Release);
}

/// Claims a free span for a class.
pub(crate) fn claim(ground: &impl Ground, span: u64, line: usize, class: usize) -> Option<Desc> {
    let seen = free(ground, span)?;
    let new = Desc::new(State::Owned, class, line, seen.epoch() + 1, 1);
    if !exchange(ground, span, seen, new) {
        return None;
    }
    begin_use();
    Some(new)
}

/// Claims an orphan, whose blocks may be in use: drain it before you allocate.
pub(crate) fn adopt(ground: &impl Ground, span: u64, seen: Desc, line: usize) -> Option<Desc> {
    let new = seen.become_of(State::Owned, line);
    exchange(ground, span, seen, new).then_some(new)
}

/// Claims `count` free spans from `head` on, and leaves the head in state BUILD.
pub(crate) fn build(ground: &impl Ground, head: u64, count: u64, line: usize) -> Option<Desc> {
    let seen = free(ground, head)?;
    let new = Desc::new(State::Build, LARGE, line, seen.epoch() + 1, count);
    // 1.
    if !exchange(ground, head, seen, new) {
        return None;
    }
    for tail in head + 1..head + count {
        // 2…
        let claimed = free(ground, tail).is_some_and(|seen| {
            let cont = Desc::new(State::Cont, LARGE, line, seen.epoch(), head);
            exchange(ground, tail, seen, cont)
        });
        if !claimed {
            give_back(ground, head, new);
            return None;
        }
    }
    begin_use();
    Some(new)
}

/// Claims a run for one large block.
pub(crate) fn claim_run(ground: &impl Ground, head: u64, count: u64, line: usize) -> Option<Desc> {
    let owned = build(ground, head, count, line)?.become_of(State::Owned, line);
    // Relaxed: not made unless the exchanges for all tails succeeded.
    ground.desc(head).store(owned.0, Ordering::Relaxed);
    Some(owned)
}

/// Gives a run back whose block, if any, is free. By its line, or that one's recoverer; begun anew
/// after a death as often as need be.
pub(crate) fn give_back(ground: &impl Ground, head: u64, desc: Desc) {
    let freeing = desc.become_of(State::Freeing, desc.line());
    // Release: its block is free before.
    ground.desc(head).store(freeing.0, Ordering::Release);
    let is_tail = |span: u64| {
        // Relaxed: a tail of ours changes by our hand only.
        let seen = Desc(ground.desc(span).load(Ordering::Relaxed));
        (seen.state() == State::Cont && seen.argument() == head).then_some(seen)
    };
    let end = ground.spans().min(head + desc.argument());
    // Claimed upward and given back downward: what is still ours is in one piece.
    let tails = (head + 1..end).take_while(|&span| is_tail(span).is_some()).count() as u64;
    ground.clear(head, tails + 1);
    for tail in (head + 1..=head + tails).rev() {
        if let Some(seen) = is_tail(tail) {
            // Release: it is clean.
            ground.desc(tail).store(Desc::free(seen.epoch()).0, Ordering::Release);
        }
    }
    // Release: all tails come before.
    release(ground, head, freeing);
}

/// A single span without blocks in use becomes free. By its line, or that one's recoverer.
pub(crate) fn release(ground: &impl Ground, span: u64, desc: Desc) {
    // Release: its bitmaps are clear.
    ground.desc(span).store(Desc::free(desc.epoch()).0, Ordering::Release);
}

/// Gives a free span's memory back to the system; how many bytes.
pub(crate) fn trim(memory: &Memory, span: u64, line: usize) -> u64 {
    let Some(desc) = build(memory, span, 1, line) else { return 0 };
    let bytes = memory.discard_blocks(span);
    release(memory, span, desc);
    bytes
}
