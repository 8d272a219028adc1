//! Steps R1–R6, entered from a scan that saw a stamp.

use super::park::pass;
use super::{At, Broken, Doorbells, I, Life, Slot, State, bell};
use crash_check::explore::Successors;

/// Generations are kept small: three bits tell the few that can coexist apart.
const GENERATIONS: u8 = 8;

impl Doorbells {
    /// The order of the steps that need the claim.
    fn claimed_order(&self) -> [At; 6] {
        use At::{Done, R3SweepMask, R3SweepSlots, R4Ring, R5Generation, R6Free};
        if self.drops(Broken::FreeBeforeSweep) {
            [R5Generation, R6Free, R3SweepMask, R3SweepSlots, R4Ring, Done]
        } else if self.drops(Broken::NobodyRung) {
            [R3SweepMask, R3SweepSlots, R5Generation, R6Free, Done, Done]
        } else {
            [R3SweepMask, R3SweepSlots, R4Ring, R5Generation, R6Free, Done]
        }
    }

    /// Goes on after claimed step `done`; at the end, back to the scan.
    fn recover_on(&self, n: &mut State, t: usize, done: At) {
        let order = self.claimed_order();
        let place = order.iter().position(|&step| step == done);
        n.actors[t].at = place.map_or(order[0], |place| order[place + 1]);
        if n.actors[t].at == At::Done {
            back_to_scan(n, t);
        }
    }

    pub(super) fn r1_read(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if self.drops(Broken::ClaimBesideLifeWord) {
            self.r1_read_beside(s, t, out);
            return;
        }
        let life = s.lines[s.actors[t].target as usize].life;
        let at = match life {
            Life::Free | Life::Armed(_) => {
                out.step(t, "R1 gone meanwhile", |n| back_to_scan(n, t));
                return;
            }
            Life::Died => At::R2Claim,
            Life::Claimed(..) => At::R1Claimant,
        };
        out.step(t, "R1 read the life word", |n| {
            n.actors[t].seen = life;
            n.actors[t].at = at;
        });
    }

    pub(super) fn r1_claimant(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if self.drops(Broken::ClaimBesideLifeWord) {
            self.r1_judge_beside(s, t, out);
            return;
        }
        let Life::Claimed(claimant, _) = s.actors[t].seen else { return };
        if Some(claimant) != s.actors[t].index && s.is_live(claimant) {
            out.step(t, "R1 claimant's word is live", |n| n.actors[t].at = At::R1Generation);
        } else {
            out.step(t, "R1 claimant is dead, or I", |n| n.actors[t].at = At::R2Claim);
        }
    }

    pub(super) fn r1_generation(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let seen = s.actors[t].seen;
        let Life::Claimed(claimant, generation) = seen else { return };
        let same = s.lines[claimant as usize].generation == generation;
        if same || self.drops(Broken::ClaimWithoutGeneration) {
            out.step(t, "R1 a living one is at it", |n| keep(n, t, seen));
        } else {
            out.step(t, "R1 claimant's generation is gone", |n| n.actors[t].at = At::R2Claim);
        }
    }

    pub(super) fn r2_claim(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if self.drops(Broken::ClaimBesideLifeWord) {
            self.r2_claim_beside(s, t, out);
            return;
        }
        let a = &s.actors[t];
        let Some(me) = a.index else { return };
        let x = a.target as usize;
        if s.lines[x].life != a.seen {
            out.step(t, "R2 CAS lost", |n| {
                n.actors[t].seen = Life::Free;
                n.actors[t].at = At::R1Read;
            });
            return;
        }
        let generation = s.lines[me as usize].generation;
        out.step(t, "R2 CAS → claim (R, gen R)", |n| {
            n.lines[x].life = Life::Claimed(me, generation);
            n.actors[t].seen = Life::Free;
            self.recover_on(n, t, At::R2Claim);
        });
    }

    pub(super) fn r3_sweep_mask(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[t].target;
        out.step(t, "R3 sweep the mask", |n| {
            n.sleepers &= !(1 << x);
            self.recover_on(n, t, At::R3SweepMask);
        });
    }

