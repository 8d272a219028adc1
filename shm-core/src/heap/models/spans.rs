//! Models of spans and runs: claims, drains, adoption, and who may recover.

use super::*;

pub(super) fn what_another_frees_is_allocated_after_its_last_use() -> Result<Report, Error> {
    check(0, |world| {
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
    })
}

pub(super) fn a_span_is_claimed_by_one_of_two() -> Result<Report, Error> {
    check(1, |world| {
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
    })
}

pub(super) fn an_adopter_finds_what_is_freed_meanwhile() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        // A block that is nobody's, in a span that its owner has left.
        let held = tiny.allocate();
        steps::forget(&*tiny, held);
        let orphan = Desc(tiny.load(DESC_AT)).become_of(State::Orphan, 0);
        tiny.desc(0).store(orphan.0, Ordering::Relaxed);
        let theirs = Rc::clone(&tiny);
        let freer = world.victim("freer", move || {
            theirs.write(2);
            steps::free_remote(&*theirs, theirs.place()).unwrap();
        });
        let seen = Desc(tiny.load(DESC_AT));
        run::adopt(&*tiny, 0, seen, 0).unwrap();
        let mut drained = tiny.drain();
        if drained > 0 {
            tiny.allocate();
            tiny.write(3);
        }
        let finished = freer.join().is_ok();
        if drained == 0 {
            drained = tiny.drain();
        }
        assert!(drained == 1 || !finished, "what was freed comes to the adopter");
    })
}

/// The payload stands for the span that both runs would have.
pub(super) fn of_two_runs_that_overlap_one_is_claimed() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::with_spans(3);
        (0..3).for_each(|span| tiny.desc(span).store(Desc::free(1).0, Ordering::Relaxed));
        let dead = Dead::of(world, &[("other", 1)], 0);
        let theirs = Rc::clone(&tiny);
        let other = world.victim("other", move || {
            if let Some(desc) = run::claim_run(&*theirs, 1, 2, 1) {
                theirs.write(1);
                // Relaxed: what a user does, before he frees.
                theirs.inside(2).store(1, Ordering::Relaxed);
                run::give_back(&*theirs, 1, desc);
            }
        });
        let claimed = run::claim_run(&*tiny, 0, 2, 0);
        if claimed.is_some() {
            tiny.write(2);
        }
        if other.join().is_err() {
            dead.recover(&tiny);
        }
        if let Some(desc) = claimed {
            let tail = Desc(tiny.desc(1).load(Ordering::Relaxed));
            assert_eq!((tail.state(), tail.argument()), (State::Cont, 0), "a run stays whole");
            run::give_back(&*tiny, 0, desc);
        }
        for span in 0..3 {
            let state = Desc(tiny.desc(span).load(Ordering::Relaxed)).state();
            // The dead one's run is an orphan, whole, until somebody adopts it.
            let is_left = claimed.is_none() && span > 0;
            assert!(state == State::Free || is_left, "span {span} is {state:?}");
        }
    })
}

pub(super) fn a_run_that_is_free_again_has_no_block() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::with_spans(2);
        (0..2).for_each(|span| tiny.desc(span).store(Desc::free(0).0, Ordering::Relaxed));
        let dead = Dead::of(world, &[("other", 0)], 1);
        let theirs = Rc::clone(&tiny);
        let other = world.victim("other", move || {
            let Some(desc) = run::claim_run(&*theirs, 0, 2, 0) else { return };
            let held = theirs.allocate();
            theirs.inside(1).store(1, Ordering::Relaxed);
            theirs.clear_bit();
            run::give_back(&*theirs, 0, desc);
            theirs.at(held.entry.offset()).store(0, Ordering::Release);
        });
        // The tail is free before the head is, and clean then.
        let tail = Desc(tiny.desc(1).load(Ordering::Relaxed));
        if tail.state() == State::Free && run::claim(&*tiny, 1, 1, 0).is_some() {
            assert_eq!(tiny.load(INSIDE_AT), 0, "a free span is clean");
        }
        if other.join().is_err() {
            dead.recover(&tiny);
        }
        if Desc(tiny.load(DESC_AT)).state() == State::Free {
            assert_eq!(tiny.load(A_AT), 0, "a free span has a block");
        }
    })
}

pub(super) fn a_dead_owner_has_drained_or_not() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::new();
        let held = tiny.allocate();
        assert!(tiny.publish(0, held));
        let held = tiny.take(1).unwrap();
        tiny.free_remote(held);
        let dead = Dead::of(world, &[("owner", 0)], 1);
        let theirs = Rc::clone(&tiny);
        let owner = world.victim("owner", move || theirs.drain());
        if owner.join().is_err() {
            dead.recover(&tiny);
        }
        tiny.settles();
        tiny.is_allocated_anew();
    })
}
