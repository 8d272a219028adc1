//! Steps J1–J4 of the exact join.

use super::{At, Broken, R, Records, State, step};
use crash_check::explore::Successors;

impl Records {
    pub(super) fn j_start(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "join begins", |n| {
            n.was_idle = false;
            n.threads[t].at = At::J1Bell;
        });
    }

    pub(super) fn j1_bell(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "J1 read the bell", |n| {
            n.rung = false;
            n.threads[t].record = 0;
            n.threads[t].at = At::J2Collect;
        });
    }

    pub(super) fn j2_collect(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record as usize;
        if r == R {
            step(out, t, "J2 all idle", |n| {
                n.threads[t].record = 0;
                n.threads[t].at = At::J3Compare;
            });
            return;
        }
        let word = s.records[r];
        if word.is_busy() {
            step(out, t, "J2 busy", |n| {
                n.threads[t].busy = Some(word);
                n.threads[t].at = At::J4Mark;
            });
        } else {
            step(out, t, "J2 idle", |n| {
                n.threads[t].collected[r] = Some(word);
                n.threads[t].record += 1;
            });
        }
    }

    pub(super) fn j3_compare(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record as usize;
        if r == R || self.drops(Broken::SingleCollect) {
            if !s.was_idle {
                out.flaw(t, "J3 return", "join returns, and there was no idle instant");
                return;
            }
            step(out, t, "J3 return", |n| forget(n, t, At::Returned));
        } else if Some(s.records[r]) == s.threads[t].collected[r] {
            step(out, t, "J3 the same", |n| n.threads[t].record += 1);
        } else {
            step(out, t, "J3 changed", |n| forget(n, t, At::J1Bell));
        }
    }

    pub(super) fn j4_mark(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record as usize;
        if Some(s.records[r]) == s.threads[t].busy {
            step(out, t, "J4 CAS J into the busy record", |n| {
                n.records[r].joiner = true;
                forget(n, t, At::JWait);
            });
        } else {
            step(out, t, "J4 CAS lost", |n| forget(n, t, At::J1Bell));
        }
    }

    pub(super) fn j_wait(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if s.rung {
            step(out, t, "J4 woken", |n| n.threads[t].at = At::J1Bell);
        }
    }
}

fn forget(n: &mut State, t: usize, at: At) {
    n.threads[t].record = 0;
    n.threads[t].collected = [None; R];
    n.threads[t].busy = None;
    n.threads[t].at = at;
}
