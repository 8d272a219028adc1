//! The claim of a dead participant's recovery: exclusive, and inherited when the recoverer dies.
//!
//! The life word of participant 0 goes `LIVE -> stamped -> stamped | claim(r) -> FREE`. Whoever
//! holds the claim sweeps a structure (a plain cell, so that two sweepers at once are a data race),
//! then frees the index.

use std::sync::Arc;

use crash_check::death::robust::{OWNER_DIED, TID_MASK, WAITERS, robust_list_add, thread_id};
use crash_check::death::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crash_check::death::sync::{AtomicU32, UnsafeCell};
use crash_check::death::{Error, Model, Proof, Report, World};

/// What the broken twins do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    Correct,
    /// Claims by a plain store.
    StoredClaim,
    /// Never looks whether a claimant lives.
    NoInheritance,
    /// Frees the index first and sweeps then.
    FreeBeforeSweep,
}

const FREE: u32 = WAITERS;
const HELD: u32 = 7;
const SWEPT: u32 = 0;

/// One participant's life word, and what it holds in some structure.
struct Participant {
    life: AtomicU32,
    held: UnsafeCell<u32>,
}

impl Participant {
    fn new() -> Self {
        Self { life: AtomicU32::new(FREE), held: UnsafeCell::new(SWEPT) }
    }

    fn attach_and_hold(&self) {
        // Release: makes the word's earlier life known to whoever reads it live.
        self.life.store(WAITERS | thread_id(), Release);
        robust_list_add(&self.life);
        self.write_held(HELD);
    }

    /// Recovers the participant if it is dead and nobody alive does it. `true`: it did.
    fn recover(&self, claimants: &[Proof; 2], me: u32, twin: Twin) -> bool {
        // Acquire: pairs with the kernel's stamp, and with the exchange of an earlier claimant.
        let word = self.life.load(Acquire);
        if word & OWNER_DIED == 0 {
            return false;
        }
        let claimant = word & TID_MASK;
        if claimant != 0 && !self.is_inheritable(claimant, claimants, twin) {
            return false;
        }
        if !self.claim(word, me, twin) {
            return false;
        }
        if twin == Twin::FreeBeforeSweep {
            self.life.store(FREE, Release);
        }
        self.write_held(SWEPT);
        // Release: pairs with the Acquire load of whoever takes the index next.
        self.life.store(FREE, Release);
        true
    }

    fn is_inheritable(&self, claimant: u32, claimants: &[Proof; 2], twin: Twin) -> bool {
        twin != Twin::NoInheritance && claimants[claimant as usize - 1].is_gone()
    }

    fn claim(&self, seen: u32, me: u32, twin: Twin) -> bool {
        let claimed = OWNER_DIED | WAITERS | me;
        if twin == Twin::StoredClaim {
            self.life.store(claimed, Release);
            return true;
        }
        // AcqRel: Release so that an inheritor sees what led to the claim; the Acquire is for the
        // chain of claims before it.
        self.life.compare_exchange(seen, claimed, AcqRel, Relaxed).is_ok()
    }

    fn write_held(&self, value: u32) {
        // SAFETY: only the participant while it lives, and then the holder of the claim, get here;
        // the model checks that.
        self.held.with_mut(|held| unsafe { held.write(value) });
    }

    fn is_swept(&self) -> bool {
        // SAFETY: called after the index was seen free, or after all threads were joined.
        self.held.with(|held| unsafe { held.read() }) == SWEPT
    }
}

/// The participant and one of two recoverers may die; the other recoverer looks once more at the
/// end. Whatever died when, the index comes back, swept once at a time.
pub fn check(twin: Twin) -> Result<Report, Error> {
    Model::new().victims(2).preemption_bound(Some(2)).check(move |world| {
        let participant = Arc::new(Participant::new());
        let claimants = Arc::new([world.proof("recoverer"), world.proof("main")]);
        let holder = spawn_holder(world, &participant);
        let recoverer = spawn_recoverer(world, &participant, &claimants, twin);
        let swept_early = participant.recover(&claimants, 2, twin);
        if swept_early {
            assert!(participant.is_swept(), "an index is free, and not swept");
        }
        let died = holder.join().is_err();
        let _ = recoverer.join();
        // Now nobody else runs: what is left over must be recoverable.
        let last = participant.recover(&claimants, 2, twin);
        if died {
            assert_eq!(participant.life.load(Acquire), FREE, "the index is lost for ever");
            assert!(participant.is_swept(), "an index is free, and not swept");
        } else {
            assert!(!last, "a living participant was recovered");
        }
    })
}

fn spawn_holder(
    world: &World,
    participant: &Arc<Participant>,
) -> crash_check::death::thread::JoinHandle<()> {
    let participant = Arc::clone(participant);
    participant.life.store(FREE, Relaxed);
    world.victim("holder", move || participant.attach_and_hold())
}

fn spawn_recoverer(
    world: &World,
    participant: &Arc<Participant>,
    claimants: &Arc<[Proof; 2]>,
    twin: Twin,
) -> crash_check::death::thread::JoinHandle<()> {
    let participant = Arc::clone(participant);
    let claimants = Arc::clone(claimants);
    world.victim("recoverer", move || {
        if participant.recover(&claimants, 1, twin) {
            assert!(participant.is_swept(), "an index is free, and not swept");
        }
    })
}
