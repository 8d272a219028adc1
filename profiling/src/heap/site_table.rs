//! The table of sites: each stack, with the scope that its thread was in, once.
//!
//! A site is written first (frames, then its record), and then published by one compare-and-swap in
//! the index; nothing of it changes afterwards. A process that is killed before that leaves a
//! record that nobody refers to. Two threads that publish the same stack at once: the second finds
//! the first's in its way, uses it, and its own record is left over (counted as a race).
//!
//! The index has three levels of cache lines of eight words, `hash | site + 1`; a line is filled
//! from its start, so an empty word ends the search, in this level and in all.
//!
//! Orderings: `Relaxed` on frames and records: written before the index names them (AcqRel), read after
//! it was read (`Acquire`, paired with that).

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::area::Area;
use super::format::{BLOCK_UNIT, Loss, Place, WalkEnd, header, site};
use super::region;
use super::slot::add_own;

/// The site of everything whose stack found no room.
pub(crate) const NO_SITE: u32 = 0;

/// A stack as it was walked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack<'a> {
    pub(crate) frames: &'a [u64],
    pub(crate) end: WalkEnd,
}

/// Sites or frames that are given memory at a time.
pub(crate) const CHUNK: usize = 512;

/// The number of a stack's site; makes it if it is new, and says whether it is.
pub(crate) fn intern(area: Area<'_>, stack: Stack<'_>, tag: usize) -> (u32, bool) {
    let hash = hash(stack, tag);
    let mut made = None;
    for (at, lines_log2) in area.layout.index {
        let line = at + ((hash as usize & ((1 << lines_log2) - 1)) << 6);
        for word in (0..8).map(|nth| area.word(line + nth * 8)) {
            // Acquire: pairs with the AcqRel below: the site it names is whole.
            let mut seen = word.load(Acquire);
            if seen == 0 {
                let Some(number) = made.or_else(|| make(area, stack, tag, hash)) else {
                    area.lose(Loss::SitesFull);
                    return (NO_SITE, false);
                };
                made = Some(number);
                let entry = hash >> 32 << 32 | u64::from(number + 1);
                // AcqRel: publishes the site, to readers of the index; failing, sees another's.
                match word.compare_exchange(0, entry, AcqRel, Acquire) {
                    Ok(_) => return (number, true),
                    Err(other) => seen = other,
                }
            }
            if seen >> 32 == hash >> 32 {
                let number = (seen as u32).wrapping_sub(1);
                // Relaxed: written before the index was, which was read with Acquire.
                let record = area.word(area.layout.site(number as usize) + site::HASH);
                if record.load(Relaxed) == hash {
                    made.iter().for_each(|_| area.lose(Loss::Races));
                    return (number, false);
                }
            }
        }
    }
    area.lose(Loss::SitesFull);
    (NO_SITE, false)
}

/// Writes a new site that nobody knows yet.
#[cold]
fn make(area: Area<'_>, stack: Stack<'_>, tag: usize, hash: u64) -> Option<u32> {
    let frames = stack.frames.len();
    let (layout, used) = (area.layout, header::FRAMES_USED);
    let first = reserve(area, used, header::FRAMES_LIMIT, frames, |from| {
        let bytes = 8 * CHUNK.min(layout.max_frames().saturating_sub(from));
        bytes > 0 && region::commit(layout.frames + 8 * from, bytes)
    })?;
    let number = reserve(area, header::SITES_USED, header::SITES_LIMIT, 1, |from| {
        from < layout.max_sites() && commit_sites(area, from)
    })?;
    for (nth, frame) in stack.frames.iter().enumerate() {
        // Relaxed: published by the site's hash and by the index.
        area.word(layout.frames + 8 * (first + nth)).store(*frame, Relaxed);
    }
    let place = Place { first, frames, tag, end: stack.end };
    let at = layout.site(number);
    area.word(at + site::PLACE).store(place.to_word(), Relaxed);
    // Release: pairs with a reader that goes through the records, not through the index.
    area.word(at + site::HASH).store(hash, Release);
    u32::try_from(number).ok()
}

/// Memory for the sites from `from` on.
fn commit_sites(area: Area<'_>, from: usize) -> bool {
    let records = region::commit(area.layout.site(from), CHUNK * site::SIZE);
    let mut stripes = 0..site::STRIPES;
    records
        && stripes
            .all(|stripe| region::commit(area.layout.total(stripe, from), CHUNK * site::TOTAL_SIZE))
}

/// Takes `count` numbers of a section, below its limit; lifts the limit when it is near.
fn reserve(
    area: Area<'_>,
    used: usize,
    limit: usize,
    count: usize,
    commit: impl Fn(usize) -> bool,
) -> Option<usize> {
    let (used, limit) = (area.word(used), area.word(limit));
    // Relaxed, all: numbers only; what is stored under them is published elsewhere.
    let mut first = used.load(Relaxed);
    loop {
        let end = first + count as u64;
        // Acquire: pairs with the Release below: there is memory below the limit.
        let most = limit.load(Acquire);
        if end > most {
            if !commit(most as usize) {
                return None;
            }
            // Release: the memory has been made. Two threads may do so for the same chunk: one wins.
            let _ = limit.compare_exchange(most, most + CHUNK as u64, Release, Relaxed);
            continue;
        }
        match used.compare_exchange_weak(first, end, Relaxed, Relaxed) {
            Ok(_) => return usize::try_from(first).ok(),
            Err(now) => first = now,
        }
    }
}

/// Adds a block to what its site ever allocated. `thread`: the number of the caller's own slot, 0 if
/// it has none.
pub(crate) fn count(area: Area<'_>, number: u32, thread: usize, bytes: u64, weight: f64) {
    let bytes = (bytes as f64 * weight).round() as u64;
    let blocks = (weight * BLOCK_UNIT).round() as u64;
    let word = |stripe: usize| area.layout.total(stripe, number as usize);
    if (1..=site::OWN_STRIPES).contains(&thread) {
        // Nobody else writes there: no locked instruction.
        let at = word(thread - 1);
        add_own(area.word(at), bytes);
        add_own(area.word(at + 8), blocks);
    } else {
        let shared = site::STRIPES - site::OWN_STRIPES;
        let at = word(site::OWN_STRIPES + thread % shared);
        // Relaxed: sums that nothing else depends on.
        area.word(at).fetch_add(bytes, Relaxed);
        area.word(at + 8).fetch_add(blocks, Relaxed);
    }
}

/// A 64-bit hash, never 0. Two stacks with one hash would be taken for the same: of a million
/// stacks, once in some ten million programs.
fn hash(stack: Stack<'_>, tag: usize) -> u64 {
    let mut hash = (stack.frames.len() as u64) << 32 | (stack.end as u64) << 16 | tag as u64;
    for frame in stack.frames {
        let product = u128::from(hash ^ frame) * 0x9e37_79b9_7f4a_7c15;
        hash = ((product >> 64) as u64 ^ product as u64).rotate_left(23).wrapping_add(*frame);
    }
    let mixed = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ mixed >> 29).max(1)
}
