//! Models of the steps by which a block changes hands, in which a process may die at each of its
//! shared operations: one span with one block, one cell, two lines. The functions that run here are
//! the ones the heap calls.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p shm-core --release --lib loom`.

mod hands;
mod matrix;
mod recovery;
mod spans;

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use crash_check::death::{Error, Model, Proof, Report, World};

use super::class::Place;
use super::memory::Ground;
use super::words::{BlockId, CellId, Desc, Home, Kind, Line, Slot, State};
use super::{line, recover, run, steps};
use crate::futex::{Futex, Waited};
use crate::models::models;
use crate::primitive::{AtomicU64, Ordering, UnsafeCell};
use crate::{Owner, Peers, Ticket};

use hands::*;
use recovery::*;
use spans::*;

models![
    what_another_frees_is_allocated_after_its_last_use,
    a_taker_sees_what_was_written_before_the_block_was_published,
    a_dead_publisher_has_published_or_not,
    a_dead_taker_has_taken_or_not_and_the_owner_goes_on_meanwhile,
    a_dead_lessee_has_acknowledged_or_not_and_the_owner_goes_on_meanwhile,
    a_dead_lessee_has_given_back_or_kept,
    a_dead_owner_has_acknowledged_its_own_block_or_not,
    what_was_made_of_a_block_is_there_once_it_is_acknowledged,
    what_was_nobodys_is_adopted_or_still_nobodys,
    a_corrupted_cell_stays_as_it_is,
    whoever_dies_turning_to_the_next_cell_leaves_none_behind,
    whoever_dies_reusing_a_block_that_it_freed_leaves_it_free,
    a_block_that_a_dead_one_freed_is_not_freed_again_while_its_owner_reuses_it,
    a_block_that_was_freed_and_reused_is_not_freed_for_the_dead,
    a_span_that_is_used_anew_is_not_touched_for_the_dead,
    a_lease_in_a_span_that_is_used_anew_is_over,
    the_next_sees_what_is_in_a_block_that_a_dead_lessee_gave_back,
    the_next_sees_what_a_dead_publisher_had_published,
    an_adopter_sees_what_the_dead_owner_had_in_use,
    whoever_claims_the_line_of_the_dead_finds_it_clean,
    a_recovery_is_claimed_by_one_of_two,
    a_recovery_is_taken_over_from_a_dead_recoverer,
    the_recovery_of_a_held_block_is_taken_over,
    the_recovery_of_a_lease_is_taken_over,
    the_recovery_of_an_acknowledged_block_is_taken_over,
    the_recovery_of_a_run_is_taken_over,
    a_dead_owner_has_drained_or_not,
    a_span_is_claimed_by_one_of_two,
    an_adopter_finds_what_is_freed_meanwhile,
    of_two_runs_that_overlap_one_is_claimed,
    a_run_that_is_free_again_has_no_block,
];

const LINE_AT: usize = 1;
const INTENT_AT: usize = 3;
const ENTRY_AT: usize = 5;
const DESC_AT: usize = 8;
const A_AT: usize = 9;
const F_AT: usize = 10;
const HOME_AT: usize = 11;
const CELL: CellId = CellId(12);
const TAILS_AT: usize = 13;
/// What stands in the tails of a run: 0 in a free span.
const INSIDE_AT: usize = 15;
/// A word of the user's.
const RESULT_AT: usize = 17;
/// A second entry of line 1, where a model has one.
const SPARE: CellId = CellId(7);
/// A second cell.
const OTHER: CellId = CellId(18);
const WORDS: usize = 19;
const BLOCK: BlockId = BlockId(100);
const LINES: usize = 2;

/// One span of one block, and the block; or a few spans, for runs of them.
struct Tiny {
    words: Vec<AtomicU64>,
    payload: UnsafeCell<u32>,
    spans: u64,
    /// Of line 1.
    entries: u64,
}

impl Ground for Tiny {
    fn at(&self, offset: u64) -> &AtomicU64 {
        &self.words[offset as usize / 8]
    }

    fn cell(&self, cell: CellId) -> Option<&AtomicU64> {
        (cell != CellId::NONE).then(|| self.at(cell.offset()))
    }

    fn lines(&self) -> usize {
        LINES
    }

    fn line(&self, line: usize) -> &AtomicU64 {
        &self.words[LINE_AT + line]
    }

