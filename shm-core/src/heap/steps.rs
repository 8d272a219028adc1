//! The steps by which blocks change hands, in the order that every kill point depends on.
//!
//! Each function is one table of the design page (`docs/src/researchers/heap.md`). A store that must
//! follow another is Release: whoever dies between the two leaves the earlier one, and the compiler
//! must not exchange them. The mutation matrix makes each of them too early. What follows an
//! exchange only if that succeeded needs no ordering for it. What else a store is for, its comment
//! says.

// Orderings: a store that must follow another is Release, for the prefix that a death leaves (see
// above); Relaxed is an exchange's failure, after which nothing is read.

use super::class::Place;
use super::memory::Ground;
use super::words::{BlockId, CellId, Desc, Home, Kind, Slot, Stamp};
use crate::primitive::{AtomicU64, Ordering};

/// A block in an entry of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub entry: CellId,
    pub block: BlockId,
    pub stamp: Stamp,
    /// The block's home word.
    pub home: CellId,
}

/// A block in a cell that we have leased, by an entry of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leased {
    pub entry: CellId,
    pub cell: CellId,
    pub slot: Slot,
    /// The block's home word.
    pub home: CellId,
}

/// Why a block cannot be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFreed {
    /// No block begins there.
    NoBlock,
    /// It is free.
    Free,
}

/// Allocates a block of a span of ours into an entry, or into nobody's hands (entry 0, no word).
#[inline(always)]
pub(crate) fn allocate(
    entry: (CellId, Option<&AtomicU64>),
    (home, a, bit): (&AtomicU64, &AtomicU64, u64),
    block: BlockId,
    epoch: u64,
) -> Stamp {
    // Relaxed: only we place blocks that are not allocated.
    let stamp = Home(home.load(Ordering::Relaxed)).stamp().next_in(epoch);
    if let (_, Some(word)) = entry {
        // 1. Relaxed: nothing comes before.
        word.store(Slot::held(block, stamp).0, Ordering::Relaxed);
    }
    // 2. Release: if we have freed the block just now, that comes before. (The entry need not.)
    home.store(Home::new(entry.0, stamp).0, Ordering::Release);
    // 3. Release: the entry comes before, and whoever sees the bit sees the home (Acquire in
    // recovery). Relaxed load: only the span's line writes A.
    a.store(a.load(Ordering::Relaxed) | bit, Ordering::Release);
    stamp
}

/// Moves a block from our entry into a cell. `false`: the cell is not empty.
#[inline(always)]
pub(crate) fn publish(ground: &impl Ground, line: usize, held: Held, cell: CellId) -> bool {
    let Some(target) = ground.cell(cell) else { return false };
    let stamp = held.stamp.next();
    let incoming = Slot::new(Kind::Incoming, line, held.block, stamp);
    // 1. Release: what the last one named is settled before.
    ground.intent(line).store(cell.0.into(), Ordering::Release);
    // 2. Release: the intent comes before, for recovery.
    let empty = Slot::EMPTY.0;
    if target.compare_exchange(empty, incoming.0, Ordering::Release, Ordering::Relaxed).is_err() {
        return false;
    }
    // 3. Relaxed: not made unless the exchange succeeded.
    ground.at(held.home.offset()).store(Home::new(cell, stamp).0, Ordering::Relaxed);
    // 4.
    ground.at(held.entry.offset()).store(Slot::EMPTY.0, Ordering::Release);
    // 5. Release: pairs with the Acquire of `lock`: what was written into the block is seen.
    target.store(incoming.become_of(Kind::Full, 0).0, Ordering::Release);
    true
}

/// FULL → LEASED, and where the block's home word is. `None`: the cell is not full.
#[inline(always)]
fn lock(ground: &impl Ground, line: usize, cell: CellId) -> Option<(&AtomicU64, Slot, CellId)> {
    let target = ground.cell(cell)?;
    loop {
        // Relaxed: the exchange decides.
        let seen = Slot(target.load(Ordering::Relaxed));
        if seen.kind() != Kind::Full {
            return None;
        }
        let leased = seen.become_of(Kind::Leased, line);
        // Acquire: pairs with the Release of FULL. Release: our intent or entry comes before.
        let exchanged =
            target.compare_exchange(seen.0, leased.0, Ordering::AcqRel, Ordering::Relaxed);
        if exchanged.is_err() {
            continue;
        }
        let Some(place) = place_of(ground, seen.block()) else {
            // A corrupted word: it stays as it was. Relaxed: nobody gets further with it.
            target.store(seen.0, Ordering::Relaxed);
            return None;
        };
        return Some((target, leased, CellId::at(place.home)));
    }
}

/// The words of a block that is in use and stays so while we look.
pub(crate) fn place_of(ground: &impl Ground, block: BlockId) -> Option<Place> {
    let span = ground.span_of(block)?;
    // Relaxed: whoever gave us the block saw the span's class.
    let desc = Desc(ground.desc(span).load(Ordering::Relaxed));
    ground.place(span, desc, block).filter(|_| desc.has_blocks())
}

/// Moves the block of a full cell into an entry of ours.
#[inline(always)]
pub(crate) fn take(ground: &impl Ground, line: usize, cell: CellId, entry: CellId) -> Option<Held> {
    // 1. Release: what the last one named is settled before.
    ground.intent(line).store(cell.0.into(), Ordering::Release);
    // 2.
    let (source, slot, home) = lock(ground, line, cell)?;
    Some(into_entry(ground, source, slot, home, entry))
}

