//! The claim of a dead participant's recovery: exclusive, and inherited when the recoverer dies.
//!
//! The life word of the holder goes `live -> stamped -> stamped | claim(r) -> FREE`. Whoever holds
//! the claim sweeps a structure (a plain cell, so that two sweepers at once are a data race), then
//! frees the index.

use std::rc::Rc;

use crash_check::death::robust::{OWNER_DIED, TID_MASK, WAITERS};
use crash_check::death::sync::Ordering::{Acquire, Relaxed, Release};
use crash_check::death::sync::UnsafeCell;
use crash_check::death::{Error, Life, Model, Proof, Report, World};

/// What the broken twins do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    Correct,
    /// Goes on whether or not its claim succeeded.
    ClaimUnchecked,
    /// Never looks whether a claimant lives.
    NoInheritance,
    /// Frees the index first and sweeps then.
    FreeBeforeSweep,
}

const FREE: u32 = WAITERS;
const HELD: u32 = 7;
const SWEPT: u32 = 0;

/// One participant, and what it holds in some structure.
struct Participant {
    life: Life,
    held: UnsafeCell<u32>,
    /// Of those who may claim the recovery: numbers 1 and 2.
    claimants: [Proof; 2],
}

impl Participant {
    fn new(world: &World) -> Rc<Self> {
        let claimants = [world.proof("recoverer"), world.proof("main")];
        Rc::new(Self { life: world.life("holder"), held: UnsafeCell::new(SWEPT), claimants })
    }

    /// Recovers the participant if it is dead and nobody alive does it. `true`: it did.
    fn recover(&self, me: u32, twin: Twin) -> bool {
        // Relaxed: whoever goes on acquires in `claim`.
        let word = self.life.word().load(Relaxed);
        if word & OWNER_DIED == 0 || self.is_claimed_by_the_living(word, twin) {
            return false;
        }
        if !self.claim(word, me) && twin != Twin::ClaimUnchecked {
            return false;
        }
        // Release: pairs with the Acquire load in `is_free`.
        let free = || self.life.word().store(FREE, Release);
        if twin == Twin::FreeBeforeSweep {
            free();
        }
        self.write_held(SWEPT);
        if twin != Twin::FreeBeforeSweep {
            free();
        }
        true
    }

    fn is_claimed_by_the_living(&self, word: u32, twin: Twin) -> bool {
        let claimant = word & TID_MASK;
        if claimant == 0 {
            return false;
        }
        // The proof is acquired: what the dead claimant did is seen by the one who inherits.
        twin == Twin::NoInheritance || !self.claimants[claimant as usize - 1].is_gone()
    }

    fn claim(&self, seen: u32, me: u32) -> bool {
        let claimed = OWNER_DIED | WAITERS | me;
        // Acquire: pairs with the kernel's stamp. No Release: an inheritor has the proof.
        self.life.word().compare_exchange(seen, claimed, Acquire, Relaxed).is_ok()
    }

    fn is_free(&self) -> bool {
        // Acquire: pairs with the Release store in `recover`.
        self.life.word().load(Acquire) == FREE
    }

    #[track_caller]
    fn write_held(&self, value: u32) {
        // SAFETY: only the participant while it lives, and then the holder of the claim, get here;
        // the model checks that.
        self.held.with_mut(|held| unsafe { held.write(value) });
    }

    fn assert_swept_if_free(&self) {
        if self.is_free() {
            // SAFETY: nobody takes the index again in this model.
            let held = self.held.with(|held| unsafe { held.read() });
            assert_eq!(held, SWEPT, "an index is free, and not swept");
        }
    }
}

/// The holder and one of two recoverers may die; the other recoverer looks once more at the end.
/// Whatever died when, the index comes back, swept by one at a time.
pub fn check(twin: Twin) -> Result<Report, Error> {
    Model::new().victims(2).preemption_bound(Some(2)).check(move |world| {
        let participant = Participant::new(world);
        let theirs = Rc::clone(&participant);
        let holder = world.victim("holder", move || theirs.write_held(HELD));
        let theirs = Rc::clone(&participant);
        let recoverer = world.victim("recoverer", move || theirs.recover(1, twin));
        participant.recover(2, twin);
        participant.assert_swept_if_free();
        let died = holder.join().is_err();
        let _ = recoverer.join();
        // Now nobody else runs: what is left over must be recoverable.
        participant.recover(2, twin);
        assert_eq!(participant.is_free(), died, "an index is lost for ever, or a living one's");
        participant.assert_swept_if_free();
    })
}
