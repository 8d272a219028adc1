//! Loom models of the ring and the bell: the functions that run here are the ones the crate calls.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p ipc-queue --release --lib loom`. A lost wake-up
//! shows as a deadlock, a torn slot as an unordered access, a wrong order as a failed assertion.

use std::sync::Arc;

use loom::thread;
use shm_core::primitive::{AtomicU32, Ordering};

use crate::bell::Bell;
use crate::ring::{self, RecvSide, SendSide, Shared, Stop};
use crate::spsc::slots::{self, Slot};
use crate::wait::Deadline;

/// A ring on the heap instead of in a segment.
struct Ring {
    shared: Shared,
    slots: Vec<Slot<u32>>,
}

fn ring(capacity: u64) -> (Arc<Ring>, SendSide, RecvSide) {
    let shared = Shared::default();
    let send = SendSide::resume(&shared, capacity).unwrap();
    let recv = RecvSide::resume(&shared, capacity).unwrap();
    let slots = (0..capacity).map(|_| Slot::new(0)).collect();
    (Arc::new(Ring { shared, slots }), send, recv)
}

impl Ring {
    fn send(&self, side: &mut SendSide, value: u32, deadline: Deadline) -> Result<(), Stop> {
        slots::send(side, &self.shared, &self.slots, value, deadline)
    }

    fn recv(&self, side: &mut RecvSide, deadline: Deadline) -> Result<u32, Stop> {
        slots::recv(side, &self.shared, &self.slots, deadline)
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Every mutant that fails at all fails within this bound, and a run takes seconds.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(f);
}

#[test]
fn loom_what_is_received_is_a_prefix_of_what_was_sent_also_around_the_wrap() {
    model(|| {
        let (ring, mut send, mut recv) = ring(2);
        let producer = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut sent = 0;
                for value in 1..=3 {
                    match ring.send(&mut send, value, Deadline::Now) {
                        Ok(()) => sent = value,
                        Err(stop) => {
                            assert_eq!(stop, Stop::NotYet);
                            break;
                        }
                    }
                }
                sent
            })
        };
        let mut received = 0;
        for _ in 0..3 {
            if let Ok(value) = ring.recv(&mut recv, Deadline::Now) {
                assert_eq!(value, received + 1);
                received = value;
            }
        }
        let sent = producer.join().unwrap();
        while let Ok(value) = ring.recv(&mut recv, Deadline::Now) {
            assert_eq!(value, received + 1);
            received = value;
        }
        assert_eq!(received, sent);
    });
}

#[test]
fn loom_a_batch_is_handed_over_whole() {
    model(|| {
        let (ring, mut send, mut recv) = ring(4);
        let producer = {
            let ring = ring.clone();
            thread::spawn(move || {
                for batch in [[1, 2], [3, 4]] {
                    let sent = slots::send_some(
                        &mut send,
                        &ring.shared,
                        &ring.slots,
                        &batch,
                        Deadline::Now,
                    );
                    assert_eq!(sent, Ok(2));
                }
            })
        };
        let mut got = [0; 4];
        let mut values = [0; 4];
        let first =
            slots::recv_some(&mut recv, &ring.shared, &ring.slots, &mut values, Deadline::Now)
                .unwrap_or(0);
        assert_eq!(first % 2, 0);
        got[..first].copy_from_slice(&values[..first]);
        producer.join().unwrap();
        let second =
            slots::recv_some(&mut recv, &ring.shared, &ring.slots, &mut values, Deadline::Now)
                .unwrap_or(0);
        got[first..first + second].copy_from_slice(&values[..second]);
        assert_eq!(got, [1, 2, 3, 4]);
    });
}

#[test]
fn loom_a_parked_consumer_never_sleeps_beside_an_element() {
    model(|| {
        let (ring, mut send, mut recv) = ring(2);
        let producer = {
            let ring = ring.clone();
            thread::spawn(move || {
                for value in 1..=2 {
                    ring.send(&mut send, value, Deadline::Now).unwrap();
                }
            })
        };
        for value in 1..=2 {
            assert_eq!(ring.recv(&mut recv, Deadline::Never), Ok(value));
        }
        producer.join().unwrap();
    });
}

#[test]
fn loom_a_parked_producer_never_sleeps_beside_a_free_slot() {
    model(|| {
        let (ring, mut send, mut recv) = ring(1);
        ring.send(&mut send, 1, Deadline::Now).unwrap();
        let consumer = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut next = 1;
                while next <= 2 {
                    match ring.recv(&mut recv, Deadline::Now) {
                        Ok(value) => {
                            assert_eq!(value, next);
                            next += 1;
                        }
                        Err(_) => thread::yield_now(),
                    }
                }
            })
        };
        ring.send(&mut send, 2, Deadline::Never).unwrap();
        consumer.join().unwrap();
    });
}

