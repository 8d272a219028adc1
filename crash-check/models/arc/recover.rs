//! Recovery of a dead process: cells first, its entry second, its span last.

use super::{Arc, At, Broken, Desc, EMPTY, Kind, P, Recovery, State, flight, free, holder, rest};
use crash_check::explore::Successors;

impl Arc {
    fn entries_first(&self) -> bool {
        self.drops(Broken::EntriesBeforeCells)
    }

    pub(super) fn begin_recovery(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        for dead in 0..P {
            let open = match s.actors[dead].recovery {
                Recovery::None => true,
                Recovery::By(other) => s.actors[other as usize].at == At::Dead,
                Recovery::Done => false,
            };
            if s.actors[dead].at == At::Dead && open {
                out.step(p, "claims the recovery", |n| {
                    n.actors[dead].recovery = Recovery::By(p as u8);
                    n.actors[p].target = dead as u8;
                    n.actors[p].at = if self.entries_first() { At::RecEntry } else { At::RecCells };
                });
            }
        }
    }

    pub(super) fn rec_cells(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let target = s.actors[p].target;
        let of_dead = |&c: &usize| matches!(s.cells[c].kind, Kind::Incoming(d) | Kind::Leased(d) if d == target);
        let from = s.actors[p].cursor as usize;
        let Some(c) = (from..self.cells).find(of_dead) else {
            let at = if self.entries_first() { At::RecSpan } else { At::RecEntry };
            out.step(p, "rec: cells done", |n| {
                n.actors[p].cursor = 0;
                n.actors[p].at = at;
            });
            return;
        };
        let cell = s.cells[c];
        let its_flight = s.flights[cell.flight as usize] == Some(c as u8)
            || self.drops(Broken::FlightWithoutCell);
        let (label, at) = match (cell.kind, its_flight) {
            (Kind::Incoming(_), true) => ("rec: INCOMING, fl[k] is its", At::RecClearFlight),
            (Kind::Incoming(_), false) => ("rec: INCOMING, no flight yet", At::RecEmpty),
            (_, true) => ("rec: LEASED, fl[k] is its", At::RecLease),
            (_, false) => ("rec: LEASED, accepted", At::RecEmpty),
        };
        out.step(p, label, |n| {
            n.actors[p].cursor = c as u8;
            n.actors[p].flight = if its_flight { cell.flight } else { 0 };
            n.actors[p].at = at;
        });
    }

    pub(super) fn rec_clear_flight(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let k = s.actors[p].flight;
        out.step(p, "rec: mask &= !FLk", |n| {
            n.mask &= !flight(k);
            n.actors[p].at = At::RecClearPlace;
        });
    }

    pub(super) fn rec_clear_place(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let k = s.actors[p].flight as usize;
        out.step(p, "rec: fl[k] ← 0", |n| {
            n.flights[k] = None;
            n.actors[p].at = At::RecEmpty;
        });
    }

    pub(super) fn rec_empty(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let c = s.actors[p].cursor as usize;
        out.step(p, "rec: cell ← EMPTY", |n| {
            n.cells[c] = EMPTY;
            n.actors[p].flight = 0;
            n.actors[p].at = At::RecCells;
        });
    }

    pub(super) fn rec_lease(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        if s.mask & flight(a.flight) == 0 {
            out.step(p, "rec: it was accepted", |n| n.actors[p].at = At::RecClearPlace);
        } else {
            out.step(p, "rec: not accepted → FULL", |n| {
                n.cells[a.cursor as usize].kind = Kind::Full;
                n.actors[p].flight = 0;
                n.actors[p].at = At::RecCells;
            });
        }
    }

    /// The mask is loaded before the block is known to be there still.
    pub(super) fn rec_entry(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let entry = s.actors[s.actors[p].target as usize].entry;
        if entry.is_none() {
            let at = if self.entries_first() { At::RecCells } else { At::RecSpan };
            out.step(p, "rec: no entry", |n| {
                n.actors[p].cursor = 0;
                n.actors[p].at = at;
            });
        } else if self.drops(Broken::HomeBeforeMask) {
            let there = entry == Some(s.home);
            let at = if there { At::RecHomeFirst } else { At::RecEntryDone };
            out.step(p, "rec: home first", |n| n.actors[p].at = at);
        } else {
            let at = if self.drops(Broken::BlindFree) { At::RecBlind } else { At::RecFreed };
            out.step(p, "rec: load mask", |n| {
                n.actors[p].mask = n.mask;
                n.actors[p].at = at;
            });
        }
    }

    pub(super) fn rec_home_first(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let dead = holder(s.actors[p].target as usize);
        let at = match s.mask {
            mask if mask & dead == 0 => At::RecEntryDone,
            mask if mask == dead => At::RecFreed,
            _ => At::RecClearBit,
        };
        out.step(p, "rec: mask after home", |n| {
            n.actors[p].mask = n.mask;
            n.actors[p].at = at;
        });
    }

    pub(super) fn rec_blind(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let at = self.judged(s, p);
        out.step(p, "rec: home only", |n| n.actors[p].at = at);
    }

    pub(super) fn rec_freed(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let at = if s.freed { At::RecEntryDone } else { At::RecAllocated };
        out.step(p, if s.freed { "rec: F = 1: freed" } else { "rec: F = 0" }, |n| {
            n.actors[p].at = at;
        });
    }

    pub(super) fn rec_allocated(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let at = if s.allocated { At::RecHome } else { At::RecEntryDone };
        out.step(p, if s.allocated { "rec: A = 1" } else { "rec: A = 0: freed" }, |n| {
            n.actors[p].at = at;
        });
    }

    pub(super) fn rec_home(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let home_was_read = self.drops(Broken::HomeBeforeMask);
        let at = if home_was_read { At::RecFree } else { self.judged(s, p) };
        out.step(p, "rec: home, and judge the mask", |n| n.actors[p].at = at);
    }

    /// By home and the mask that was loaded: gone, sole holder, or one of several.
    fn judged(&self, s: &State, p: usize) -> At {
        let a = s.actors[p];
        let dead = a.target as usize;
        let gone = s.actors[dead].entry != Some(s.home);
        if gone || a.mask & holder(dead) == 0 {
            At::RecEntryDone
        } else if a.mask == holder(dead) {
            At::RecFree
        } else {
            At::RecClearBit
        }
    }

    pub(super) fn rec_free(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let dead = s.actors[p].target as usize;
        out.step(p, "rec: free for the dead", |n| {
            free(n, p, dead, false);
            n.actors[p].at = At::RecEntryDone;
        });
    }

    pub(super) fn rec_clear_bit(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let dead = s.actors[p].target as usize;
        if s.mask == s.actors[p].mask {
            out.step(p, "rec: CAS mask − D", |n| {
                n.mask &= !holder(dead);
                n.actors[p].at = At::RecEntryDone;
            });
        } else {
            out.step(p, "rec: CAS lost", |n| {
                n.actors[p].mask = 0;
                n.actors[p].at = At::RecEntry;
            });
        }
    }

    pub(super) fn rec_entry_done(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let dead = s.actors[p].target as usize;
        out.step(p, "rec: entry ← 0", |n| {
            n.actors[dead].entry = None;
            n.actors[p].mask = 0;
            n.actors[p].at = At::RecEntry;
        });
    }

    pub(super) fn rec_span(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let its = s.desc == Desc::Owned(s.actors[p].target);
        out.step(p, if its { "rec: span → ORPHAN" } else { "rec: no span" }, |n| {
            if its {
                n.desc = Desc::Orphan;
            }
            n.actors[p].at = At::RecEnd;
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