    pub(super) fn r3_sweep_slots(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[t].target;
        out.step(t, "R3 sweep the slots", |n| {
            for slot in &mut n.slots {
                if *slot == Slot::Claimed(x) {
                    *slot = Slot::Skipped;
                }
            }
            self.recover_on(n, t, At::R3SweepSlots);
        });
    }

    pub(super) fn r4_ring(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[t];
        let next = a.ringing;
        if next as usize == I {
            out.step(t, "R4 all are rung", |n| {
                n.actors[t].ringing = 0;
                self.recover_on(n, t, At::R4Ring);
            });
            return;
        }
        let skips = !s.is_live(next)
            || (self.drops(Broken::NotRingingItself) && a.index == Some(next))
            || (self.drops(Broken::OnlySleepersRung) && s.sleepers >> next & 1 == 0);
        if skips {
            out.step(t, "R4 nobody to ring there", |n| n.actors[t].ringing += 1);
        } else {
            out.step(t, "R4 bell += 1", |n| {
                n.lines[next as usize].rung = true;
                n.actors[t].at = At::R4Wake;
            });
        }
    }

    pub(super) fn r4_wake(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let next = s.actors[t].ringing;
        out.step(t, "R4 wake all on the bell", |n| {
            n.queues.wake_all(bell(next));
            n.actors[t].ringing += 1;
            n.actors[t].at = At::R4Ring;
        });
    }

    pub(super) fn r5_generation(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[t].target as usize;
        out.step(t, "R5 gen[x] += 1", |n| {
            n.lines[x].generation = (n.lines[x].generation + 1) % GENERATIONS;
            n.lines[x].claim_beside = None;
            self.recover_on(n, t, At::R5Generation);
        });
    }

    pub(super) fn r6_free(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let x = s.actors[t].target as usize;
        out.step(t, "R6 life word → FREE", |n| {
            n.lines[x].life = Life::Free;
            self.recover_on(n, t, At::R6Free);
        });
    }
}

/// The broken form that keeps generation and claim in a word beside the life word.
impl Doorbells {
    fn r1_read_beside(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let line = s.lines[s.actors[t].target as usize];
        out.step(t, "R1 read the word beside", |n| {
            n.actors[t].seen_beside = (line.generation, line.claim_beside);
            n.actors[t].at = At::R1Claimant;
        });
    }

    fn r1_judge_beside(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[t];
        let life = s.lines[a.target as usize].life;
        let lives = a.seen_beside.1.is_some_and(|(claimant, generation)| {
            let same = s.lines[claimant as usize].generation == generation;
            Some(claimant) != a.index && same && s.is_live(claimant)
        });
        if life != Life::Died {
            out.step(t, "R1 gone meanwhile", |n| back_to_scan(n, t));
        } else if lives {
            out.step(t, "R1 a living one is at it", |n| keep(n, t, Life::Died));
        } else {
            out.step(t, "R1 the stamp stands", |n| n.actors[t].at = At::R2Claim);
        }
    }

    fn r2_claim_beside(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[t];
        let Some(me) = a.index else { return };
        let x = a.target as usize;
        let line = s.lines[x];
        if (line.generation, line.claim_beside) != a.seen_beside {
            out.step(t, "R2 CAS lost", |n| {
                n.actors[t].seen_beside = (0, None);
                n.actors[t].at = At::R1Read;
            });
            return;
        }
        let claim = (me, s.lines[me as usize].generation);
        out.step(t, "R2 CAS the word beside", |n| {
            n.lines[x].claim_beside = Some(claim);
            n.actors[t].seen_beside = (0, None);
            self.recover_on(n, t, At::R2Claim);
        });
    }
}

/// A living one recovers it: the scan goes on, and `waitv` expects the claim as it is.
fn keep(n: &mut State, t: usize, life: Life) {
    back_to_scan(n, t);
    pass(n, t, life);
}

fn back_to_scan(n: &mut State, t: usize) {
    n.actors[t].target = 0;
    n.actors[t].seen = Life::Free;
    n.actors[t].seen_beside = (0, None);
    n.actors[t].at = n.actors[t].then;
    n.actors[t].then = At::Done;
}
