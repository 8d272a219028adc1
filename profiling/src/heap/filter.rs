//! A counting filter: may this address be that of a sampled block?
//!
//! One byte counts the sampled live blocks of each class of addresses. Most frees see 0 and know
//! that their block was not sampled: a shift, a load, a branch, and neighbours in memory share a
//! cache line of it. A byte that has reached 255 stays there.
//!
//! Orderings: all Relaxed. Who frees a block has it from who allocated it, by whatever way the
//! program hands it over, and with it the count.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use super::area::Area;

/// The class of an address in a filter of `2^log2` bytes: blocks of 16 bytes, higher bits folded
/// in so that what is a power of two apart does not fall together.
#[inline(always)]
pub(crate) fn class(address: usize, log2: u8) -> usize {
    (address >> 4 ^ address >> 21) & ((1 << log2) - 1)
}

fn byte<'a>(area: Area<'a>, address: u64) -> &'a AtomicU8 {
    let class = class(address as usize, area.layout.shape.filter_log2);
    area.byte(area.layout.filter + class)
}

/// Counts a sampled block.
pub(crate) fn add(area: Area<'_>, address: u64) {
    // Relaxed: see the module's page. An error is a full byte, which stays full.
    let _ = byte(area, address).fetch_update(Relaxed, Relaxed, |n| n.checked_add(1));
}

/// Takes a block back that was counted.
pub(crate) fn remove(area: Area<'_>, address: u64) {
    let less = |n: u8| if n == u8::MAX { None } else { n.checked_sub(1) };
    // Relaxed: see the module's page.
    let _ = byte(area, address).fetch_update(Relaxed, Relaxed, less);
}

/// Forgets all counts, as [`live_table::clear`](super::live_table::clear) forgets the blocks.
pub(crate) fn clear(area: Area<'_>) {
    for class in 0..1 << area.layout.shape.filter_log2 {
        let byte = area.byte(area.layout.filter + class);
        // Relaxed, both: see the module's page.
        if byte.load(Relaxed) != 0 {
            byte.store(0, Relaxed);
        }
    }
}
