//! The table of live blocks: who frees a block finds its record here.
//!
//! Levels of hash tables, each four times as large as the one before, switched on as they fill.
//! A level is an array of cache lines of eight keys (the addresses), and an array of payloads. A
//! block may lie in two lines of a level, at any of the eight places: no probing without end, and
//! no tombstones. Nothing is ever moved.
//!
//! | | key | payload |
//! |---|---|---|
//! | free | `EMPTY` | of the last block, void |
//! | being entered | `CLAIMED` | being written |
//! | live | the address | of this block |
//!
//! Who may do what: `EMPTY → CLAIMED` anybody, by compare-and-swap; `CLAIMED → address` who claimed
//! it; `address → EMPTY` who owns the block, that is who frees it. So only the first needs a read-modify-write. A process that is killed leaves a place
//! claimed at worst: its own table is then read-only for ever.
//!
//! Orderings: `Release` on a payload's words and on keys, `Acquire` on claims: see [`insert`] and
//! [`remove`], and `write` for what a reader sees.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::area::Area;
use super::format::{Level, header, live};

/// What is known of a live block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) bytes: u64,
    /// How many blocks it stands for.
    pub(crate) weight: f64,
    pub(crate) site: u32,
    /// Is it counted in the filter?
    pub(crate) filtered: bool,
}

/// The two cache lines of keys in which an address may lie, in a level of `2^lines_log2` lines.
#[inline]
pub(crate) fn candidate_lines(address: u64, lines_log2: u32) -> [usize; 2] {
    // Fibonacci hashing: the multiplier is 2^64 divided by the golden ratio.
    let hash = address.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mask = (1u64 << lines_log2) - 1;
    [(hash >> 40 & mask) as usize, ((hash ^ hash >> 29) >> 12 & mask) as usize]
}

/// Enters a block. False: there was no room.
///
/// The caller owns `address`: nobody enters or removes it meanwhile.
pub(crate) fn insert(area: Area<'_>, address: u64, record: Record) -> bool {
    // Relaxed: an era that has just ended makes the block void, as if it had come before.
    let era = area.word(header::ERA).load(Relaxed) & 0xffff;
    // Acquire: pairs with the AcqRel in `add_level`, so the level has memory behind it.
    let mut used = area.word(header::LEVELS_USED).load(Acquire) as usize;
    loop {
        let levels = &area.layout.levels()[..used];
        let (last, smaller) = levels.split_last().map_or((None, levels), |(l, s)| (Some(l), s));
        if last.is_some_and(|level| insert_into(area, *level, address, era, record)) {
            return true;
        }
        match area.layout.levels().get(used) {
            Some(level) => match add_level(area, used, *level) {
                Some(now) => used = now,
                None => return false,
            },
            None => {
                let mut smaller = smaller.iter().rev();
                return smaller.any(|level| insert_into(area, *level, address, era, record));
            }
        }
    }
}

/// Forgets all blocks: for a time from which on frees are seen again. Nobody tracks blocks now.
///
/// A thread that has stood still inside [`remove`] since blocks were last tracked may still free
/// one place: the block that has come to it meanwhile is then lost to the profile.
pub(crate) fn clear(area: Area<'_>) {
    // Acquire: pairs with the AcqRel in `add_level`.
    let used = area.word(header::LEVELS_USED).load(Acquire) as usize;
    for level in &area.layout.levels()[..used] {
        for place in 0..level.places() {
            let key = area.word(level.keys + place * live::KEY_SIZE);
            // Relaxed: only a guess; a page that was never used stays so.
            if key.load(Relaxed) != live::EMPTY {
                // Release: as in `remove_from`.
                key.store(live::EMPTY, Release);
            }
        }
    }
}

/// Switches the next level on; the number of levels then. `None`: no memory for it.
#[cold]
fn add_level(area: Area<'_>, used: usize, level: Level) -> Option<usize> {
    let places = level.places();
    let committed = super::region::commit(level.keys, places * live::KEY_SIZE)
        && super::region::commit(level.payloads, places * live::PAYLOAD_SIZE);
    if !committed {
        return None;
    }
    let word = area.word(header::LEVELS_USED);
    // AcqRel: pairs with the Acquire in `insert` and `remove`. Failing, another has done it.
    match word.compare_exchange(used as u64, used as u64 + 1, AcqRel, Acquire) {
        Ok(_) => Some(used + 1),
        Err(now) => Some(now as usize),
    }
}

fn insert_into(area: Area<'_>, level: Level, address: u64, era: u64, record: Record) -> bool {
    for line in candidate_lines(address, level.lines_log2) {
        for place in line * live::LINE..(line + 1) * live::LINE {
            let key = area.word(level.keys + place * live::KEY_SIZE);
            // Relaxed: only a guess, the exchange decides.
            if key.load(Relaxed) != live::EMPTY {
                continue;
            }
            // Acquire: pairs with the Release in `remove_from`: its reads of the payload are over.
            // To a reader, the claim comes before the stores of the payload, see below.
            if key.compare_exchange(live::EMPTY, live::CLAIMED, Acquire, Relaxed).is_err() {
                continue;
            }
            write(area, level.payloads + place * live::PAYLOAD_SIZE, era, record);
            // Release: pairs with the reader's first look at the key: the payload is whole.
            key.store(address, Release);
            return true;
        }
    }
    false
}

/// Writes a payload whose place is claimed.
///
/// Release for each word: a reader who sees one of them also sees the claim (or what came after)
/// when it looks at the key again, and drops the copy.
fn write(area: Area<'_>, payload: usize, era: u64, record: Record) {
    let place = area.word(payload + live::PLACE);
    // Relaxed: written under the same claim before.
    let generation = (place.load(Relaxed) >> 48).wrapping_add(1);
    let filtered = if record.filtered { live::FILTERED } else { 0 };
    place.store(generation << 48 | era << 32 | filtered | u64::from(record.site), Release);
    area.word(payload + live::BYTES).store(record.bytes, Release);
    area.word(payload + live::WEIGHT).store(record.weight.to_bits(), Release);
}

/// Takes a block out, and says what it was; `None` if it is not in the table.
///
/// The caller owns `address`: nobody enters or removes it meanwhile.
pub(crate) fn remove(area: Area<'_>, address: u64) -> Option<Record> {
    // Acquire: pairs with the AcqRel in `add_level`.
    let used = area.word(header::LEVELS_USED).load(Acquire) as usize;
    let levels = &area.layout.levels()[..used];
    levels.iter().rev().find_map(|level| remove_from(area, *level, address))
}

fn remove_from(area: Area<'_>, level: Level, address: u64) -> Option<Record> {
    for line in candidate_lines(address, level.lines_log2) {
        for place in line * live::LINE..(line + 1) * live::LINE {
            let key = area.word(level.keys + place * live::KEY_SIZE);
            // Relaxed: who entered this very block has handed it over to the caller since.
            if key.load(Relaxed) != address {
                continue;
            }
            let payload = level.payloads + place * live::PAYLOAD_SIZE;
            // Relaxed, all three: as the key.
            let place = area.word(payload + live::PLACE).load(Relaxed);
            let record = Record {
                bytes: area.word(payload + live::BYTES).load(Relaxed),
                weight: f64::from_bits(area.word(payload + live::WEIGHT).load(Relaxed)),
                site: (place & live::SITE) as u32,
                filtered: place & live::FILTERED != 0,
            };
            // Release: pairs with the Acquire of the next claim, which writes the payload.
            key.store(live::EMPTY, Release);
            return Some(record);
        }
    }
    None
}
