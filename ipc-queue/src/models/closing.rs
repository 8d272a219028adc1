//! The end of a ring, seen by a side that does not sleep.

use std::rc::Rc;

use crash_check::death::{Error, Report};

use super::{Ring, check_awake, models};
use crate::ring::{self, Stop};
use crate::role::Side;
use crate::wait::Deadline;

models![
    a_consumer_that_sees_the_close_has_received_everything,
    a_consumer_that_sees_the_death_has_received_everything,
    a_producer_that_sees_the_death_knows_how_much_was_not_received,
    an_observer_that_sees_the_close_counts_all_that_was_sent,
];

fn a_consumer_that_sees_the_close_has_received_everything() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let theirs = Rc::clone(&ring);
        world.spawn("producer", move || {
            theirs.send(&mut send, 1, Deadline::Now).unwrap();
            theirs.shared.end(ring::PRODUCER_CLOSED);
        });
        let first = ring.recv_spinning(&mut recv);
        assert_eq!(first, Ok(1), "the end is seen before the element");
        assert_eq!(ring.recv_spinning(&mut recv), Err(Stop::Closed));
    })
}

fn a_consumer_that_sees_the_death_has_received_everything() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let dead = ring.hold(Side::Producer);
        let (proof, theirs) = (world.proof("producer"), Rc::clone(&ring));
        world.victim("producer", move || {
            theirs.send(&mut send, 1, Deadline::Now).unwrap();
        });
        let theirs = Rc::clone(&ring);
        world.spawn("supervisor", move || {
            if proof.is_gone() {
                theirs.report(dead);
            }
        });
        let mut received = 0;
        for _ in 0..2 {
            match ring.recv(&mut recv, Deadline::Now) {
                Ok(value) => received = u64::from(value),
                Err(Stop::PeerDead) => assert_eq!(received, ring.shared.sent()),
                Err(stop) => assert_eq!(stop, Stop::NotYet),
            }
        }
    })
}

fn a_producer_that_sees_the_death_knows_how_much_was_not_received() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(1);
        ring.send(&mut send, 1, Deadline::Now).unwrap();
        let dead = ring.hold(Side::Consumer);
        let (proof, theirs) = (world.proof("consumer"), Rc::clone(&ring));
        let consumer = world.victim("consumer", move || {
            let _ = theirs.recv(&mut recv, Deadline::Now);
        });
        let theirs = Rc::clone(&ring);
        let supervisor = world.spawn("supervisor", move || {
            if proof.is_gone() {
                theirs.report(dead);
            }
        });
        if ring.send(&mut send, 2, Deadline::Now) == Err(Stop::PeerDead) {
            let counted = ring.shared.len(1);
            let _ = consumer.join();
            supervisor.join().unwrap();
            assert_eq!(counted, ring.shared.len(1), "counted before the dead one's last step");
        }
    })
}

fn an_observer_that_sees_the_close_counts_all_that_was_sent() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (ring, mut send, _recv) = Ring::with_sides(2);
        let theirs = Rc::clone(&ring);
        // The observer is the later thread: loom remembers one access to a word, so that a look at
        // `ended` before the producer's own look at it would be the only one explored.
        world.spawn("observer", move || {
            if theirs.shared.is_closed() {
                assert_eq!((theirs.shared.sent(), theirs.shared.len(2)), (1, 1));
            }
        });
        ring.send(&mut send, 1, Deadline::Now).unwrap();
        ring.shared.end(ring::PRODUCER_CLOSED);
    })
}
