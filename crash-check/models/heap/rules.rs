//! Who takes part, which rules are dropped, and what must hold.

use super::{At, Desc, Heap, Holder, Home, Kind, P, Recovery, State};

/// A rule of the protocol that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Drain 1 swaps F with zero.
    DrainBySwap,
    /// An adopter allocates without a drain.
    AdopterDoesNotDrain,
    /// A claimer takes OWNED(dead) directly.
    SpanOfDeadClaimed,
    /// Step 3 before step 1.
    AllocatedBeforeReserved,
    /// Step 2 after step 3.
    HomeAfterAllocated,
    /// Dropping clears R first.
    DropClearsReservedFirst,
    /// M4 before M3.
    SourceEmptyBeforeHome,
    /// M5 before M4: not caught, kept because it pins the block.
    OpenBeforeSourceEmpty,
    /// A4 before A3.
    EmptyBeforeFree,
    /// The stamp is counted by the cell, and planned before the block.
    StampByCell,
    /// A1: a block in R is taken for unpublished, without a look at its cell.
    ReservedMeansUnpublished,
    /// A3 stores instead of comparing.
    FreeingIsNoCas,
    /// B2 frees without a check.
    FreeWithoutCheck,
    /// B2 reads home before F and A.
    HomeReadFirst,
    /// B2 reads the epoch before the others.
    EpochReadFirst,
    /// B2 does not compare the epoch.
    NoEpoch,
    /// B3 before B2: not caught, kept because it pins the block.
    IncomingFinishedFirst,
    /// Bitmap form: the taker clears R without a lease.
    NoLease,
    /// Bitmap form: the taker empties the cell before it clears R.
    RemovedBeforeCleared,
}

impl Broken {
    /// The same where every allocation begins in the hand: a loss is one of the hand's.
    pub fn leads_to_by_entry(self) -> &'static str {
        match self {
            Broken::SpanOfDeadClaimed => "a FREE span has bits set",
            Broken::AllocatedBeforeReserved | Broken::HomeAfterAllocated => "is left in a hand",
            Broken::SourceEmptyBeforeHome | Broken::EmptyBeforeFree => "said to be in cell",
            other => other.leads_to(),
        }
    }

    /// What its loss leads to: a part of the counterexample's first line; nothing where none
    /// was found.
    pub fn leads_to(self) -> &'static str {
        match self {
            Broken::DrainBySwap | Broken::EpochReadFirst | Broken::NoEpoch => {
                "a FREE span has bits set"
            }
            Broken::AdopterDoesNotDrain
            | Broken::SpanOfDeadClaimed
            | Broken::StampByCell
            | Broken::HomeReadFirst
            | Broken::SourceEmptyBeforeHome
            | Broken::EmptyBeforeFree
            | Broken::ReservedMeansUnpublished
            | Broken::FreeWithoutCheck
            | Broken::FreeingIsNoCas
            | Broken::RemovedBeforeCleared => "looks free",
            Broken::AllocatedBeforeReserved | Broken::DropClearsReservedFirst | Broken::NoLease => {
                "is lost: a reservation"
            }
            Broken::HomeAfterAllocated => "a home that was never written",
            Broken::OpenBeforeSourceEmpty | Broken::IncomingFinishedFirst => "",
        }
    }
}

/// How recovery knows that a reservation was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Home words decide.
    HomeWord,
    /// The taker clears the block's R bit.
    ReservedBitmap,
    /// No bitmap: an allocation writes the hand in its place, and publishing is a move from there.
    Entry,
}

/// Order of the phases of recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Abc,
    Bac,
    Acb,
}

