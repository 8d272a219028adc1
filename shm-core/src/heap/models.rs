//! Models of the steps by which a block changes hands, in which a process may die at each of its
//! shared operations: one span with one block, one cell, two lines. The functions that run here are
//! the ones the heap calls.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p shm-core --release --lib loom`.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use crash_check::death::{Error, Model, Proof, Report, World};

use super::class::Place;
use super::memory::Ground;
use super::words::{BlockId, CellId, Desc, Home, Kind, Line, Slot, State};
use super::{recover, run, steps};
use crate::futex::{Futex, Waited};
use crate::primitive::{AtomicU64, Ordering, UnsafeCell};
use crate::{Owner, Peers, Ticket};

const LINE_AT: usize = 1;
const INTENT_AT: usize = 3;
const ENTRY_AT: usize = 5;
const DESC_AT: usize = 7;
const A_AT: usize = 8;
const F_AT: usize = 9;
const HOME_AT: usize = 10;
const CELL: CellId = CellId(11);
const WORDS: usize = 12;
const BLOCK: BlockId = BlockId(100);
const LINES: usize = 2;

/// One span of one block, and the block.
struct Tiny {
    words: Vec<AtomicU64>,
    payload: UnsafeCell<u32>,
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
        start..start + 8
    }

    fn spans(&self) -> u64 {
        1
    }

    fn desc(&self, _: u64) -> &AtomicU64 {
        &self.words[DESC_AT]
    }

    fn span_of(&self, block: BlockId) -> Option<u64> {
        (block == BLOCK).then_some(0)
    }

    fn place(&self, _: u64, _: Desc, _: BlockId) -> Option<Place> {
        let [a, f, home] = [A_AT, F_AT, HOME_AT].map(|word| word as u64 * 8);
        Some(Place { a, f, home, bit: 1 })
    }

    fn span_entries(&self, _: u64) -> Range<u64> {
        0..0
    }

    fn clear(&self, _: u64, _: u64) {}

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
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let tiny = Tiny { words, payload: UnsafeCell::new(0) };
        for line in 0..LINES {
            let live = Line::Live(owner(line).to_bits()).word();
            tiny.line(line).store(live, Ordering::Relaxed);
        }
        tiny.desc(0).store(Desc::new(State::Owned, 0, 0, 1, 1).0, Ordering::Relaxed);
        Rc::new(tiny)
    }

    fn place(&self) -> Place {
        Ground::place(self, 0, Desc(0), BLOCK).unwrap()
    }

    /// What the span's line does: allocates into its entry.
    fn allocate(&self) -> steps::Held {
        let place = self.place();
        let words = (self.at(place.home), self.at(place.a), place.bit);
        let word = Some(self.at(entry(0).offset()));
        let stamp = steps::allocate((entry(0), word), words, BLOCK, 1);
        steps::Held { entry: entry(0), block: BLOCK, stamp, home: CellId::at(place.home) }
    }

    fn free_local(&self, held: steps::Held) {
        let a = self.at(self.place().a);
        a.store(a.load(Ordering::Relaxed) & !1, Ordering::Release);
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

mod loom {
    use super::*;

    type Done = Result<(), Box<Error>>;

    fn shown(report: Result<Report, Error>) -> Done {
        println!("{}", report?);
        Ok(())
    }

    #[test]
    fn what_another_frees_is_allocated_after_its_last_use() -> Done {
        shown(check(0, |world| {
            let tiny = Tiny::new();
            let held = tiny.allocate();
            tiny.write(1);
            let theirs = Rc::clone(&tiny);
            world.spawn("freer", move || {
                theirs.write(2);
                theirs.free_remote(held);
            });
            if tiny.drain() > 0 {
                tiny.allocate();
                tiny.write(3);
            }
        }))
    }

    #[test]
    fn a_taker_sees_what_was_written_before_the_block_was_published() -> Done {
        shown(check(0, |world| {
            let tiny = Tiny::new();
            let theirs = Rc::clone(&tiny);
            world.spawn("publisher", move || {
                let held = theirs.allocate();
                theirs.write(7);
                assert!(theirs.publish(0, held));
            });
            if let Some(held) = tiny.take(1) {
                assert_eq!(tiny.read(), 7);
                tiny.write(8);
                tiny.free_remote(held);
            }
        }))
    }

    #[test]
    fn a_dead_publisher_has_published_or_not() -> Done {
        shown(check(1, |world| {
            let tiny = Tiny::new();
            let dead = Dead::of(world, &[("publisher", 0)], 1);
            let theirs = Rc::clone(&tiny);
            let publisher = world.victim("publisher", move || {
                let held = theirs.allocate();
                theirs.write(7);
                assert!(theirs.publish(0, held));
            });
            let mut taken = tiny.take(1);
            let died = publisher.join().is_err();
            if died {
                assert_eq!(dead.recover(&tiny), 1);
                assert_eq!(Line::of(tiny.load(LINE_AT)), Line::Free);
            }
            tiny.settles();
            taken = taken.or_else(|| tiny.take(1));
            assert!(died || taken.is_some(), "what was published is there");
            if let Some(held) = taken {
                assert_eq!(tiny.read(), 7);
                tiny.free_remote(held);
            }
            if died {
                tiny.is_allocated_anew();
            }
        }))
    }

    #[test]
    fn a_dead_taker_has_taken_or_not_and_the_owner_goes_on_meanwhile() -> Done {
        shown(check(1, |world| {
            let tiny = Tiny::new();
            let held = tiny.allocate();
            tiny.write(7);
            assert!(tiny.publish(0, held));
            let dead = Dead::of(world, &[("taker", 1)], 0);
            let theirs = Rc::clone(&tiny);
            let taker = world.victim("taker", move || {
                let held = theirs.take(1).unwrap();
                assert_eq!(theirs.read(), 7);
                theirs.free_remote(held);
            });
            // The owner finds what was freed, and uses the block again before the recovery.
            let again = (tiny.drain() > 0).then(|| {
                let held = tiny.allocate();
                tiny.write(1);
                held
            });
            if taker.join().is_err() {
                assert_eq!(dead.recover(&tiny), 1);
            }
            tiny.settles();
            match again {
                Some(held) => tiny.free_local(held),
                None => {
                    if let Some(held) = tiny.take(0) {
                        assert_eq!(tiny.read(), 7);
                        tiny.free_local(held);
                    }
                }
            }
            assert!(!tiny.in_use());
        }))
    }

    #[test]
    fn a_dead_lessee_has_acknowledged_or_not_and_the_owner_goes_on_meanwhile() -> Done {
        shown(check(1, |world| {
            let tiny = Tiny::new();
            let held = tiny.allocate();
            tiny.write(7);
            assert!(tiny.publish(0, held));
            let dead = Dead::of(world, &[("lessee", 1)], 0);
            let theirs = Rc::clone(&tiny);
            let lessee = world.victim("lessee", move || {
                let leased = steps::lease(&*theirs, 1, CELL, entry(1)).unwrap();
                assert_eq!(theirs.read(), 7);
                let free = |_| steps::free_remote(&*theirs, theirs.place()).unwrap();
                steps::acknowledge(&*theirs, 1, leased, free);
            });
            let proof = dead;
            let mut again = None;
            for _ in 0..2 {
                if again.is_none() && tiny.drain() > 0 {
                    again = Some(tiny.allocate());
                    tiny.write(1);
                }
                proof.recover(&tiny);
            }
            if lessee.join().is_err() {
                proof.recover(&tiny);
            }
            tiny.settles();
            if let Some(held) = again {
                tiny.free_local(held);
            } else if let Some(held) = tiny.take(0) {
                assert_eq!(tiny.read(), 7);
                tiny.free_local(held);
            }
            assert!(!tiny.in_use());
        }))
    }

    #[test]
    fn a_block_that_a_dead_one_freed_is_not_freed_again_while_its_owner_reuses_it() -> Done {
        shown(check(1, |world| {
            let tiny = Tiny::new();
            let held = tiny.allocate();
            assert!(tiny.publish(0, held));
            let dead = Dead::of(world, &[("taker", 1)], 0);
            let theirs = Rc::clone(&tiny);
            let taker = world.victim("taker", move || {
                let held = theirs.take(1).unwrap();
                theirs.free_remote(held);
            });
            let died = taker.join().is_err();
            // The owner's thread and the one that recovers, at once.
            let theirs = Rc::clone(&tiny);
            let owner = world.spawn("owner", move || {
                (theirs.drain() > 0).then(|| {
                    let held = theirs.allocate();
                    theirs.write(1);
                    held
                })
            });
            dead.recover(&tiny);
            let again = owner.join().unwrap();
            assert!(!died || Line::of(tiny.load(LINE_AT + 1)) == Line::Free);
            if let Some(held) = again {
                assert!(tiny.in_use(), "a block in use was freed");
                tiny.settles();
                tiny.free_local(held);
            }
        }))
    }

    #[test]
    fn a_recovery_is_taken_over_from_a_dead_recoverer() -> Done {
        shown(check(1, |world| {
            let tiny = Tiny::new();
            // Line 0 is of a process that died while it was publishing; line 1 clears up after it.
            let held = tiny.allocate();
            tiny.write(7);
            tiny.intent(0).store(CELL.0.into(), Ordering::Relaxed);
            let stamp = held.stamp.next();
            let incoming = Slot::new(Kind::Incoming, 0, BLOCK, stamp);
            tiny.at(CELL.offset()).store(incoming.0, Ordering::Relaxed);
            tiny.at(held.home.offset()).store(Home::new(CELL, stamp).0, Ordering::Relaxed);
            let proof = world.proof("recoverer");
            let theirs = Rc::clone(&tiny);
            let gone = Gone { of: vec![(owner(0), None)], me: owner(1) };
            let recoverer = world.victim("recoverer", move || {
                recover::everybody(&*theirs, &gone, owner(1));
            });
            let second =
                Gone { of: vec![(owner(0), None), (owner(1), Some(proof))], me: Owner::new(2, 1) };
            // Beside the first, and after its end.
            recover::everybody(&*tiny, &second, second.me);
            let _ = recoverer.join();
            recover::everybody(&*tiny, &second, second.me);
            assert_eq!(Line::of(tiny.load(LINE_AT)), Line::Free);
            tiny.settles();
            assert_eq!(Slot(tiny.load(CELL.0 as usize)).kind(), Kind::Full);
        }))
    }

    #[test]
    fn a_recovery_is_claimed_by_one_of_two() -> Done {
        shown(check(0, |world| {
            let tiny = Tiny::new();
            let theirs = Rc::clone(&tiny);
            let other = world.spawn("other", move || {
                let gone = Gone { of: vec![(owner(0), None)], me: owner(1) };
                recover::claim(&*theirs, &gone, owner(1), 0)
            });
            let gone = Gone { of: vec![(owner(0), None)], me: Owner::new(2, 1) };
            let claimed = recover::claim(&*tiny, &gone, gone.me, 0);
            assert!(claimed != other.join().unwrap());
        }))
    }

    #[test]
    fn a_span_is_claimed_by_one_of_two() -> Done {
        shown(check(1, |world| {
            let tiny = Tiny::new();
            tiny.desc(0).store(Desc::free(1).0, Ordering::Relaxed);
            let theirs = Rc::clone(&tiny);
            let other = world.victim("other", move || {
                let claimed = run::claim(&*theirs, 0, 1, 0).is_some();
                if claimed {
                    theirs.write(1);
                    run::release(&*theirs, 0, Desc(theirs.load(DESC_AT)));
                }
                claimed
            });
            // A second look may find what the other has released.
            let claimed = (0..2).any(|_| run::claim(&*tiny, 0, 0, 0).is_some());
            if claimed {
                tiny.write(2);
            }
            let other = other.join();
            assert!(claimed || !matches!(other, Ok(false)));
        }))
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
}
