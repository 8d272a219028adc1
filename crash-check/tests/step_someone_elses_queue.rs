//! Somebody else's shared-memory queue, from the public registry: shaq 4.0.0, `mpmc`.
//!
//! Its documentation is honest: a reservation "should be treated similarly to holding a lock",
//! and `recover_as_exclusive` is for the case that no other producer is alive. Both sides of that
//! sentence are shown here: with another producer alive, a death wedges the queue; within the
//! documented limits, the stepper finds nothing.
#![cfg(feature = "step")]
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crash_check::step::{FailureKind, Region, Scenario};
use shaq::mpmc::{Consumer, Producer, minimum_file_size};

fn producer(r: &Region) -> Producer<u64> {
    // SAFETY: `send` initialised the queue, and everybody uses u64.
    unsafe { Producer::join(&r.file().unwrap()) }.unwrap()
}

fn consumer(r: &Region) -> Consumer<u64> {
    // SAFETY: as above.
    unsafe { Consumer::join(&r.file().unwrap()) }.unwrap()
}

fn send() -> Scenario {
    let size = minimum_file_size::<u64>(4).next_multiple_of(4096);
    Scenario::new("shaq 4.0.0 mpmc: try_write")
        .state("empty, of 4")
        .region(size)
        .watchdog(Duration::from_millis(300))
        .init(move |r| {
            // SAFETY: runs once, before anybody joins.
            unsafe { Producer::<u64>::create(&r.file().unwrap(), size) }.map(drop).unwrap();
        })
        .operation_with(producer, |_, producer| producer.try_write(1))
        .validate(|_| ())
        .continuation(|r| {
            producer(r).try_write(2).map_err(|_| "full")?;
            let consumer = consumer(r);
            let mut received = std::iter::from_fn(|| consumer.try_read());
            received.any(|item| item == 2).then_some(()).ok_or("the message of 2 is never seen")
        })
}

#[test]
fn a_dead_producer_wedges_the_producers_that_live() {
    let report = send().run().unwrap();
    let failure = report.failure().expect("killed with a reservation");
    println!("{report}\n{failure}");
    assert_eq!(failure.kind, FailureKind::Continuation);
    assert_eq!(failure.message, "continuation hangs");
    let source = failure.source.as_deref().unwrap_or("");
    assert!(source.contains("shaq-4.0.0"), "the line is in the queue: {failure}");
}

#[test]
fn a_sole_producer_that_recovers_as_documented_is_clean() {
    let recover = |r: &Region| {
        // SAFETY: the only other producer is dead.
        unsafe { producer(r).recover_as_exclusive() };
    };
    send().recovery(recover).run().unwrap().assert_clean();
}
