//! The heap: reserve, publish, take, move, free, drain, and recovery of a dead process.
//!
//! One span of a few blocks with bitmaps A (allocated), R (reserved or just published) and F
//! (freed by others); a *home word* a block, (cell, stamp); cells through which blocks travel, and
//! one private *hand* cell a process. *Block b belongs to the cell that `home[b]` names, if that
//! cell holds (b, stamp).*
//!
//! | reserve + publish | | take, free, move | | drain | | recovery of D | |
//! |---|---|---|---|---|---|---|---|
//! | 1 | `R \|= b` | T1 | CAS cell FULL → LEASED | 1 | r ← F | A1 | each b in R: A clear → A5; read home = (c, x) |
//! | 2 | `home[b]` ← (c, x) | A2 | cell → DONE | 2 | `A &= !r` | A2 | cell c holds (b, x) → A5 |
//! | 3 | `A \|= b` | A3 | free b: own span `A &= !b`, else `F \|= b` | 3 | `F &= !r` | A3 | CAS home → FREEING; moved → A5 |
//! | 5 | CAS c: EMPTY → FULL | A4 | cell → EMPTY | | | A4, A5 | `A &= !b`; `R &= !b` |
//! | 6 | `R &= !b` | M2 | CAS d: EMPTY → INCOMING(x + 1) | | | B1 | INCOMING(D): home ≠ (d, x) → EMPTY |
//! | drop | `A &= !b`, then `R &= !b` | M3 | `home[b]` ← (d, x + 1) | | | B2 | LEASED(D): home = (c, x) → FULL, else EMPTY; DONE(D), hands: F, then A, home, epoch say whether b is freed: free it if not; EMPTY |
//! | | | M4, M5 | c ← EMPTY; d → FULL | | | B3, C | INCOMING(D) → FULL; span → ORPHAN |
//!
//! In the form that `shm-core` has ([`Form::Entry`]) there is no R: an allocation's step 1 writes the
//! hand, and publishing is the move from there (M2 to M5).
//!
//! The claim of a recovery is one step here (see `participants`); proof of death is exact. A cell
//! is EMPTY, FULL, LEASED(p), DONE(p) or INCOMING(p), with block, stamp and (for spans that are
//! re-used) the claim epoch of the span.

mod cases;
mod publish;
mod recover;
mod recover_cells;
mod rules;
mod span;
mod take;

pub use cases::cases;
pub use rules::{Broken, Config, Form, Order};

use crash_check::explore::{Model, Successors};

/// Processes.
pub const P: usize = 3;
/// Blocks.
pub const B: usize = 2;
/// Cells: at most two public ones, then the hands.
pub const C: usize = 5;

/// The span's descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Desc {
    Free,
    Owned(u8),
    Orphan,
}

/// What a home word names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Home {
    Never,
    Cell(u8),
    /// A recovery gives the block back.
    Freeing,
}

/// For the checker: who has a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Holder {
    Nobody,
    /// Reserved, not published.
    Process(u8),
    Cell(u8),
}

/// One block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Block {
    home: Home,
    stamp: u8,
    holder: Holder,
}

/// State of a cell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Empty,
    Full,
    Leased(u8),
    Done(u8),
    Incoming(u8),
}

/// One cell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cell {
    kind: Kind,
    block: u8,
    stamp: u8,
    epoch: u8,
}

const EMPTY: Cell = Cell { kind: Kind::Empty, block: 0, stamp: 0, epoch: 0 };

