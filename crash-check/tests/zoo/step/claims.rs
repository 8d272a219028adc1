//! Claims that do not name their owner, and claims that two recoverers both undo.
//!
//! Orderings: in these small structures a Release store publishes what precedes it to the Acquire
//! load of the same word; Relaxed words have one writer, or are guarded by another word.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crash_check::step::{Interleaving, Region, Scenario};

use super::{judge, me, verdict};
use crate::Specimen;

/// A queue of slots: the position that the next producer claims, and `owner | state` a slot.
const POSITION: usize = 0;
const SLOTS: usize = 64;
const SLOT_COUNT: u64 = 4;
const COMMITTED: u32 = u32::MAX;
const TOMBSTONE: u32 = u32::MAX - 1;

fn slot(r: &Region, position: u64) -> &std::sync::atomic::AtomicU32 {
    r.u32_at(SLOTS + (position % SLOT_COUNT) as usize * 8)
}

fn payload(r: &Region, position: u64) -> &std::sync::atomic::AtomicU32 {
    r.u32_at(SLOTS + (position % SLOT_COUNT) as usize * 8 + 4)
}

/// Claims a position, then writes its name into the slot: mspc_ipc's order.
fn send_by_position(r: &Region) {
    // AcqRel: one position a producer.
    let at = r.u64_at(POSITION).fetch_add(1, AcqRel);
    slot(r, at).store(me(), Release);
    payload(r, at).store(42, Relaxed);
    // Release: the payload before the word that says it is there.
    slot(r, at).store(COMMITTED, Release);
}

/// Claims the slot itself, by name; the position is a hint, stored afterwards.
fn send_by_slot(r: &Region) {
    let mut at = r.u64_at(POSITION).load(Acquire);
    // Acquire: pairs with the Release stores of whoever used the slot before.
    while slot(r, at).compare_exchange(0, me(), Acquire, Relaxed).is_err() {
        at += 1;
        assert!(at < SLOT_COUNT, "full");
    }
    r.u64_at(POSITION).fetch_max(at + 1, AcqRel);
    payload(r, at).store(42, Relaxed);
    // Release: the payload before the word that says it is there.
    slot(r, at).store(COMMITTED, Release);
}

fn bury_claims(r: &Region) {
    for at in 0..SLOT_COUNT {
        if r.is_dead(slot(r, at).load(Acquire)) {
            // Release: pairs with the consumer's Acquire load.
            slot(r, at).store(TOMBSTONE, Release);
        }
    }
}

fn consumers_can_pass(r: &Region) -> Result<(), String> {
    let end = r.u64_at(POSITION).load(Acquire);
    let hole = (0..end).find(|at| !matches!(slot(r, *at).load(Acquire), COMMITTED | TOMBSTONE));
    hole.map_or(Ok(()), |at| Err(format!("position {at} is claimed by nobody: consumers wait")))
}

fn claims(send: fn(&Region)) -> Result<(), String> {
    let scenario = Scenario::new("queue: send")
        .init(send_by_slot)
        .state("one item")
        .operation(send)
        .recovery(bury_claims)
        .validate(consumers_can_pass)
        .continuation(send);
    verdict(scenario)
}

#[test]
fn claim_without_owner_is_found() {
    judge(&Specimen {
        name: "claim without owner",
        bug: "a position is claimed before the slot names its owner: killed between, a hole",
        broken: || claims(send_by_position),
        fixed: || claims(send_by_slot),
    });
}

/// The lock's word: a count of permits, or the owner.
const LOCK: usize = 0;

/// A semaphore of one permit, as Python's `multiprocessing.Lock`: it does not know its holder.
fn with_semaphore(r: &Region) -> Result<(), String> {
    // Acquire: pairs with the Release below.
    if r.u32_at(LOCK).compare_exchange(1, 0, Acquire, Relaxed).is_err() {
        return Err("the lock stays held for ever".to_owned());
    }
    r.u32_at(64).fetch_add(1, Relaxed);
    // Release: pairs with the Acquire above.
    r.u32_at(LOCK).store(1, Release);
    Ok(())
}

fn with_owner(r: &Region) -> Result<(), String> {
    // Acquire: pairs with the Release below and in `free_for_the_dead`.
    if r.u32_at(LOCK).compare_exchange(1, me(), Acquire, Relaxed).is_err() {
        return Err("the lock stays held for ever".to_owned());
    }
    r.u32_at(64).fetch_add(1, Relaxed);
    // Release: pairs with the Acquire above.
    r.u32_at(LOCK).store(1, Release);
    Ok(())
}

fn free_for_the_dead(r: &Region) {
    let holder = r.u32_at(LOCK).load(Acquire);
    if r.is_dead(holder) {
        // Release: pairs with the Acquire of the next owner; a second recoverer fails here.
        let _ = r.u32_at(LOCK).compare_exchange(holder, 1, Release, Relaxed);
    }
}

fn held(lock: fn(&Region) -> Result<(), String>) -> Result<(), String> {
    let scenario = Scenario::new("lock: lock, add, unlock")
        .init(|r| r.u32_at(LOCK).store(1, Relaxed))
        .operation(lock)
        .recovery(free_for_the_dead)
        .validate(|_| ())
        .continuation(lock);
    verdict(scenario)
}

#[test]
fn lock_that_stays_held_is_found() {
    judge(&Specimen {
        name: "lock like Python's that stays held",
        bug: "a lock made of a semaphore does not know its holder: nobody may release it",
        broken: || held(with_semaphore),
        fixed: || held(with_owner),
    });
}

/// Permits, and the dead holder of one more.
const PERMITS: usize = 0;
const DEAD_HOLDER: usize = 64;

fn return_the_permit(claims_first: bool) -> impl Fn(&Region) {
    move |r| {
        // Acquire: pairs with the Release of a recoverer that was here before.
        if r.u32_at(DEAD_HOLDER).load(Acquire) == 0 {
            return;
        }
        // AcqRel: one recoverer a holder.
        let mine = || r.u32_at(DEAD_HOLDER).swap(0, AcqRel) != 0;
        if !claims_first || mine() {
            r.u32_at(PERMITS).fetch_add(1, Release);
        }
        if !claims_first {
            r.u32_at(DEAD_HOLDER).store(0, Release);
        }
    }
}

fn twice(claims_first: bool) -> Result<(), String> {
    let report = Scenario::new("semaphore: two recoverers")
        .state("one permit held by a dead process")
        .init(|r| r.u32_at(DEAD_HOLDER).store(1, Relaxed))
        .operation(return_the_permit(claims_first))
        .against(return_the_permit(claims_first))
        .validate(|r| match r.u32_at(PERMITS).load(Acquire) {
            1 => Ok(()),
            permits => Err(format!("{permits} permits of 1: two in the section")),
        })
        .interleave(Interleaving::bounded(2))
        .map_err(|error| format!("no verdict: {error}"))?;
    println!("{report}");
    report.into_result()
}

#[test]
fn double_recovery_is_found() {
    judge(&Specimen {
        name: "double recovery",
        bug: "two survivors find the same dead holder, and both return its permit",
        broken: || twice(false),
        fixed: || twice(true),
    });
}
