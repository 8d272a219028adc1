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

/// Pass 2, entries: those that can go together do.
fn leave_entries(ground: &impl Ground, line: usize, entries: Range<u64>) {
    let mut offset = entries.start;
    while offset < entries.end {
        let after = leave_run(ground, line, offset..entries.end);
        if after == offset {
            leave_entry(ground, line, offset);
        }
        offset = after.max(offset + 8);
    }
}

/// So many bytes of entries before it is looked at, a block's words are fetched.
const AHEAD: u64 = 1024;

/// Frees the blocks of the first of these entries and of those that follow it and hold blocks of the
/// same word of A, in a span of the dead line: by one store, after which the entries are emptied.
/// Killed between: the inheritor finds A clear. Where the next entry lies: the first one itself, if it
/// holds no block of such a span.
///
/// Until it is an orphan the span is its recoverer's: nobody drains it or uses it anew, and what the
/// dead one's entries hold is moved by nobody else. So the reads may be in any order.
fn leave_run(ground: &impl Ground, line: usize, entries: Range<u64>) -> u64 {
    let first = entries.start;
    // Relaxed here and below: see `sweep`, and above.
    let slot_at = |entry| Slot(ground.at(entry).load(Ordering::Relaxed));
    let slot = slot_at(first);
    let span = ground.span_of(slot.block()).filter(|_| slot.kind() == Kind::Held);
    let Some(span) = span else { return first };
    let desc = Desc(ground.desc(span).load(Ordering::Relaxed));
    if desc.state() != State::Owned || desc.line() != line {
        return first;
    }
    let Some(words) = ground.place(span, desc, slot.block()) else { return first };
    if first + AHEAD < entries.end {
        fetch(ground, slot_at(first + AHEAD));
    }
    let freed = ground.at(words.f).load(Ordering::Relaxed);
    let allocated = ground.at(words.a).load(Ordering::Relaxed);
    let (mut after, mut held) = (first, 0);
    while after < entries.end {
        let slot = slot_at(after);
        if slot.kind() != Kind::Held || ground.span_of(slot.block()) != Some(span) {
            break;
        }
        let place = ground.place(span, desc, slot.block());
        let Some(place) = place.filter(|place| place.a == words.a) else { break };
        let home = Home(ground.at(place.home).load(Ordering::Relaxed));
        let is_home = home == Home::new(CellId::at(after), slot.stamp());
        if is_home && slot.stamp().is_of(desc.epoch()) {
            held |= place.bit;
        }
        after += 8;
    }
    // Relaxed: the orphan publishes it.
    ground.at(words.a).store(allocated & !(held & !freed), Ordering::Relaxed);
    for entry in (first..after).step_by(8) {
        // Release: what is done for it comes before.
        ground.at(entry).store(Slot::EMPTY.0, Ordering::Release);
    }
    after
}

/// Has the words of a held block fetched into the caches. A hint: without effect.
fn fetch(ground: &impl Ground, slot: Slot) {
    if slot.kind() == Kind::Held
        && let Some(place) = steps::place_of(ground, slot.block())
    {
        [place.a, place.f, place.home].into_iter().for_each(|word| ground.fetch(word));
    }
}

/// Pass 2, an entry.
fn leave_entry(ground: &impl Ground, line: usize, offset: u64) {
    let entry = ground.at(offset);
    let slot = Slot(entry.load(Ordering::Relaxed));
    match slot.kind() {
        Kind::Empty => return,
        Kind::Held => free_unless_freed(ground, line, CellId::at(offset), slot),
        Kind::Lease => leave_cell(ground, line, slot.cell()),
        _ => {}
    }
    // Release: what is done for it comes before.
    entry.store(Slot::EMPTY.0, Ordering::Release);
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
