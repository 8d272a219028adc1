//! Blocks that leak, blocks that are freed twice, records that are torn.
//!
//! Orderings: in these small structures a Release store publishes what precedes it to the Acquire
//! load of the same word; Relaxed words have one writer, or are guarded by another word.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crash_check::step::{Region, Scenario};

use super::{judge, me, verdict};
use crate::Specimen;

/// One bit a block.
const ALLOCATED: usize = 0;
/// Blocks freed by others, for the owner to drain.
const REMOTE: usize = 8;
/// The owner of each block, a `u32` each.
const OWNERS: usize = 64;
const BLOCKS: usize = 4;

fn owner(r: &Region, block: usize) -> &std::sync::atomic::AtomicU32 {
    r.u32_at(OWNERS + block * 4)
}

fn allocate(owner_first: bool) -> impl Fn(&Region) {
    move |r| {
        let name = || {
            // AcqRel: taking a block over from the recoverer that released it.
            assert!(owner(r, 0).compare_exchange(0, me(), AcqRel, Relaxed).is_ok());
        };
        // AcqRel: pairs with the recoverer's `fetch_and`.
        let take = || _ = r.u64_at(ALLOCATED).fetch_or(1, AcqRel);
        if owner_first {
            name();
            take();
        } else {
            take();
            name();
        }
    }
}

/// Gives back what the dead hold: the bit first, so that a second recoverer can still tell.
fn give_back(r: &Region) {
    for block in 0..BLOCKS {
        if r.is_dead(owner(r, block).load(Acquire)) {
            // AcqRel: pairs with `fetch_or` in `allocate`.
            r.u64_at(ALLOCATED).fetch_and(!(1 << block), AcqRel);
            // Release: pairs with the compare-and-exchange in `allocate`.
            owner(r, block).store(0, Release);
        }
    }
}

fn every_block_has_an_owner(r: &Region) -> Result<(), String> {
    let bits = r.u64_at(ALLOCATED).load(Acquire);
    let lost =
        (0..BLOCKS).find(|block| bits >> block & 1 == 1 && owner(r, *block).load(Acquire) == 0);
    lost.map_or(Ok(()), |block| Err(format!("block {block} is allocated and nobody's: leaked")))
}

fn leak(owner_first: bool) -> Result<(), String> {
    let scenario = Scenario::new("allocator: alloc")
        .operation(allocate(owner_first))
        .recovery(give_back)
        .validate(every_block_has_an_owner)
        .continuation(allocate(owner_first));
    verdict(scenario)
}

#[test]
fn leak_on_death_is_found() {
    judge(&Specimen {
        name: "leak on death",
        bug: "the block's bit is set before its owner is named: killed between, it is lost",
        broken: || leak(false),
        fixed: || leak(true),
    });
}

fn drain(by_swap: bool) -> impl Fn(&Region) {
    move |r| {
        if by_swap {
            // AcqRel: takes what the remote freers published.
            let freed = r.u64_at(REMOTE).swap(0, AcqRel);
            // Relaxed: the owner alone writes this word.
            r.u64_at(ALLOCATED).store(r.u64_at(ALLOCATED).load(Relaxed) & !freed, Relaxed);
        } else {
            let freed = r.u64_at(REMOTE).load(Acquire);
            // Relaxed: as above.
            r.u64_at(ALLOCATED).store(r.u64_at(ALLOCATED).load(Relaxed) & !freed, Relaxed);
            // Release: the blocks are free before the remote bits say "drained".
            r.u64_at(REMOTE).fetch_and(!freed, Release);
        }
    }
}

fn drained(by_swap: bool) -> Result<(), String> {
    let scenario = Scenario::new("span: drain the remote frees")
        .state("blocks 1 and 2 freed by others")
        .init(|r| {
            r.u64_at(ALLOCATED).store(0b1111, Relaxed);
            r.u64_at(REMOTE).store(0b0110, Relaxed);
        })
        .operation(drain(by_swap))
        .recovery(drain(by_swap))
        .validate(|r| match r.u64_at(ALLOCATED).load(Acquire) {
            0b1001 => Ok(()),
            bits => Err(format!("blocks {bits:#06b} allocated: a freed one is lost")),
        });
    verdict(scenario)
}

