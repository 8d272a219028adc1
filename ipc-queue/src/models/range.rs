//! A range record whose worker may die, and whose owner takes items back meanwhile.

use std::rc::Rc;

use crash_check::death::{Error, Report};
use shm_core::primitive::{Ordering, UnsafeCell, spin_loop};

use super::{check, check_awake, models};
use crate::work::range::{Standing, Words};

models![
    an_item_is_started_or_taken_back_and_never_both,
    two_revocations_take_back_what_is_not_started,
    what_a_living_worker_finished_is_seen_whole,
    what_was_finished_before_a_refusal_is_seen_whole,
    what_a_dead_worker_finished_is_there_and_what_it_ran_is_known,
    what_is_taken_back_from_one_who_dies_was_not_started,
];

const ITEMS: u64 = 3;

/// Starts each item until one is refused; those that were started.
fn work(words: &Words) -> u64 {
    for item in 0..ITEMS {
        if !words.start(item) {
            return item;
        }
        words.finish(item + 1);
    }
    ITEMS
}

fn an_item_is_started_or_taken_back_and_never_both() -> Result<Report, Error> {
    check(0, |world| {
        let words = Rc::new(Words::default());
        let theirs = Rc::clone(&words);
        let worker = world.spawn("worker", move || work(&theirs));
        let taken = words.revoke(&(1..ITEMS));
        let started = worker.join().unwrap();
        // What lies between was refused though the owner took it for running.
        assert!(started <= taken, "{started} started, from {taken} on taken back");
        assert!(started >= 1, "the first item was not revoked");
        assert_eq!(words.standing().unstarted(), started);
    })
}

fn two_revocations_take_back_what_is_not_started() -> Result<Report, Error> {
    check(0, |world| {
        let words = Rc::new(Words::default());
        let theirs = Rc::clone(&words);
        let worker = world.spawn("worker", move || work(&theirs));
        let last = words.revoke(&(2..ITEMS));
        let taken = words.revoke(&(1..ITEMS));
        // What the first was certain of stays so, also where the second sees that item announced.
        assert!(worker.join().unwrap() <= taken.min(last));
    })
}

// These two without any barrier, which in a model orders more than `membarrier` does.

fn what_a_living_worker_finished_is_seen_whole() -> Result<Report, Error> {
    check_awake(0, |world| {
        let words = Rc::new((Words::default(), [UnsafeCell::new(0), UnsafeCell::new(0)]));
        let theirs = Rc::clone(&words);
        world.spawn("worker", move || {
            for (item, result) in theirs.1.iter().enumerate() {
                assert!(theirs.0.start(item as u64));
                // SAFETY: the owner reads it once it is finished.
                result.with_mut(|at| unsafe { at.write(7) });
            }
            theirs.0.finish(2);
        });
        for (item, result) in words.1.iter().enumerate() {
            while words.0.standing().finished <= item as u64 {
                spin_loop();
            }
            // SAFETY: finished, so the worker writes it no more.
            assert_eq!(result.with(|at| unsafe { at.read() }), 7);
        }
    })
}

fn what_was_finished_before_a_refusal_is_seen_whole() -> Result<Report, Error> {
    check_awake(0, |world| {
        let words = Rc::new((Words::default(), UnsafeCell::new(0)));
        words.0.revoke(&(1..ITEMS));
        let theirs = Rc::clone(&words);
        world.spawn("worker", move || {
            assert!(theirs.0.start(0));
            // SAFETY: the owner reads it once it is finished.
            theirs.1.with_mut(|at| unsafe { at.write(7) });
            assert!(!theirs.0.start(1));
        });
        while words.0.standing() != (Standing { finished: 1, running: None }) {
            spin_loop();
        }
        // SAFETY: finished, so the worker writes it no more.
        assert_eq!(words.1.with(|at| unsafe { at.read() }), 7);
    })
}

fn what_a_dead_worker_finished_is_there_and_what_it_ran_is_known() -> Result<Report, Error> {
    check(1, |world| {
        let words = Rc::new((Words::default(), UnsafeCell::new(0)));
        let theirs = Rc::clone(&words);
        let worker = world.victim("worker", move || {
            assert!(theirs.0.start(0));
            // SAFETY: the owner reads it once this thread is gone.
            theirs.1.with_mut(|at| unsafe { at.write(7) });
            theirs.0.finish(1);
            assert!(theirs.0.start(1));
        });
        let lived = worker.join().is_ok();
        let standing = words.0.standing();
        if standing.finished > 0 {
            // SAFETY: its writer is gone.
            assert_eq!(words.1.with(|at| unsafe { at.read() }), 7);
        }
        if lived {
            assert_eq!((standing.finished, standing.running), (1, Some(1)));
        }
    })
}

fn what_is_taken_back_from_one_who_dies_was_not_started() -> Result<Report, Error> {
    check(1, |world| {
        let words = Rc::new((Words::default(), shm_core::primitive::AtomicU64::new(0)));
        let theirs = Rc::clone(&words);
        let worker = world.victim("worker", move || {
            for item in 0..ITEMS {
                if !theirs.0.start(item) {
                    return;
                }
                // Relaxed: read once this thread is gone.
                theirs.1.store(item + 1, Ordering::Relaxed);
                theirs.0.finish(item + 1);
            }
        });
        let taken = words.0.revoke(&(0..ITEMS));
        let _ = worker.join();
        let ran = words.1.load(Ordering::Relaxed);
        assert!(ran <= taken, "{ran} ran, from {taken} on taken back");
        let standing = words.0.standing();
        // Whatever ran is finished, or the one that is known to have been running.
        assert!(ran == standing.finished || ran == standing.unstarted());
    })
}
