//! Steps A1–A3 and B1–B3 (lease), K1 and K2 (its end).

use super::{At, Broken, Kind, R, RING, Records, State, step};
use crash_check::explore::Successors;

impl Records {
    /// The returned set first, then the ring.
    pub(super) fn look_for_work(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        for r in 0..R {
            if s.returned >> r & 1 == 1 {
                step(out, t, "A1 a returned bit is seen", |n| {
                    n.threads[t].record = r as u8;
                    n.threads[t].at = At::A1Intent;
                });
            }
        }
        if let (0, Some(r)) = (s.returned, s.ring[0]) {
            step(out, t, "B1 take a ring entry", |n| {
                n.ring.rotate_left(1);
                n.ring[RING - 1] = None;
                n.threads[t].taking = Some(r);
                n.threads[t].record = r;
                let free_first = self.drops(Broken::SlotFreedBeforeLease);
                n.threads[t].at = if free_first { At::B3FreeSlot } else { At::B2Lease };
            });
        }
    }

    pub(super) fn a1_intent(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "A1 intent", |n| {
            if !self.drops(Broken::ClearWithoutIntent) {
                n.threads[t].intent = Some(n.threads[t].record);
            }
            n.threads[t].at = At::A2Clear;
        });
    }

    pub(super) fn a2_clear(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record;
        step(out, t, "A2 clear the bit", |n| {
            n.returned &= !(1 << r);
            n.threads[t].at = At::A3Lease;
        });
    }

    pub(super) fn a3_lease(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let leases = s.records[s.threads[t].record as usize].kind == Kind::Queued;
        step(out, t, if leases { "A3 CAS → LEASED" } else { "A3 not QUEUED" }, |n| {
            lease(n, t, leases);
            work_if_leased(n, t);
        });
    }

    pub(super) fn b2_lease(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let leases = s.records[s.threads[t].record as usize].kind == Kind::Queued;
        step(out, t, if leases { "B2 CAS → LEASED" } else { "B2 stale entry" }, |n| {
            lease(n, t, leases);
            n.threads[t].at = At::B3FreeSlot;
            if self.drops(Broken::SlotFreedBeforeLease) {
                work_if_leased(n, t);
            }
        });
    }

    pub(super) fn b3_free_slot(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "B3 free the ring slot", |n| {
            n.threads[t].taking = None;
            if self.drops(Broken::SlotFreedBeforeLease) {
                n.threads[t].at = At::B2Lease;
            } else {
                work_if_leased(n, t);
            }
        });
    }

    /// The lease is held: ack, nack, or submit something first.
    pub(super) fn work(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let free = s.records.iter().position(|word| word.kind == Kind::Free);
        if let Some(free) = free.filter(|_| s.threads[t].quota > 0) {
            step(out, t, "submits from within the lease", |n| {
                n.threads[t].quota -= 1;
                n.threads[t].held = Some(n.threads[t].record);
                n.threads[t].record = free as u8;
                n.threads[t].at = At::S1Intent;
            });
        }
        step(out, t, "will ack", |n| n.threads[t].at = At::K1Ack);
        if s.nacks > 0 {
            step(out, t, "will nack", |n| {
                n.nacks -= 1;
                n.threads[t].at = At::K2Intent;
            });
        }
    }

    pub(super) fn k1_ack(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record as usize;
        let label = "K1 CAS → FREE: acked";
        if let Some(wrong) = wrong_end(s, t) {
            out.flaw(t, label, wrong);
            return;
        }
        let joiner = s.records[r].joiner;
        step(out, t, label, |n| {
            n.end_item(r, true);
            rest(n, t);
            n.threads[t].at = if joiner { At::K1RingJoiners } else { At::Lease };
        });
    }

    pub(super) fn k1_ring_joiners(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "K1 ring joiners", |n| {
            n.rung = true;
            n.threads[t].at = At::Lease;
        });
    }

    pub(super) fn k2_intent(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "K2 intent", |n| {
            if !self.drops(Broken::NackWithoutIntent) {
                n.threads[t].intent = Some(n.threads[t].record);
            }
            n.threads[t].at = At::K2Nack;
        });
    }

    pub(super) fn k2_nack(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let r = s.threads[t].record as usize;
        let word = s.records[r];
        if let Some(wrong) = wrong_end(s, t) {
            out.flaw(t, "K2 nack", wrong);
        } else if word.redeliveries + 1 >= self.limit {
            step(out, t, "K2 CAS → FREE: failed", |n| {
                n.end_item(r, false);
                rest(n, t);
                n.threads[t].at = if word.joiner { At::K1RingJoiners } else { At::Lease };
            });
        } else {
            step(out, t, "K2 CAS → QUEUED", |n| {
                n.records[r].kind = Kind::Queued;
                n.records[r].redeliveries += 1;
                n.threads[t].at = At::K2SetBit;
            });
        }
    }

    pub(super) fn k2_set_bit(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        step(out, t, "K2 set the returned bit", |n| {
            n.return_to_set(n.threads[t].record);
            rest(n, t);
        });
    }
}

/// What is wrong with ending the lease of thread `t` now, if anything.
fn wrong_end(s: &State, t: usize) -> Option<&'static str> {
    let r = s.threads[t].record as usize;
    if s.records[r].kind != Kind::Leased(t as u8) {
        Some("a lease is ended that is another's")
    } else if s.has_ended(r) {
        Some("an item ends twice")
    } else {
        None
    }
}

fn lease(n: &mut State, t: usize, leases: bool) {
    if leases {
        n.records[n.threads[t].record as usize].kind = Kind::Leased(t as u8);
    }
    n.threads[t].leased = leases;
}

fn work_if_leased(n: &mut State, t: usize) {
    if n.threads[t].leased {
        n.threads[t].leased = false;
        n.threads[t].at = At::Work;
    } else {
        rest(n, t);
    }
}

fn rest(n: &mut State, t: usize) {
    n.threads[t].record = 0;
    n.threads[t].leased = false;
    n.threads[t].at = At::Lease;
}