/// Who is there, and what may happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Processes; the first owns the span at the start.
    pub processes: usize,
    /// Blocks of the span.
    pub blocks: usize,
    /// Public cells.
    pub cells: usize,
    /// Operations each may begin.
    pub ops: [u8; P],
    /// Kills.
    pub deaths: u8,
    /// Recovery leaves the drain to the adopter.
    pub put_off: bool,
    /// The span is re-used for other classes: what a stale pointer reads may be anything.
    pub classes: bool,
    /// The destination is planned before the block is known.
    pub plan: bool,
    /// See [`Form`].
    pub form: Form,
    /// See [`Order`].
    pub order: Order,
}

impl Config {
    /// As in the protocol's table, without the variations.
    pub fn new(processes: usize, blocks: usize, cells: usize, ops: [u8; P], deaths: u8) -> Self {
        Self {
            processes,
            blocks,
            cells,
            ops,
            deaths,
            put_off: false,
            classes: false,
            plan: false,
            form: Form::HomeWord,
            order: Order::Abc,
        }
    }

    /// Recovery leaves the drain to the adopter.
    pub fn put_off(mut self) -> Self {
        self.put_off = true;
        self
    }

    /// Spans are re-used for other classes; the drain is put off.
    pub fn classes(mut self) -> Self {
        self.classes = true;
        self.put_off()
    }

    /// The destination is planned before the block is known.
    pub fn plan(mut self) -> Self {
        self.plan = true;
        self
    }

    /// See [`Form`].
    pub fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// See [`Order`].
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }
}

impl Heap {
    pub(super) fn invariants_hold(&self, s: &State) -> Result<(), String> {
        for (b, block) in s.blocks.iter().enumerate().take(self.config.blocks) {
            let looks_free = s.allocated >> b & 1 == 0 || s.freed >> b & 1 == 1;
            if block.holder != Holder::Nobody && looks_free {
                return Err(format!("block {b}, held by {:?}, looks free", block.holder));
            }
        }
        let bits = s.allocated | s.freed | s.reserved;
        if s.desc == Desc::Free && bits != 0 && !self.drops(Broken::AdopterDoesNotDrain) {
            return Err("a FREE span has bits set".into());
        }
        Ok(())
    }

    pub(super) fn is_good_end(&self, s: &State) -> Result<(), String> {
        for b in 0..self.config.blocks {
            self.block_is_accounted_for(s, b)?;
        }
        for (c, cell) in s.cells.iter().enumerate() {
            if !matches!(cell.kind, Kind::Empty | Kind::Full) {
                return Err(format!("cell {c} is left {:?}", cell.kind));
            }
        }
        let someone_lives = s.actors.iter().any(|a| a.at != At::Dead);
        for (p, a) in s.actors.iter().enumerate() {
            if a.at == At::Dead && a.recovery != Recovery::Done && someone_lives {
                return Err(format!("P{p} is dead and not recovered"));
            }
            if a.at == At::Dead && s.desc == Desc::Owned(p as u8) {
                return Err("the span stands in the name of the dead".into());
            }
        }
        if s.reserved != 0 && s.desc == Desc::Orphan {
            return Err("an orphan span has reservations".into());
        }
        Ok(())
    }

    fn block_is_accounted_for(&self, s: &State, b: usize) -> Result<(), String> {
        let allocated = s.allocated >> b & 1 == 1 && s.freed >> b & 1 == 0;
        match s.blocks[b].holder {
            Holder::Nobody if allocated => Err(format!("block {b} is lost: allocated, nobody's")),
            Holder::Nobody => Ok(()),
            Holder::Process(p) => Err(format!("block {b} is lost: a reservation of P{p}")),
            Holder::Cell(c) => {
                let cell = s.cells[c as usize];
                let there = cell.kind == Kind::Full && cell.block as usize == b;
                let home = (s.blocks[b].home, s.blocks[b].stamp) == (Home::Cell(c), cell.stamp);
                if self.is_hand(c as usize) {
                    Err(format!("block {b} is left in a hand"))
                } else if there && home {
                    Ok(())
                } else {
                    Err(format!("block {b} is lost: said to be in cell {c}"))
                }
            }
        }
    }
}
