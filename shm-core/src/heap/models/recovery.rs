//! Models of recovery: beside the living, and taken over from a recoverer that dies.

use super::*;

pub(super) fn a_recovery_is_taken_over_from_a_dead_recoverer() -> Result<Report, Error> {
    check(1, |world| {
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
    })
}

pub(super) fn a_recovery_is_claimed_by_one_of_two() -> Result<Report, Error> {
    check(0, |world| {
        let tiny = Tiny::new();
        let theirs = Rc::clone(&tiny);
        let other = world.spawn("other", move || {
            let gone = Gone { of: vec![(owner(0), None)], me: owner(1) };
            recover::claim(&*theirs, &gone, owner(1), 0)
        });
        let gone = Gone { of: vec![(owner(0), None)], me: Owner::new(2, 1) };
        let claimed = recover::claim(&*tiny, &gone, gone.me, 0);
        assert!(claimed != other.join().unwrap());
    })
}

/// Line 1 took the block and freed it, and was killed before it emptied its entry.
fn freed_by_the_dead() -> (Rc<Tiny>, Gone) {
    let tiny = Tiny::new();
    let held = tiny.allocate();
    assert!(tiny.publish(0, held));
    tiny.take(1).unwrap();
    steps::free_remote(&*tiny, tiny.place()).unwrap();
    (tiny, gone(1))
}

/// The process of this line is gone from the start; somebody without a line clears up.
fn gone(line: usize) -> Gone {
    Gone { of: vec![(owner(line), None)], me: Owner::new(2, 1) }
}

/// The owner runs first, so that its stores may be seen late: loom does not try a load of the
/// recovery before them and after them as one.
pub(super) fn a_block_that_was_freed_and_reused_is_not_freed_for_the_dead() -> Result<Report, Error>
{
    check(0, |world| {
        let (tiny, gone) = freed_by_the_dead();
        let theirs = Rc::clone(&tiny);
        let recoverer = world.spawn("recoverer", move || {
            recover::everybody(&*theirs, &gone, gone.me);
        });
        let again = (tiny.drain() > 0).then(|| tiny.allocate());
        recoverer.join().unwrap();
        if again.is_some() {
            assert!(tiny.in_use(), "a block in use was freed");
        }
    })
}

/// The block is allocated once more and freed, then its span is of another class, and what was the
/// home word is the user's.
fn use_anew(tiny: &Tiny, seems: Home) {
    let held = tiny.allocate();
    tiny.free_local(held);
    run::release(tiny, 0, Desc(tiny.load(DESC_AT)));
    run::claim(tiny, 0, 0, 1).unwrap();
    // Relaxed: plain bytes of the user's, that read as the home did.
    tiny.at(tiny.place().home).store(seems.0, Ordering::Relaxed);
}

pub(super) fn a_span_that_is_used_anew_is_not_touched_for_the_dead() -> Result<Report, Error> {
    check(0, |world| {
        let (tiny, gone) = freed_by_the_dead();
        let seems = Home(tiny.load(HOME_AT));
        let theirs = Rc::clone(&tiny);
        let recoverer = world.spawn("recoverer", move || {
            recover::everybody(&*theirs, &gone, gone.me);
        });
        tiny.drain();
        use_anew(&tiny, seems);
        recoverer.join().unwrap();
        assert_eq!(tiny.load(F_AT), 0, "what is the user's now was written");
    })
}

/// Line 1 accepted a lease into an entry that comes first in the recovery, and was killed before it
/// emptied the cell; so was its recoverer when it had freed what that entry held. That is used anew
/// before the cell is judged.
pub(super) fn a_lease_in_a_span_that_is_used_anew_is_over() -> Result<Report, Error> {
    check(0, |world| {
        let tiny = Tiny::with_entries(2);
        let held = tiny.allocate();
        assert!(tiny.publish(0, held));
        let leased = steps::lease(&*tiny, 1, CELL, SPARE).unwrap();
        let (seems, gone) = (Home(tiny.load(HOME_AT)), gone(1));
        let accepted = Home::new(entry(1), leased.slot.stamp().next());
        tiny.at(tiny.place().home).store(accepted.0, Ordering::Relaxed);
        steps::free_remote(&*tiny, tiny.place()).unwrap();
        let theirs = Rc::clone(&tiny);
        let recoverer = world.spawn("recoverer", move || {
            recover::everybody(&*theirs, &gone, gone.me);
        });
        tiny.drain();
        use_anew(&tiny, seems);
        recoverer.join().unwrap();
        assert_eq!(Slot(tiny.load(CELL.0 as usize)), Slot::EMPTY);
    })
}

pub(super) fn the_next_sees_what_is_in_a_block_that_a_dead_lessee_gave_back()
-> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::with_message();
        let dead = Dead::of(world, &[("lessee", 1)], 2);
        let theirs = Rc::clone(&tiny);
        let lessee = world.victim("lessee", move || {
            if steps::lease(&*theirs, 1, CELL, entry(1)).is_some() {
                theirs.write(8);
            }
        });
        next_sees(world, &tiny, 0, || {
            if lessee.join().is_err() {
                dead.recover(&tiny);
            }
        });
    })
}

pub(super) fn the_next_sees_what_a_dead_publisher_had_published() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        let dead = Dead::of(world, &[("publisher", 0)], 2);
        let theirs = Rc::clone(&tiny);
        let publisher = world.victim("publisher", move || {
            let held = theirs.allocate();
            theirs.write(7);
            assert!(theirs.publish(0, held));
        });
        next_sees(world, &tiny, 1, || {
            if publisher.join().is_err() {
                dead.recover(&tiny);
            }
        });
    })
}

