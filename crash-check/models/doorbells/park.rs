//! Steps W1–W12 of a consumer.

use super::{At, Broken, Doorbells, I, Life, ROSTER, Slot, State, T, bell, drain};
use crash_check::explore::Successors;

impl Doorbells {
    pub(super) fn w1_try(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        match s.takable() {
            Some(slot) => out.step(t, "W1 takes", |n| {
                take(n, t, slot);
                n.actors[t].at = At::W12Return;
            }),
            None => out.step(t, "W1 nothing there", |n| {
                n.actors[t].at =
                    if self.drops(Broken::BellAfterMask) { At::W3Mask } else { At::W2Bell };
            }),
        }
    }

    pub(super) fn w2_read_bell(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let Some(me) = s.actors[t].index else { return };
        out.step(t, "W2 read own bell", |n| {
            n.lines[me as usize].rung = false;
            n.actors[t].at =
                if self.drops(Broken::BellAfterMask) { At::W4Barrier } else { At::W3Mask };
        });
    }

    pub(super) fn w3_mask(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let Some(me) = s.actors[t].index else { return };
        out.step(t, "W3 fetch_or(sleepers, me)", |n| {
            drain(n, t);
            n.sleepers |= 1 << me;
            n.actors[t].at =
                if self.drops(Broken::BellAfterMask) { At::W2Bell } else { At::W4Barrier };
        });
    }

    pub(super) fn w4_barrier(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        out.step(t, "W4 heavy barrier; read roster", |n| {
            if !self.drops(Broken::NoHeavyBarrier) {
                (0..T).for_each(|other| drain(n, other));
            }
            n.roster_news[t] = false;
            n.actors[t].mark = self.mark(n);
            n.actors[t].cursor = 0;
            n.actors[t].at = At::W5Scan;
        });
    }

    /// How far a scan goes.
    fn mark(&self, s: &State) -> u8 {
        if self.config.no_scans || self.drops(Broken::PeersNotWatched) { 0 } else { s.roster }
    }

    /// W5 before sleeping, W9 after.
    pub(super) fn scan(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[t];
        let leaving = a.at == At::W9Scan;
        if a.cursor >= a.mark {
            out.step(t, if leaving { "W9 scan done" } else { "W5 scan done" }, |n| {
                n.actors[t].cursor = 0;
                if leaving {
                    n.actors[t].mark = 0;
                }
                n.actors[t].at = if leaving { At::W10Take } else { At::W6Look };
            });
            return;
        }
        let life = s.lines[a.cursor as usize].life;
        let stamped = matches!(life, Life::Died | Life::Claimed(..));
        if Some(a.cursor) == a.index {
            out.step(t, "scan: own word", |n| n.actors[t].cursor += 1);
        } else if stamped {
            out.step(t, "scan: a stamp is seen", |n| {
                n.actors[t].target = n.actors[t].cursor;
                n.actors[t].then = n.actors[t].at;
                n.actors[t].at = At::R1Read;
            });
        } else {
            out.step(t, "scan: not dead", |n| pass(n, t, life));
        }
    }

    pub(super) fn w6_look(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if s.takable().is_some() {
            out.step(t, "W6 something is there", |n| wake_up(n, t));
        } else {
            out.step(t, "W6 nothing there", |n| n.actors[t].at = At::W7Queue);
        }
    }

