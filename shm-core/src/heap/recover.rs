//! Clearing up after a dead line: its claim, and the passes of the design page.

// Orderings: as in `steps`, a store that must follow another is Release. Relaxed: what the dead one
// wrote came with the proof of its death, what an earlier recoverer wrote with the proof of its; a
// failed exchange reads nothing.

use std::ops::Range;

use super::class::ENTRIES;
use super::line;
use super::memory::Ground;
use super::run;
use super::steps;
use super::words::{CellId, Desc, Home, Kind, Line, Slot, State};
use crate::primitive::Ordering;
use crate::{Owner, Peers};

/// Whether the owner that a word names is gone; a corrupted word names nobody who could be.
fn is_gone(peers: &impl Peers, owner: u32) -> bool {
    Owner::from_bits(owner).is_some_and(|owner| peers.is_gone(owner))
}

/// Claims the recovery of a line whose process is gone, or whose recoverer is.
pub(crate) fn claim(ground: &impl Ground, peers: &impl Peers, me: Owner, line: usize) -> bool {
    let word = ground.line(line);
    // Relaxed: the proof of who it names is an Acquire, and it names who wrote last.
    let seen = word.load(Ordering::Relaxed);
    let dead = match Line::of(seen) {
        Line::Live(owner) if is_gone(peers, owner) => owner,
        Line::Recovering { dead, by } if is_gone(peers, by) => dead,
        _ => return false,
    };
    let claimed = Line::Recovering { dead, by: me.to_bits() }.word();
    // Relaxed: the proof came before. Neither value ever comes back, so whoever slept since its look
    // fails, and nobody else has cleared up since.
    word.compare_exchange(seen, claimed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Clears up after every line whose process is gone; how many there were.
pub(crate) fn everybody(ground: &impl Ground, peers: &impl Peers, me: Owner) -> usize {
    let claimed = (0..ground.lines()).filter(|&line| claim(ground, peers, me, line));
    claimed.map(|line| sweep(ground, line)).count()
}

/// Everything that the line held is given back, and the line is free. The caller has claimed it.
pub(crate) fn sweep(ground: &impl Ground, line: usize) {
    // Relaxed: the dead one's words came with the proof, an earlier recoverer's with that of its death.
    let intent = CellId(ground.intent(line).load(Ordering::Relaxed) as u32);
    take_back_incoming(ground, line, intent);
    leave_cell(ground, line, intent);
    leave_entries(ground, line, ground.entries(line));
    for span in entry_spans(ground, line) {
        leave_entries(ground, line, ground.span_entries(span));
    }
    finish_incoming(ground, line, intent);
    for span in 0..ground.spans() {
        leave_span(ground, line, span);
    }
    line::leave(ground, line);
}

fn entry_spans<G: Ground>(ground: &G, line: usize) -> impl Iterator<Item = u64> + use<'_, G> {
    (0..ground.spans()).filter(move |&span| {
        // Relaxed: see `sweep`.
        let desc = Desc(ground.desc(span).load(Ordering::Relaxed));
        desc.state() == State::Owned && desc.class() == ENTRIES && desc.line() == line
    })
}

/// Whether the home of a block in this cell is the cell, with that stamp, in the same use of its
/// span.
fn is_home(ground: &impl Ground, cell: CellId, slot: Slot) -> bool {
    let block = slot.block();
    let Some(span) = ground.span_of(block) else { return false };
    // Relaxed: whether it is still in the use of the slot is asked at the end.
    let desc = Desc(ground.desc(span).load(Ordering::Relaxed));
    let Some(place) = ground.place(span, desc, block) else { return false };
    // Acquire: the span's use is looked at after it. Pairs with the fence in `run`.
    let home = Home(ground.at(place.home).load(Ordering::Acquire));
    home == Home::new(cell, slot.stamp()) && is_of(ground, span, desc, slot)
}

/// Whether the span is still in the use in which the slot was written.
fn is_of(ground: &impl Ground, span: u64, before: Desc, slot: Slot) -> bool {
    // Relaxed: the load before it was an Acquire.
    let now = Desc(ground.desc(span).load(Ordering::Relaxed));
    now.has_blocks() && now.class() == before.class() && slot.stamp().is_of(now.epoch())
}

/// Pass 1: what had not arrived is not published.
fn take_back_incoming(ground: &impl Ground, line: usize, id: CellId) {
    let Some(cell) = ground.cell(id) else { return };
    // Relaxed here and below: while the word names the dead line, only we write it.
    let slot = Slot(cell.load(Ordering::Relaxed));
    if slot.is(Kind::Incoming, line) && !is_home(ground, id, slot) {
        // Relaxed: nothing comes before.
        cell.store(Slot::EMPTY.0, Ordering::Relaxed);
    }
}

/// Pass 2, a cell: a lease goes back, or was over; what was used up is freed.
fn leave_cell(ground: &impl Ground, line: usize, id: CellId) {
    let Some(cell) = ground.cell(id) else { return };
    let slot = Slot(cell.load(Ordering::Relaxed));
    if slot.is(Kind::Leased, line) {
        let back = is_home(ground, id, slot);
        let left = if back { slot.become_of(Kind::Full, 0) } else { Slot::EMPTY };
        // Release: pairs with the Acquire of the next lease: what the publisher wrote is seen.
        cell.store(left.0, Ordering::Release);
    } else if slot.is(Kind::Done, line) {
        free_unless_freed(ground, line, id, slot);
        // Release: the free comes before.
        cell.store(Slot::EMPTY.0, Ordering::Release);
    }
}

/// Pass 2, entries.
fn leave_entries(ground: &impl Ground, line: usize, entries: Range<u64>) {
    let mut offset = entries.start;
    while offset < entries.end {
        // Relaxed: see `sweep`.
        let slot = Slot(ground.at(offset).load(Ordering::Relaxed));
        if slot.kind() == Kind::Held
            && let Some(after) = leave_run(ground, line, offset..entries.end)
        {
            offset = after;
            continue;
        }
        match slot.kind() {
            Kind::Held => free_unless_freed(ground, line, CellId::at(offset), slot),
            Kind::Lease => leave_cell(ground, line, slot.cell()),
            _ => {}
        }
        if slot != Slot::EMPTY {
            ground.at(offset).store(Slot::EMPTY.0, Ordering::Release);
        }
        offset += 8;
    }
}

/// So many bytes of entries before it is looked at, a block's words are fetched.
const AHEAD: u64 = 1024;

/// Frees the blocks of the first of these entries and of those that follow it and hold blocks of the
/// same word of A, in a span of the dead line: by one store, after which the entries are emptied.
/// Killed between: the inheritor finds A clear. Where the next entry lies; `None`: the first one's
/// block is in no such span.
///
/// The reads are those of [`free_unless_freed`], in their order. That the span is used anew need not
/// be asked after them: until it is an orphan, it is its recoverer's.
fn leave_run(ground: &impl Ground, line: usize, entries: Range<u64>) -> Option<u64> {
    // Relaxed: see `sweep`.
    let slot_at = |entry| Slot(ground.at(entry).load(Ordering::Relaxed));
    let span = ground.span_of(slot_at(entries.start).block())?;
    // Acquire: as in `is_home`.
    let desc = Desc(ground.desc(span).load(Ordering::Acquire));
    if desc.state() != State::Owned || desc.line() != line {
        return None;
    }
    let place_of = |slot: Slot| {
        let here = slot.kind() == Kind::Held && ground.span_of(slot.block()) == Some(span);
        here.then(|| ground.place(span, desc, slot.block())).flatten()
    };
    let first = place_of(slot_at(entries.start))?;
    if entries.start + AHEAD < entries.end {
        fetch(ground, slot_at(entries.start + AHEAD));
    }
    // Acquire: as in `free_unless_freed`.
    let freed = ground.at(first.f).load(Ordering::Acquire);
    // Acquire: as in `free_unless_freed`.
    let allocated = ground.at(first.a).load(Ordering::Acquire);
    let (mut after, mut ours) = (entries.start, 0);
    while after < entries.end {
        let slot = slot_at(after);
        let Some(place) = place_of(slot).filter(|place| place.a == first.a) else { break };
        // Acquire: as in `free_unless_freed`.
        let home = Home(ground.at(place.home).load(Ordering::Acquire));
        let is_home = home == Home::new(CellId::at(after), slot.stamp());
        if is_home && slot.stamp().is_of(desc.epoch()) {
            ours |= place.bit;
        }
        after += 8;
    }
    let left = allocated & !(ours & !freed);
    if left != allocated {
        // Release: the reads come before.
        ground.at(first.a).store(left, Ordering::Release);
    }
    for entry in (entries.start..after).step_by(8) {
        // Release: the blocks are freed before.
        ground.at(entry).store(Slot::EMPTY.0, Ordering::Release);
    }
    Some(after)
}

/// Has the words of a held block fetched into the caches. A hint: without effect.
fn fetch(ground: &impl Ground, slot: Slot) {
    if slot.kind() == Kind::Held
        && let Some(place) = steps::place_of(ground, slot.block())
    {
        [place.a, place.f, place.home].into_iter().for_each(|word| ground.fetch(word));
    }
}

/// Frees the block that a cell of the dead holds, unless it was freed or moved before the death.
/// The order of the reads decides: see the design page.
fn free_unless_freed(ground: &impl Ground, line: usize, id: CellId, slot: Slot) {
    let block = slot.block();
    let Some(span) = ground.span_of(block) else { return };
    // Relaxed: as in `is_home`.
    let desc = Desc(ground.desc(span).load(Ordering::Relaxed));
    let Some(place) = ground.place(span, desc, block).filter(|_| desc.has_blocks()) else { return };
    // Acquire: pairs with the Release of drain's step 3: whoever sees F clear sees A clear.
    if ground.at(place.f).load(Ordering::Acquire) & place.bit != 0 {
        return;
    }
    // Acquire: pairs with the Release of A in `allocate`: whoever sees the bit sees the home.
    if ground.at(place.a).load(Ordering::Acquire) & place.bit == 0 {
        return;
    }
    // Acquire: the span's use is looked at after it. Pairs with the fence in `run`.
    if Home(ground.at(place.home).load(Ordering::Acquire)) != Home::new(id, slot.stamp()) {
        return;
    }
    if !is_of(ground, span, desc, slot) {
        return;
    }
    // Not freed, and only we may.
    if desc.state() == State::Owned && desc.line() == line {
        let a = ground.at(place.a);
        // Relaxed: a dead line's span is its recoverer's until it is an orphan, which publishes it.
        let allocated = a.load(Ordering::Relaxed);
        a.store(allocated & !place.bit, Ordering::Relaxed);
    } else {
        let _ = steps::free_remote(ground, place);
    }
}

/// Pass 3: what had arrived is published.
fn finish_incoming(ground: &impl Ground, line: usize, id: CellId) {
    let Some(cell) = ground.cell(id) else { return };
    let slot = Slot(cell.load(Ordering::Relaxed));
    if slot.is(Kind::Incoming, line) {
        // Release: pairs with the Acquire of the next lease: the payload, which the proof brought.
        cell.store(slot.become_of(Kind::Full, 0).0, Ordering::Release);
    }
}

/// Pass 4: a span that names the line.
fn leave_span(ground: &impl Ground, line: usize, span: u64) {
    // Relaxed: see `sweep`.
    let desc = Desc(ground.desc(span).load(Ordering::Relaxed));
    if desc.line() != line {
        return;
    }
    match desc.state() {
        State::Build | State::Freeing => run::give_back(ground, span, desc),
        State::Owned if desc.class() == ENTRIES => run::release(ground, span, desc),
        State::Owned => {
            ground.note_orphan();
            let orphan = desc.become_of(State::Orphan, 0);
            // Release: pairs with the Acquire of the claim: the bitmaps as the dead one left them.
            ground.desc(span).store(orphan.0, Ordering::Release);
        }
        _ => {}
    }
}
