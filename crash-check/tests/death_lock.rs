//! Death inside loom, on a lock that names its owner.
#![cfg(feature = "death")]

#[path = "death_subjects/lock.rs"]
mod lock;

use lock::Twin;

#[test]
fn a_survivor_never_sees_half_a_record() {
    let report = lock::check(Twin::Correct).unwrap();
    println!("{report}");
    assert!(report.kill_points >= 8, "{report}");
}

#[test]
fn two_survivors_do_not_both_take_the_lock_from_the_dead() {
    println!("{}", lock::check_two_survivors().unwrap());
}

#[test]
fn a_dead_owner_does_not_keep_the_lock() {
    let report = lock::check_progress().unwrap();
    println!("{report}");
}

#[test]
fn a_missing_repair_is_found_with_its_kill_point_and_trace() {
    let error = lock::check(Twin::WithoutRepair).unwrap_err();
    let failure = error.failure().unwrap();
    println!("{failure}");
    assert!(failure.message.contains("the record is torn"), "{failure}");
    assert!(failure.schedule.to_string().starts_with("victim@"), "{failure}");
    assert!(failure.trace.contains("DIES"), "{failure}");
    assert!(failure.location.as_deref().unwrap().contains("death_subjects/lock.rs"), "{failure}");
}

#[test]
fn a_missing_release_is_found_without_any_death() {
    let error = lock::check(Twin::RelaxedUnlock).unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!(failure.schedule.to_string(), "none", "{failure}");
    assert!(failure.message.contains("Causality violation"), "{failure}");
}

#[test]
fn the_same_check_explores_the_same_executions() {
    let (one, two) = (lock::check(Twin::Correct).unwrap(), lock::check(Twin::Correct).unwrap());
    assert_eq!((one.executions, one.schedules), (two.executions, two.schedules));
}
