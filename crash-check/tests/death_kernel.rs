//! The modelled kernel: sleeping, waking, stamping, and what the dead can not do any more.
#![cfg(feature = "death")]

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering as Std};
use std::sync::{Arc, Mutex};

use crash_check::death::futex::{self, Wake};
use crash_check::death::robust::{OWNER_DIED, WAITERS, robust_list_add, thread_id};
use crash_check::death::sync::Ordering::{Acquire, Relaxed, Release};
use crash_check::death::sync::{AtomicU32, AtomicU64, UnsafeCell};
use crash_check::death::{Error, Model, thread};

/// Runs the model and collects what `observe` returned in any execution, each value once.
fn outcomes<T: Ord + Clone + Send + 'static>(
    model: &Model,
    observe: impl Fn(&crash_check::death::World) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let seen = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let kept = Arc::clone(&seen);
    let report = model.check(move |world| {
        let value = observe(world);
        kept.lock().expect("nobody panicked").insert(value);
    });
    report.expect("the model holds");
    let seen = seen.lock().expect("nobody panicked");
    seen.iter().cloned().collect()
}

#[test]
fn a_sleep_with_nobody_to_end_it_is_a_deadlock_that_names_the_sleeper() {
    let error = Model::new().victims(0).check(|_| {
        let word = AtomicU32::new(0);
        futex::wait(&word, 0);
    });
    let text = error.unwrap_err().to_string();
    assert!(text.contains("deadlock") && text.contains("`main` asleep at"), "{text}");
    assert!(text.contains("death_kernel.rs"), "{text}");
}

#[test]
fn a_wake_comes_before_the_check_or_finds_the_sleeper() {
    let model = Model::new().victims(0);
    let seen = outcomes(&model, |world| {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&word);
        let waker = world.spawn("waker", move || {
            theirs.store(1, Release);
            futex::wake(&theirs, 1)
        });
        let wake = futex::wait(&word, 0);
        (format!("{wake:?}"), waker.join().unwrap())
    });
    let expected = [("Changed(0)".to_owned(), 0), ("Woken(0)".to_owned(), 1)];
    assert_eq!(seen, expected);
}

#[test]
fn a_waker_that_stores_too_late_is_found() {
    let error = Model::new().victims(0).check(|world| {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&word);
        world.spawn("waker", move || {
            futex::wake(&theirs, 1);
            theirs.store(1, Release);
        });
        while word.load(Acquire) == 0 {
            futex::wait(&word, 0);
        }
    });
    assert!(error.unwrap_err().to_string().contains("deadlock"));
}

#[test]
fn a_wake_of_one_wakes_the_first_to_have_slept() {
    let model = Model::new().victims(0).preemption_bound(Some(2));
    let woken = outcomes(&model, |world| {
        let word = Arc::new(AtomicU32::new(0));
        let sleepers: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|name| {
                let word = Arc::clone(&word);
                world.spawn(name, move || futex::wait_timeout(&word, 0) == Wake::Woken(0))
            })
            .collect();
        futex::wake(&word, 1);
        sleepers.into_iter().map(|s| s.join().unwrap()).filter(|&woken| woken).count()
    });
    assert_eq!(woken, [0, 1]);
}

#[test]
fn a_sleep_ends_for_no_reason_only_where_that_is_asked_for() {
    let sleep = |world: &crash_check::death::World| {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&word);
        world.spawn("waker", move || futex::wake(&theirs, 1));
        match futex::wait_timeout(&word, 0) {
            Wake::Woken(_) => "woken",
            Wake::Spurious => "spurious",
            Wake::TimedOut => "timed out",
            Wake::Changed(_) => "changed",
        }
    };
    let model = Model::new().victims(0);
    assert_eq!(outcomes(&model, sleep), ["timed out", "woken"]);
    assert_eq!(outcomes(&model.spurious(1), sleep), ["spurious", "timed out", "woken"]);
}

#[test]
fn a_timed_sleep_runs_out_early_only_where_that_is_asked_for() {
    let sleep = |world: &crash_check::death::World| {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&word);
        world.spawn("waker", move || {
            theirs.store(1, Release);
            futex::wake(&theirs, 1);
        });
        futex::wait_timeout(&word, 0) == Wake::TimedOut
    };
    let model = Model::new().victims(0);
    assert_eq!(outcomes(&model, sleep), [false]);
    assert_eq!(outcomes(&model.timeouts(1), sleep), [false, true]);
}

