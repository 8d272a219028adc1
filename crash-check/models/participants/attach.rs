//! Steps A1–A5 and D0–D3, and what an attached process does between.

use super::{Actor, At, Broken, I, Life, Participants, ROSTER, State};
use super::{absent, keeper, other_thread, ring, ring_the_one};
use crash_check::explore::Successors;

impl Participants {
    /// The order of the attach steps after the pick.
    fn attach_order(&self) -> [At; 5] {
        use At::{A2Lock, A3Raise, A4Wake, A5Arm, Running};
        if self.drops(Broken::ArmBeforeLock) {
            [A3Raise, A4Wake, A5Arm, A2Lock, Running]
        } else if self.drops(Broken::ArmBeforeRoster) {
            [A2Lock, A5Arm, A3Raise, A4Wake, Running]
        } else {
            [A2Lock, A3Raise, A4Wake, A5Arm, Running]
        }
    }

    fn after_attach_step(&self, done: At) -> At {
        let order = self.attach_order();
        let place = order.iter().position(|&step| step == done);
        place.map_or(order[0], |place| order[place + 1])
    }

    /// Goes on after attach step `done`; at the end of the order it is attached.
    fn attach_on(&self, n: &mut State, p: usize, done: At) {
        let next = self.after_attach_step(done);
        n.actors[p].at = next;
        if next == At::Running {
            n.actors[p].attached = true;
            n.actors[p].raised = false;
        }
    }

    pub(super) fn a1_pick(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if s.actors[p].attaches == 0 {
            return;
        }
        for i in 0..self.config.indices {
            if s.lines[i].life == Life::Free {
                out.step(p, "A1 pick a FREE index", |n| {
                    n.actors[p].index = i as u8;
                    n.actors[p].at = self.attach_order()[0];
                });
            }
        }
        self.v1_lock(s, p, out);
    }

    pub(super) fn a2_lock(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let i = s.actors[p].index as usize;
        if s.lines[i].byte.is_none() {
            out.step(p, "A2 lock the byte", |n| {
                n.lines[i].byte = Some(p as u8);
                self.attach_on(n, p, At::A2Lock);
            });
        } else if !self.drops(Broken::ArmBeforeLock) {
            out.step(p, "A2 byte is held", |n| outside(&mut n.actors[p]));
        }
    }

