//! Death inside loom, on parking: the kernel wakes one, and what the dead were given is passed on.
#![cfg(feature = "death")]

#[path = "death_subjects/doorbell.rs"]
mod doorbell;

use doorbell::Parking::{Doorbell, ItemAlone};

#[test]
fn a_ring_is_never_lost_between_the_last_look_and_the_sleep() {
    println!("{}", doorbell::check_without_death().unwrap());
}

#[test]
fn a_ring_for_all_carries_what_was_stored_before_it() {
    println!("{}", doorbell::check_close().unwrap());
}

#[test]
fn a_sleeper_learns_that_the_producer_died() {
    println!("{}", doorbell::check_dying_producer(Doorbell).unwrap());
}

#[test]
fn a_consumer_that_dies_with_its_wake_is_followed_by_another() {
    println!("{}", doorbell::check_dying_consumer(Doorbell).unwrap());
}

#[test]
fn a_recovery_cut_short_by_a_second_death_is_finished_by_another() {
    println!("{}", doorbell::check_inheritance().unwrap());
    println!("{}", doorbell::check_dying_recoverer(2).unwrap());
}

#[test]
fn a_sleeper_on_the_item_alone_sleeps_on_when_the_producer_dies() {
    let error = doorbell::check_dying_producer(ItemAlone).unwrap_err();
    let found = error.failure().unwrap().to_string();
    println!("{found}");
    assert!(found.contains("deadlock"), "{found}");
    assert!(found.contains("`producer` dead"), "{found}");
}

#[test]
fn a_wake_given_to_a_dying_consumer_is_lost_without_doorbells() {
    let error = doorbell::check_dying_consumer(ItemAlone).unwrap_err();
    let found = error.failure().unwrap().to_string();
    println!("{found}");
    assert!(found.contains("deadlock"), "{found}");
    assert!(found.contains("`second` asleep"), "{found}");
}