#[test]
fn a_wait_on_several_words_is_ended_by_any_of_them() {
    let model = Model::new().victims(0);
    let seen = outcomes(&model, |world| {
        let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let theirs = Arc::clone(&words);
        world.spawn("waker", move || {
            theirs[1].store(1, Release);
            futex::wake(&theirs[1], 1);
        });
        format!("{:?}", futex::waitv(&[(&words[0], 0), (&words[1], 0)]))
    });
    assert_eq!(seen, ["Changed(1)", "Woken(1)"]);
}

#[test]
fn the_kernel_stamps_after_the_last_store_and_wakes_one_of_those_who_wait_for_it() {
    let report = Model::new().check(|world| {
        let (word, data) = (Rc::new(AtomicU32::new(0)), Rc::new(UnsafeCell::new(0_u32)));
        let (theirs, stored) = (Rc::clone(&word), Rc::clone(&data));
        let victim = world.victim("victim", move || {
            theirs.store(WAITERS | thread_id(), Release);
            robust_list_add(&theirs);
            // SAFETY: the survivor reads only what the stamp has made visible.
            stored.with_mut(|data| unsafe { data.write(1) });
        });
        let seen = word.load(Acquire);
        if seen & OWNER_DIED != 0 {
            // SAFETY: the owner is dead, and the Acquire load saw the stamp after its last store.
            let _ = data.with(|data| unsafe { data.read() });
        }
        if victim.join().is_err() && word.load(Relaxed) != 0 {
            assert_eq!(word.load(Relaxed), WAITERS | OWNER_DIED);
        }
    });
    println!("{}", report.unwrap());
}

#[test]
fn a_word_that_names_another_owner_is_not_stamped() {
    Model::new()
        .check(|world| {
            let word = Arc::new(AtomicU32::new(0));
            let theirs = Arc::clone(&word);
            let victim = world.victim("victim", move || {
                robust_list_add(&theirs);
                theirs.store(WAITERS | (thread_id() + 1), Release);
            });
            let _ = victim.join();
            assert_eq!(word.load(Relaxed) & OWNER_DIED, 0);
        })
        .unwrap();
}

/// Gives back what it counts when it is dropped: a dead process runs no destructor.
struct Guard(Rc<AtomicU64>, Rc<UnsafeCell<u64>>);

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: nobody else reaches the cell before the join.
        self.1.with_mut(|cell| unsafe { cell.write(9) });
        let mut old = self.0.load(Relaxed);
        while let Err(found) = self.0.compare_exchange(old, old + 1, Release, Relaxed) {
            old = found;
        }
    }
}

#[test]
fn destructors_of_the_dead_have_no_effect() {
    let deaths = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&deaths);
    Model::new()
        .check(move |world| {
            let (count, cell) = (Rc::new(AtomicU64::new(0)), Rc::new(UnsafeCell::new(0_u64)));
            let guard = Guard(Rc::clone(&count), Rc::clone(&cell));
            let victim = world.victim("victim", move || {
                let guard = guard;
                guard.0.fetch_add(10, Release);
            });
            let died = victim.join().is_err();
            counted.fetch_add(usize::from(died), Std::Relaxed);
            let given_back = count.load(Relaxed) % 10 == 1;
            // SAFETY: joined.
            let written = cell.with(|cell| unsafe { cell.read() }) == 9;
            assert!(died || (given_back && written));
            assert!(!given_back || written, "the destructor was cut in the wrong order");
        })
        .unwrap();
    assert!(deaths.load(Std::Relaxed) >= 4);
}

#[test]
fn a_wake_given_to_one_who_dies_asleep_is_not_passed_on() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let report = Model::new().preemption_bound(Some(2)).replay("victim@1", move |world| {
        let word = Arc::new(AtomicU32::new(0));
        let (theirs, others) = (Arc::clone(&word), Arc::clone(&word));
        let victim = world.victim("victim", move || futex::wait_timeout(&theirs, 0));
        let other = world.spawn("other", move || futex::wait_timeout(&others, 0));
        let woken = futex::wake(&word, 1);
        assert!(victim.join().is_err());
        kept.lock().unwrap().push((woken, other.join().unwrap()));
    });
    report.unwrap();
    // Of two who sleep, the victim has got it, and dies with it.
    assert!(seen.lock().unwrap().contains(&(1, Wake::TimedOut)), "{seen:?}");
}

