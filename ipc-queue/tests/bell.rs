//! Bells: many ring, one or several wait.

#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ipc_queue::Error;
use ipc_queue::bell::{Bell, Doorbell};
use shm_core::Segment;
use shm_core::futex::Waited;

#[test]
fn a_ring_that_nobody_listens_to_wakes_nobody_and_is_not_remembered() {
    let bell = Bell::new();
    assert!(!bell.ring());
    let ticket = bell.listen();
    assert_eq!(bell.wait(ticket, Some(Duration::from_millis(1))), Waited::TimedOut);
}

#[test]
fn a_ring_after_listening_makes_the_wait_return_at_once() {
    let bell = Bell::new();
    let ticket = bell.listen();
    assert!(bell.ring());
    assert_eq!(bell.wait(ticket, None), Waited::Changed);
    assert!(!bell.ring(), "the bit is gone with the wake");
}

#[test]
fn every_waiter_is_woken_and_no_ring_is_lost() {
    let bell = Arc::new(Bell::new());
    let count = Arc::new(AtomicU32::new(0));
    let rounds = 20_000;
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let (bell, count) = (bell.clone(), count.clone());
            std::thread::spawn(move || {
                let mut sleeps = 0;
                while count.load(Ordering::Acquire) < 2 * rounds {
                    let ticket = bell.listen();
                    let before = count.load(Ordering::Acquire);
                    if before < 2 * rounds {
                        let waited = bell.wait(ticket, Some(Duration::from_secs(20)));
                        assert_ne!(waited, Waited::TimedOut, "beside {before} rings");
                        sleeps += 1;
                    }
                }
                sleeps
            })
        })
        .collect();
    let ringers: Vec<_> = (0..2)
        .map(|_| {
            let (bell, count) = (bell.clone(), count.clone());
            std::thread::spawn(move || {
                for _ in 0..rounds {
                    count.fetch_add(1, Ordering::Release);
                    bell.ring();
                }
            })
        })
        .collect();
    ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
    for waiter in waiters {
        waiter.join().unwrap();
    }
}

#[test]
fn a_doorbell_outside_its_segment_or_askew_is_refused() {
    let segment = Segment::anonymous(4096).unwrap();
    let size = segment.size();
    assert!(matches!(Doorbell::at(&segment, size - 2), Err(Error::OutOfBounds { .. })));
    assert!(matches!(Doorbell::at(&segment, usize::MAX), Err(Error::OutOfBounds { .. })));
    assert!(matches!(Doorbell::at(&segment, 2), Err(Error::Misaligned { .. })));
    assert!(Doorbell::at(&segment, size - 4).is_ok());
}
