//! Steps T1–T6.

use super::{At, Kind, N, Slots, State, Word, free};
use crash_check::explore::Successors;

impl Slots {
    /// Sequence and state say what the slot at the cursor is to a consumer.
    pub(super) fn t1_look(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let cursor = s.threads[t].cursor;
        let word = s.slots[s.slot_of(t)];
        if word.seq > cursor {
            if s.hint_consumers > cursor {
                out.step(t, "T1 jumps to the hint", |n| n.threads[t].cursor = n.hint_consumers);
            }
            out.step(t, "T1 next position", |n| n.threads[t].cursor += 1);
        }
        if word.seq != cursor {
            return; // Passed on, or EMPTY.
        }
        match word.kind {
            Kind::Ready => out.step(t, "T1 sees READY", |n| {
                n.threads[t].seen = Some(word);
                n.threads[t].at = At::T2Intent;
            }),
            Kind::Tomb => out.step(t, "T1 sees a tombstone", |n| {
                n.threads[t].seen = Some(word);
                n.threads[t].at = At::ClearTomb;
            }),
            Kind::Taking => out.step(t, "T1 next position", |n| n.threads[t].cursor += 1),
            Kind::Free | Kind::Claimed => {} // EMPTY.
        }
    }

    pub(super) fn t2_intent(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        out.step(t, "T2 intent", |n| {
            n.threads[t].intent = Some(n.threads[t].cursor);
            n.threads[t].at = At::T3Take;
        });
    }

    pub(super) fn t3_take(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let k = s.slot_of(t);
        if Some(s.slots[k]) != s.threads[t].seen {
            out.step(t, "T3 CAS lost", |n| {
                n.threads[t].seen = None;
                n.threads[t].at = At::T1Look;
            });
            return;
        }
        let Some(message) = s.payload[k] else {
            out.flaw(t, "T3 CAS → TAKING", "a slot without payload is delivered");
            return;
        };
        let fate = s.fates[message.producer as usize];
        if fate.committed >> message.number & 1 == 0 {
            out.flaw(t, "T3 CAS → TAKING", "an uncommitted message is delivered");
        } else if message.number < fate.next {
            out.flaw(t, "T3 CAS → TAKING", "a message is taken twice, or out of order");
        } else {
            out.step(t, "T3 CAS → TAKING", |n| {
                n.slots[k] = taking(n, t);
                n.fates[message.producer as usize].next = message.number + 1;
                n.threads[t].seen = None;
                n.threads[t].at = At::T4Copy;
            });
        }
    }

    pub(super) fn t4_copy(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let k = s.slot_of(t);
        out.step(t, "T4 copy out", |n| {
            n.threads[t].copy = n.payload[k];
            n.threads[t].at = At::T5Free;
        });
    }

    pub(super) fn t5_free(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let k = s.slot_of(t);
        let label = "T5 store FREE for the next lap";
        if s.slots[k] != taking(s, t) {
            out.flaw(t, label, "a consumer's store goes over a foreign word");
            return;
        }
        let Some(message) = s.threads[t].copy.filter(|_| s.threads[t].copy == s.payload[k]) else {
            out.flaw(t, label, "the payload changed while it was copied");
            return;
        };
        let bit = 1 << message.number;
        if s.fates[message.producer as usize].received & bit != 0 {
            out.flaw(t, label, "a message is received twice");
            return;
        }
        out.step(t, label, |n| {
            n.slots[k] = free(n.threads[t].cursor + N as u8);
            n.fates[message.producer as usize].received |= bit;
            n.threads[t].copy = None;
            n.threads[t].cursor += 1;
            n.threads[t].at = At::T6Hint;
        });
    }

    pub(super) fn t6_hint(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        out.step(t, "T6 hint", |n| {
            n.hint_consumers = n.threads[t].cursor;
            n.threads[t].at = At::T1Look;
        });
        out.step(t, "T6 no hint", |n| n.threads[t].at = At::T1Look);
    }

    pub(super) fn clear_tomb(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let k = s.slot_of(t);
        let mine = Some(s.slots[k]) == s.threads[t].seen;
        out.step(t, if mine { "CAS tombstone → FREE" } else { "tombstone is gone" }, |n| {
            if mine {
                n.slots[k] = free(n.threads[t].cursor + N as u8);
                n.threads[t].cursor += 1;
            }
            n.threads[t].seen = None;
            n.threads[t].at = At::T1Look;
        });
    }
}

/// The word with which thread `t` takes from its position.
fn taking(s: &State, t: usize) -> Word {
    Word { kind: Kind::Taking, owner: t as u8, seq: s.threads[t].cursor }
}
