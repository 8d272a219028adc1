//! Recovery of a dead process: its claim, phase A (reservations) and phase C (the span).

use super::span::given_up;
use super::{At, Broken, Desc, Form, Heap, Holder, Home, Kind, Order, Recovery, State, rest};
use crash_check::explore::Successors;

impl Heap {
    fn phases(&self) -> &'static [At] {
        use At::{RecA1, RecB1, RecB2, RecB3, RecC1, RecEnd};
        match self.config.order {
            Order::Abc if self.drops(Broken::IncomingFinishedFirst) => {
                &[RecA1, RecB1, RecB3, RecB2, RecC1, RecEnd]
            }
            Order::Abc => &[RecA1, RecB1, RecB2, RecB3, RecC1, RecEnd],
            Order::Bac => &[RecB1, RecB2, RecB3, RecA1, RecC1, RecEnd],
            Order::Acb => &[RecA1, RecC1, RecB1, RecB2, RecB3, RecEnd],
        }
    }

    /// Phase `done` is over: the next begins.
    pub(super) fn next_phase(&self, n: &mut State, p: usize, done: At) {
        let phases = self.phases();
        let place = phases.iter().position(|&phase| phase == done);
        n.actors[p].cursor = 0;
        n.actors[p].at = place.map_or(At::RecEnd, |place| phases[place + 1]);
    }

    pub(super) fn begin_recovery(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        for dead in 0..self.config.processes {
            let open = match s.actors[dead].recovery {
                Recovery::None => true,
                Recovery::By(other) => s.actors[other as usize].at == At::Dead,
                Recovery::Done => false,
            };
            if s.actors[dead].at == At::Dead && open {
                out.step(p, "claims the recovery", |n| {
                    n.actors[dead].recovery = Recovery::By(p as u8);
                    n.actors[p].target = dead as u8;
                    n.actors[p].at = self.phases()[0];
                });
            }
        }
    }

    pub(super) fn rec_a1(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let its_span = s.desc == Desc::Owned(a.target);
        let in_reserved = |b: &u8| s.reserved >> b & 1 == 1;
        let block = (a.cursor..self.config.blocks as u8).find(in_reserved);
        let Some(b) = block.filter(|_| its_span) else {
            out.step(p, "A no more reservations", |n| self.next_phase(n, p, At::RecA1));
            return;
        };
        let home = s.blocks[b as usize];
        let (label, at) = if s.allocated >> b & 1 == 0 {
            ("A1 A is clear", At::RecA5)
        } else if home.home == Home::Freeing {
            ("A1 home = FREEING", At::RecA4)
        } else if self.drops(Broken::ReservedMeansUnpublished) {
            ("A1 reserved: taken for unpublished", At::RecA4)
        } else {
            ("A1 read home = (c, x)", At::RecA2)
        };
        out.step(p, label, |n| {
            n.actors[p].cursor = b;
            n.actors[p].block = b;
            if let (At::RecA2, Home::Cell(c)) = (at, home.home) {
                n.actors[p].cell = c;
                n.actors[p].stamp = home.stamp;
            }
            n.actors[p].at = at;
        });
    }

    pub(super) fn rec_a2(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        if s.blocks[a.block as usize].home == Home::Never {
            out.flaw(p, "A2 read the cell", "recovery relies on a home that was never written");
            return;
        }
        let cell = s.cells[a.cell as usize];
        let holds = cell.kind != Kind::Empty && (cell.block, cell.stamp) == (a.block, a.stamp);
        let label = if holds { "A2 the cell holds it" } else { "A2 the cell does not hold it" };
        out.step(p, label, |n| n.actors[p].at = if holds { At::RecA5 } else { At::RecA3 });
    }

    pub(super) fn rec_a3(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let block = s.blocks[a.block as usize];
        let unpublished = match self.config.form {
            Form::ReservedBitmap => s.reserved >> a.block & 1 == 1,
            Form::HomeWord | Form::Entry => {
                self.drops(Broken::FreeingIsNoCas)
                    || (block.home, block.stamp) == (Home::Cell(a.cell), a.stamp)
            }
        };
        if unpublished {
            out.step(p, "A3 CAS home → FREEING", |n| {
                n.blocks[a.block as usize].home = Home::Freeing;
                n.actors[p].at = At::RecA4;
            });
        } else {
            out.step(p, "A3 CAS lost: moved", |n| n.actors[p].at = At::RecA5);
        }
    }

    pub(super) fn rec_a4(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        out.step(p, "A4 A &= !b", |n| {
            n.allocated &= !(1 << a.block);
            given_up(n, a.block as usize, Holder::Process(a.target));
            n.actors[p].at = At::RecA5;
        });
    }

    pub(super) fn rec_a5(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let b = s.actors[p].block;
        out.step(p, "A5 R &= !b", |n| {
            n.reserved &= !(1 << b);
            n.actors[p].cursor += 1;
            n.actors[p].at = At::RecA1;
        });
    }

    pub(super) fn rec_c1(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if s.desc != Desc::Owned(s.actors[p].target) {
            out.step(p, "C no span of its", |n| self.next_phase(n, p, At::RecC1));
        } else if self.config.put_off {
            out.step(p, "C desc ← ORPHAN", |n| {
                n.desc = Desc::Orphan;
                self.next_phase(n, p, At::RecC1);
            });
        } else {
            out.step(p, "C drain 1 r ← F", |n| {
                n.actors[p].drained = n.freed;
                n.actors[p].at = At::RecC2;
            });
        }
    }

    pub(super) fn rec_c2(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "C drain 2 A &= !r", |n| {
            n.allocated &= !n.actors[p].drained;
            n.actors[p].at = At::RecC3;
        });
    }

    pub(super) fn rec_c3(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "C drain 3 F.fetch_and(!r)", |n| {
            n.freed &= !n.actors[p].drained;
            n.actors[p].at = At::RecC4;
        });
    }

    pub(super) fn rec_c4(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "C hand the span on", |n| {
            n.desc = if n.allocated == 0 { Desc::Free } else { Desc::Orphan };
            n.actors[p].drained = 0;
            self.next_phase(n, p, At::RecC1);
        });
    }

    pub(super) fn rec_end(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let dead = s.actors[p].target as usize;
        out.step(p, "recovered", |n| {
            n.actors[dead].recovery = Recovery::Done;
            rest(n, p);
        });
    }
}
