//! New, drop, send, take, and the span's drain.

use super::{Arc, At, Broken, Cell, Desc, EMPTY, K, Kind, State};
use super::{flight, free, holder, rest};
use crash_check::explore::Successors;

impl Arc {
    pub(super) fn idle(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let owner = s.desc == Desc::Owned(p as u8);
        if owner && a.ops > 0 && !s.allocated && a.entry.is_none() {
            out.step(p, "new 1 entry ← (b, x)", |n| {
                n.actors[p].entry = Some(n.home + 1);
                n.actors[p].ops -= 1;
                n.actors[p].at = At::New2;
            });
        }
        if owner && s.freed {
            out.step(p, "drain 1 load F", |n| n.actors[p].at = At::DrainA);
        }
        if s.desc == Desc::Orphan && a.ops > 0 {
            out.step(p, "claims the orphan span", |n| {
                n.desc = Desc::Owned(p as u8);
                n.actors[p].ops -= 1;
                n.actors[p].at = At::AdoptDrain;
            });
        }
        if a.entry.is_some() {
            out.step(p, "drops its last clone", |n| n.actors[p].at = At::Drop1);
        }
        if a.ops > 0 {
            self.begin_transfer(s, p, out);
        }
    }

    fn begin_transfer(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        for c in 0..self.cells {
            match (s.actors[p].entry, s.cells[c].kind) {
                (Some(stamp), Kind::Empty) => {
                    for k in 0..self.flights as u8 {
                        self.send_1_cell(p, c, k, stamp, out);
                    }
                }
                (None, Kind::Full) => self.take_1_lease(s, p, c, out),
                _ => {}
            }
        }
    }

    pub(super) fn new_2_home(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let stamp = s.actors[p].entry.unwrap_or_default();
        out.step(p, "new 2 home ← x", |n| {
            n.home = stamp;
            n.actors[p].at = At::New3;
        });
    }