/// The next step of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    Idle,
    PlanPick,
    PlanDrainA,
    PlanDrainF,
    Reserve1,
    Reserve2,
    Reserve3,
    Publish5,
    Publish6,
    Drop1,
    Drop2,
    ClearReserved,
    RemoveFirst,
    Use,
    NoLease1,
    NoLease2,
    A3Free,
    A4Empty,
    M3Home,
    M4Source,
    M5Open,
    Drain1,
    Drain2,
    Drain3,
    RecA1,
    RecA2,
    RecA3,
    RecA4,
    RecA5,
    RecB1,
    RecB1Empty,
    RecB2,
    RecB2Allocated,
    RecB2Home,
    RecB2HomeFirst,
    RecB2Free,
    RecB2Empty,
    RecB3,
    RecC1,
    RecC2,
    RecC3,
    RecC4,
    RecEnd,
    Dead,
}

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    at: At,
    block: u8,
    cell: u8,
    dest: u8,
    stamp: u8,
    /// What a drain loaded.
    drained: u8,
    /// Recovery: place in a scan, and of whom.
    cursor: u8,
    target: u8,
    /// Operations it may still begin.
    ops: u8,
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
    epoch: u8,
    /// Bitmaps A, R and F.
    allocated: u8,
    reserved: u8,
    freed: u8,
    blocks: [Block; B],
    cells: [Cell; C],
    /// Only where a broken form counts stamps by the cell.
    cell_stamps: [u8; C],
    actors: [Actor; P],
    deaths: u8,
}

/// The protocol, in one configuration and perhaps with a rule dropped.
#[derive(Clone, Debug)]
pub struct Heap {
    /// Who is there and what may happen.
    pub config: Config,
    /// The rule that is dropped.
    pub broken: Option<Broken>,
}

impl Heap {
    fn drops(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    /// The hand of process `p`.
    fn hand(&self, p: usize) -> usize {
        self.config.cells + p
    }

    /// Cells, hands included.
    fn all_cells(&self) -> usize {
        self.config.cells + self.config.processes
    }

    fn is_hand(&self, cell: usize) -> bool {
        cell >= self.config.cells
    }

    /// Empty cells that `p` may put a block into: public ones and its own hand.
    fn destinations(&self, s: &State, p: usize) -> impl Iterator<Item = usize> {
        let (hand, public, s) = (self.hand(p), self.config.cells, *s);
        let own = move |&c: &usize| c < public || c == hand;
        (0..self.all_cells()).filter(own).filter(move |&c| s.cells[c].kind == Kind::Empty)
    }

    /// The stamp of the next placement of block `b` in cell `c`.
    fn next_stamp(&self, s: &State, b: usize, c: usize) -> u8 {
        if self.drops(Broken::StampByCell) { s.cell_stamps[c] + 1 } else { s.blocks[b].stamp + 1 }
    }

    /// The beginning of a process's loop: everything it may begin to do.
    fn idle(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[p];
        if s.desc == Desc::Owned(p as u8) {
            self.begin_reserve(s, p, out);
            self.begin_drain(s, p, out);
            self.release(s, p, out);
        } else if a.ops > 0 {
            self.claim_span(s, p, out);
        }
        if a.ops > 0 {
            self.t1_take(s, p, out);
        }
        let hand = self.hand(p);
        if s.cells[hand].kind == Kind::Full {
            out.step(p, "turns to what its hand holds", |n| pick_up(n, p, hand, At::Use));
        }
        self.begin_recovery(s, p, out);
    }
}

/// Process `p` turns to the block in cell `c`.
fn pick_up(n: &mut State, p: usize, c: usize, at: At) {
    let Cell { block, stamp, .. } = n.cells[c];
    let a = &mut n.actors[p];
    (a.cell, a.block, a.stamp, a.at) = (c as u8, block, stamp, at);
}

/// Process `p` is back at the beginning of its loop.
fn rest(n: &mut State, p: usize) {
    let Actor { ops, recovery, .. } = n.actors[p];
    n.actors[p] = Actor { ops, recovery, ..actor(At::Idle) };
}

fn actor(at: At) -> Actor {
    Actor {
        at,
        block: 0,
        cell: 0,
        dest: 0,
        stamp: 0,
        drained: 0,
        cursor: 0,
        target: 0,
        ops: 0,
        recovery: Recovery::None,
    }
}

impl Model for Heap {
    type State = State;