#[test]
fn a_dead_thread_that_catches_its_own_death_stays_dead() {
    Model::new()
        .check(|world| {
            let word = Arc::new(AtomicU32::new(0));
            let theirs = Arc::clone(&word);
            let victim = world.victim("victim", move || {
                let first = || theirs.store(1, Release);
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(first));
                theirs.fetch_add(10, Release);
            });
            let died = victim.join().is_err();
            // Cut before the first operation, between the two, after the second.
            let value = word.load(Relaxed);
            assert!(if died { [0, 1, 11].contains(&value) } else { value == 11 }, "{value}");
        })
        .unwrap();
}

#[test]
fn a_failed_assertion_is_reported_as_it_is_whatever_destructors_do() {
    let error = Model::new().victims(0).check(|world| {
        let (count, cell) = (Rc::new(AtomicU64::new(0)), Rc::new(UnsafeCell::new(0_u64)));
        let others = Rc::clone(&count);
        world.spawn("other", move || others.fetch_add(10, Release));
        let guard = Guard(count, cell);
        assert_eq!(guard.0.load(Relaxed), 0, "the assertion of the model");
    });
    let text = error.unwrap_err().to_string();
    assert!(text.contains("the assertion of the model"), "{text}");
    assert!(!text.contains("writes a cell"), "{text}");
}

#[test]
fn a_process_is_gone_only_when_its_last_thread_is() {
    Model::new()
        .check(|world| {
            let proof = world.proof("peer");
            let done = Arc::new(AtomicU32::new(0));
            let process = world.process("peer");
            let keeper = process.victim("keeper", || ());
            let theirs = Arc::clone(&done);
            process.spawn("worker", move || theirs.store(1, Relaxed));
            if proof.is_gone() {
                assert_eq!(done.load(Relaxed), 1, "proven dead while it stores");
                assert!(keeper.join().is_err(), "nobody died");
            }
        })
        .unwrap();
}

#[test]
fn a_replay_explores_the_given_schedule_alone() {
    let model = |world: &crash_check::death::World| {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&word);
        let victim = world.victim("victim", move || {
            theirs.store(1, Release);
            theirs.store(2, Release);
        });
        let _ = victim.join();
        assert_ne!(word.load(Relaxed), 1, "half done");
    };
    let error = Model::new().check(model).unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!(failure.schedule.to_string(), "victim@1");
    let again = Model::new().replay("victim@1", model).unwrap_err();
    assert_eq!(again.failure().unwrap().trace, failure.trace);
    assert_eq!(Model::new().replay("victim@0", model).unwrap().schedules, 1);
    assert!(matches!(Model::new().replay("victim", model), Err(Error::BadSchedule { .. })));
}

#[test]
fn a_check_in_which_nobody_could_die_is_an_error() {
    let result = Model::new().check(|world| drop(world.spawn("survivor", || ())));
    assert!(matches!(result, Err(Error::NobodyDied)), "{result:?}");
}

#[test]
fn a_check_that_was_cut_is_an_error() {
    let result = Model::new().max_executions(3).check(|world| {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&word);
        world.victim("victim", move || (0..3).for_each(|i| theirs.store(i, Relaxed)));
        let _: Vec<u32> = (0..3).map(|_| word.load(Relaxed)).collect();
    });
    assert!(matches!(result, Err(Error::Cut { executions: 3, .. })), "{result:?}");
}

#[test]
fn a_spin_that_nobody_ends_is_found() {
    let error = Model::new().victims(0).check(|_| {
        let word = AtomicU32::new(0);
        while word.load(Acquire) == 0 {
            thread::yield_now();
        }
    });
    assert!(error.unwrap_err().to_string().contains("branches"));
}

#[test]
#[should_panic(expected = "only inside `death::Model::check`")]
fn a_type_built_outside_of_a_check_says_so() {
    let _ = AtomicU32::new(0);
}
