//! Arc: one mask word holds who holds it (processes and flights).
//!
//! The block carries a mask (process bits and flight bits) and `fl[k]` (the cell a flight is in,
//! or none). Each process has an entry (block, stamp) in lines of its own. The last holder frees
//! with its bit still set: a bit never goes to zero.
//!
//! | new | | drop | | send a clone | | take | |
//! |---|---|---|---|---|---|---|---|
//! | 1 | entry ← (b, x) | 1 | load mask | 1 | cell CAS EMPTY → INCOMING(me, k) | 1 | cell CAS FULL → LEASED(T) |
//! | 2 | home ← x | 2 | sole holder: free, bit set | 2 | CAS `fl[k]` 0 → c; busy: cell ← EMPTY | 2 | entry ← (b, x) |
//! | 3 | mask ← {me}, `fl` ← 0 | | else CAS mask − me | 3 | mask \|= FLk | 3 | mask \|= T |
//! | 4 | `A \|= b` | 3 | entry ← 0 | 4 | cell → FULL | 4 | mask &= !FLk: accepted |
//! | | | | | | | 5 | `fl[k]` ← 0; 6 cell ← EMPTY |
//!
//! | recovery of D | |
//! |---|---|
//! | cell INCOMING(D, k) | `fl[k]` = c: mask &= !FLk, `fl[k]` ← 0; then cell ← EMPTY |
//! | cell LEASED(D, k) | `fl[k]` = c and FLk set: → FULL; else `fl[k]` ← 0 if it is c, cell ← EMPTY |
//! | entry (b, x) | load mask; then F, A, home: freed → entry ← 0; D's bit clear → entry ← 0; sole → free; others → CAS the bit away; entry ← 0 |
//! | span | → ORPHAN |
//!
//! One block; its span is the first process's. Drain and adoption as in `heap`.

mod cases;
mod recover;
mod steps;

pub use cases::cases;

use crash_check::explore::{Model, Successors};

/// Processes.
pub const P: usize = 3;
/// Cells through which clones travel.
pub const C: usize = 2;
/// Flights at once.
pub const K: usize = 2;

/// A rule of the protocol that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Drop clears the bit first, and frees if it was the last.
    ZeroThenFree,
    /// Drop clears the entry before it frees.
    EntryClearedBeforeFree,
    /// Take sets the bit before the entry.
    BitBeforeEntry,
    /// Take clears the flight bit before it sets its own.
    FlightClearedFirst,
    /// Flights have no `fl[k]` to say whose they are.
    FlightWithoutCell,
    /// Recovery looks at the entries before the cells.
    EntriesBeforeCells,
    /// Recovery frees without reading F and A.
    BlindFree,
    /// Recovery reads home before the mask.
    HomeBeforeMask,
}

impl Broken {
    /// What its loss leads to: a part of the counterexample's first line.
    pub fn leads_to(self) -> &'static str {
        match self {
            Broken::ZeroThenFree | Broken::EntryClearedBeforeFree | Broken::EntriesBeforeCells => {
                "the Arc is lost"
            }
            Broken::BitBeforeEntry => "mask",
            Broken::FlightClearedFirst | Broken::BlindFree | Broken::HomeBeforeMask => {
                "a live Arc looks free"
            }
            Broken::FlightWithoutCell => "an Arc in a queue is freed",
        }
    }
}

/// State of a cell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Empty,
    Incoming(u8),
    Full,
    Leased(u8),
}

/// A cell, with the flight and the stamp of what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cell {
    kind: Kind,
    flight: u8,
    stamp: u8,
}

const EMPTY: Cell = Cell { kind: Kind::Empty, flight: 0, stamp: 0 };

/// Who owns the span.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Desc {
    Owned(u8),
    Orphan,
}

