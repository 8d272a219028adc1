//! The live blocks of a profile.
//!
//! A running process enters and takes out blocks meanwhile. Keys and payloads of a part of the
//! table are copied twice, in turn: a block counts if nothing of it changed. Each time a place is
//! used again its payload has another generation, so a place that was freed and used again for the
//! same address shows.

use std::collections::HashSet;

use super::super::format::{Layout, Level, header, live};
use super::super::live_table::candidate_lines;
use super::bytes::Bytes;
use crate::error::Result;

/// One live block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) weight: f64,
    pub(super) site: usize,
}

/// What the live tables hold.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) blocks: Vec<Block>,
    pub(super) in_flight: u64,
    pub(super) unstable: u64,
}

/// Keys that are copied at once.
const PART: usize = 4096;
/// No object is larger than the address space.
const MAX_BYTES: u64 = 1 << 57;

/// Reads all levels.
pub(super) fn read(bytes: &Bytes, layout: &Layout) -> Result<Live> {
    let era = bytes.word(header::ERA)? & 0xffff;
    let mut found = Live::default();
    for level in used_levels(bytes, layout)? {
        for first in (0..level.places()).step_by(PART) {
            part(bytes, *level, first, era, &mut found)?;
        }
    }
    // A block that was freed and allocated again while its table was read may be in two places.
    found.blocks.sort_by_key(|block| block.address);
    found.blocks.dedup_by_key(|block| block.address);
    Ok(found)
}

/// The levels that have been switched on.
fn used_levels<'a>(bytes: &Bytes, layout: &'a Layout) -> Result<&'a [Level]> {
    let used = bytes.word(header::LEVELS_USED)?;
    let levels = layout.levels();
    if used == 0 || used > levels.len() as u64 {
        return Err(bytes.invalid(format!("it has {used} tables of live blocks")));
    }
    Ok(&levels[..used as usize])
}

fn part(bytes: &Bytes, level: Level, first: usize, era: u64, found: &mut Live) -> Result<()> {
    let count = PART.min(level.places() - first);
    let keys = || bytes.read(level.keys + first * live::KEY_SIZE, count);
    let payloads = || {
        let words = count * live::PAYLOAD_SIZE / 8;
        bytes.read(level.payloads + first * live::PAYLOAD_SIZE, words)
    };
    let before = keys()?;
    if before.words().all(|key| key == live::EMPTY) {
        return Ok(());
    }
    let (payload, after, again) = (payloads()?, keys()?, payloads()?);
    for nth in 0..count {
        let (key, at) = (before.word(nth * live::KEY_SIZE), nth * live::PAYLOAD_SIZE);
        let now = after.word(nth * live::KEY_SIZE);
        if key == live::EMPTY || now == live::EMPTY {
            continue;
        }
        if key == live::CLAIMED {
            found.in_flight += 1;
            continue;
        }
        let same = payload.slice(at, live::PAYLOAD_SIZE) == again.slice(at, live::PAYLOAD_SIZE);
        if key != now || !same {
            found.unstable += 1;
            continue;
        }
        let place = payload.word(at + live::PLACE);
        if place >> 32 & 0xffff != era {
            continue;
        }
        found.blocks.push(Block {
            address: key,
            bytes: payload.word(at + live::BYTES),
            weight: f64::from_bits(payload.word(at + live::WEIGHT)),
            site: (place & live::SITE) as usize,
        });
    }
    let wrong = found.blocks.iter().find(|block| !block.is_possible());
    match wrong {
        Some(block) => Err(bytes.invalid(format!(
            "the block at {:#x} has {} bytes and weighs {}",
            block.address, block.bytes, block.weight
        ))),
        None => Ok(()),
    }
}

impl Block {
    fn is_possible(&self) -> bool {
        let weighs = self.weight.is_finite() && self.weight >= 1.0;
        weighs && self.bytes <= MAX_BYTES && self.weight <= MAX_BYTES as f64
    }
}

/// Checks that each block lies where a free would look for it, and lies there once.
pub(super) fn validate(bytes: &Bytes, layout: &Layout) -> Result<()> {
    let mut seen = HashSet::new();
    for level in used_levels(bytes, layout)? {
        let keys = bytes.read(level.keys, level.places())?;
        let places = keys.words().enumerate().filter(|(_, key)| *key > live::CLAIMED);
        for (nth, key) in places {
            if !candidate_lines(key, level.lines_log2).contains(&(nth / live::LINE)) {
                return Err(bytes.invalid(format!("the block at {key:#x} is in a wrong place")));
            }
            if !seen.insert(key) {
                return Err(bytes.invalid(format!("the block at {key:#x} is there twice")));
            }
        }
    }
    Ok(())
}