#[test]
fn drain_by_swap_is_found() {
    judge(&Specimen {
        name: "drain by swap",
        bug: "the remote bits are taken away before the blocks are freed: killed between, lost",
        broken: || drained(true),
        fixed: || drained(false),
    });
}

/// Two copies of a record of two words; the index says which one counts.
const INDEX: usize = 0;
const COPIES: [usize; 2] = [64, 128];

fn write_record(in_place: bool) -> impl Fn(&Region) {
    move |r| {
        // Relaxed: there is one writer.
        let now = r.u32_at(INDEX).load(Relaxed) as usize;
        let into = if in_place { now } else { 1 - now };
        r.u64_at(COPIES[into]).store(7, Relaxed);
        r.u64_at(COPIES[into] + 8).store(7, Relaxed);
        // Release: the record before the index that makes it count.
        r.u32_at(INDEX).store(into as u32, Release);
    }
}

fn record(in_place: bool) -> Result<(), String> {
    let scenario = Scenario::new("record: write").operation(write_record(in_place)).validate(|r| {
        let copy = COPIES[r.u32_at(INDEX).load(Acquire) as usize];
        let halves = (r.u64_at(copy).load(Relaxed), r.u64_at(copy + 8).load(Relaxed));
        if halves.0 == halves.1 { Ok(()) } else { Err(format!("half a record: {halves:?}")) }
    });
    verdict(scenario)
}

#[test]
fn torn_record_is_found() {
    judge(&Specimen {
        name: "torn record",
        bug: "a record is written where readers look: killed half way, half of it is read",
        broken: || record(true),
        fixed: || record(false),
    });
}

/// The block's state, its owner, and the cell that it is published into.
const STATE: usize = 0;
const OWNER: usize = 4;
const PAYLOAD: usize = 8;
const CELL: usize = 64;
const FREE: u32 = 0;
const RESERVED: u32 = 1;
const PUBLISHED: u32 = 2;

fn publish(r: &Region) {
    // Release: the owner's name before the state that makes it matter.
    r.u32_at(OWNER).store(me(), Relaxed);
    r.u32_at(STATE).store(RESERVED, Release);
    r.u64_at(PAYLOAD).store(42, Relaxed);
    // Release: the payload before the cell that leads to it.
    r.u32_at(CELL).store(1, Release);
    r.u32_at(STATE).store(PUBLISHED, Release);
}

fn reclaim(looks_at_the_cell: bool) -> impl Fn(&Region) {
    move |r| {
        let reserved = r.u32_at(STATE).load(Acquire) == RESERVED;
        if reserved && r.is_dead(r.u32_at(OWNER).load(Relaxed)) {
            let arrived = looks_at_the_cell && r.u32_at(CELL).load(Acquire) == 1;
            // Release: whoever sees the block free or published sees what was done to it.
            r.u32_at(STATE).store(if arrived { PUBLISHED } else { FREE }, Release);
        }
    }
}

fn published(looks_at_the_cell: bool) -> Result<(), String> {
    let scenario = Scenario::new("block: reserve, write, publish")
        .operation(publish)
        .recovery(reclaim(looks_at_the_cell))
        .validate(|r| match (r.u32_at(CELL).load(Acquire), r.u32_at(STATE).load(Acquire)) {
            (1, FREE) => Err("the cell leads to a block that is free: use after free"),
            (0, RESERVED) => Err("a block stays reserved for the dead: leaked"),
            _ => Ok(()),
        });
    verdict(scenario)
}

#[test]
fn publish_before_clear_is_found() {
    judge(&Specimen {
        name: "publish before clear",
        bug: "a block counts as reserved for a moment after it was published: recovery frees it",
        broken: || published(false),
        fixed: || published(true),
    });
}