/// The next step of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    Idle,
    New2,
    New3,
    New4,
    AdoptDrain,
    DrainA,
    DrainF,
    Drop1,
    DropClear,
    DropFree,
    DropFreeLate,
    DropFreeAfterZero,
    DropEntry,
    Send2,
    Send3,
    Send4,
    SendAbort,
    Take2,
    Take3,
    Take4,
    Take5,
    Take6,
    RecCells,
    RecClearFlight,
    RecClearPlace,
    RecEmpty,
    RecLease,
    RecEntry,
    RecHomeFirst,
    RecBlind,
    RecFreed,
    RecAllocated,
    RecHome,
    RecFree,
    RecClearBit,
    RecEntryDone,
    RecSpan,
    RecEnd,
    Dead,
}

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    at: At,
    /// The mask as it was loaded.
    mask: u8,
    cell: u8,
    flight: u8,
    cursor: u8,
    target: u8,
    ops: u8,
    /// In shared memory: the stamp of the Arc that this process holds.
    entry: Option<u8>,
    recovery: Recovery,
}

/// How far the recovery of a process is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recovery {
    None,
    By(u8),
    Done,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    desc: Desc,
    allocated: bool,
    freed: bool,
    /// Stamp in the home word.
    home: u8,
    mask: u8,
    flights: [Option<u8>; K],
    cells: [Cell; C],
    actors: [Actor; P],
    deaths: u8,
    /// For the checker: the stamp of the Arc that lives.
    alive: Option<u8>,
}

/// The protocol, in one configuration and perhaps with a rule dropped.
#[derive(Clone, Debug)]
pub struct Arc {
    /// Cells in use.
    pub cells: usize,
    /// Flights in use.
    pub flights: usize,
    /// Operations each process may begin.
    pub ops: [u8; P],
    /// Kills.
    pub deaths: u8,
    /// The rule that is dropped.
    pub broken: Option<Broken>,
}

impl Arc {
    fn drops(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}

/// Process `p`'s bit of the mask.
fn holder(p: usize) -> u8 {
    1 << p
}

/// Flight `k`'s bit of the mask.
fn flight(k: u8) -> u8 {
    1 << (4 + k)
}

/// Process `p` is back at the beginning of its loop.
fn rest(n: &mut State, p: usize) {
    let Actor { ops, entry, recovery, .. } = n.actors[p];
    n.actors[p] = Actor { ops, entry, recovery, ..actor(At::Idle) };
}

fn actor(at: At) -> Actor {
    Actor {
        at,
        mask: 0,
        cell: 0,
        flight: 0,
        cursor: 0,
        target: 0,
        ops: 0,
        entry: None,
        recovery: Recovery::None,
    }
}

/// Process `p` frees the block for `whom`. It is only then rightly gone when nobody else held it.
fn free(n: &mut State, p: usize, whom: usize, zero_is_right: bool) {
    let sole = n.mask == holder(whom) || (zero_is_right && n.mask == 0);
    if n.desc == Desc::Owned(p as u8) {
        n.allocated = false;
    } else {
        n.freed = true;
    }
    if sole {
        n.alive = None;
    }
}

impl Model for Arc {
    type State = State;

