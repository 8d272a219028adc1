//! A death, and steps V1–V3 of who recovers it.

use super::{
    At, Broken, Kind, N, PRODUCERS, Recovery, Slots, State, T, Thread, Word, free, thread,
};
use crash_check::explore::Successors;

/// Proven death of thread `t`. What a consumer had taken and not freed goes with it.
pub(super) fn die(n: &mut State, t: usize) {
    n.deaths -= 1;
    let Thread { at, intent, recovery, .. } = n.threads[t];
    if matches!(at, At::T4Copy | At::T5Free)
        && let Some(message) = n.payload[n.slot_of(t)]
    {
        n.fates[message.producer as usize].lost |= 1 << message.number;
    }
    n.threads[t] = Thread { intent, recovery, ..thread(At::Dead) };
}

impl Slots {
    /// A thread at the start of its loop may take up the recovery of a dead one, or inherit it.
    pub(super) fn v1_claim(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        for dead in 0..T {
            let open = match s.threads[dead].recovery {
                Recovery::None => true,
                Recovery::By(other) => s.threads[other as usize].at == At::Dead,
                Recovery::Done => false,
            };
            if s.threads[dead].at == At::Dead && open {
                out.step(t, "V1 claim the recovery", |n| {
                    n.threads[dead].recovery = Recovery::By(t as u8);
                    n.threads[t].target = dead as u8;
                    n.threads[t].at = At::V1Intent;
                });
            }
        }
    }

    pub(super) fn v2_repair(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let dead = s.threads[t].target;
        let slot = s.threads[dead as usize].intent.map(|position| position as usize % N);
        let held = slot.filter(|&k| {
            let word = s.slots[k];
            word.owner == dead && matches!(word.kind, Kind::Claimed | Kind::Taking)
        });
        let Some(k) = held else {
            out.step(t, "V1 intent: nothing held", |n| n.threads[t].at = At::V3Done);
            return;
        };
        let repaired = self.repaired(s.slots[k], t);
        out.step(t, "V2 give the slot back", |n| {
            n.slots[k] = repaired;
            n.threads[t].at = At::V3Done;
        });
    }

    /// What recovery by `t` turns the word of a dead owner into.
    fn repaired(&self, word: Word, t: usize) -> Word {
        let next_lap = free(word.seq + N as u8);
        match word.kind {
            Kind::Claimed if self.drops(Broken::FreedForTheSameLap) => free(word.seq),
            Kind::Claimed if self.tombstones => Word { kind: Kind::Tomb, owner: t as u8, ..word },
            Kind::Taking if self.drops(Broken::ReadyAgain) => {
                Word { kind: Kind::Ready, owner: t as u8, ..word }
            }
            _ => next_lap,
        }
    }

    pub(super) fn v3_done(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let dead = s.threads[t].target as usize;
        out.step(t, "V3 recovered", |n| {
            n.threads[dead].recovery = Recovery::Done;
            n.threads[dead].intent = None;
            n.threads[t].target = 0;
            n.threads[t].at = if t < PRODUCERS { At::P1Look } else { At::T1Look };
        });
    }
}
