//! The reserve: an index for a newcomer that finds every other one taken, and some of them dead.
//!
//! A claim needs an index to claim with. Where no one alive is attached, a newcomer has none, and
//! the dead would never be recovered. One index is kept back for this; its holder recovers, leaves
//! it, and attaches like everybody else.
//!
//! | # | step | killed after it |
//! |---|---|---|
//! | V1 | no FREE index and a dead one: try the reserve's byte lock; held → another newcomer is at it | lock freed |
//! | V2 | look at its word: claimed by a living one (as R3) → unlock, A1. FREE, stamped, or claimed by a dead one → V3 | the same |
//! | V3 | `gen[r]` += 1: what an earlier holder had claimed is told apart | bumped twice: harmless |
//! | V4 | raise and wake the roster, as A3 and A4 | harmless |
//! | V5 | CAS the word from what was seen → tid; lost → unlock, A1 | stamped, then lock freed: the next takes it |
//! | V6 | scan, and recover whoever is dead (R1–R10); then leave (D0–D3), and A1. If it has to park (a stamp without proof, a living recoverer), then with a time-out: an index may become FREE in silence | as any participant |
//!
//! The byte lock makes V1 to V5 exclusive; no other proof of the earlier holder's death is needed,
//! for its lock is freed last.

use super::attach::{bump, outside, raise};
use super::park::begin_scan;
use super::{At, Broken, Life, Participants, ROSTER, State, keeper, other_thread};
use crash_check::explore::Successors;

impl Participants {
    /// The index kept in reserve.
    pub(super) fn reserve(&self) -> Option<u8> {
        self.config.reserve.then_some(self.config.indices as u8)
    }

    fn none_is_free(&self, s: &State) -> bool {
        s.lines[..self.config.indices].iter().all(|line| line.life != Life::Free)
    }

    fn some_are_dead(&self, s: &State) -> bool {
        let dead = |life| matches!(life, Life::Died | Life::Claimed(..));
        s.lines[..self.config.indices].iter().any(|line| dead(line.life))
    }

    pub(super) fn v1_lock(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Some(reserve) = self.reserve() else { return };
        let r = reserve as usize;
        if self.none_is_free(s) && self.some_are_dead(s) && s.lines[r].byte.is_none() {
            out.step(p, "V1 lock the reserve's byte", |n| {
                n.lines[r].byte = Some(p as u8);
                n.actors[p].index = reserve;
                n.actors[p].at = At::V2Look;
            });
        }
    }

    pub(super) fn v2_look(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let life = s.lines[s.actors[p].index as usize].life;
        let claimed = matches!(life, Life::Claimed(..));
        let judge = claimed && !self.drops(Broken::ReserveTakenFromTheLiving);
        out.step(p, "V2 look at the reserve's word", |n| {
            n.actors[p].seen = life;
            n.actors[p].at = if judge { At::V2Byte } else { At::V3Generation };
        });
    }

    pub(super) fn v2_byte(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Life::Claimed(claimant, _) = s.actors[p].seen else { return };
        if s.lines[claimant as usize].byte.is_none() {
            out.step(p, "V2 its claimant is gone", |n| n.actors[p].at = At::V3Generation);
        } else {
            out.step(p, "V2 its claimant's byte is held", |n| n.actors[p].at = At::V2Generation);
        }
    }

    pub(super) fn v2_generation(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Life::Claimed(claimant, generation) = s.actors[p].seen else { return };
        if s.lines[claimant as usize].generation == generation {
            out.step(p, "V2 a living one is at it", |n| give_up(n, p));
        } else {
            out.step(p, "V2 its claimant's generation is gone", |n| {
                n.actors[p].at = At::V3Generation;
            });
        }
    }

    pub(super) fn v3_generation(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let r = s.actors[p].index as usize;
        out.step(p, "V3 gen[r] += 1", |n| {
            if !self.drops(Broken::ReserveWithoutGeneration) {
                bump(n, r);
            }
            n.actors[p].at = At::V4Raise;
        });
    }

    pub(super) fn v4_raise(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "V4 raise the roster", |n| {
            raise(n, p);
            n.actors[p].at = At::V4Wake;
        });
    }

    pub(super) fn v4_wake(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "V4 wake the roster", |n| {
            n.queues.wake_all(ROSTER);
            n.actors[p].at = At::V5Arm;
        });
    }

    pub(super) fn v5_arm(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let r = s.actors[p].index as usize;
        let has_keeper = s.actors[p].process.has_keeper();
        if s.lines[r].life != s.actors[p].seen {
            out.step(p, "V5 CAS lost", |n| give_up(n, p));
            return;
        }
        out.step(p, "V5 CAS → tid", |n| {
            let thread = if has_keeper { keeper(p) } else { other_thread(p) };
            n.lines[r].life = Life::Armed(thread);
            n.lines[r].owner = Some(p as u8);
            n.actors[p].seen = Life::Free;
            n.actors[p].attached = true;
            begin_scan(n, p, true);
        });
    }

    /// On the reserve and awake: leave it, unless somebody dead is still in the way.
    pub(super) fn v6_leave(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if self.none_is_free(s) && self.some_are_dead(s) {
            self.go_to_park(p, out);
        } else {
            self.begin_detach(p, out);
        }
    }
}

fn give_up(n: &mut State, p: usize) {
    let r = n.actors[p].index as usize;
    n.lines[r].byte = None;
    n.actors[p].seen = Life::Free;
    outside(&mut n.actors[p]);
}
