//! Elements through the ring, while nobody sleeps.

use std::rc::Rc;

use crash_check::death::{Error, Report};

use super::{Ring, check_awake, models};
use crate::ring::Stop;
use crate::spsc::slots;
use crate::wait::Deadline;

models![
    what_is_received_is_a_prefix_of_what_was_sent_also_around_the_wrap,
    what_a_dead_producer_had_sent_is_received_and_nothing_else,
    a_batch_is_handed_over_whole_or_not_at_all,
    a_dead_consumer_loses_at_most_the_element_in_its_hands,
    an_observer_counts_no_more_than_is_there,
];

fn what_is_received_is_a_prefix_of_what_was_sent_also_around_the_wrap() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let theirs = Rc::clone(&ring);
        let producer = world.spawn("producer", move || {
            (1..=3).take_while(|&value| sent(theirs.send(&mut send, value, Deadline::Now))).count()
        });
        let mut received = 0;
        for _ in 0..3 {
            received += u32::from(next(&ring, &mut recv, received));
        }
        let sent = producer.join().unwrap();
        while next(&ring, &mut recv, received) {
            received += 1;
        }
        assert_eq!(received as usize, sent);
    })
}

/// Whether the element was sent; it may only fail for want of room.
fn sent(result: Result<(), Stop>) -> bool {
    assert!(matches!(result, Ok(()) | Err(Stop::NotYet)), "{result:?}");
    result.is_ok()
}

/// Whether there was one more, which must be the successor of `received`.
fn next(ring: &Ring, recv: &mut crate::ring::RecvSide, received: u32) -> bool {
    let got = ring.recv(recv, Deadline::Now);
    assert!(got == Ok(received + 1) || got == Err(Stop::NotYet), "{got:?} after {received}");
    got.is_ok()
}

fn what_a_dead_producer_had_sent_is_received_and_nothing_else() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let life = world.life("producer");
        let theirs = Rc::clone(&ring);
        world.victim("producer", move || {
            for value in 1..=3 {
                let _ = theirs.send(&mut send, value, Deadline::Now);
            }
        });
        let mut received = 0;
        for _ in 0..2 {
            received += u32::from(next(&ring, &mut recv, received));
        }
        if life.is_dead() {
            // What it had published is there to the last element, and no more comes.
            while next(&ring, &mut recv, received) {
                received += 1;
            }
            assert_eq!(u64::from(received), ring.shared.sent());
        }
    })
}

fn a_batch_is_handed_over_whole_or_not_at_all() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(4);
        let theirs = Rc::clone(&ring);
        let producer = world.victim("producer", move || {
            for batch in [[1, 2], [3, 4]] {
                let (shared, slots) = (&theirs.shared, &theirs.slots);
                let sent = slots::send_some(&mut send, shared, slots, &batch, Deadline::Now);
                assert_eq!(sent, Ok(2));
            }
        });
        let mut got = Vec::new();
        let mut receive = || {
            let mut values = [0; 4];
            let (shared, slots) = (&ring.shared, &ring.slots);
            let count = slots::recv_some(&mut recv, shared, slots, &mut values, Deadline::Now);
            got.extend_from_slice(&values[..count.unwrap_or(0)]);
            assert!(got.len() % 2 == 0 && got == [1, 2, 3, 4][..got.len()], "{got:?}");
            got.len()
        };
        receive();
        let lived = producer.join().is_ok();
        let all = receive();
        assert!(all == 4 || !lived);
    })
}

fn a_dead_consumer_loses_at_most_the_element_in_its_hands() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(1);
        let proof = world.proof("consumer");
        let theirs = Rc::clone(&ring);
        world.victim("consumer", move || {
            let first = theirs.recv(&mut recv, Deadline::Now);
            assert!(matches!(first, Ok(1) | Err(Stop::NotYet)), "{first:?}");
        });
        for value in 1..=2 {
            let _ = ring.send(&mut send, value, Deadline::Now);
        }
        if proof.is_gone() {
            // Its successor receives what it had not consumed, the one in its hands included.
            let waiting = ring.shared.len(1);
            let mut recv = ring.recv_side();
            for position in send.position() - waiting..send.position() {
                assert_eq!(ring.recv(&mut recv, Deadline::Now), Ok(position as u32 + 1));
            }
            assert_eq!(ring.recv(&mut recv, Deadline::Now), Err(Stop::NotYet));
        }
    })
}

fn an_observer_counts_no_more_than_is_there() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let (theirs, others) = (Rc::clone(&ring), Rc::clone(&ring));
        world.spawn("producer", move || {
            let _ = theirs.send(&mut send, 1, Deadline::Now);
        });
        world.spawn("consumer", move || {
            let _ = others.recv(&mut recv, Deadline::Now);
        });
        // A producer's position older than the consumer's would show as a full ring.
        assert!(ring.shared.len(2) <= 1, "the count is that of a full ring");
    })
}