    fn intent(&self, line: usize) -> &AtomicU64 {
        &self.words[INTENT_AT + line]
    }

    fn entries(&self, line: usize) -> Range<u64> {
        let start = (ENTRY_AT + line) as u64 * 8;
        start..start + if line == 1 { self.entries * 8 } else { 8 }
    }

    fn spans(&self) -> u64 {
        self.spans
    }

    fn desc(&self, span: u64) -> &AtomicU64 {
        let tail = (span as usize).checked_sub(1);
        &self.words[tail.map_or(DESC_AT, |tail| TAILS_AT + tail)]
    }

    fn span_of(&self, block: BlockId) -> Option<u64> {
        (block == BLOCK).then_some(0)
    }

    fn place(&self, _: u64, _: Desc, block: BlockId) -> Option<Place> {
        if block != BLOCK {
            return None;
        }
        let [a, f, home] = [A_AT, F_AT, HOME_AT].map(|word| word as u64 * 8);
        Some(Place { a, f, home, bit: 1 })
    }

    fn span_entries(&self, _: u64) -> Range<u64> {
        0..0
    }

    fn clear(&self, first: u64, count: u64) {
        for span in first + 1..first + count {
            // Relaxed: published with the descriptor, as in the real one.
            self.inside(span).store(0, Ordering::Relaxed);
        }
    }

    fn note_orphan(&self) {}
}

fn owner(line: usize) -> Owner {
    Owner::new(line, 1)
}

fn entry(line: usize) -> CellId {
    CellId((ENTRY_AT + line) as u32)
}

impl Tiny {
    /// Line 0 owns the span, line 1 is another process's.
    fn new() -> Rc<Tiny> {
        Tiny::with(1, 1)
    }

    /// One whose cell holds a block with a seven in it.
    fn with_message() -> Rc<Tiny> {
        let tiny = Tiny::new();
        let held = tiny.allocate();
        tiny.write(7);
        assert!(tiny.publish(0, held));
        tiny
    }

    fn with_spans(spans: u64) -> Rc<Tiny> {
        Tiny::with(spans, 1)
    }

    fn with_entries(entries: u64) -> Rc<Tiny> {
        Tiny::with(1, entries)
    }

    fn with(spans: u64, entries: u64) -> Rc<Tiny> {
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let tiny = Tiny { words, payload: UnsafeCell::new(0), spans, entries };
        for line in 0..LINES {
            let live = Line::Live(owner(line).to_bits()).word();
            tiny.line(line).store(live, Ordering::Relaxed);
        }
        tiny.desc(0).store(Desc::new(State::Owned, 0, 0, 1, 1).0, Ordering::Relaxed);
        Rc::new(tiny)
    }

    /// What the user of a run writes into its tail.
    fn inside(&self, tail: u64) -> &AtomicU64 {
        &self.words[INSIDE_AT + tail as usize - 1]
    }

    fn place(&self) -> Place {
        Ground::place(self, 0, Desc(0), BLOCK).unwrap()
    }

    /// What the span's line does: allocates into its entry.
    fn allocate(&self) -> steps::Held {
        self.allocate_into(entry(0))
    }

    fn allocate_into(&self, entry: CellId) -> steps::Held {
        let place = self.place();
        let words = (self.at(place.home), self.at(place.a), place.bit);
        let word = Some(self.at(entry.offset()));
        let stamp = steps::allocate((entry, word), words, BLOCK, 1);
        steps::Held { entry, block: BLOCK, stamp, home: CellId::at(place.home) }
    }

    /// What the span's line does to free the block.
    fn clear_bit(&self) {
        let a = self.at(self.place().a);
        a.store(a.load(Ordering::Relaxed) & !1, Ordering::Release);
    }

    fn free_local(&self, held: steps::Held) {
        self.clear_bit();
        self.at(held.entry.offset()).store(0, Ordering::Release);
    }

    fn free_remote(&self, held: steps::Held) {
        steps::free_remote(self, self.place()).unwrap();
        self.at(held.entry.offset()).store(0, Ordering::Release);
    }

    fn drain(&self) -> u32 {
        steps::drain(self.at(self.place().a), self.at(self.place().f))
    }

    fn publish(&self, line: usize, held: steps::Held) -> bool {
        steps::publish(self, line, held, CELL)
    }

