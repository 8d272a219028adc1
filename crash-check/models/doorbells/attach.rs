//! Steps N1–N4 of a newcomer, the producer's steps, and L1–L4: ring one sleeper.

use super::{At, Broken, Doorbells, I, Life, ROSTER, Slot, State, bell, drain};
use crash_check::explore::Successors;

impl Doorbells {
    pub(super) fn n1_pick(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        for i in 0..I {
            if s.lines[i].life == Life::Free {
                out.step(t, "N1 pick a FREE index", |n| {
                    n.actors[t].target = i as u8;
                    n.actors[t].at =
                        if self.drops(Broken::ArmBeforeRoster) { At::N4Arm } else { At::N2Raise };
                });
            }
        }
    }

    pub(super) fn n2_raise(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        out.step(t, "N2 raise the roster", |n| {
            let mark = n.actors[t].target + 1;
            if n.roster < mark {
                n.roster = mark;
                n.roster_news = [true; super::T];
                n.actors[t].raised = self.drops(Broken::RosterWakeByRaiserOnly);
            }
            n.actors[t].at = At::N3Wake;
        });
    }

    pub(super) fn n3_wake(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let only_raiser = self.drops(Broken::RosterWakeByRaiserOnly) && !s.actors[t].raised;
        let silent = self.drops(Broken::NoRosterWake) || only_raiser;
        out.step(t, "N3 wake the roster", |n| {
            if !silent {
                n.queues.wake_all(ROSTER);
            }
            n.actors[t].raised = false;
            if self.drops(Broken::ArmBeforeRoster) {
                n.actors[t].target = 0;
                n.actors[t].at = At::Produce;
            } else {
                n.actors[t].at = At::N4Arm;
            }
        });
    }

    pub(super) fn n4_arm(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let index = s.actors[t].target;
        if s.lines[index as usize].life != Life::Free {
            out.step(t, "N4 CAS lost", |n| {
                n.actors[t].target = 0;
                n.actors[t].at = At::N1Pick;
            });
            return;
        }
        out.step(t, "N4 CAS FREE → tid", |n| {
            n.lines[index as usize].life = Life::Armed(t as u8);
            n.actors[t].index = Some(index);
            if self.drops(Broken::ArmBeforeRoster) {
                n.actors[t].at = At::N2Raise;
            } else {
                n.actors[t].target = 0;
                n.actors[t].at = At::Produce;
            }
        });
    }

    pub(super) fn produce(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let Some(index) = s.actors[t].index else { return };
        let empty = s.slots.iter().position(|&slot| slot == Slot::Empty);
        match empty {
            Some(slot) if s.actors[t].quota > 0 => out.step(t, "claim the next slot", |n| {
                drain(n, t);
                n.slots[slot] = Slot::Claimed(index);
                n.actors[t].slot = slot as u8;
                n.actors[t].at = At::Publish;
            }),
            _ => out.step(t, "producer is done", |n| {
                n.actors[t].quota = 0;
                n.actors[t].at = At::Done;
            }),
        }
    }

    pub(super) fn publish(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        out.step(t, "publish (into the store buffer)", |n| {
            n.actors[t].buffered = Some(n.actors[t].slot);
            n.actors[t].slot = 0;
            n.actors[t].quota -= 1;
            n.actors[t].then = At::Produce;
            n.actors[t].at = At::L1Look;
        });
    }

    pub(super) fn l1_look(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if s.sleepers == 0 {
            out.step(t, "L1 no sleeper", |n| end_ring(n, t));
        }
        for i in 0..I {
            if s.sleepers >> i & 1 == 1 {
                out.step(t, "L1 pick a sleeper", |n| {
                    n.actors[t].target = i as u8;
                    n.actors[t].at = At::L2Clear;
                });
            }
        }
    }

    pub(super) fn l2_clear(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let bit = 1 << s.actors[t].target;
        out.step(t, "L2 fetch_and(sleepers, !t)", |n| {
            drain(n, t);
            let was_there = n.sleepers & bit != 0;
            n.sleepers &= !bit;
            n.actors[t].at = if was_there { At::L3Ring } else { At::L1Look };
            if !was_there {
                n.actors[t].target = 0;
            }
        });
    }

    pub(super) fn l3_ring(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let target = s.actors[t].target as usize;
        out.step(t, "L3 bell += 1", |n| {
            n.lines[target].rung = true;
            n.actors[t].at = At::L4Wake;
        });
    }

    pub(super) fn l4_wake(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let target = s.actors[t].target;
        out.step(t, "L4 wake all on the bell", |n| {
            n.queues.wake_all(bell(target));
            end_ring(n, t);
        });
    }
}

fn end_ring(n: &mut State, t: usize) {
    n.actors[t].target = 0;
    n.actors[t].at = n.actors[t].then;
    n.actors[t].then = At::Done;
}
