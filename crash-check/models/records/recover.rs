//! A death, and steps V1–V4 of who recovers it.

use super::{At, Broken, Kind, R, Records, Recovery, State, T, Thread, free, step, thread};
use crash_check::explore::Successors;

/// Proven death of thread `t`: what is left of it is what stands in shared memory.
pub(super) fn die(n: &mut State, t: usize) {
    n.deaths -= 1;
    let Thread { intent, second_intent, taking, recovery, .. } = n.threads[t];
    n.threads[t] = Thread { intent, second_intent, taking, recovery, ..thread(At::Dead) };
}

impl Records {
    /// A thread at rest may take up the recovery of a dead one, or inherit it.
    pub(super) fn v0_claim(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        for dead in 0..T {
            let open = match s.threads[dead].recovery {
                Recovery::None => true,
                Recovery::By(other) => s.threads[other as usize].at == At::Dead,
                Recovery::Done => false,
            };
            if s.threads[dead].at == At::Dead && open {
                step(out, t, "claim the recovery", |n| {
                    n.threads[dead].recovery = Recovery::By(t as u8);
                    n.threads[t].target = dead as u8;
                    n.threads[t].then = n.threads[t].at;
                    n.threads[t].at = At::V1SetBit;
                });
            }
        }
    }

    pub(super) fn v1_set_bit(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        match s.threads[s.threads[t].target as usize].taking {
            Some(record) => step(out, t, "V1 set the bit of the dead's entry", |n| {
                n.return_to_set(record);
                n.threads[t].at = At::V1FreeSlot;
            }),
            None => step(out, t, "V1 no entry", |n| n.threads[t].at = At::V2Intent),
        }
    }

    pub(super) fn v1_free_slot(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let dead = s.threads[t].target as usize;
        step(out, t, "V1 free the ring slot", |n| {
            n.threads[dead].taking = None;
            n.threads[t].at = At::V2Intent;
        });
    }

    pub(super) fn v2_intent(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let intent = s.threads[s.threads[t].target as usize].intent;
        step(out, t, "V2 intent", |n| {
            hint_if_queued(n, intent);
            n.threads[t].at = At::V2SecondIntent;
        });
    }

    pub(super) fn v2_second_intent(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let intent = s.threads[s.threads[t].target as usize].second_intent;
        step(out, t, "V2 second intent", |n| {
            hint_if_queued(n, intent);
            n.threads[t].record = 0;
            n.threads[t].at = At::V3Scan;
        });
    }

    pub(super) fn v3_scan(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let th = &s.threads[t];
        let r = th.record as usize;
        if r == R {
            step(out, t, "V3 scan done", |n| {
                n.threads[t].record = 0;
                n.threads[t].at = At::V4RingAll;
            });
            return;
        }
        let word = s.records[r];
        if word.kind == Kind::Reserved(th.target) {
            step(out, t, "V3 RESERVED → FREE", |n| {
                n.records[r] = free(word.epoch + 1);
                n.threads[t].record += 1;
            });
        } else if word.kind == Kind::Leased(th.target) {
            step(out, t, "V3 second intent of R", |n| {
                if !self.drops(Broken::RecoveryWithoutIntent) {
                    n.threads[t].second_intent = Some(r as u8);
                }
                let bit_first = self.drops(Broken::BitBeforeQueued);
                n.threads[t].at = if bit_first { At::V3SetBit } else { At::V3Requeue };
            });
        } else {
            step(out, t, "V3 not the dead's", |n| n.threads[t].record += 1);
        }
    }

    pub(super) fn v3_requeue(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record as usize;
        if s.records[r].redeliveries + 1 >= self.limit {
            step(out, t, "V3 LEASED → FREE: failed", |n| {
                n.end_item(r, false);
                next_record(n, t);
            });
        } else {
            step(out, t, "V3 LEASED → QUEUED", |n| {
                n.records[r].kind = Kind::Queued;
                n.records[r].redeliveries += 1;
                n.threads[t].at = At::V3SetBit;
                if self.drops(Broken::BitBeforeQueued) {
                    next_record(n, t);
                }
            });
        }
    }

    pub(super) fn v3_set_bit(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record;
        step(out, t, "V3 set the returned bit", |n| {
            n.return_to_set(r);
            if self.drops(Broken::BitBeforeQueued) {
                n.threads[t].at = At::V3Requeue;
            } else {
                next_record(n, t);
            }
        });
    }

    pub(super) fn v4_ring_all(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "V4 ring all", |n| {
            n.rung |= !self.drops(Broken::NobodyRung);
            n.threads[t].at = At::V5Done;
        });
    }

    pub(super) fn v5_done(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let dead = s.threads[t].target as usize;
        step(out, t, "recovered", |n| {
            n.threads[dead].recovery = Recovery::Done;
            n.threads[dead].intent = None;
            n.threads[dead].second_intent = None;
            n.threads[t].target = 0;
            n.threads[t].at = n.threads[t].then;
            n.threads[t].then = At::Dead;
        });
    }
}

fn hint_if_queued(n: &mut State, intent: Option<u8>) {
    if let Some(record) = intent
        && n.records[record as usize].kind == Kind::Queued
    {
        n.return_to_set(record);
    }
}

fn next_record(n: &mut State, t: usize) {
    n.threads[t].record += 1;
    n.threads[t].at = At::V3Scan;
}
