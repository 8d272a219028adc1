//! Models of blocks that change hands, and of processes that die on the way.

use super::*;

pub(super) fn a_taker_sees_what_was_written_before_the_block_was_published() -> Result<Report, Error>
{
    check(0, |world| {
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
    })
}

pub(super) fn a_dead_publisher_has_published_or_not() -> Result<Report, Error> {
    check(1, |world| {
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
    })
}

pub(super) fn a_dead_taker_has_taken_or_not_and_the_owner_goes_on_meanwhile()
-> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::with_message();
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
        tiny.ends_whole(again);
    })
}

pub(super) fn a_dead_lessee_has_acknowledged_or_not_and_the_owner_goes_on_meanwhile()
-> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::with_message();
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
        tiny.ends_whole(again);
    })
}

pub(super) fn a_block_that_a_dead_one_freed_is_not_freed_again_while_its_owner_reuses_it()
-> Result<Report, Error> {
    check(1, |world| {
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
    })
}

pub(super) fn a_dead_lessee_has_given_back_or_kept() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::with_entries(2);
        let held = tiny.allocate();
        tiny.write(7);
        assert!(tiny.publish(0, held));
        let dead = Dead::of(world, &[("lessee", 1)], 0);
        let theirs = Rc::clone(&tiny);
        let lessee = world.victim("lessee", move || {
            if let Some(leased) = steps::lease(&*theirs, 1, CELL, entry(1)) {
                theirs.write(7);
                steps::give_back(&*theirs, leased);
            }
            if let Some(leased) = steps::lease(&*theirs, 1, CELL, entry(1)) {
                let held = steps::accept(&*theirs, leased, SPARE).unwrap();
                theirs.write(7);
                theirs.free_remote(held);
            }
        });
        let taken = tiny.take(0);
        if taken.is_some() {
            assert_eq!(tiny.read(), 7);
        }
        if lessee.join().is_err() {
            dead.recover(&tiny);
        }
        if let Some(held) = taken.or_else(|| tiny.take(0)) {
            assert_eq!(tiny.read(), 7);
            tiny.free_local(held);
        }
        tiny.drain();
        assert!(!tiny.in_use(), "the block is free in the end");
        assert_eq!(tiny.load(SPARE.0 as usize), 0);
        tiny.settles();
    })
}

pub(super) fn what_was_nobodys_is_adopted_or_still_nobodys() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        let dead = Dead::of(world, &[("adopter", 0)], 1);
        let theirs = Rc::clone(&tiny);
        let adopter = world.victim("adopter", move || {
            let held = theirs.allocate();
            steps::forget(&*theirs, held);
            let home = CellId::at(theirs.place().home);
            let held = steps::adopt(&*theirs, BLOCK, home, entry(0));
            theirs.free_local(held);
        });
        if adopter.join().is_err() {
            assert_eq!(dead.recover(&tiny), 1);
            let home = Home(tiny.load(HOME_AT));
            assert!(!tiny.in_use() || home.cell() == CellId::NONE, "it is held, or nobody's");
            assert_eq!(tiny.load(ENTRY_AT), 0);
            assert_eq!(Desc(tiny.load(DESC_AT)).state(), State::Orphan);
        }
    })
}

/// The owner of the span itself leases, and frees into its own span.
pub(super) fn a_dead_owner_has_acknowledged_its_own_block_or_not() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        let dead = Dead::of(world, &[("owner", 0)], 1);
        let theirs = Rc::clone(&tiny);
        let owner = world.victim("owner", move || {
            let held = theirs.allocate();
            assert!(theirs.publish(0, held));
            let leased = steps::lease(&*theirs, 0, CELL, entry(0)).unwrap();
            steps::acknowledge(&*theirs, 0, leased, |_| theirs.clear_bit());
        });
        if owner.join().is_err() {
            assert_eq!(dead.recover(&tiny), 1);
            tiny.settles();
            if let Some(held) = tiny.take(1) {
                tiny.free_remote(held);
            }
            tiny.is_allocated_anew();
        }
        assert!(!tiny.in_use());
    })
}

pub(super) fn what_was_made_of_a_block_is_there_once_it_is_acknowledged() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        let held = tiny.allocate();
        assert!(tiny.publish(0, held));
        let dead = Dead::of(world, &[("lessee", 1)], 0);
        let theirs = Rc::clone(&tiny);
        let lessee = world.victim("lessee", move || {
            let leased = steps::lease(&*theirs, 1, CELL, entry(1)).unwrap();
            // Relaxed: a store of the user's, without an ordering of its own.
            theirs.words[RESULT_AT].store(7, Ordering::Relaxed);
            let free = |_| steps::free_remote(&*theirs, theirs.place()).unwrap();
            steps::acknowledge(&*theirs, 1, leased, free);
        });
        if lessee.join().is_err() {
            dead.recover(&tiny);
        }
        if tiny.take(0).is_none() {
            assert_eq!(tiny.load(RESULT_AT), 7, "acknowledged before its result was there");
        }
    })
}

pub(super) fn a_corrupted_cell_stays_as_it_is() -> Result<Report, Error> {
    check(0, |_| {
        let tiny = Tiny::new();
        let held = tiny.allocate();
        let strange = Slot::new(Kind::Full, 0, BlockId(77), held.stamp);
        tiny.at(CELL.offset()).store(strange.0, Ordering::Relaxed);
        assert!(tiny.take(1).is_none());
        assert_eq!(tiny.load(CELL.0 as usize), strange.0);
    })
}

pub(super) fn whoever_dies_turning_to_the_next_cell_leaves_none_behind() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        let dead = Dead::of(world, &[("owner", 0)], 1);
        let theirs = Rc::clone(&tiny);
        let owner = world.victim("owner", move || {
            let held = theirs.allocate();
            assert!(theirs.publish(0, held));
            // Nothing is there.
            assert!(steps::take(&*theirs, 0, OTHER, entry(0)).is_none());
            let held = theirs.take(0).unwrap();
            assert!(steps::publish(&*theirs, 0, held, OTHER));
        });
        if owner.join().is_err() {
            assert_eq!(dead.recover(&tiny), 1);
        }
        let cells = [CELL, OTHER].map(|cell| Slot(tiny.load(cell.0 as usize)));
        let full = cells.iter().filter(|cell| cell.kind() == Kind::Full).count();
        assert!(
            cells.iter().all(|cell| matches!(cell.kind(), Kind::Empty | Kind::Full)),
            "{cells:?}"
        );
        assert_eq!(full, usize::from(tiny.in_use()), "{cells:?}");
    })
}

pub(super) fn whoever_dies_reusing_a_block_that_it_freed_leaves_it_free() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::with_entries(2);
        // The other way round: line 1 has the span, and two entries.
        tiny.desc(0).store(Desc::new(State::Owned, 0, 1, 1, 1).0, Ordering::Relaxed);
        let dead = Dead::of(world, &[("owner", 1)], 0);
        let theirs = Rc::clone(&tiny);
        let owner = world.victim("owner", move || {
            for entry in [entry(1), SPARE] {
                let held = theirs.allocate_into(entry);
                theirs.free_local(held);
            }
        });
        if owner.join().is_err() {
            assert_eq!(dead.recover(&tiny), 1);
        }
        assert!(!tiny.in_use(), "it is lost");
    })
}
