//! Steps S1–S4. Loading S1's payload (S2) touches nothing that is shared and has no step.

use super::{At, Broken, Kind, R, Records, State, Word, step};
use crash_check::explore::Successors;

impl Records {
    pub(super) fn s1_pick(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        if s.threads[t].quota == 0 {
            return;
        }
        for r in 0..R {
            if s.records[r].kind == Kind::Free {
                step(out, t, "S1 pick a FREE record", |n| {
                    n.threads[t].record = r as u8;
                    n.threads[t].at = At::S1Intent;
                });
            }
        }
    }

    pub(super) fn s1_intent(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "S1 intent", |n| {
            if !self.drops(Broken::SubmitWithoutIntent) {
                n.threads[t].intent = Some(n.threads[t].record);
            }
            n.threads[t].at = At::S1Reserve;
        });
    }

    pub(super) fn s1_reserve(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record as usize;
        let word = s.records[r];
        if word.kind == Kind::Free {
            step(out, t, "S1 CAS FREE → RESERVED", |n| {
                n.records[r] = Word { kind: Kind::Reserved(t as u8), ..word };
                n.threads[t].at = At::S3Queue;
            });
        } else {
            step(out, t, "S1 CAS lost", |n| {
                n.threads[t].at = At::S1Pick;
                back_to_lease(n, t);
            });
        }
    }

    pub(super) fn s3_queue(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record as usize;
        step(out, t, "S3 store QUEUED", |n| {
            n.items[r] = n.submitted;
            n.submitted += 1;
            n.records[r].kind = Kind::Queued;
            n.threads[t].at = At::S4Push;
        });
    }

    pub(super) fn s4_push(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record;
        step(out, t, "S4 push", |n| {
            match n.ring.iter_mut().find(|entry| entry.is_none()) {
                Some(entry) => *entry = Some(r),
                None => n.return_to_set(r),
            }
            n.threads[t].quota -= u8::from(n.threads[t].held.is_none());
            n.threads[t].at = At::S1Pick;
            back_to_lease(n, t);
        });
    }
}

/// A worker that submitted from within a lease goes back to it.
fn back_to_lease(n: &mut State, t: usize) {
    match n.threads[t].held.take() {
        Some(held) => {
            n.threads[t].record = held;
            n.threads[t].at = At::K1Ack;
        }
        None => n.threads[t].record = 0,
    }
}
