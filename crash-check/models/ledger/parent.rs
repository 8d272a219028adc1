//! Steps Y1–Y4 of the parent, and the respawn of a dead worker.

use super::{Duty, Entry, Ledger, PARENT, Policy, R, State, W, Word, Work, push};
use crash_check::explore::Successors;

impl Ledger {
    /// The parent looks around and chooses what to do.
    pub(super) fn look(&self, s: &State, out: &mut Successors<'_, State>) {
        for r in 0..R {
            let word = s.words[r];
            if !word.active {
                continue;
            }
            if s.parent.taken[r] < word.done {
                self.y1_surface(r, out);
            } else if word.done == word.end && word.next == word.end {
                self.y2_free(r, out);
            } else if s.workers[word.worker as usize].at == Work::Dead {
                self.y4_begin(s, r, out);
            } else if s.revocations > 0 && word.next < word.end {
                self.y3_begin(s, r, out);
            }
        }
        self.respawn(s, out);
    }

    fn y1_surface(&self, r: usize, out: &mut Successors<'_, State>) {
        out.step(PARENT, "Y1 surface a result", |n| {
            let item = &mut n.items[n.parent.taken[r] as usize];
            n.surfaced_nothing |= !item.has_result;
            item.surfaced += 1;
            n.parent.taken[r] += 1;
        });
    }

    fn y2_free(&self, r: usize, out: &mut Successors<'_, State>) {
        out.step(PARENT, "Y2 free the record", |n| {
            n.words[r] = Word { epoch: self.next_epoch(n.words[r].epoch), ..Word::default() };
            n.parent.taken[r] = 0;
        });
    }

    fn y3_begin(&self, s: &State, r: usize, out: &mut Successors<'_, State>) {
        let word = s.words[r];
        let Some(free) = s.words.iter().position(|other| !other.active) else { return };
        for mid in word.next..word.end {
            for worker in living(s) {
                out.step(PARENT, "Y3 load the word to revoke", |n| {
                    n.parent.at = Duty::Y3Revoke;
                    n.parent.record = r as u8;
                    n.parent.free = free as u8;
                    n.parent.mid = mid;
                    n.parent.loaded = word;
                    n.parent.worker = worker;
                });
            }
        }
    }

    pub(super) fn y3_revoke(&self, s: &State, out: &mut Successors<'_, State>) {
        let r = s.parent.record as usize;
        if s.words[r] == s.parent.loaded {
            out.step(PARENT, "Y3 CAS end = mid", |n| {
                n.revocations -= 1;
                n.words[r].end = n.parent.mid;
                n.parent.at = Duty::Y3NewRecord;
            });
        } else {
            out.step(PARENT, "Y3 CAS lost", idle);
        }
    }

    pub(super) fn y3_new_record(&self, s: &State, out: &mut Successors<'_, State>) {
        let parent = s.parent;
        out.step(PARENT, "Y3 new record for the rest", |n| {
            let free = parent.free as usize;
            n.words[free] = Word {
                active: true,
                worker: parent.worker,
                epoch: n.words[free].epoch,
                done: parent.mid,
                next: parent.mid,
                end: parent.loaded.end,
            };
            n.parent.taken[free] = parent.mid;
            n.parent.at = Duty::Y3Push;
        });
    }

    pub(super) fn y3_push(&self, s: &State, out: &mut Successors<'_, State>) {
        let record = s.parent.free;
        let epoch = s.words[record as usize].epoch;
        out.step(PARENT, "Y3 push", |n| {
            push(n, n.parent.worker, Entry { record, epoch });
            idle(n);
        });
    }

    fn y4_begin(&self, s: &State, r: usize, out: &mut Successors<'_, State>) {
        for worker in living(s) {
            out.step(PARENT, "Y4 a record of a dead worker", |n| {
                n.parent.at = Duty::Y4Move;
                n.parent.record = r as u8;
                n.parent.worker = worker;
            });
        }
    }

    pub(super) fn y4_move(&self, s: &State, out: &mut Successors<'_, State>) {
        let r = s.parent.record as usize;
        let word = s.words[r];
        let moved = Word {
            worker: s.parent.worker,
            epoch: self.next_epoch(word.epoch),
            next: word.done,
            ..word
        };
        if word.next == word.done {
            out.step(PARENT, "Y4 move what was not started", |n| move_to(n, r, moved));
            return;
        }
        let running = word.done as usize;
        let last_attempt = match self.policy {
            Policy::Fail => true,
            Policy::Retry => s.items[running].attempts > 0,
        };
        if last_attempt {
            out.step(PARENT, "Y4 fail the running item", |n| {
                n.items[running].attempts += 1;
                n.items[running].surfaced += 1;
                n.parent.taken[r] += 1;
                move_to(n, r, Word { done: word.next, next: word.next, ..moved });
            });
        } else {
            out.step(PARENT, "Y4 try the running item again", |n| {
                n.items[running].attempts += 1;
                n.items[running].has_result = false;
                move_to(n, r, moved);
            });
        }
    }

    pub(super) fn y4_push(&self, s: &State, out: &mut Successors<'_, State>) {
        let record = s.parent.record;
        let epoch = s.words[record as usize].epoch;
        out.step(PARENT, "Y4 push", |n| {
            push(n, n.parent.worker, Entry { record, epoch });
            idle(n);
        });
    }

    fn respawn(&self, s: &State, out: &mut Successors<'_, State>) {
        let dead = s.workers.iter().position(|w| w.at == Work::Dead && !w.replaced);
        let unborn = s.workers.iter().position(|w| w.at == Work::Unborn);
        if let (Some(dead), Some(unborn)) = (dead, unborn) {
            out.step(PARENT, "respawn a worker", |n| {
                n.workers[dead].replaced = true;
                n.workers[unborn].at = Work::X1Pop;
            });
        }
    }
}

fn living(s: &State) -> impl Iterator<Item = u8> {
    (0..W as u8).filter(|&w| !matches!(s.workers[w as usize].at, Work::Unborn | Work::Dead))
}

/// The record goes to a live worker; an entry is needed if anything is left of it.
fn move_to(n: &mut State, r: usize, word: Word) {
    n.words[r] = word;
    if word.next < word.end {
        n.parent.at = Duty::Y4Push;
    } else {
        idle(n);
    }
}

fn idle(n: &mut State) {
    n.parent.at = Duty::Look;
    n.parent.record = 0;
    n.parent.free = 0;
    n.parent.mid = 0;
    n.parent.loaded = Word::default();
    n.parent.worker = 0;
}