    pub(super) fn a3_raise(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "A3 raise the roster", |n| {
            let raised = raise(n, p);
            n.actors[p].raised = raised && self.drops(Broken::RosterWakeByRaiserOnly);
            self.attach_on(n, p, At::A3Raise);
        });
    }

    pub(super) fn a4_wake(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let only_raiser = self.drops(Broken::RosterWakeByRaiserOnly) && !s.actors[p].raised;
        let silent = self.drops(Broken::NoRosterWake) || only_raiser;
        out.step(p, "A4 wake the roster", |n| {
            if !silent {
                n.queues.wake_all(ROSTER);
            }
            self.attach_on(n, p, At::A4Wake);
        });
    }

    pub(super) fn a5_arm(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let i = s.actors[p].index as usize;
        let has_keeper = s.actors[p].process.has_keeper();
        if s.lines[i].life == Life::Free {
            out.step(p, "A5 CAS FREE → tid", |n| {
                let thread = if has_keeper { keeper(p) } else { other_thread(p) };
                n.lines[i].life = Life::Armed(thread);
                n.lines[i].owner = Some(p as u8);
                n.actors[p].attaches -= 1;
                // Armed is attached, unless a broken form has something left to do.
                n.actors[p].attached = !self.drops(Broken::ArmBeforeLock);
                self.attach_on(n, p, At::A5Arm);
            });
        } else {
            out.step(p, "A5 CAS lost", |n| n.actors[p].at = At::A5Unlock);
        }
    }

    pub(super) fn a5_unlock(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let i = s.actors[p].index as usize;
        out.step(p, "A5 unlock", |n| {
            n.lines[i].byte = n.lines[i].byte.filter(|&holder| holder != p as u8);
            outside(&mut n.actors[p]);
        });
    }

    /// Attached and awake: it may use the structure, park, or detach.
    pub(super) fn run(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[p];
        if Some(a.index) == self.reserve() {
            self.v6_leave(s, p, out);
            return;
        }
        let holds = s.cell.is_some_and(|(_, owner)| owner == p as u8);
        if s.cell.is_none() && a.uses > 0 {
            out.step(p, "claim the structure's cell", |n| {
                n.cell = Some((n.actors[p].index, p as u8));
                n.actors[p].uses -= 1;
            });
        }
        if holds {
            out.step(p, "release the structure's cell", |n| n.cell = None);
        }
        self.go_to_park(p, out);
        if self.config.may_detach[p] && !holds {
            self.begin_detach(p, out);
        }
    }

    pub(super) fn go_to_park(&self, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "goes to park", |n| {
            n.actors[p].look_again = false;
            n.actors[p].at = At::W1Bell;
        });
    }

    pub(super) fn begin_detach(&self, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "begins to detach", |n| {
            let ring_first = n.actors[p].look_again && !self.drops(Broken::NoRingBeforeDetach);
            n.actors[p].look_again = false;
            n.actors[p].ringing = 0;
            n.actors[p].at = if ring_first { At::D0RingAll } else { At::D1Generation };
        });
    }

    pub(super) fn d0_ring_all(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let next = s.actors[p].ringing;
        if next as usize == I {
            out.step(p, "D0 all are rung", |n| {
                n.actors[p].ringing = 0;
                n.actors[p].at = At::D1Generation;
            });
        } else {
            out.step(p, "D0 ring one", |n| {
                if self.config.one_bell {
                    ring_the_one(n);
                    n.actors[p].ringing = I as u8;
                    return;
                }
                if n.lines[next as usize].life != Life::Free {
                    ring(n, next);
                }
                n.actors[p].ringing += 1;
            });
        }
    }

    pub(super) fn d1_generation(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let i = s.actors[p].index as usize;
        let unlock_first = self.drops(Broken::UnlockBeforeWord);
        out.step(p, "D1 gen += 1", |n| {
            if !self.drops(Broken::NoGenerationAtDetach) {
                bump(n, i);
            }
            n.actors[p].at = if unlock_first { At::D3Unlock } else { At::D2Free };
        });
    }

    pub(super) fn d2_free(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let i = s.actors[p].index as usize;
        out.step(p, "D2 CAS own word → FREE", |n| {
            n.lines[i].life = Life::Free;
            n.lines[i].owner = None;
            if self.drops(Broken::UnlockBeforeWord) {
                detached(n, p)
            } else {
                n.actors[p].at = At::D3Unlock
            }
        });
    }

    pub(super) fn d3_unlock(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let i = s.actors[p].index as usize;
        out.step(p, "D3 unlock", |n| {
            n.lines[i].byte = None;
            if self.drops(Broken::UnlockBeforeWord) {
                n.actors[p].at = At::D2Free
            } else {
                detached(n, p)
            }
        });
    }
}

/// Generations wrap, but not while an old one can be remembered: with two bits the search found
/// a claim of four incarnations ago taken for a new one (71 steps).
const GENERATIONS: u8 = 16;

pub(super) fn bump(n: &mut State, i: usize) {
    n.lines[i].generation = (n.lines[i].generation + 1) % GENERATIONS;
}

/// Raises the roster to the index of `p`; says whether it had to.
pub(super) fn raise(n: &mut State, p: usize) -> bool {
    let mark = n.actors[p].index + 1;
    let raises = n.roster < mark;
    if raises {
        n.roster = mark;
        n.actors.iter_mut().for_each(|actor| actor.roster_news = true);
    }
    raises
}

pub(super) fn outside(actor: &mut Actor) {
    actor.index = 0;
    actor.raised = false;
    actor.at = At::Outside;
}

fn detached(n: &mut State, p: usize) {
    let Actor { process, attaches, uses, .. } = n.actors[p];
    n.actors[p] = Actor { attaches, uses, ..absent(process) };
}
