//! The names of scopes.
//!
//! A name takes the first free place from its hash on: claimed by compare-and-swap, written, then
//! marked as ready. Who meets a place that is being written passes on: the same name may be there
//! twice, and the reader puts the two together by name.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::area::Area;
use super::format::{Loss, tag};

/// The index of a name; 0, which no name has, if there is no room.
pub(crate) fn intern(area: Area<'_>, name: &str) -> usize {
    let name = &name.as_bytes()[..name.floor_char_boundary(tag::NAME_MAX)];
    let (hash, most) = (hash(name), area.layout.max_tags());
    for nth in (0..most).map(|step| (hash as usize >> 2).wrapping_add(step) % most) {
        if nth == 0 {
            continue;
        }
        let state = area.word(area.layout.tag(nth) + tag::STATE);
        // Acquire: pairs with the Release below: the name is whole.
        let mut seen = state.load(Acquire);
        if seen == 0 {
            // Relaxed on success: nothing was there. Acquire else, as above.
            match state.compare_exchange(0, hash & !3 | tag::WRITING, Relaxed, Acquire) {
                Ok(_) => {
                    write(area, nth, name);
                    // Release: pairs with the Acquire above, and with the reader's.
                    state.store(hash & !3 | tag::READY, Release);
                    return nth;
                }
                Err(other) => seen = other,
            }
        }
        if seen == hash & !3 | tag::READY && is(area, nth, name) {
            return nth;
        }
    }
    area.lose(Loss::Tags);
    0
}

fn write(area: Area<'_>, nth: usize, name: &[u8]) {
    let at = area.layout.tag(nth);
    // Relaxed, both: published by the state's Release.
    area.word(at + tag::LENGTH).store(name.len() as u64, Relaxed);
    for (word, bytes) in name.chunks(8).enumerate() {
        area.word(at + tag::NAME + 8 * word).store(to_word(bytes), Relaxed);
    }
}

fn is(area: Area<'_>, nth: usize, name: &[u8]) -> bool {
    let at = area.layout.tag(nth);
    // Relaxed, both: the state was read with Acquire.
    area.word(at + tag::LENGTH).load(Relaxed) == name.len() as u64
        && name.chunks(8).enumerate().all(|(word, bytes)| {
            area.word(at + tag::NAME + 8 * word).load(Relaxed) == to_word(bytes)
        })
}

/// Up to eight bytes as a word, as they lie in memory.
pub(crate) fn to_word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

/// FNV-1a, mixed once more since its low bits choose the place.
fn hash(name: &[u8]) -> u64 {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 4
}
