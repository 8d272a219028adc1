//! Two processes, one schedule.
//!
//! Orderings: in these small structures a Release store publishes what precedes it to the Acquire
//! load of the same word; Relaxed words have one writer, or are guarded by another word.
#![cfg(feature = "step")]
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

use crash_check::step::{FailureKind, Interleaving, Region, Report, Scenario};

fn load_and_store(r: &Region) {
    // The black box keeps an optimiser from making one unlocked `add` of it, which is one step.
    let seen = std::hint::black_box(r.u32_at(0).load(Relaxed));
    r.u32_at(0).store(seen + 1, Relaxed);
}

fn fetch_add(r: &Region) {
    r.u32_at(0).fetch_add(1, Relaxed);
}

fn count_to_two(name: &str, add: fn(&Region)) -> Scenario {
    Scenario::new(name).operation(add).against(add).validate(|r| match r.u32_at(0).load(Relaxed) {
        2 => Ok(()),
        other => Err(format!("{other} instead of 2")),
    })
}

fn lost(report: &Report) {
    let failure = report.failure().expect("an increment is lost");
    assert_eq!(failure.message, "1 instead of 2");
    assert!(failure.source.as_deref().unwrap_or("").contains("step_pair.rs"), "{failure}");
}

#[test]
fn a_lost_increment_is_found_with_one_preemption_and_not_without() {
    let without = count_to_two("lost: 0", load_and_store).interleave(Interleaving::bounded(0));
    let without = without.unwrap();
    without.assert_clean();
    assert!(without.exhausted && without.schedules == 2, "{without:?}");
    lost(&count_to_two("lost: 1", load_and_store).interleave(Interleaving::bounded(1)).unwrap());
}

#[test]
fn a_lost_increment_is_found_at_random_and_by_pct() {
    lost(
        &count_to_two("lost: random", load_and_store).interleave(Interleaving::random(1)).unwrap(),
    );
    lost(&count_to_two("lost: pct", load_and_store).interleave(Interleaving::pct(1, 2)).unwrap());
}

#[test]
fn an_atomic_increment_is_clean_under_every_schedule_of_two_preemptions() {
    let report = count_to_two("fetch_add", fetch_add).interleave(Interleaving::bounded(2)).unwrap();
    report.assert_clean();
    assert!(report.exhausted, "{report:?}");
}

#[test]
fn three_and_three_instructions_have_twenty_interleavings() {
    let thrice = |r: &Region| (0..3).for_each(|_| fetch_add(r));
    let scenario = Scenario::new("3 + 3").operation(thrice).against(thrice).validate(|_| ());
    let report = scenario.interleave(Interleaving::bounded(9)).unwrap();
    report.assert_clean();
    // 6! / (3! 3!)
    assert!(report.exhausted && report.schedules == 20, "{report:?}");
}

#[test]
fn a_schedule_replays_exactly() {
    const NAME: &str = "a_schedule_replays_exactly";
    let run = || count_to_two("lost: again", load_and_store).interleave(Interleaving::random(7));
    let report = run().unwrap();
    lost(&report);
    if std::env::var_os("CRASH_CHECK_REPLAY").is_some() {
        assert_eq!(report.schedules, 1, "{report:?}");
        return;
    }
    let failure = report.failure().unwrap();
    let point = failure.replay.split('\'').nth(1).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env("CRASH_CHECK_REPLAY", point)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 instead of 2"), "{printed}");
}

fn lock(r: &Region, at: usize) {
    // Acquire: pairs with the Release in `unlock`.
    while r.u32_at(at).compare_exchange(0, 1, Acquire, Relaxed).is_err() {
        std::hint::spin_loop();
    }
}

fn unlock(r: &Region, at: usize) {
    r.u32_at(at).store(0, Release);
}

#[test]
fn a_spin_lock_is_waited_for_and_keeps_others_out() {
    let add = |r: &Region| {
        lock(r, 64);
        load_and_store(r);
        unlock(r, 64);
    };
    let report = count_to_two("spin lock", add).interleave(Interleaving::bounded(2)).unwrap();
    report.assert_clean();
    assert!(report.exhausted, "{report:?}");
}