    /// The kernel compares and queues: bell, roster, then the life words up to the mark; one word
    /// a step, or all at once.
    pub(super) fn w7_queue(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[t];
        let Some(me) = a.index else { return };
        let mut place = a.cursor;
        let mut words = 0;
        let mut as_expected = true;
        while as_expected && place < 2 + a.mark {
            let own_life = place == me + 2;
            as_expected = own_life || self.as_expected(s, t, me, place);
            if as_expected && !own_life {
                words |= 1 << word_at(place, me);
            }
            place += 1;
            if self.config.word_by_word && !own_life {
                break;
            }
        }
        if !as_expected {
            out.step(t, "W7 waitv: a word has changed", |n| wake_up(n, t));
        } else if place == 2 + a.mark {
            out.step(t, "W7 waitv sleeps", |n| {
                n.queues.wait(t, words);
                n.actors[t].cursor = 0;
                n.actors[t].mark = 0;
                n.actors[t].expected = [Life::Free; I];
                n.actors[t].at = At::Parked;
            });
        } else {
            out.step(t, "W7 waitv queues one word", |n| {
                n.queues.wait(t, words);
                n.actors[t].cursor = place;
            });
        }
    }

    /// Does the word at `place` of the list have the value that thread `t` read?
    fn as_expected(&self, s: &State, t: usize, me: u8, place: u8) -> bool {
        match place {
            0 => !s.lines[me as usize].rung,
            1 => !s.roster_news[t],
            place => {
                let i = place as usize - 2;
                s.lines[i].life == s.actors[t].expected[i]
            }
        }
    }

    pub(super) fn w7_return(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if s.queues.was_woken(t) {
            out.step(t, "W7 returns from waitv", |n| wake_up(n, t));
        }
    }

    pub(super) fn w8_unmask(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let Some(me) = s.actors[t].index else { return };
        out.step(t, "W8 fetch_and(sleepers, !me)", |n| {
            n.sleepers &= !(1 << me);
            n.queues.leave(t);
            n.actors[t].cursor = 0;
            if self.drops(Broken::NoScanAfterWaking) {
                n.actors[t].mark = 0;
                n.actors[t].at = At::W10Take;
            } else {
                n.actors[t].mark = self.mark(n);
                n.actors[t].at = At::W9Scan;
            }
        });
    }

    pub(super) fn w10_take(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        match s.takable() {
            Some(slot) if !s.actors[t].leaves => out.step(t, "W10 takes", |n| {
                take(n, t, slot);
                n.actors[t].at = At::W11Baton;
            }),
            _ => out.step(t, "W10 takes nothing", |n| n.actors[t].at = At::W11Baton),
        }
    }

    pub(super) fn w11_baton(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if s.takable().is_some() && !self.drops(Broken::NoBaton) {
            out.step(t, "W11 more is there: pass it on", |n| {
                n.actors[t].then = At::W12Return;
                n.actors[t].at = At::L1Look;
            });
        } else {
            out.step(t, "W11 nothing to pass on", |n| n.actors[t].at = At::W12Return);
        }
    }

    pub(super) fn w12_return(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        out.step(t, "W12 return", |n| {
            let a = &mut n.actors[t];
            let done = a.leaves || a.quota == 0;
            a.leaves = false;
            a.then = At::Done;
            a.at = if done { At::Done } else { At::W1Try };
            if done {
                a.quota = 0;
            }
        });
    }
}

/// Number of the futex at `place` of the list bell, roster, life words.
fn word_at(place: u8, me: u8) -> usize {
    match place {
        0 => bell(me),
        1 => ROSTER,
        life => life as usize - 2,
    }
}

fn take(n: &mut State, t: usize, slot: usize) {
    n.slots[slot] = Slot::Taken;
    n.actors[t].quota -= 1;
}

/// `waitv` returned, or was not entered: out of every queue.
fn wake_up(n: &mut State, t: usize) {
    n.queues.leave(t);
    n.actors[t].cursor = 0;
    n.actors[t].mark = 0;
    n.actors[t].expected = [Life::Free; I];
    n.actors[t].at = At::W8Unmask;
}

/// The scan passes the word at its cursor; `waitv` will expect it to be `life`.
pub(super) fn pass(n: &mut State, t: usize, life: Life) {
    let a = &mut n.actors[t];
    if a.at == At::W5Scan {
        a.expected[a.cursor as usize] = life;
    }
    a.cursor += 1;
}
