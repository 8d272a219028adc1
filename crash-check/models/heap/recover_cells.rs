//! Recovery of a dead process, phase B: the cells in its name, its hand included.
//!
//! Where spans are re-used, a stale cell's block is another's business by now, and F, A and home
//! may read as anything: the model then lets the reads go either way, and only the epoch tells.

use super::span::{free, given_up};
use super::{At, Broken, Desc, EMPTY, Form, Heap, Holder, Home, Kind, State};
use crash_check::explore::Successors;

impl Heap {
    /// The first cell from `from` on that stands in the name of `dead`.
    fn named(&self, s: &State, dead: u8, from: u8, kind: impl Fn(Kind) -> bool) -> Option<usize> {
        (from as usize..self.all_cells()).find(|&c| {
            let its = match s.cells[c].kind {
                Kind::Empty => false,
                _ if self.is_hand(c) => c == self.hand(dead as usize),
                Kind::Full => false,
                Kind::Leased(p) | Kind::Done(p) | Kind::Incoming(p) => p == dead,
            };
            its && kind(s.cells[c].kind)
        })
    }

    /// The block's span was claimed anew since the cell was written.
    fn is_stale(&self, s: &State, c: usize) -> bool {
        self.config.classes && s.cells[c].epoch != s.epoch
    }

    fn is_home(s: &State, c: usize) -> bool {
        let cell = s.cells[c];
        let block = s.blocks[cell.block as usize];
        (block.home, block.stamp) == (Home::Cell(c as u8), cell.stamp)
    }

    pub(super) fn rec_b1(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let incoming = |kind| matches!(kind, Kind::Incoming(_));
        let Some(c) = self.named(s, a.target, a.cursor, incoming) else {
            out.step(p, "B1 done", |n| self.next_phase(n, p, At::RecB1));
            return;
        };
        let stale = self.is_stale(s, c);
        if (stale && self.drops(Broken::NoEpoch)) || (!stale && Self::is_home(s, c)) {
            out.step(p, "B1 home = dst: keep", |n| n.actors[p].cursor = c as u8 + 1);
        }
        if stale || !Self::is_home(s, c) {
            out.step(p, "B1 home ≠ dst, or epoch", |n| {
                n.actors[p].cursor = c as u8;
                n.actors[p].at = At::RecB1Empty;
            });
        }
    }

