//! Reserve and publish (steps 1–6), drop, and the form that plans the cell before the block.

use super::span::given_up;
use super::{At, Broken, Cell, Form, Heap, Holder, Home, Kind, State, rest};
use crash_check::explore::Successors;

impl Heap {
    fn reserve_order(&self) -> [At; 4] {
        use At::{Publish5, Reserve1, Reserve2, Reserve3};
        if self.drops(Broken::AllocatedBeforeReserved) {
            [Reserve2, Reserve3, Reserve1, Publish5]
        } else if self.drops(Broken::HomeAfterAllocated) {
            [Reserve1, Reserve3, Reserve2, Publish5]
        } else {
            [Reserve1, Reserve2, Reserve3, Publish5]
        }
    }

    fn after(&self, done: At) -> At {
        let order = self.reserve_order();
        order.iter().position(|&step| step == done).map_or(order[0], |place| order[place + 1])
    }

    fn free_blocks(&self, s: &State) -> impl Iterator<Item = usize> {
        let taken = s.allocated | s.reserved;
        (0..self.config.blocks).filter(move |b| taken >> b & 1 == 0)
    }

    /// Chooses a destination and, unless that is planned first, a block.
    pub(super) fn begin_reserve(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if s.actors[p].ops == 0 {
            return;
        }
        let by_entry = self.config.form == Form::Entry;
        for c in self.destinations(s, p).filter(|&c| !by_entry || self.is_hand(c)) {
            if self.config.plan {
                out.step(p, "plans a destination", |n| {
                    n.actors[p].ops -= 1;
                    n.actors[p].cell = c as u8;
                    n.actors[p].stamp = n.cell_stamps[c] + 1;
                    n.actors[p].at = At::PlanPick;
                });
                continue;
            }
            for b in self.free_blocks(s) {
                let stamp = self.next_stamp(s, b, c);
                out.step(p, "chooses block and destination", |n| {
                    n.actors[p].ops -= 1;
                    n.actors[p].block = b as u8;
                    n.actors[p].cell = c as u8;
                    n.actors[p].stamp = stamp;
                    n.actors[p].at = self.reserve_order()[0];
                });
            }
        }
    }

    pub(super) fn plan_pick(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let mut none = true;
        for b in self.free_blocks(s) {
            none = false;
            out.step(p, "chooses a block for the plan", |n| {
                n.actors[p].block = b as u8;
                if !self.drops(Broken::StampByCell) {
                    n.actors[p].stamp = n.blocks[b].stamp + 1;
                }
                n.actors[p].at = self.reserve_order()[0];
            });
        }
        if none && s.freed != 0 {
            out.step(p, "no room: drain 1 r ← F", |n| {
                n.actors[p].drained = n.freed;
                n.actors[p].at = At::PlanDrainA;
            });
        } else if none {
            out.step(p, "no room", |n| rest(n, p));
        }
    }

    pub(super) fn plan_drain_a(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "no room: drain 2 A &= !r", |n| {
            n.allocated &= !n.actors[p].drained;
            n.actors[p].at = At::PlanDrainF;
        });
    }

    pub(super) fn plan_drain_f(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "no room: drain 3 F.fetch_and(!r)", |n| {
            n.freed &= !n.actors[p].drained;
            n.actors[p].drained = 0;
            n.actors[p].at = At::PlanPick;
        });
    }

    pub(super) fn reserve_1_bit(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        if self.config.form == Form::Entry {
            out.step(p, "1 hand ← (b, x)", |n| {
                let (kind, epoch) = (Kind::Full, n.epoch);
                n.cells[a.cell as usize] = Cell { kind, block: a.block, stamp: a.stamp, epoch };
                n.actors[p].at = self.after(At::Reserve1);
            });
            return;
        }
        out.step(p, "1 R |= b", |n| {
            n.reserved |= 1 << a.block;
            n.actors[p].at = self.after(At::Reserve1);
        });
    }

    pub(super) fn reserve_2_home(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        out.step(p, "2 home ← (c, x)", |n| {
            n.blocks[a.block as usize].home = Home::Cell(a.cell);
            n.blocks[a.block as usize].stamp = a.stamp;
            n.actors[p].at = self.after(At::Reserve2);
        });
    }

    pub(super) fn reserve_3_allocate(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let b = s.actors[p].block as usize;
        if s.blocks[b].holder != Holder::Nobody {
            out.flaw(p, "3 A |= b", format!("block {b} is allocated while it is held"));
            return;
        }
        out.step(p, "3 A |= b", |n| {
            n.allocated |= 1 << b;
            n.blocks[b].holder = Holder::Process(p as u8);
            n.actors[p].at = self.after(At::Reserve3);
            if self.config.form == Form::Entry {
                n.blocks[b].holder = Holder::Cell(n.actors[p].cell);
                n.actors[p].at = At::Use;
            }
        });
    }

    pub(super) fn publish_5_cell(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let c = a.cell as usize;
        if s.cells[c].kind == Kind::Empty {
            out.step(p, "5 CAS cell EMPTY → FULL", |n| {
                let (block, stamp, epoch) = (a.block, a.stamp, n.epoch);
                n.cells[c] = Cell { kind: Kind::Full, block, stamp, epoch };
                n.cell_stamps[c] += u8::from(self.drops(Broken::StampByCell));
                n.blocks[block as usize].holder = Holder::Cell(a.cell);
                n.actors[p].at = At::Publish6;
                // In the bitmap form the taker clears the bit.
                if self.config.form == Form::ReservedBitmap && !self.is_hand(c) {
                    rest(n, p);
                }
            });
        } else {
            out.step(p, "5 CAS lost: the cell is full", |n| n.actors[p].at = At::Drop1);
        }
        out.step(p, "drops the reservation", |n| n.actors[p].at = At::Drop1);
    }

    pub(super) fn publish_6_clear(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let b = s.actors[p].block;
        out.step(p, "6 R &= !b", |n| {
            n.reserved &= !(1 << b);
            rest(n, p);
        });
    }

    pub(super) fn drop_1(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if self.drops(Broken::DropClearsReservedFirst) {
            self.drop_reserved(s, p, At::Drop2, out);
        } else {
            self.drop_allocated(s, p, At::Drop2, out);
        }
    }

    pub(super) fn drop_2(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if self.drops(Broken::DropClearsReservedFirst) {
            self.drop_allocated(s, p, At::Idle, out);
        } else {
            self.drop_reserved(s, p, At::Idle, out);
        }
    }

    fn drop_allocated(&self, s: &State, p: usize, then: At, out: &mut Successors<'_, State>) {
        let b = s.actors[p].block as usize;
        out.step(p, "drop A &= !b", |n| {
            n.allocated &= !(1 << b);
            given_up(n, b, Holder::Process(p as u8));
            go_on(n, p, then);
        });
    }

    fn drop_reserved(&self, s: &State, p: usize, then: At, out: &mut Successors<'_, State>) {
        let b = s.actors[p].block;
        out.step(p, "drop R &= !b", |n| {
            n.reserved &= !(1 << b);
            go_on(n, p, then);
        });
    }
}

fn go_on(n: &mut State, p: usize, then: At) {
    n.actors[p].at = then;
    if then == At::Idle {
        rest(n, p);
    }
}
