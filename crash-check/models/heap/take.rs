//! Take (T1), acknowledge and free (A2–A4), give back (nack), move (M2–M5).

use super::span::{free, given_up};
use super::{At, Broken, Cell, EMPTY, Form, Heap, Holder, Home, Kind, State, pick_up, rest};
use crash_check::explore::Successors;

impl Heap {
    pub(super) fn t1_take(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let no_lease = self.drops(Broken::NoLease);
        for c in 0..self.config.cells {
            if s.cells[c].kind != Kind::Full {
                continue;
            }
            if !no_lease {
                out.step(p, "T1 CAS FULL → LEASED", |n| {
                    n.actors[p].ops -= 1;
                    let bitmap = self.config.form == Form::ReservedBitmap;
                    let at = if bitmap { At::ClearReserved } else { At::Use };
                    pick_up(n, p, c, at);
                    n.cells[c].kind = Kind::Leased(p as u8);
                });
            } else if s.cells[self.hand(p)].kind == Kind::Empty {
                out.step(p, "T1 reads the cell, no lease", |n| {
                    n.actors[p].ops -= 1;
                    pick_up(n, p, c, At::NoLease1);
                });
            }
        }
    }

    /// The block is leased or in the hand: free it, give it back, or move it.
    pub(super) fn use_block(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let c = a.cell as usize;
        if self.is_hand(c) {
            out.step(p, "will free what its hand holds", |n| n.actors[p].at = self.free_order()[0]);
        } else {
            out.step(p, "A2 cell → DONE", |n| {
                n.cells[c].kind = Kind::Done(p as u8);
                n.actors[p].at = self.free_order()[0];
            });
            out.step(p, "nack: LEASED → FULL", |n| {
                n.cells[c].kind = Kind::Full;
                rest(n, p);
            });
        }
        if a.ops > 0 {
            for d in self.destinations(s, p).filter(|&d| d != c) {
                self.m2_incoming(s, p, d, out);
            }
        }
    }

    fn free_order(&self) -> [At; 2] {
        let empty_first = self.drops(Broken::EmptyBeforeFree);
        if empty_first { [At::A4Empty, At::A3Free] } else { [At::A3Free, At::A4Empty] }
    }

    fn free_on(&self, n: &mut State, p: usize, done: At) {
        if self.free_order()[0] == done {
            n.actors[p].at = self.free_order()[1];
        } else {
            rest(n, p);
        }
    }

    pub(super) fn a3_free(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        out.step(p, "A3 free b (A &= !b, or F |= b)", |n| {
            free(n, p, a.block as usize);
            given_up(n, a.block as usize, Holder::Cell(a.cell));
            self.free_on(n, p, At::A3Free);
        });
    }

    pub(super) fn a4_empty(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let c = s.actors[p].cell as usize;
        out.step(p, "A4 cell ← EMPTY", |n| {
            n.cells[c] = EMPTY;
            self.free_on(n, p, At::A4Empty);
        });
    }

    fn move_order(&self) -> [At; 3] {
        use At::{M3Home, M4Source, M5Open};
        if self.drops(Broken::SourceEmptyBeforeHome) {
            [M4Source, M3Home, M5Open]
        } else if self.drops(Broken::OpenBeforeSourceEmpty) {
            [M3Home, M5Open, M4Source]
        } else {
            [M3Home, M4Source, M5Open]
        }
    }

    fn move_on(&self, n: &mut State, p: usize, done: At) {
        let order = self.move_order();
        match order.iter().position(|&step| step == done) {
            Some(place) if place + 1 < order.len() => n.actors[p].at = order[place + 1],
            _ => rest(n, p),
        }
    }

    fn m2_incoming(&self, s: &State, p: usize, d: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let by_cell = self.drops(Broken::StampByCell);
        let stamp = if by_cell { s.cell_stamps[d] + 1 } else { a.stamp + 1 };
        let epoch = s.cells[a.cell as usize].epoch;
        out.step(p, "M2 CAS dst EMPTY → INCOMING", |n| {
            let kind = Kind::Incoming(p as u8);
            n.cells[d] = Cell { kind, block: a.block, stamp, epoch };
            n.actors[p].dest = d as u8;
            n.actors[p].ops -= 1;
            n.actors[p].at = self.move_order()[0];
        });
    }

    pub(super) fn m3_home(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let b = a.block as usize;
        out.step(p, "M3 home ← (dst, x + 1)", |n| {
            n.blocks[b].home = Home::Cell(a.dest);
            n.blocks[b].stamp = n.cells[a.dest as usize].stamp;
            if n.blocks[b].holder == Holder::Cell(a.cell) {
                n.blocks[b].holder = Holder::Cell(a.dest);
            }
            self.move_on(n, p, At::M3Home);
        });
    }

    pub(super) fn m4_source(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let c = s.actors[p].cell as usize;
        out.step(p, "M4 src ← EMPTY", |n| {
            n.cells[c] = EMPTY;
            self.move_on(n, p, At::M4Source);
        });
    }

    pub(super) fn m5_open(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let d = s.actors[p].dest as usize;
        out.step(p, "M5 dst → FULL", |n| {
            n.cell_stamps[d] += u8::from(self.drops(Broken::StampByCell));
            n.cells[d].kind = Kind::Full;
            self.move_on(n, p, At::M5Open);
        });
    }
}

/// The form in which the taker clears the block's R bit.
impl Heap {
    pub(super) fn clear_reserved(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        if self.drops(Broken::RemovedBeforeCleared) && !self.is_hand(a.cell as usize) {
            out.step(p, "removes b from the cell first", |n| {
                go_to_hand(n, p, self.hand(p));
                n.actors[p].at = At::RemoveFirst;
            });
            return;
        }
        out.step(p, "R.fetch_and(!b)", |n| {
            n.reserved &= !(1 << a.block);
            n.actors[p].at = At::Use;
        });
    }

    pub(super) fn remove_first(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let b = s.actors[p].block;
        out.step(p, "R.fetch_and(!b), late", |n| {
            n.reserved &= !(1 << b);
            n.actors[p].at = At::Use;
        });
    }

    pub(super) fn no_lease_1(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let b = s.actors[p].block;
        out.step(p, "R.fetch_and(!b) without a lease", |n| {
            n.reserved &= !(1 << b);
            n.actors[p].at = At::NoLease2;
        });
    }

    pub(super) fn no_lease_2(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let cell = s.cells[a.cell as usize];
        let same = cell.kind == Kind::Full && (cell.block, cell.stamp) == (a.block, a.stamp);
        if same {
            out.step(p, "CAS cell → EMPTY, into the hand", |n| {
                go_to_hand(n, p, self.hand(p));
                n.actors[p].at = At::Use;
            });
        } else {
            out.step(p, "CAS cell lost", |n| rest(n, p));
        }
    }
}

/// The block goes from its cell into the hand in one step, as the bitmap form has it.
fn go_to_hand(n: &mut State, p: usize, hand: usize) {
    let a = n.actors[p];
    let b = a.block as usize;
    n.cells[hand] = Cell { kind: Kind::Full, ..n.cells[a.cell as usize] };
    n.cells[a.cell as usize] = EMPTY;
    if n.blocks[b].holder == Holder::Cell(a.cell) {
        n.blocks[b].holder = Holder::Cell(hand as u8);
    }
    n.blocks[b].home = Home::Cell(hand as u8);
    n.actors[p].cell = hand as u8;
}
