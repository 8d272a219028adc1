//! Steps R1–R10: recovery of the index `target`, met by a scan. R1 is the scan's own look.

use super::attach::bump;
use super::park::pass;
use super::{At, Broken, I, Life, Participants, State, ring, ring_the_one};
use crash_check::explore::Successors;

impl Participants {
    /// The order of the steps that need the claim.
    fn claimed_order(&self) -> [At; 5] {
        use At::{R7Sweep, R8Generation, R9RingAll, R10Free, W3Scan};
        if self.drops(Broken::FreeBeforeSweep) {
            [R10Free, R7Sweep, R8Generation, R9RingAll, W3Scan]
        } else if self.drops(Broken::GenerationAfterRing) {
            [R7Sweep, R9RingAll, R8Generation, R10Free, W3Scan]
        } else {
            [R7Sweep, R8Generation, R9RingAll, R10Free, W3Scan]
        }
    }

    /// Goes on after claimed step `done`; at the end it looks at the target again.
    fn recover_on(&self, n: &mut State, p: usize, done: At) {
        let order = self.claimed_order();
        let place = order.iter().position(|&step| step == done);
        let next = place.map_or(order[0], |place| order[place + 1]);
        n.actors[p].at = next;
        if next == At::W3Scan {
            look_again(n, p);
        }
    }

    pub(super) fn r2_prove(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[p].target as usize;
        if s.lines[x].byte.is_none() || self.drops(Broken::StampIsProof) {
            out.step(p, "R2 byte is free: proof", |n| n.actors[p].at = At::R4Claim);
        } else {
            out.step(p, "R2 byte is held: no proof", |n| n.actors[p].at = At::R2RingOwner);
        }
    }

    pub(super) fn r2_ring_owner(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[p].target;
        out.step(p, "R2 ring the owner, look again later", |n| {
            n.actors[p].look_again = true;
            if !self.drops(Broken::OwnerNotRung) && !self.config.one_bell {
                ring(n, x);
            }
            pass(n, p, Life::Died);
        });
    }

    pub(super) fn r3_byte(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Life::Claimed(claimant, _) = s.actors[p].seen else { return };
        let line = &s.lines[claimant as usize];
        let gone = if self.drops(Broken::ClaimantJudgedByWord) {
            !matches!(line.life, Life::Armed(_))
        } else {
            line.byte.is_none()
        };
        let generation_is_known =
            self.drops(Broken::GenerationBeforeByte) || self.drops(Broken::ClaimWithoutGeneration);
        if gone || claimant == s.actors[p].index {
            out.step(p, "R3 claimant is gone, or I", |n| n.actors[p].at = At::R4Claim);
        } else if generation_is_known {
            self.r3_claimant_lives(s, p, out);
        } else {
            out.step(p, "R3 claimant's byte is held", |n| n.actors[p].at = At::R3Generation);
        }
    }

    pub(super) fn r3_generation(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Life::Claimed(claimant, generation) = s.actors[p].seen else { return };
        if s.lines[claimant as usize].generation != generation {
            out.step(p, "R3 claimant's generation is gone", |n| n.actors[p].at = At::R4Claim);
        } else if self.drops(Broken::GenerationBeforeByte) {
            out.step(p, "R3 same generation", |n| n.actors[p].at = At::R3Byte);
        } else {
            self.r3_claimant_lives(s, p, out);
        }
    }

    fn r3_claimant_lives(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let seen = s.actors[p].seen;
        out.step(p, "R3 a living one is at it", |n| pass(n, p, seen));
    }

    pub(super) fn r4_claim(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[p];
        let x = a.target as usize;
        if s.lines[x].life != a.seen {
            out.step(p, "R4 CAS lost", |n| look_again(n, p));
            return;
        }
        let generation = s.lines[a.index as usize].generation;
        let claim = Life::Claimed(a.index, generation);
        let prove_again = !self.drops(Broken::NoSecondProof) && !self.drops(Broken::StampIsProof);
        out.step(p, "R4 CAS → claim (R, gen R)", |n| {
            n.lines[x].life = claim;
            n.actors[p].seen = claim;
            if prove_again {
                n.actors[p].at = At::R5ProveAgain;
            } else {
                self.recover_on(n, p, At::R6StillMine);
            }
        });
    }

    pub(super) fn r5_prove_again(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[p].target as usize;
        if s.lines[x].byte.is_some() {
            out.step(p, "R5 byte is held", |n| n.actors[p].at = At::R5Unclaim);
        } else {
            out.step(p, "R5 byte is free still", |n| {
                if self.drops(Broken::NoSecondLook) {
                    self.recover_on(n, p, At::R6StillMine);
                } else {
                    n.actors[p].at = At::R6StillMine;
                }
            });
        }
    }

    pub(super) fn r5_unclaim(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[p].target as usize;
        if s.lines[x].life != s.actors[p].seen {
            out.step(p, "R5 claim was taken back", |n| look_again(n, p));
        } else if self.drops(Broken::ClaimLeftStanding) {
            out.step(p, "R5 (leaves the claim)", |n| n.actors[p].at = At::R2RingOwner);
        } else {
            out.step(p, "R5 CAS claim → stamped", |n| {
                n.lines[x].life = Life::Died;
                n.actors[p].at = At::R2RingOwner;
            });
        }
    }

    pub(super) fn r6_still_mine(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[p].target as usize;
        if s.lines[x].life == s.actors[p].seen {
            out.step(p, "R6 claim is still there", |n| self.recover_on(n, p, At::R6StillMine));
        } else {
            out.step(p, "R6 claim was taken back", |n| look_again(n, p));
        }
    }

    pub(super) fn r7_sweep(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[p].target;
        out.step(p, "R7 sweep the structure", |n| {
            n.cell = n.cell.filter(|&(index, _)| index != x);
            self.recover_on(n, p, At::R7Sweep);
        });
    }

    pub(super) fn r8_generation(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[p].target as usize;
        out.step(p, "R8 gen[x] += 1", |n| {
            bump(n, x);
            self.recover_on(n, p, At::R8Generation);
        });
    }

    pub(super) fn r9_ring_all(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[p];
        let next = a.ringing;
        if next as usize == I || self.drops(Broken::NobodyRung) {
            out.step(p, "R9 all are rung", |n| {
                n.actors[p].ringing = 0;
                self.recover_on(n, p, At::R9RingAll);
            });
            return;
        }
        let rung = match s.lines[next as usize].life {
            Life::Free => false,
            Life::Died | Life::Claimed(..) => !self.drops(Broken::OnlyArmedRung),
            Life::Armed(_) => true,
        };
        let skips_itself = self.drops(Broken::NotRingingItself) && next == a.index;
        out.step(p, "R9 ring one", |n| {
            if self.config.one_bell {
                ring_the_one(n);
                n.actors[p].ringing = I as u8;
                return;
            }
            if rung && !skips_itself {
                ring(n, next);
            }
            n.actors[p].ringing += 1;
        });
    }

    pub(super) fn r10_free(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[p];
        let x = a.target as usize;
        let mine = s.lines[x].life == a.seen;
        let label = if mine { "R10 CAS claim → FREE" } else { "R10 CAS lost" };
        out.step(p, label, |n| {
            if mine {
                n.lines[x].life = Life::Free;
                n.lines[x].owner = None;
            }
            self.recover_on(n, p, At::R10Free);
        });
    }
}

/// Back to R1: the scan looks at the same word once more.
fn look_again(n: &mut State, p: usize) {
    n.actors[p].target = 0;
    n.actors[p].seen = Life::Free;
    n.actors[p].ringing = 0;
    n.actors[p].at = At::W3Scan;
}
