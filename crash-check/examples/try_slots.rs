//! A slot allocator of one's own: a bitmap says which slots are taken, a table says by whom.
//!
//! A survivor clears the bits of slots whose owner is dead. An owner that dies between its two
//! stores is in the bitmap and not in the table, and nobody ever clears that bit. The second form
//! writes the owner first and has no bitmap: one word, one store.
//!
//!     cargo run -p crash-check --example try_slots

use crash_check::step::{FailureKind, Region, Report, Scenario, StepError};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

const SLOTS: usize = 4;
/// Offset of the owner of slot 0; the bitmap is at 0.
const OWNERS: usize = 8;

/// Takes the first free slot: the bit, then the name.
fn take_bit_first(r: &Region) -> Option<usize> {
    for slot in 0..SLOTS {
        // AcqRel: what the last owner did to the slot is seen by the next.
        if r.u32_at(0).fetch_or(1 << slot, AcqRel) & (1 << slot) == 0 {
            // Release: pairs with the survivor's Acquire load.
            r.u32_at(OWNERS + 4 * slot).store(std::process::id(), Release);
            return Some(slot);
        }
    }
    None
}

/// Gives back what the dead hold.
fn sweep_bits(r: &Region) {
    for slot in 0..SLOTS {
        let owner = r.u32_at(OWNERS + 4 * slot);
        // Acquire: pairs with the owner's Release store.
        let tid = owner.load(Acquire);
        if tid != 0 && r.is_dead(tid) {
            // Release: the slot is free only after its owner is gone.
            owner.store(0, Release);
            r.u32_at(0).fetch_and(!(1 << slot), AcqRel);
        }
    }
}

/// All slots are free once the only user is dead and swept.
fn no_bit_is_set(r: &Region) -> Result<(), String> {
    match r.u32_at(0).load(Acquire) {
        0 => Ok(()),
        bits => Err(format!("slots {bits:#06b} belong to nobody")),
    }
}

/// Takes the first free slot: the name is the claim.
fn take_by_name(r: &Region) -> Option<usize> {
    (0..SLOTS).find(|slot| {
        let owner = r.u32_at(OWNERS + 4 * slot);
        // AcqRel: what the last owner did to the slot is seen by the next.
        owner.compare_exchange(0, std::process::id(), AcqRel, Relaxed).is_ok()
    })
}

fn sweep_names(r: &Region) {
    for slot in 0..SLOTS {
        let owner = r.u32_at(OWNERS + 4 * slot);
        // Acquire: pairs with the owner's exchange.
        let tid = owner.load(Acquire);
        if tid != 0 && r.is_dead(tid) {
            // AcqRel: only one survivor frees it, after its last use.
            let _ = owner.compare_exchange(tid, 0, AcqRel, Relaxed);
        }
    }
}

fn no_slot_is_named(r: &Region) -> Result<(), String> {
    let taken = (0..SLOTS).filter(|slot| r.u32_at(OWNERS + 4 * slot).load(Acquire) != 0).count();
    if taken == 0 { Ok(()) } else { Err(format!("{taken} slots belong to the dead")) }
}

fn main() -> Result<(), StepError> {
    let report = Scenario::new("slots: take, bit first")
        .operation(|r| take_bit_first(r).map(drop).ok_or("no slot"))
        .recovery(sweep_bits)
        .validate(no_bit_is_set)
        .run()?;
    println!("{}\n{report}", Report::table_header());
    // A death between the bit and the name leaks the slot.
    assert_eq!(report.failure().map(|failure| failure.kind), Some(FailureKind::Invariant));
    report.failure().iter().for_each(|failure| println!("{failure}\n"));

    let report = Scenario::new("slots: take by name")
        .operation(|r| take_by_name(r).map(drop).ok_or("no slot"))
        .recovery(sweep_names)
        .validate(no_slot_is_named)
        .run()?;
    report.assert_clean();
    Ok(())
}