#[test]
fn loom_both_sides_may_park_in_turn() {
    model(|| {
        let (ring, mut send, mut recv) = ring(1);
        let producer = {
            let ring = ring.clone();
            thread::spawn(move || {
                for value in 1..=2 {
                    ring.send(&mut send, value, Deadline::Never).unwrap();
                }
            })
        };
        for value in 1..=2 {
            assert_eq!(ring.recv(&mut recv, Deadline::Never), Ok(value));
        }
        producer.join().unwrap();
    });
}

#[test]
fn loom_a_parked_consumer_sees_the_last_element_and_then_the_end() {
    for end in [ring::PRODUCER_CLOSED, ring::PRODUCER_DEAD] {
        model(move || {
            let (ring, mut send, mut recv) = ring(2);
            let producer = {
                let ring = ring.clone();
                thread::spawn(move || {
                    ring.send(&mut send, 1, Deadline::Now).unwrap();
                    ring.shared.end(end);
                })
            };
            assert_eq!(ring.recv(&mut recv, Deadline::Never), Ok(1));
            let stop = ring.recv(&mut recv, Deadline::Never).unwrap_err();
            assert!(matches!(stop, Stop::Closed | Stop::PeerDead));
            producer.join().unwrap();
        });
    }
}

#[test]
fn loom_a_parked_producer_learns_that_the_consumer_is_gone() {
    model(|| {
        let (ring, mut send, _recv) = ring(1);
        ring.send(&mut send, 1, Deadline::Now).unwrap();
        let supervisor = {
            let ring = ring.clone();
            thread::spawn(move || ring.shared.end(ring::CONSUMER_DEAD))
        };
        assert_eq!(ring.send(&mut send, 2, Deadline::Never), Err(Stop::PeerDead));
        supervisor.join().unwrap();
    });
}

/// Waits until `condition`, the way that the documentation of [`Bell`] shows.
fn wait_for(bell: &Bell, condition: impl Fn() -> bool) {
    while !condition() {
        let ticket = bell.listen();
        if condition() {
            return;
        }
        bell.wait(ticket, None);
    }
}

#[test]
fn loom_two_ringers_wake_one_waiter_for_both_changes() {
    model(|| {
        let parts = Arc::new((Bell::new(), AtomicU32::new(0), AtomicU32::new(0)));
        let ringers = [true, false].map(|first| {
            let parts = parts.clone();
            thread::spawn(move || {
                let change = if first { &parts.1 } else { &parts.2 };
                // Relaxed: the bell is to make it visible in time.
                change.store(1, Ordering::Relaxed);
                parts.0.ring();
            })
        });
        wait_for(&parts.0, || {
            parts.1.load(Ordering::Relaxed) + parts.2.load(Ordering::Relaxed) == 2
        });
        for ringer in ringers {
            ringer.join().unwrap();
        }
    });
}

#[test]
fn loom_one_ring_wakes_two_waiters() {
    model(|| {
        let parts = Arc::new((Bell::new(), AtomicU32::new(0)));
        let waiter = {
            let parts = parts.clone();
            thread::spawn(move || wait_for(&parts.0, || parts.1.load(Ordering::Relaxed) == 1))
        };
        let ringer = {
            let parts = parts.clone();
            thread::spawn(move || {
                parts.1.store(1, Ordering::Relaxed);
                parts.0.ring();
            })
        };
        wait_for(&parts.0, || parts.1.load(Ordering::Relaxed) == 1);
        waiter.join().unwrap();
        ringer.join().unwrap();
    });
}

#[test]
fn loom_a_cancelled_listen_leaves_later_sleeps_under_the_bit() {
    model(|| {
        let parts = Arc::new((Bell::new(), AtomicU32::new(0)));
        let ringer = {
            let parts = parts.clone();
            thread::spawn(move || {
                for change in 1..=2 {
                    parts.1.store(change, Ordering::Relaxed);
                    parts.0.ring();
                }
            })
        };
        let ticket = parts.0.listen();
        if parts.1.load(Ordering::Relaxed) > 0 {
            parts.0.cancel(ticket);
        } else {
            parts.0.wait(ticket, None);
        }
        wait_for(&parts.0, || parts.1.load(Ordering::Relaxed) == 2);
        ringer.join().unwrap();
    });
}
