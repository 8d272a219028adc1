//! Steps W1–W5: the thread that holds the process's armed word goes to sleep and wakes.

use super::{At, Broken, I, Life, Participants, ROSTER, State, bell, other_thread};
use crash_check::explore::Successors;

impl Participants {
    pub(super) fn w1_read_bell(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let i = s.actors[p].index as usize;
        out.step(p, "W1 read own bell", |n| {
            n.lines[i].rung = false;
            n.actors[p].at = At::W2Roster;
        });
    }

    pub(super) fn w2_read_roster(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "W2 read roster", |n| begin_scan(n, p, false));
    }

    pub(super) fn w3_scan(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[p];
        if a.cursor >= a.mark {
            out.step(p, "W3 scan done", |n| {
                n.actors[p].cursor = 0;
                if n.actors[p].leaving {
                    n.actors[p].leaving = false;
                    n.actors[p].mark = 0;
                    n.actors[p].at = At::Running;
                } else {
                    n.actors[p].at = At::W4Wait;
                }
            });
        } else if a.cursor == a.index {
            self.w3_look_at_own(s, p, out);
        } else {
            self.w3_look_at_peer(s, p, out);
        }
    }

    fn w3_look_at_own(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let own = s.lines[s.actors[p].index as usize].life;
        let stamped = matches!(own, Life::Died | Life::Claimed(..));
        if stamped && !self.drops(Broken::NeverRearmed) {
            out.step(p, "W3 own word is stamped", |n| {
                n.actors[p].seen = own;
                n.actors[p].at = At::Rearm;
            });
        } else {
            out.step(p, "W3 own word is armed", |n| pass(n, p, own));
        }
    }

    fn w3_look_at_peer(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let target = s.actors[p].cursor;
        let life = s.lines[target as usize].life;
        let at = match life {
            Life::Free | Life::Armed(_) => {
                out.step(p, "W3 not dead", |n| pass(n, p, life));
                return;
            }
            Life::Died => At::R2Prove,
            Life::Claimed(..) if self.drops(Broken::GenerationBeforeByte) => At::R3Generation,
            Life::Claimed(..) => At::R3Byte,
        };
        out.step(p, "R1 a stamp is seen", |n| {
            n.actors[p].target = target;
            n.actors[p].seen = life;
            n.actors[p].at = at;
        });
    }

    /// The kernel compares all words and queues the thread, or refuses.
    pub(super) fn w4_wait(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[p];
        let mut words = 1 << bell(a.index) | 1 << ROSTER;
        let mut as_expected = !s.lines[a.index as usize].rung && !a.roster_news;
        for j in 0..a.mark {
            if j != a.index || self.drops(Broken::OwnWordWatched) {
                words |= 1 << j;
                as_expected &= s.lines[j as usize].life == a.expected[j as usize];
            }
        }
        let armed = matches!(s.lines[a.index as usize].life, Life::Armed(_));
        let may_watch =
            armed || self.drops(Broken::AnyThreadWatchesPeers) || self.drops(Broken::NeverRearmed);
        if as_expected && may_watch {
            out.step(p, "W4 waitv sleeps", |n| {
                n.queues.wait(p, words);
                n.actors[p].expected = [Life::Free; I];
                n.actors[p].mark = 0;
                n.actors[p].at = At::Parked;
            });
        } else {
            out.step(p, "W4 waitv: a word has changed", |n| self.leave_wait(n, p));
        }
    }

    /// Awake again: scan once more before anything else.
    pub(super) fn w5_return(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let on_reserve = Some(s.actors[p].index) == self.reserve();
        let bounded = s.actors[p].look_again && !self.drops(Broken::NoTimeout)
            || on_reserve && !self.drops(Broken::ReserveWithoutTimeout);
        if s.queues.was_woken(p) {
            out.step(p, "W5 returns from waitv; reads roster", |n| self.leave_wait(n, p));
        } else if bounded {
            out.step(p, "W5 bounded re-check; reads roster", |n| self.leave_wait(n, p));
        }
    }

    fn leave_wait(&self, n: &mut State, p: usize) {
        n.queues.leave(p);
        n.actors[p].expected = [Life::Free; I];
        n.actors[p].mark = 0;
        n.actors[p].look_again = false;
        if self.drops(Broken::NoScanAfterWaking) {
            n.actors[p].at = At::Running;
        } else {
            begin_scan(n, p, true);
        }
    }

    /// A live owner takes its stamped or claimed word back, for another of its threads.
    pub(super) fn rearm(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let i = s.actors[p].index as usize;
        let seen = s.actors[p].seen;
        let current = s.lines[i].life == seen;
        let label = if current { "re-arm: CAS own word → tid" } else { "re-arm: CAS lost" };
        out.step(p, label, |n| {
            if current {
                n.lines[i].life = Life::Armed(other_thread(p));
            }
            n.actors[p].seen = Life::Free;
            n.actors[p].at = At::W3Scan;
        });
    }
}

pub(super) fn begin_scan(n: &mut State, p: usize, leaving: bool) {
    n.actors[p].roster_news = false;
    n.actors[p].mark = n.roster;
    n.actors[p].cursor = 0;
    n.actors[p].leaving = leaving;
    n.actors[p].at = At::W3Scan;
}

/// The scan passes the word at its cursor; `waitv` will expect it to be `life`.
pub(super) fn pass(n: &mut State, p: usize, life: Life) {
    let actor = &mut n.actors[p];
    if !actor.leaving {
        actor.expected[actor.cursor as usize] = life;
    }
    actor.cursor += 1;
    actor.target = 0;
    actor.seen = Life::Free;
    actor.at = At::W3Scan;
}
