//! Steps X1–X4 of a worker.

use super::{Broken, Entry, I, Ledger, RING, State, Word, Work};
use crash_check::explore::Successors;

impl Ledger {
    pub(super) fn x1_pop(&self, s: &State, w: usize, out: &mut Successors<'_, State>) {
        let Some(entry) = s.workers[w].ring[0] else { return };
        out.step(w, "X1 pop an entry", |n| {
            let worker = &mut n.workers[w];
            worker.ring.rotate_left(1);
            worker.ring[RING - 1] = None;
            worker.entry = entry;
            worker.at = Work::X1Load;
        });
    }

    pub(super) fn x1_load(&self, s: &State, w: usize, out: &mut Successors<'_, State>) {
        let entry = s.workers[w].entry;
        let word = s.words[entry.record as usize];
        let mine = word.worker as usize == w && word.epoch == entry.epoch;
        if word.startable() && (mine || self.drops(Broken::NeitherOwnerNorEpoch)) {
            out.step(w, "X1 load the word", |n| {
                n.workers[w].loaded = word;
                n.workers[w].at = Work::X2Start;
            });
        } else {
            out.step(w, "X1 stale: drop", |n| rest(n, w));
        }
    }

    pub(super) fn x2_start(&self, s: &State, w: usize, out: &mut Successors<'_, State>) {
        let r = s.workers[w].entry.record as usize;
        if s.words[r] != s.workers[w].loaded {
            out.step(w, "X2 CAS lost", |n| {
                n.workers[w].loaded = Word::default();
                n.workers[w].at = Work::X1Load;
            });
            return;
        }
        out.step(w, "X2 CAS next = done + 1", |n| {
            n.words[r].next += 1;
            start(n, n.words[r].done);
            n.workers[w].loaded = Word::default();
            n.workers[w].at = Work::X3Run;
        });
    }

    pub(super) fn x3_run(&self, s: &State, w: usize, out: &mut Successors<'_, State>) {
        let done = s.words[s.workers[w].entry.record as usize].done;
        out.step(w, "X3 run, write the result", |n| {
            n.items[item(done)].has_result = true;
            n.workers[w].at = Work::X4Load;
        });
    }

    pub(super) fn x4_load(&self, s: &State, w: usize, out: &mut Successors<'_, State>) {
        let word = s.words[s.workers[w].entry.record as usize];
        out.step(w, "X4 load the word", |n| {
            n.workers[w].loaded = word;
            n.workers[w].at = Work::X4Finish;
        });
    }

    pub(super) fn x4_finish(&self, s: &State, w: usize, out: &mut Successors<'_, State>) {
        let r = s.workers[w].entry.record as usize;
        let loaded = s.workers[w].loaded;
        if s.words[r] != loaded && !self.drops(Broken::FinishIsNoCas) {
            out.step(w, "X4 CAS lost", |n| {
                n.workers[w].loaded = Word::default();
                n.workers[w].at = Work::X4Load;
            });
            return;
        }
        out.step(w, "X4 CAS done + 1, start the next", |n| {
            let mut word = Word { done: loaded.done + 1, ..loaded };
            if word.done < word.end {
                word.next += 1;
                start(n, word.done);
                n.workers[w].loaded = Word::default();
                n.workers[w].at = Work::X3Run;
            } else {
                rest(n, w);
            }
            n.words[r] = word;
        });
    }
}

/// The worker is killed, and with it goes its ring.
pub(super) fn die(n: &mut State, w: usize) {
    n.deaths -= 1;
    rest(n, w);
    n.workers[w].ring = [None; RING];
    n.workers[w].at = Work::Dead;
}

fn rest(n: &mut State, w: usize) {
    n.workers[w].entry = Entry::default();
    n.workers[w].loaded = Word::default();
    n.workers[w].at = Work::X1Pop;
}

fn start(n: &mut State, done: u8) {
    n.items[item(done)].starts += 1;
}

/// A broken form may run past the last item.
fn item(done: u8) -> usize {
    (done as usize).min(I - 1)
}