    pub(super) fn new_3_mask(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "new 3 mask ← {me}, fl ← 0", |n| {
            n.mask = holder(p);
            n.flights = [None; K];
            n.actors[p].at = At::New4;
        });
    }

    pub(super) fn new_4_allocate(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if s.alive.is_some() {
            out.flaw(p, "new 4 A |= b", "the block is allocated while an Arc lives in it");
            return;
        }
        out.step(p, "new 4 A |= b", |n| {
            n.allocated = true;
            n.alive = Some(n.home);
            rest(n, p);
        });
    }

    pub(super) fn adopt_drain(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let at = if s.freed { At::DrainA } else { At::Idle };
        out.step(p, "adopter's drain 1 load F", |n| n.actors[p].at = at);
    }

    pub(super) fn drain_a(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "drain 2 A &= !b", |n| {
            n.allocated = false;
            n.actors[p].at = At::DrainF;
        });
    }

    pub(super) fn drain_f(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "drain 3 F &= !b", |n| {
            n.freed = false;
            rest(n, p);
        });
    }

    pub(super) fn drop_1_mask(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let sole = s.mask == holder(p);
        if self.drops(Broken::ZeroThenFree) {
            out.step(p, "drop: fetch_and(mask, !me)", |n| {
                n.mask &= !holder(p);
                let last = n.mask == 0;
                n.actors[p].at = if last { At::DropFreeAfterZero } else { At::DropEntry };
            });
        } else if sole && self.drops(Broken::EntryClearedBeforeFree) {
            out.step(p, "drop: entry ← 0, early", |n| {
                n.actors[p].entry = None;
                n.actors[p].at = At::DropFreeLate;
            });
        } else if sole {
            out.step(p, "drop 1 sole holder", |n| n.actors[p].at = At::DropFree);
        } else {
            out.step(p, "drop 1 load mask", |n| {
                n.actors[p].mask = n.mask;
                n.actors[p].at = At::DropClear;
            });
        }
    }

    pub(super) fn drop_2_clear(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let same = s.mask == s.actors[p].mask;
        out.step(p, if same { "drop 2 CAS mask − me" } else { "drop 2 CAS lost" }, |n| {
            if same {
                n.mask &= !holder(p);
            }
            n.actors[p].mask = 0;
            n.actors[p].at = if same { At::DropEntry } else { At::Drop1 };
        });
    }

    pub(super) fn drop_2_free(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "drop 2 free, bit set", |n| {
            free(n, p, p, false);
            n.actors[p].at = At::DropEntry;
        });
    }

    pub(super) fn drop_3_entry(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "drop 3 entry ← 0", |n| {
            n.actors[p].entry = None;
            rest(n, p);
        });
    }

    pub(super) fn drop_free_late(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "drop: free, late", |n| {
            free(n, p, p, false);
            rest(n, p);
        });
    }

    pub(super) fn drop_free_after_zero(
        &self,
        _: &State,
        p: usize,
        out: &mut Successors<'_, State>,
    ) {
        out.step(p, "drop: free after zero", |n| {
            free(n, p, p, true);
            n.actors[p].at = At::DropEntry;
        });
    }

    fn send_1_cell(&self, p: usize, c: usize, k: u8, stamp: u8, out: &mut Successors<'_, State>) {
        out.step(p, "send 1 CAS cell → INCOMING", |n| {
            n.cells[c] = Cell { kind: Kind::Incoming(p as u8), flight: k, stamp };
            n.actors[p].cell = c as u8;
            n.actors[p].flight = k;
            n.actors[p].ops -= 1;
            n.actors[p].at = At::Send2;
        });
    }

    pub(super) fn send_2_flight(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let place = Some(a.cell);
        if self.drops(Broken::FlightWithoutCell) && s.mask & flight(a.flight) == 0 {
            out.step(p, "send: set the flight bit alone", |n| {
                n.mask |= flight(a.flight);
                n.flights[a.flight as usize] = place;
                n.actors[p].at = At::Send4;
            });
        } else if !self.drops(Broken::FlightWithoutCell) && s.flights[a.flight as usize].is_none() {
            out.step(p, "send 2 CAS fl[k] 0 → c", |n| {
                n.flights[a.flight as usize] = place;
                n.actors[p].at = At::Send3;
            });
        } else {
            out.step(p, "send 2 flight is busy", |n| n.actors[p].at = At::SendAbort);
        }
    }

    pub(super) fn send_3_mask(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let k = s.actors[p].flight;
        out.step(p, "send 3 mask |= FLk", |n| {
            n.mask |= flight(k);
            n.actors[p].at = At::Send4;
        });
    }

    pub(super) fn send_4_full(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let c = s.actors[p].cell as usize;
        out.step(p, "send 4 cell → FULL", |n| {
            n.cells[c].kind = Kind::Full;
            rest(n, p);
        });
    }

    pub(super) fn send_abort(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let c = s.actors[p].cell as usize;
        out.step(p, "send: cell ← EMPTY, give up", |n| {
            n.cells[c] = EMPTY;
            rest(n, p);
        });
    }

    /// Entry, own bit, flight bit: the order that matters in a take.
    fn take_order(&self) -> [At; 4] {
        use At::{Take2, Take3, Take4, Take5};
        if self.drops(Broken::BitBeforeEntry) {
            [Take3, Take2, Take4, Take5]
        } else if self.drops(Broken::FlightClearedFirst) {
            [Take4, Take2, Take3, Take5]
        } else {
            [Take2, Take3, Take4, Take5]
        }
    }

    fn after_take(&self, done: At) -> At {
        let order = self.take_order();
        order.iter().position(|&step| step == done).map_or(order[0], |place| order[place + 1])
    }

    fn take_1_lease(&self, s: &State, p: usize, c: usize, out: &mut Successors<'_, State>) {
        let k = s.cells[c].flight;
        out.step(p, "take 1 CAS cell → LEASED", |n| {
            n.cells[c].kind = Kind::Leased(p as u8);
            n.actors[p].cell = c as u8;
            n.actors[p].flight = k;
            n.actors[p].ops -= 1;
            n.actors[p].at = self.take_order()[0];
        });
    }

    pub(super) fn take_2_entry(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let stamp = s.cells[s.actors[p].cell as usize].stamp;
        out.step(p, "take 2 entry ← (b, x)", |n| {
            n.actors[p].entry = Some(stamp);
            n.actors[p].at = self.after_take(At::Take2);
        });
    }

    pub(super) fn take_3_mask(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "take 3 mask |= me", |n| {
            n.mask |= holder(p);
            n.actors[p].at = self.after_take(At::Take3);
        });
    }

    pub(super) fn take_4_accept(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let k = s.actors[p].flight;
        out.step(p, "take 4 mask &= !FLk: accepted", |n| {
            n.mask &= !flight(k);
            n.actors[p].at = self.after_take(At::Take4);
        });
    }

    pub(super) fn take_5_place(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let k = s.actors[p].flight as usize;
        out.step(p, "take 5 fl[k] ← 0", |n| {
            n.flights[k] = None;
            n.actors[p].at = At::Take6;
        });
    }

    pub(super) fn take_6_empty(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let c = s.actors[p].cell as usize;
        out.step(p, "take 6 cell ← EMPTY", |n| {
            n.cells[c] = EMPTY;
            rest(n, p);
        });
    }
}