/// Steps 3 to 5 of a take.
fn into_entry(
    ground: &impl Ground,
    source: &AtomicU64,
    slot: Slot,
    home: CellId,
    entry: CellId,
) -> Held {
    let (block, stamp) = (slot.block(), slot.stamp().next());
    // 3. Relaxed: the exchange that leased the cell is an Acquire.
    ground.at(entry.offset()).store(Slot::held(block, stamp).0, Ordering::Relaxed);
    // 4.
    ground.at(home.offset()).store(Home::new(entry, stamp).0, Ordering::Release);
    // 5.
    source.store(Slot::EMPTY.0, Ordering::Release);
    Held { entry, block, stamp, home }
}

/// Leases the block of a full cell; it stays there.
pub(crate) fn lease(
    ground: &impl Ground,
    line: usize,
    cell: CellId,
    entry: CellId,
) -> Option<Leased> {
    let mine = ground.at(entry.offset());
    // 1. Relaxed: published by the exchange.
    mine.store(Slot::lease(cell).0, Ordering::Relaxed);
    // 2.
    match lock(ground, line, cell) {
        Some((_, slot, home)) => Some(Leased { entry, cell, slot, home }),
        None => {
            // Relaxed: the same word as in step 1.
            mine.store(Slot::EMPTY.0, Ordering::Relaxed);
            None
        }
    }
}

/// A leased block is to be had again.
pub(crate) fn give_back(ground: &impl Ground, leased: Leased) {
    if let Some(cell) = ground.cell(leased.cell) {
        // Release: pairs with the Acquire of `lock`.
        cell.store(leased.slot.become_of(Kind::Full, 0).0, Ordering::Release);
    }
    ground.at(leased.entry.offset()).store(Slot::EMPTY.0, Ordering::Release);
}

/// A leased block is used up: it is freed, and its cell is empty.
pub(crate) fn acknowledge<R>(
    ground: &impl Ground,
    line: usize,
    leased: Leased,
    free: impl FnOnce(BlockId) -> R,
) -> R {
    let cell = ground.cell(leased.cell);
    if let Some(cell) = cell {
        // 4. Release: what the caller has made of the block comes before.
        cell.store(leased.slot.become_of(Kind::Done, line).0, Ordering::Release);
    }
    // 5.
    let freed = free(leased.slot.block());
    if let Some(cell) = cell {
        // 6.
        cell.store(Slot::EMPTY.0, Ordering::Release);
    }
    ground.at(leased.entry.offset()).store(Slot::EMPTY.0, Ordering::Release);
    freed
}

/// A leased block moves into another entry of ours.
pub(crate) fn accept(ground: &impl Ground, leased: Leased, entry: CellId) -> Option<Held> {
    let source = ground.cell(leased.cell)?;
    let held = into_entry(ground, source, leased.slot, leased.home, entry);
    ground.at(leased.entry.offset()).store(Slot::EMPTY.0, Ordering::Release);
    Some(held)
}

/// The block is nobody's from now on: no recovery gives it back. The stamp of that.
pub(crate) fn forget(ground: &impl Ground, held: Held) -> Stamp {
    let stamp = held.stamp.next();
    let nobody = Home::new(CellId::NONE, stamp);
    // Relaxed: nothing that comes before is read by whoever sees it.
    ground.at(held.home.offset()).store(nobody.0, Ordering::Relaxed);
    ground.at(held.entry.offset()).store(Slot::EMPTY.0, Ordering::Release);
    stamp
}

/// Takes a block that is nobody's into an entry of ours.
pub(crate) fn adopt(ground: &impl Ground, block: BlockId, home: CellId, entry: CellId) -> Held {
    let word = ground.at(home.offset());
    // Relaxed: the block is ours to place.
    let stamp = Home(word.load(Ordering::Relaxed)).stamp().next();
    // Relaxed: nothing comes before.
    ground.at(entry.offset()).store(Slot::held(block, stamp).0, Ordering::Relaxed);
    word.store(Home::new(entry, stamp).0, Ordering::Release);
    Held { entry, block, stamp, home }
}

/// Takes what others have freed into A; how many blocks. By the span's line alone.
pub(crate) fn drain(a: &AtomicU64, f: &AtomicU64) -> u32 {
    // 1. Relaxed: step 3 is an Acquire.
    let freed = f.load(Ordering::Relaxed);
    if freed == 0 {
        return 0;
    }
    // Relaxed: only the span's line writes A.
    let allocated = a.load(Ordering::Relaxed);
    // 2. Relaxed: published by step 3.
    a.store(allocated & !freed, Ordering::Relaxed);
    // 3. Release: whoever sees F clear sees A clear. Acquire: pairs with the Release in
    // `free_remote`: the freers are done with the blocks before these are allocated again.
    f.fetch_and(!freed, Ordering::AcqRel);
    (allocated & freed).count_ones()
}

/// Frees a block of a span that may be anybody's; the caller's last access to it.
#[inline(always)]
pub(crate) fn free_remote(ground: &impl Ground, place: Place) -> Result<(), NotFreed> {
    // Relaxed: a block that is ours to free has its bit; what else this shows is a mistake.
    if ground.at(place.a).load(Ordering::Relaxed) & place.bit == 0 {
        return Err(NotFreed::Free);
    }
    // Release: pairs with the Acquire in `drain`'s step 3.
    let before = ground.at(place.f).fetch_or(place.bit, Ordering::Release);
    if before & place.bit == 0 { Ok(()) } else { Err(NotFreed::Free) }
}