    fn initial(&self) -> State {
        let actors = std::array::from_fn(|p| Actor { ops: self.ops[p], ..actor(At::Idle) });
        State {
            desc: Desc::Owned(0),
            allocated: false,
            freed: false,
            home: 0,
            mask: 0,
            flights: [None; K],
            cells: [EMPTY; C],
            actors,
            deaths: self.deaths,
            alive: None,
        }
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for p in 0..P {
            let a = &s.actors[p];
            let holds = a.entry.is_some() || s.desc == Desc::Owned(p as u8);
            if s.deaths > 0 && a.at != At::Dead && (a.at != At::Idle || holds) {
                out.event(p, "KILLED", |n| {
                    n.deaths -= 1;
                    let Actor { entry, recovery, .. } = n.actors[p];
                    n.actors[p] = Actor { entry, recovery, ..actor(At::Dead) };
                });
            }
            match a.at {
                At::Idle => {
                    self.idle(s, p, out);
                    self.begin_recovery(s, p, out);
                }
                At::New2 => self.new_2_home(s, p, out),
                At::New3 => self.new_3_mask(s, p, out),
                At::New4 => self.new_4_allocate(s, p, out),
                At::AdoptDrain => self.adopt_drain(s, p, out),
                At::DrainA => self.drain_a(s, p, out),
                At::DrainF => self.drain_f(s, p, out),
                At::Drop1 => self.drop_1_mask(s, p, out),
                At::DropClear => self.drop_2_clear(s, p, out),
                At::DropFree => self.drop_2_free(s, p, out),
                At::DropFreeLate => self.drop_free_late(s, p, out),
                At::DropFreeAfterZero => self.drop_free_after_zero(s, p, out),
                At::DropEntry => self.drop_3_entry(s, p, out),
                At::Send2 => self.send_2_flight(s, p, out),
                At::Send3 => self.send_3_mask(s, p, out),
                At::Send4 => self.send_4_full(s, p, out),
                At::SendAbort => self.send_abort(s, p, out),
                At::Take2 => self.take_2_entry(s, p, out),
                At::Take3 => self.take_3_mask(s, p, out),
                At::Take4 => self.take_4_accept(s, p, out),
                At::Take5 => self.take_5_place(s, p, out),
                At::Take6 => self.take_6_empty(s, p, out),
                At::RecCells => self.rec_cells(s, p, out),
                At::RecClearFlight => self.rec_clear_flight(s, p, out),
                At::RecClearPlace => self.rec_clear_place(s, p, out),
                At::RecEmpty => self.rec_empty(s, p, out),
                At::RecLease => self.rec_lease(s, p, out),
                At::RecEntry => self.rec_entry(s, p, out),
                At::RecHomeFirst => self.rec_home_first(s, p, out),
                At::RecBlind => self.rec_blind(s, p, out),
                At::RecFreed => self.rec_freed(s, p, out),
                At::RecAllocated => self.rec_allocated(s, p, out),
                At::RecHome => self.rec_home(s, p, out),
                At::RecFree => self.rec_free(s, p, out),
                At::RecClearBit => self.rec_clear_bit(s, p, out),
                At::RecEntryDone => self.rec_entry_done(s, p, out),
                At::RecSpan => self.rec_span(s, p, out),
                At::RecEnd => self.rec_end(s, p, out),
                At::Dead => {}
            }
        }
    }

    fn invariants(&self, s: &State) -> Result<(), String> {
        if s.alive.is_some() && (!s.allocated || s.freed) {
            return Err("a live Arc looks free".into());
        }
        for (p, a) in s.actors.iter().enumerate() {
            let holds = a.at == At::Idle && a.entry.is_some();
            if holds && (s.alive != a.entry || s.mask & holder(p) == 0) {
                return Err(format!("P{p} uses an Arc that is freed"));
            }
        }
        for cell in &s.cells {
            let there = s.alive == Some(cell.stamp) && s.mask & flight(cell.flight) != 0;
            if cell.kind == Kind::Full && !there {
                return Err("an Arc in a queue is freed".into());
            }
        }
        Ok(())
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        let someone_lives = s.actors.iter().any(|a| a.at != At::Dead);
        for (p, a) in s.actors.iter().enumerate() {
            if a.entry.is_some() {
                return Err(format!("the entry of P{p} is left"));
            }
            if a.at == At::Dead && a.recovery != Recovery::Done && someone_lives {
                return Err(format!("P{p} is dead and not recovered"));
            }
        }
        if s.cells.iter().any(|c| !matches!(c.kind, Kind::Empty | Kind::Full)) {
            return Err("a cell is stuck".into());
        }
        let queued: Vec<&Cell> = s.cells.iter().filter(|c| c.kind == Kind::Full).collect();
        if s.alive.is_none() {
            let lost = s.allocated && !s.freed;
            return if lost { Err("the Arc is lost: allocated, nobody's".into()) } else { Ok(()) };
        }
        if queued.is_empty() {
            return Err("the Arc is lost: it lives, and nobody holds it".into());
        }
        let wanted = queued.iter().fold(0, |mask, cell| mask | flight(cell.flight));
        if s.mask != wanted {
            return Err(format!("mask {:#x}, and holders {wanted:#x}", s.mask));
        }
        for (k, place) in s.flights.iter().enumerate() {
            if place.is_some() != (s.mask & flight(k as u8) != 0) {
                return Err(format!("flight {k} is lost"));
            }
        }
        Ok(())
    }
}
