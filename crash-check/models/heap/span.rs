//! The span: claim, release, drain, free.

use super::{At, Broken, Desc, Heap, Holder, State, rest};
use crash_check::explore::Successors;

impl Heap {
    pub(super) fn claim_span(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let mine = Desc::Owned(p as u8);
        match s.desc {
            Desc::Free => out.step(p, "CAS desc FREE → OWNED", |n| {
                n.desc = mine;
                n.epoch += u8::from(self.config.classes);
                n.actors[p].ops -= 1;
            }),
            Desc::Orphan => out.step(p, "CAS desc ORPHAN → OWNED", |n| {
                n.desc = mine;
                n.actors[p].ops -= 1;
                if !self.drops(Broken::AdopterDoesNotDrain) {
                    n.actors[p].at = At::Drain1;
                }
            }),
            Desc::Owned(owner) => {
                let dead = s.actors[owner as usize].at == At::Dead;
                if dead && self.drops(Broken::SpanOfDeadClaimed) {
                    out.step(p, "CAS desc OWNED(dead) → OWNED", |n| {
                        n.desc = mine;
                        n.actors[p].ops -= 1;
                        n.actors[p].at = At::Drain1;
                    });
                }
            }
        }
    }

    pub(super) fn release(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if s.allocated == 0 && s.reserved == 0 {
            out.step(p, "release: desc ← FREE", |n| n.desc = Desc::Free);
        }
    }

    pub(super) fn begin_drain(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if s.freed != 0 {
            self.drain_1(s, p, out);
        }
    }

    pub(super) fn drain_1(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        let swap = self.drops(Broken::DrainBySwap);
        out.step(p, if swap { "drain 1 r ← swap F" } else { "drain 1 r ← F" }, |n| {
            n.actors[p].drained = n.freed;
            if swap {
                n.freed = 0;
            }
            n.actors[p].at = At::Drain2;
        });
    }

    pub(super) fn drain_2(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "drain 2 A &= !r", |n| {
            n.allocated &= !n.actors[p].drained;
            n.actors[p].at = At::Drain3;
        });
    }

    pub(super) fn drain_3(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "drain 3 F.fetch_and(!r)", |n| {
            n.freed &= !n.actors[p].drained;
            rest(n, p);
        });
    }
}

/// Frees block `b`: in the own span by clearing A, in another's by setting F.
pub(super) fn free(n: &mut State, p: usize, b: usize) {
    if n.desc == Desc::Owned(p as u8) {
        n.allocated &= !(1 << b);
    } else {
        n.freed |= 1 << b;
    }
}

/// For the checker: `holder` has given block `b` up.
pub(super) fn given_up(n: &mut State, b: usize, holder: Holder) {
    if n.blocks[b].holder == holder {
        n.blocks[b].holder = Holder::Nobody;
    }
}