    fn take(&self, line: usize) -> Option<steps::Held> {
        steps::take(self, line, CELL, entry(line))
    }

    fn write(&self, value: u32) {
        // SAFETY: the caller holds the block; the model checks that.
        self.payload.with_mut(|place| unsafe { place.write(value) });
    }

    fn read(&self) -> u32 {
        // SAFETY: the caller holds the block; the model checks that.
        self.payload.with(|place| unsafe { place.read() })
    }

    fn load(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    /// The block is free once its owner, who uses it again, or whoever takes that message has freed it.
    fn ends_whole(&self, again: Option<steps::Held>) {
        if let Some(held) = again {
            self.free_local(held);
        } else if let Some(held) = self.take(0) {
            assert_eq!(self.read(), 7);
            self.free_local(held);
        }
        assert!(!self.in_use());
    }

    fn in_use(&self) -> bool {
        self.load(A_AT) & !self.load(F_AT) != 0
    }

    /// Everybody has ended, and the dead are recovered: the block is free, or exactly the cell or
    /// the entry of a live line that its home word names holds it.
    fn settles(&self) {
        let home = Home(self.load(HOME_AT));
        let holders = [ENTRY_AT, ENTRY_AT + 1, CELL.0 as usize].map(|word| Slot(self.load(word)));
        let held = holders.iter().filter(|slot| slot.kind() != Kind::Empty).count();
        assert_eq!(held, usize::from(self.in_use()), "{holders:?}");
        if self.in_use() {
            let slot = Slot(self.load((home.0 >> 32) as usize));
            assert_eq!((slot.block(), slot.stamp()), (BLOCK, home.stamp()), "{holders:?}");
        }
        let cell = holders[2].kind();
        assert!(matches!(cell, Kind::Empty | Kind::Full), "{cell:?}");
    }

    /// What a survivor does that finds the block free, whoever owns its span now.
    fn is_allocated_anew(&self) {
        if Desc(self.load(DESC_AT)).state() == State::Orphan {
            let seen = Desc(self.load(DESC_AT));
            run::adopt(self, 0, seen, 1).unwrap();
        }
        self.drain();
        assert_eq!(self.load(F_AT), 0);
        self.write(9);
    }
}

/// Peers in a model: the line's process is gone when its proof says so.
struct Dead {
    proofs: Vec<(Owner, Proof)>,
    me: Owner,
}

impl Peers for Dead {
    fn me(&self) -> Option<Owner> {
        Some(self.me)
    }

    fn is_gone(&self, owner: Owner) -> bool {
        self.proofs.iter().any(|(known, proof)| *known == owner && proof.is_gone())
    }

    fn ticket(&self) -> Ticket {
        Ticket(0)
    }

    fn park(&self, _: &Futex, _: u32, _: Ticket, _: Option<Duration>) -> Waited {
        Waited::Woken
    }
}

impl Dead {
    fn of(world: &World, names: &[(&'static str, usize)], me: usize) -> Dead {
        let proofs = names.iter().map(|&(name, line)| (owner(line), world.proof(name))).collect();
        Dead { proofs, me: owner(me) }
    }

    fn recover(&self, tiny: &Tiny) -> usize {
        recover::everybody(tiny, self, self.me)
    }
}

fn check(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    let asked = std::env::var("LOOM_MAX_PREEMPTIONS").ok();
    let bound = asked.and_then(|bound| bound.parse().ok()).unwrap_or(3);
    Model::new().victims(victims).preemption_bound(Some(bound)).check(f)
}

/// Peers of whom some are gone from the start.
struct Gone {
    of: Vec<(Owner, Option<Proof>)>,
    me: Owner,
}

impl Peers for Gone {
    fn me(&self) -> Option<Owner> {
        Some(self.me)
    }

    fn is_gone(&self, owner: Owner) -> bool {
        let gone = |proof: &Option<Proof>| proof.as_ref().is_none_or(Proof::is_gone);
        self.of.iter().any(|(known, proof)| *known == owner && gone(proof))
    }

    fn ticket(&self) -> Ticket {
        Ticket(0)
    }

    fn park(&self, _: &Futex, _: u32, _: Ticket, _: Option<Duration>) -> Waited {
        Waited::Woken
    }
}