#[test]
fn two_locks_in_opposite_order_are_found_to_deadlock() {
    let both = |first: usize, second: usize| {
        move |r: &Region| {
            lock(r, first);
            lock(r, second);
            unlock(r, second);
            unlock(r, first);
        }
    };
    let scenario = Scenario::new("two locks").max_instructions(5_000);
    let scenario = scenario.operation(both(0, 64)).against(both(64, 0)).validate(|_| ());
    let report = scenario.interleave(Interleaving::bounded(1)).unwrap();
    let failure = report.failure().expect("each holds what the other wants");
    assert_eq!(failure.kind, FailureKind::Deadlock);
}

fn sleep(r: &Region) {
    let forever = std::ptr::null::<libc::timespec>();
    let word = r.u32_at(0).as_ptr();
    // SAFETY: the word is live; the kernel only reads it, and a null timeout means none.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, forever) };
}

fn ring(r: &Region) {
    let word = r.u32_at(0).as_ptr();
    // SAFETY: the word is live; the kernel uses only its address.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, 1) };
}

fn waits(name: &str, publishes: bool) -> Report {
    let scenario = Scenario::new(name).watchdog(Duration::from_millis(300));
    let wait = |r: &Region| {
        if r.u32_at(64).load(Acquire) == 0 {
            sleep(r);
        }
    };
    let wake = move |r: &Region| {
        r.u32_at(64).store(1, Release);
        if publishes {
            // AcqRel: the sleeper's futex call sees the changed word, or is on the queue.
            r.u32_at(0).fetch_add(1, AcqRel);
        }
        ring(r);
    };
    let scenario = scenario.operation(wait).against(wake).validate(|_| ());
    scenario.interleave(Interleaving::bounded(2)).unwrap()
}

#[test]
fn a_lost_wake_up_is_found_in_real_futex_calls() {
    let report = waits("wake without a changed word", false);
    let failure = report.failure().expect("rung between the look and the sleep");
    assert_eq!(failure.kind, FailureKind::Deadlock);
    let report = waits("wake with a changed word", true);
    report.assert_clean();
    assert!(report.exhausted, "{report:?}");
}

#[test]
fn a_death_between_two_processes_is_a_choice_like_any_other() {
    // The second process takes a dead owner's lock over; the data behind it may be torn.
    let write = |r: &Region| {
        // Acquire: pairs with the Release below.
        if r.u32_at(0).compare_exchange(0, std::process::id(), Acquire, Relaxed).is_ok() {
            r.u32_at(64).fetch_add(1, Relaxed);
            r.u32_at(68).fetch_add(1, Relaxed);
            r.u32_at(0).store(0, Release);
        }
    };
    let take_over = |repairs: bool| {
        move |r: &Region| {
            let owner = r.u32_at(0).load(Acquire);
            // Acquire: pairs with the owner's Release, or with the news of its death.
            let free = owner == 0 || r.is_dead(owner);
            if free && r.u32_at(0).compare_exchange(owner, 1, Acquire, Relaxed).is_ok() {
                if repairs {
                    r.u32_at(68).store(r.u32_at(64).load(Relaxed), Relaxed);
                }
                let torn = r.u32_at(64).load(Relaxed) != r.u32_at(68).load(Relaxed);
                r.u32_at(0).store(0, Release);
                return if torn { Err("torn") } else { Ok(()) };
            }
            Ok(())
        }
    };
    let run = |name: &str, repairs: bool| {
        let scenario = Scenario::new(name).operation(write).against(take_over(repairs));
        scenario.validate(|_| ()).interleave(Interleaving::bounded(1).with_a_death().runs(600))
    };
    let report = run("take over", false).unwrap();
    let failure = report.failure().expect("killed between the two words");
    assert!(failure.message.contains("torn"), "{failure}");
    assert!(failure.to_string().contains("operation is killed"), "{failure}");
    let report = run("take over, repair", true).unwrap();
    report.assert_clean();
    assert!(report.exhausted && report.real_kills > 0, "{report:?}");
}