    pub(super) fn rec_b1_empty(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "B1 dst ← EMPTY", |n| {
            n.cells[n.actors[p].cursor as usize] = EMPTY;
            n.actors[p].cursor += 1;
            n.actors[p].at = At::RecB1;
        });
    }

    pub(super) fn rec_b2(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let hand = self.hand(a.target as usize);
        let found = (a.cursor as usize..self.all_cells()).find(|&c| {
            let incoming = matches!(s.cells[c].kind, Kind::Incoming(_)) && c != hand;
            !incoming && self.named(s, a.target, c as u8, |_| true) == Some(c)
        });
        match found {
            None => out.step(p, "B2 done", |n| self.next_phase(n, p, At::RecB2)),
            Some(c) if matches!(s.cells[c].kind, Kind::Leased(_)) => {
                self.rec_b2_leased(s, p, c, out);
            }
            Some(c) => self.rec_b2_freed(s, p, c, out),
        }
    }

    fn rec_b2_leased(&self, s: &State, p: usize, c: usize, out: &mut Successors<'_, State>) {
        let stale = self.is_stale(s, c);
        if (stale && self.drops(Broken::NoEpoch)) || (!stale && Self::is_home(s, c)) {
            out.step(p, "B2 LEASED at home → FULL", |n| {
                n.cells[c].kind = Kind::Full;
                n.actors[p].cursor = c as u8 + 1;
            });
        }
        if stale || !Self::is_home(s, c) {
            out.step(p, "B2 LEASED, stale → EMPTY", |n| {
                n.cells[c] = EMPTY;
                n.actors[p].cursor = c as u8 + 1;
            });
        }
    }

    /// DONE, or in the hand: was the block freed? F comes first.
    fn rec_b2_freed(&self, s: &State, p: usize, c: usize, out: &mut Successors<'_, State>) {
        let b = s.cells[c].block;
        let turn_to = |n: &mut State, at: At| {
            n.actors[p].cursor = c as u8;
            n.actors[p].block = b;
            n.actors[p].stamp = n.cells[c].stamp;
            n.actors[p].at = at;
        };
        if self.drops(Broken::FreeWithoutCheck) {
            out.step(p, "B2 frees without a check", |n| turn_to(n, At::RecB2Free));
        } else if self.drops(Broken::HomeReadFirst) {
            let home = Self::is_home(s, c);
            let at = if home { At::RecB2HomeFirst } else { At::RecB2Empty };
            out.step(p, "B2 reads home first", |n| turn_to(n, at));
        } else if self.is_stale(s, c) && self.drops(Broken::EpochReadFirst) {
            out.step(p, "B2 epoch differs", |n| turn_to(n, At::RecB2Empty));
        } else if self.is_stale(s, c) {
            out.step(p, "B2 F reads 0", |n| turn_to(n, At::RecB2Allocated));
            out.step(p, "B2 F reads 1", |n| turn_to(n, At::RecB2Empty));
        } else if s.freed >> b & 1 == 1 {
            out.step(p, "B2 F = 1: freed", |n| turn_to(n, At::RecB2Empty));
        } else {
            out.step(p, "B2 F = 0", |n| turn_to(n, At::RecB2Allocated));
        }
    }

    pub(super) fn rec_b2_allocated(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let stale = self.is_stale(s, a.cursor as usize);
        let allocated = s.allocated >> a.block & 1 == 1;
        if stale || allocated {
            out.step(p, "B2 A = 1", |n| n.actors[p].at = At::RecB2Home);
        }
        if stale || !allocated {
            out.step(p, "B2 A = 0: freed", |n| n.actors[p].at = At::RecB2Empty);
        }
    }

    /// Home, and the epoch last.
    pub(super) fn rec_b2_home(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let c = s.actors[p].cursor as usize;
        let stale = self.is_stale(s, c);
        let epoch_is_ignored = self.drops(Broken::NoEpoch) || self.drops(Broken::EpochReadFirst);
        if (stale && epoch_is_ignored) || (!stale && Self::is_home(s, c)) {
            out.step(p, "B2 home is the same: not freed", |n| n.actors[p].at = At::RecB2Free);
        }
        if stale || !Self::is_home(s, c) {
            out.step(p, "B2 home or epoch differ", |n| n.actors[p].at = At::RecB2Empty);
        }
    }

    pub(super) fn rec_b2_home_first(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let b = s.actors[p].block;
        let freed = s.freed >> b & 1 == 1 || s.allocated >> b & 1 == 0;
        let at = if freed { At::RecB2Empty } else { At::RecB2Free };
        out.step(p, "B2 reads F and A after it", |n| n.actors[p].at = at);
    }

    pub(super) fn rec_b2_free(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        // Its own span is the recoverer's until it is an orphan: a plain store does.
        let its_span = self.config.form == Form::Entry && s.desc == Desc::Owned(a.target);
        out.step(p, if its_span { "B2 A &= !b" } else { "B2 frees b" }, |n| {
            if its_span {
                n.allocated &= !(1 << a.block);
            } else {
                free(n, p, a.block as usize);
            }
            given_up(n, a.block as usize, Holder::Cell(a.cursor));
            n.actors[p].at = At::RecB2Empty;
        });
    }

    pub(super) fn rec_b2_empty(&self, _: &State, p: usize, out: &mut Successors<'_, State>) {
        out.step(p, "B2 cell ← EMPTY", |n| {
            n.cells[n.actors[p].cursor as usize] = EMPTY;
            n.actors[p].cursor += 1;
            n.actors[p].at = At::RecB2;
        });
    }

    pub(super) fn rec_b3(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        let incoming = |c: &usize| s.cells[*c].kind == Kind::Incoming(a.target);
        match (a.cursor as usize..self.config.cells).find(incoming) {
            None => out.step(p, "B3 done", |n| self.next_phase(n, p, At::RecB3)),
            Some(c) => out.step(p, "B3 INCOMING → FULL", |n| {
                n.cells[c].kind = Kind::Full;
                n.actors[p].cursor = c as u8 + 1;
            }),
        }
    }
}
