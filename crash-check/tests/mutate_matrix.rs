//! The mutation matrix over the models of `death_subjects`: each ordering, and each statement of a
//! recovery, is needed, or says why it is there.
#![cfg(feature = "mutate")]

#[path = "death_subjects/claim.rs"]
#[allow(dead_code)]
mod claim;
#[path = "death_subjects/doorbell.rs"]
#[allow(dead_code)]
mod doorbell;
#[path = "death_subjects/lock.rs"]
#[allow(dead_code)]
mod lock;
#[path = "death_subjects/publish.rs"]
#[allow(dead_code)]
mod publish;

use crash_check::mutate::{Error, Mutations};

/// At most one mutant in ten survives, and each of those has its reason.
fn passes(mutations: &Mutations) -> Result<(), Error> {
    let matrix = mutations.run()?;
    println!("{}", matrix.text());
    matrix.check(0.1)
}

#[test]
fn every_ordering_of_the_lock_is_needed() -> Result<(), Error> {
    passes(
        &Mutations::new()
            .source("death_subjects/lock.rs", include_str!("death_subjects/lock.rs"))
            .statements_of("recover")
            .statements_of("try_lock")
            .model("lock", || lock::check(lock::Twin::Correct))
            .model("two_survivors", lock::check_two_survivors)
            .model("lock_progress", lock::check_progress),
    )
}

#[test]
fn every_ordering_of_the_publish_is_needed() -> Result<(), Error> {
    passes(
        &Mutations::new()
            .source("death_subjects/publish.rs", include_str!("death_subjects/publish.rs"))
            .model("publish", || publish::check(publish::Twin::Correct)),
    )
}

#[test]
fn every_ordering_and_statement_of_the_claim_is_needed() -> Result<(), Error> {
    passes(
        &Mutations::new()
            .source("death_subjects/claim.rs", include_str!("death_subjects/claim.rs"))
            .statements_of("recover")
            .statements_of("claim")
            .model("claim", || claim::check(claim::Twin::Correct)),
    )
}

#[test]
fn every_ordering_and_statement_of_the_doorbells_is_needed() -> Result<(), Error> {
    passes(
        &Mutations::new()
            .source("src/death/doorbell.rs", include_str!("../src/death/doorbell.rs"))
            .statements_of("park")
            .statements_of("ring")
            .statements_of("ring_one")
            .statements_of("look_at")
            .statements_of("bury")
            .reason(
                "park",
                "fetch_and(!bit",
                "dropped",
                "a stale bit costs another sleeper its ring only when a second item comes; the \
                 models here send one (the explored model of the waiting protocol sends more)",
            )
            .model("close", doorbell::check_close)
            .model("no_death", doorbell::check_without_death)
            .model("dying_producer", || doorbell::check_dying_producer(doorbell::Parking::Doorbell))
            .model("dying_consumer", || doorbell::check_dying_consumer(doorbell::Parking::Doorbell))
            .model("dead_producer", || doorbell::check_dying_recoverer(1))
            .model("inheritance", doorbell::check_inheritance),
    )
}