    fn initial(&self) -> State {
        let block = Block { home: Home::Never, stamp: 0, holder: Holder::Nobody };
        let absent = Actor { recovery: Recovery::Done, ..actor(At::Dead) };
        let mut actors = [absent; P];
        for (a, &ops) in actors.iter_mut().zip(&self.config.ops).take(self.config.processes) {
            *a = Actor { ops, ..actor(At::Idle) };
        }
        State {
            desc: Desc::Owned(0),
            epoch: 0,
            allocated: 0,
            reserved: 0,
            freed: 0,
            blocks: [block; B],
            cells: [EMPTY; C],
            cell_stamps: [0; C],
            actors,
            deaths: self.config.deaths,
        }
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for p in 0..self.config.processes {
            let at = s.actors[p].at;
            let holds = s.desc == Desc::Owned(p as u8) || s.cells[self.hand(p)].kind != Kind::Empty;
            if s.deaths > 0 && at != At::Dead && (at != At::Idle || holds) {
                out.event(p, "KILLED", |n| {
                    n.deaths -= 1;
                    let recovery = n.actors[p].recovery;
                    n.actors[p] = Actor { recovery, ..actor(At::Dead) };
                });
            }
            match at {
                At::Idle => self.idle(s, p, out),
                At::PlanPick => self.plan_pick(s, p, out),
                At::PlanDrainA => self.plan_drain_a(s, p, out),
                At::PlanDrainF => self.plan_drain_f(s, p, out),
                At::Reserve1 => self.reserve_1_bit(s, p, out),
                At::Reserve2 => self.reserve_2_home(s, p, out),
                At::Reserve3 => self.reserve_3_allocate(s, p, out),
                At::Publish5 => self.publish_5_cell(s, p, out),
                At::Publish6 => self.publish_6_clear(s, p, out),
                At::Drop1 => self.drop_1(s, p, out),
                At::Drop2 => self.drop_2(s, p, out),
                At::ClearReserved => self.clear_reserved(s, p, out),
                At::RemoveFirst => self.remove_first(s, p, out),
                At::Use => self.use_block(s, p, out),
                At::NoLease1 => self.no_lease_1(s, p, out),
                At::NoLease2 => self.no_lease_2(s, p, out),
                At::A3Free => self.a3_free(s, p, out),
                At::A4Empty => self.a4_empty(s, p, out),
                At::M3Home => self.m3_home(s, p, out),
                At::M4Source => self.m4_source(s, p, out),
                At::M5Open => self.m5_open(s, p, out),
                At::Drain1 => self.drain_1(s, p, out),
                At::Drain2 => self.drain_2(s, p, out),
                At::Drain3 => self.drain_3(s, p, out),
                At::RecA1 => self.rec_a1(s, p, out),
                At::RecA2 => self.rec_a2(s, p, out),
                At::RecA3 => self.rec_a3(s, p, out),
                At::RecA4 => self.rec_a4(s, p, out),
                At::RecA5 => self.rec_a5(s, p, out),
                At::RecB1 => self.rec_b1(s, p, out),
                At::RecB1Empty => self.rec_b1_empty(s, p, out),
                At::RecB2 => self.rec_b2(s, p, out),
                At::RecB2Allocated => self.rec_b2_allocated(s, p, out),
                At::RecB2Home => self.rec_b2_home(s, p, out),
                At::RecB2HomeFirst => self.rec_b2_home_first(s, p, out),
                At::RecB2Free => self.rec_b2_free(s, p, out),
                At::RecB2Empty => self.rec_b2_empty(s, p, out),
                At::RecB3 => self.rec_b3(s, p, out),
                At::RecC1 => self.rec_c1(s, p, out),
                At::RecC2 => self.rec_c2(s, p, out),
                At::RecC3 => self.rec_c3(s, p, out),
                At::RecC4 => self.rec_c4(s, p, out),
                At::RecEnd => self.rec_end(s, p, out),
                At::Dead => {}
            }
        }
    }

    fn invariants(&self, s: &State) -> Result<(), String> {
        self.invariants_hold(s)
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        self.is_good_end(s)
    }
}
