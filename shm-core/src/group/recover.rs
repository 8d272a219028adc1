//! Looking at everybody, and clearing up after the dead: steps W3 and R1 to R10.
//!
//! The step numbers are those of the design page, `docs/src/researchers/participants.md`.

use super::control::{Control, DIED, FREE, Life, claim};
use super::owner::{INDICES, Owner};
use crate::primitive::Ordering;

/// What one look at all life words found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// What each word held when it was passed: to be expected by the sleep that follows.
    pub seen: [u32; INDICES],
    /// Indices in use, so far.
    pub mark: usize,
    /// Somebody's keeper has ended and its process, so far, has not: look again soon.
    pub unproven: bool,
}

/// Indices in use, as far as is known.
pub(crate) fn mark(control: &Control) -> usize {
    // Acquire: pairs with the Release of a newcomer that raised it.
    (control.words().roster.0.word().load(Ordering::Acquire) as usize & 0xff).min(INDICES)
}

/// Looks at every member but `me`, and recovers whoever is proven dead.
pub(crate) fn scan(control: &Control, me: Owner) -> Scan {
    let mark = mark(control);
    let mut found = Scan { seen: [FREE; INDICES], mark, unproven: false };
    for index in 0..mark {
        if index == me.index() {
            continue;
        }
        let (seen, unproven) = look_at(control, me, index);
        found.seen[index] = seen;
        found.unproven |= unproven;
    }
    found
}

/// Looks at one word until there is nothing to do: the value that it was passed with, and whether
/// it is stamped without proof.
fn look_at(control: &Control, me: Owner, index: usize) -> (u32, bool) {
    let word = control.words().lines[index].life.word();
    loop {
        // R1. Acquire: pairs with the kernel's stamp and a claimant's exchange.
        let seen = word.load(Ordering::Acquire);
        match Life::of(seen) {
            Life::Free | Life::Armed | Life::Strange => return (seen, false),
            // R2.
            Life::Died if !control.is_proven_gone(index) => return (seen, true),
            Life::Died => {}
            // R3: the claimant is judged by its lock and then its stay, never by its life word.
            Life::Claimed(by) if is_at_it(control, me, by) => return (seen, false),
            Life::Claimed(_) => {}
        }
        if !recover(control, me, index, seen) {
            // Relaxed: compared again by the sleep that follows.
            return (word.load(Ordering::Relaxed), true);
        }
    }
}

fn is_at_it(control: &Control, me: Owner, by: Owner) -> bool {
    if by.index() == me.index() {
        // An earlier stay's, or one that our own keeper left when it ended alone: ours to finish.
        return false;
    }
    // Acquire: pairs with the Release of the raise: the stay of a claimant that is gone.
    !control.is_proven_gone(by.index())
        && by.is_of(control.words().lines[by.index()].generation.load(Ordering::Acquire))
}

/// R4 to R10, after a proof. `false`: the second proof failed.
fn recover(control: &Control, me: Owner, index: usize, seen: u32) -> bool {
    let line = &control.words().lines[index];
    let word = line.life.word();
    let mine = claim(me);
    // R4. AcqRel: what the dead did, and earlier claimants, comes before; see `is_at_it`. Relaxed on
    // failure: looked at again.
    if word.compare_exchange(seen, mine, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return true;
    }
    // R5: a newcomer may have taken the index between the proof and the claim.
    if !control.is_proven_gone(index) {
        // Release: nothing was done under the claim. Relaxed on failure: the owner took its word
        // back.
        let _ = word.compare_exchange(mine, DIED, Ordering::Release, Ordering::Relaxed);
        return false;
    }
    // R6: the owner may have taken it back and left since. Acquire: as R1.
    if word.load(Ordering::Acquire) != mine {
        return true;
    }
    // R7: nothing to sweep. What the dead held names their stay, and is found by whoever needs it.
    // Relaxed, both: we alone may write them now; published by the raise below.
    let generation = line.generation.load(Ordering::Relaxed);
    line.died.store(generation.wrapping_add(1), Ordering::Relaxed);
    // R8. Release: whoever sees the new stay sees what the dead one wrote: our proof brought it.
    line.generation.store(generation.wrapping_add(1), Ordering::Release);
    // Relaxed: a count to show.
    control.words().deaths.fetch_add(1, Ordering::Relaxed);
    // R9.
    control.ring_all();
    // R10. Release: all of the above comes before the index is free. Relaxed on failure: the owner
    // took it back, which the second proof excludes.
    let _ = word.compare_exchange(mine, FREE, Ordering::Release, Ordering::Relaxed);
    true
}