/// Another thread takes the block, as this line, while the dead are cleared up after.
fn next_sees(world: &World, tiny: &Rc<Tiny>, line: usize, recover: impl FnOnce()) {
    let theirs = Rc::clone(tiny);
    let next = world.spawn("next", move || {
        if theirs.take(line).is_some() {
            assert!(matches!(theirs.read(), 7 | 8));
        }
    });
    recover();
    next.join().unwrap();
}

pub(super) fn an_adopter_sees_what_the_dead_owner_had_in_use() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        let dead = Dead::of(world, &[("owner", 0)], 2);
        let theirs = Rc::clone(&tiny);
        let owner = world.victim("owner", move || {
            let held = theirs.allocate();
            assert!(theirs.publish(0, held));
        });
        let theirs = Rc::clone(&tiny);
        let adopter = world.spawn("adopter", move || {
            let seen = Desc(theirs.load(DESC_AT));
            let orphan = seen.state() == State::Orphan;
            (orphan && run::adopt(&*theirs, 0, seen, 1).is_some()).then(|| theirs.load(A_AT))
        });
        if owner.join().is_err() {
            dead.recover(&tiny);
        }
        if let Some(seen) = adopter.join().unwrap() {
            assert_eq!(seen, tiny.load(A_AT), "a block in use looks free");
        }
    })
}

pub(super) fn whoever_claims_the_line_of_the_dead_finds_it_clean() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        let dead = Dead::of(world, &[("owner", 0)], 2);
        let theirs = Rc::clone(&tiny);
        let owner = world.victim("owner", move || {
            theirs.allocate();
        });
        let theirs = Rc::clone(&tiny);
        let next = world.spawn("next", move || {
            if line::claim(&*theirs, Owner::new(1, 2), 0) {
                assert_eq!(theirs.load(ENTRY_AT), 0, "an entry of the dead");
                let desc = Desc(theirs.load(DESC_AT));
                assert_eq!(desc.state(), State::Orphan, "a span of the dead");
            }
        });
        if owner.join().is_err() {
            dead.recover(&tiny);
        }
        next.join().unwrap();
    })
}

/// A process is killed while it clears up after line 0, at each of its operations; another goes on.
fn taken_over(
    left: impl Fn(&Tiny) + Send + Sync + 'static,
    settled: impl Fn(&Tiny) + Send + Sync + 'static,
) -> Result<Report, Error> {
    check(1, move |world| {
        let tiny = Tiny::with_spans(2);
        left(&tiny);
        let proof = world.proof("recoverer");
        let theirs = Rc::clone(&tiny);
        let first = Gone { of: vec![(owner(0), None)], me: owner(1) };
        let recoverer = world.victim("recoverer", move || {
            recover::everybody(&*theirs, &first, first.me);
        });
        let second =
            Gone { of: vec![(owner(0), None), (owner(1), Some(proof))], me: Owner::new(2, 1) };
        let _ = recoverer.join();
        recover::everybody(&*tiny, &second, second.me);
        assert_eq!(Line::of(tiny.load(LINE_AT)), Line::Free);
        assert_eq!(tiny.load(ENTRY_AT), 0);
        settled(&tiny);
    })
}

pub(super) fn the_recovery_of_a_held_block_is_taken_over() -> Result<Report, Error> {
    let left = |tiny: &Tiny| {
        tiny.allocate();
    };
    taken_over(left, |tiny| {
        assert!(!tiny.in_use(), "it is lost");
        assert_eq!(Desc(tiny.load(DESC_AT)).state(), State::Orphan);
    })
}

pub(super) fn the_recovery_of_a_lease_is_taken_over() -> Result<Report, Error> {
    let left = |tiny: &Tiny| {
        let held = tiny.allocate();
        assert!(tiny.publish(0, held));
        // The last cell that the dead one worked on is another.
        tiny.intent(0).store(0, Ordering::Relaxed);
        steps::lease(tiny, 0, CELL, entry(0)).unwrap();
    };
    taken_over(left, |tiny| {
        assert_eq!(Slot(tiny.load(CELL.0 as usize)).kind(), Kind::Full, "leased for ever");
    })
}

pub(super) fn the_recovery_of_an_acknowledged_block_is_taken_over() -> Result<Report, Error> {
    let left = |tiny: &Tiny| {
        let held = tiny.allocate();
        assert!(tiny.publish(0, held));
        let leased = steps::lease(tiny, 0, CELL, entry(0)).unwrap();
        let done = leased.slot.become_of(Kind::Done, 0);
        tiny.at(CELL.offset()).store(done.0, Ordering::Relaxed);
    };
    taken_over(left, |tiny| {
        assert_eq!(tiny.load(CELL.0 as usize), 0);
        assert!(!tiny.in_use(), "it is lost");
    })
}

pub(super) fn the_recovery_of_a_run_is_taken_over() -> Result<Report, Error> {
    let left = |tiny: &Tiny| {
        (0..2).for_each(|span| tiny.desc(span).store(Desc::free(0).0, Ordering::Relaxed));
        run::build(tiny, 0, 2, 0).unwrap();
        tiny.inside(1).store(1, Ordering::Relaxed);
    };
    taken_over(left, |tiny| {
        (0..2).for_each(|span| {
            assert_eq!(Desc(tiny.desc(span).load(Ordering::Relaxed)).state(), State::Free)
        });
        assert_eq!(tiny.load(INSIDE_AT), 0, "a free span is clean");
    })
}
