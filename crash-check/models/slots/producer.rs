//! Steps P1–P6.

use super::{At, Broken, Kind, Message, Slots, State, Word};
use crash_check::explore::Successors;

impl Slots {
    /// Sequence and state say what the slot at the cursor is to a producer.
    pub(super) fn p1_look(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let th = &s.threads[t];
        let word = s.slots[s.slot_of(t)];
        if th.sent >= self.messages[t] || word.seq < th.cursor {
            return; // Nothing more to send, or FULL.
        }
        if word.seq == th.cursor && word.kind == Kind::Free {
            out.step(t, "P1 sees FREE", |n| {
                n.threads[t].seen = Some(word);
                n.threads[t].at =
                    if self.drops(Broken::IntentAfterClaim) { At::P3Claim } else { At::P2Intent };
            });
            return;
        }
        if word.seq > th.cursor && s.hint_producers > th.cursor {
            out.step(t, "P1 jumps to the hint", |n| n.threads[t].cursor = n.hint_producers);
        }
        out.step(t, "P1 next position", |n| n.threads[t].cursor += 1);
    }

    pub(super) fn p2_intent(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        out.step(t, "P2 intent", |n| {
            n.threads[t].intent = Some(n.threads[t].cursor);
            n.threads[t].at =
                if self.drops(Broken::IntentAfterClaim) { At::P4Payload } else { At::P3Claim };
        });
    }

    pub(super) fn p3_claim(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let k = s.slot_of(t);
        if Some(s.slots[k]) != s.threads[t].seen {
            out.step(t, "P3 CAS lost", |n| {
                n.threads[t].seen = None;
                n.threads[t].at = At::P1Look;
            });
            return;
        }
        out.step(t, "P3 CAS → CLAIMED", |n| {
            n.slots[k] = claimed(n, t);
            n.threads[t].seen = None;
            n.threads[t].at =
                if self.drops(Broken::IntentAfterClaim) { At::P2Intent } else { At::P4Payload };
        });
    }

    pub(super) fn p4_payload(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let k = s.slot_of(t);
        out.step(t, "P4 payload", |n| {
            n.payload[k] = Some(Message { producer: t as u8, number: n.threads[t].sent });
            n.threads[t].at = At::P5Commit;
        });
    }

    pub(super) fn p5_commit(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let k = s.slot_of(t);
        if s.slots[k] != claimed(s, t) {
            out.flaw(t, "P5 store READY", "a producer's store goes over a foreign word");
            return;
        }
        out.step(t, "P5 store READY", |n| {
            n.slots[k].kind = Kind::Ready;
            n.fates[t].committed |= 1 << n.threads[t].sent;
            n.threads[t].sent += 1;
            n.threads[t].cursor += 1;
            n.threads[t].at = At::P6Hint;
        });
    }

    pub(super) fn p6_hint(&self, _: &State, t: usize, out: &mut Successors<'_, State>) {
        let ahead = u8::from(self.drops(Broken::HintAhead));
        out.step(t, "P6 hint", |n| {
            n.hint_producers = n.threads[t].cursor + ahead;
            n.threads[t].at = At::P1Look;
        });
        out.step(t, "P6 no hint", |n| n.threads[t].at = At::P1Look);
    }
}

/// The word with which thread `t` claims its position.
fn claimed(s: &State, t: usize) -> Word {
    Word { kind: Kind::Claimed, owner: t as u8, seq: s.threads[t].cursor }
}
