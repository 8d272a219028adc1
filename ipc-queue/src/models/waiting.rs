//! Sides that sleep until there is something to do.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crash_check::death::{Error, Report};
use shm_core::futex::{Futex, Waited};
use shm_core::primitive::spin_loop;
use shm_core::{Owner, Peers, Ticket};

use super::group::{Member, members};
use super::{Ring, check, models};
use crate::ring::{self, Company, Stop};
use crate::role::{self, Holder, Side};
use crate::wait::Deadline;

models![
    a_parked_consumer_never_sleeps_beside_an_element,
    a_parked_producer_never_sleeps_beside_a_free_slot,
    both_sides_may_park_in_turn,
    a_parked_consumer_sees_the_last_element_and_then_the_close,
    a_parked_consumer_sees_the_last_element_and_then_the_death,
    a_parked_producer_learns_that_the_consumer_is_gone,
    a_supervisor_releases_the_consumer_of_a_producer_that_died_before_it_rang,
    a_supervisor_releases_the_producer_of_a_consumer_that_died_before_it_rang,
    a_consumer_killed_asleep_leaves_what_it_was_woken_for,
    a_parked_consumer_gets_what_the_successor_of_a_dead_producer_sends,
    a_parked_consumer_in_a_group_learns_that_the_producer_died,
    a_parked_producer_in_a_group_learns_that_the_consumer_died,
];

fn a_parked_consumer_never_sleeps_beside_an_element() -> Result<Report, Error> {
    check(0, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let theirs = Rc::clone(&ring);
        let producer = world.spawn("producer", move || {
            for value in 1..=2 {
                theirs.send(&mut send, value, Deadline::Now).unwrap();
            }
        });
        for value in 1..=2 {
            assert_eq!(ring.recv(&mut recv, Deadline::Never), Ok(value));
        }
        producer.join().unwrap();
    })
}

fn a_parked_producer_never_sleeps_beside_a_free_slot() -> Result<Report, Error> {
    check(0, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(1);
        ring.send(&mut send, 1, Deadline::Now).unwrap();
        let theirs = Rc::clone(&ring);
        let consumer = world.spawn("consumer", move || {
            for value in 1..=2 {
                assert_eq!(theirs.recv_spinning(&mut recv), Ok(value));
            }
        });
        ring.send(&mut send, 2, Deadline::Never).unwrap();
        consumer.join().unwrap();
    })
}

fn both_sides_may_park_in_turn() -> Result<Report, Error> {
    check(0, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(1);
        let theirs = Rc::clone(&ring);
        let producer = world.spawn("producer", move || {
            for value in 1..=2 {
                theirs.send(&mut send, value, Deadline::Never).unwrap();
            }
        });
        for value in 1..=2 {
            assert_eq!(ring.recv(&mut recv, Deadline::Never), Ok(value));
        }
        producer.join().unwrap();
    })
}

fn a_parked_consumer_sees_the_last_element_and_then(
    end: fn(&Ring, Holder),
    last: Stop,
) -> Result<Report, Error> {
    check(0, move |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let holder = ring.hold(Side::Producer);
        let theirs = Rc::clone(&ring);
        let producer = world.spawn("producer", move || {
            theirs.send(&mut send, 1, Deadline::Now).unwrap();
            end(&theirs, holder);
        });
        assert_eq!(ring.recv(&mut recv, Deadline::Never), Ok(1));
        assert_eq!(ring.recv(&mut recv, Deadline::Never), Err(last));
        producer.join().unwrap();
    })
}

fn a_parked_consumer_sees_the_last_element_and_then_the_close() -> Result<Report, Error> {
    a_parked_consumer_sees_the_last_element_and_then(
        |ring, _| ring.shared.end(ring::PRODUCER_CLOSED),
        Stop::Closed,
    )
}

fn a_parked_consumer_sees_the_last_element_and_then_the_death() -> Result<Report, Error> {
    a_parked_consumer_sees_the_last_element_and_then(Ring::report, Stop::PeerDead)
}

fn a_parked_producer_learns_that_the_consumer_is_gone() -> Result<Report, Error> {
    check(0, |world| {
        let (ring, mut send, _recv) = Ring::with_sides(1);
        ring.send(&mut send, 1, Deadline::Now).unwrap();
        let (dead, theirs) = (ring.hold(Side::Consumer), Rc::clone(&ring));
        world.spawn("supervisor", move || theirs.report(dead));
        assert_eq!(ring.send(&mut send, 2, Deadline::Never), Err(Stop::PeerDead));
    })
}

fn a_supervisor_releases_the_consumer_of_a_producer_that_died_before_it_rang()
-> Result<Report, Error> {
    check(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let dead = ring.hold(Side::Producer);
        let (life, theirs) = (world.life("producer"), Rc::clone(&ring));
        let producer = world.victim("producer", move || {
            theirs.send(&mut send, 1, Deadline::Now).unwrap();
        });
        let theirs = Rc::clone(&ring);
        world.spawn("supervisor", move || {
            // Asleep until the process is gone, as a supervisor is on a pidfd.
            if producer.join().is_err() {
                assert!(life.is_dead());
                theirs.report(dead);
            } else {
                theirs.shared.end(ring::PRODUCER_CLOSED);
            }
        });
        let mut received = 0;
        let last = loop {
            match ring.recv(&mut recv, Deadline::Never) {
                Ok(value) => received = value,
                Err(stop) => break stop,
            }
        };
        assert!(matches!(last, Stop::Closed | Stop::PeerDead), "{last:?}");
        assert_eq!(u64::from(received), ring.shared.sent(), "what was published is received");
    })
}

fn a_supervisor_releases_the_producer_of_a_consumer_that_died_before_it_rang()
-> Result<Report, Error> {
    check(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(1);
        ring.send(&mut send, 1, Deadline::Now).unwrap();
        let (dead, theirs) = (ring.hold(Side::Consumer), Rc::clone(&ring));
        let consumer = world.victim("consumer", move || {
            while theirs.recv(&mut recv, Deadline::Now).is_err() {
                spin_loop();
            }
        });
        let theirs = Rc::clone(&ring);
        world.spawn("supervisor", move || {
            let _ = consumer.join();
            theirs.report(dead);
        });
        let sent = ring.send(&mut send, 2, Deadline::Never);
        assert!(matches!(sent, Ok(()) | Err(Stop::PeerDead)), "{sent:?}");
    })
}

fn a_consumer_killed_asleep_leaves_what_it_was_woken_for() -> Result<Report, Error> {
    check(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let theirs = Rc::clone(&ring);
        let consumer = world.victim("consumer", move || theirs.recv(&mut recv, Deadline::Never));
        for value in 1..=2 {
            ring.send(&mut send, value, Deadline::Now).unwrap();
        }
        match consumer.join() {
            Ok(received) => assert_eq!(received, Ok(1)),
            Err(_) => {
                let mut successor = ring.recv_side();
                for value in successor.position() + 1..=2 {
                    assert_eq!(ring.recv(&mut successor, Deadline::Now), Ok(value as u32));
                }
            }
        }
    })
}

fn a_parked_consumer_gets_what_the_successor_of_a_dead_producer_sends() -> Result<Report, Error> {
    check(1, |world| {
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        let dead = role::claim(&ring.shared, Side::Producer, None).unwrap();
        let theirs = Rc::clone(&ring);
        let producer = world.victim("producer", move || {
            theirs.send(&mut send, 1, Deadline::Now).unwrap();
        });
        let theirs = Rc::clone(&ring);
        world.spawn("supervisor", move || {
            if producer.join().is_err() {
                theirs.report(dead);
                role::claim(&theirs.shared, Side::Producer, Some(dead)).unwrap();
                theirs.send(&mut theirs.send_side(), 1, Deadline::Now).unwrap();
            }
        });
        let received = ring.recv(&mut recv, Deadline::Never);
        assert!(matches!(received, Ok(1) | Err(Stop::PeerDead)), "{received:?}");
    })
}

/// A member as a ring's side knows it.
struct Anywhere(Member);

// SAFETY: all threads of a model run on one system thread.
unsafe impl Send for Anywhere {}
// SAFETY: as above.
unsafe impl Sync for Anywhere {}

impl Peers for Anywhere {
    fn me(&self) -> Option<Owner> {
        self.0.me()
    }

    #[track_caller]
    fn is_gone(&self, owner: Owner) -> bool {
        self.0.is_gone(owner)
    }

    fn ticket(&self) -> Ticket {
        self.0.ticket()
    }

    #[track_caller]
    fn park(&self, word: &Futex, expected: u32, ticket: Ticket, left: Option<Duration>) -> Waited {
        self.0.park(word, expected, ticket, left)
    }
}

fn company(member: &Member) -> Company {
    Company(Some(Arc::new(Anywhere(member.clone()))))
}

fn a_parked_consumer_in_a_group_learns_that_the_producer_died() -> Result<Report, Error> {
    check(1, |world| {
        let (main, [victim, consumer]) = members(world, ["victim", "consumer"]);
        let (ring, mut send, mut recv) = Ring::with_sides(2);
        role::claim_among(&ring.shared, Side::Producer, &victim).unwrap();
        recv.company = company(&consumer);
        let theirs = Rc::clone(&ring);
        let victim = world.victim("victim", move || {
            theirs.send(&mut send, 1, Deadline::Now).unwrap();
            theirs.shared.end(ring::PRODUCER_CLOSED);
        });
        let theirs = Rc::clone(&ring);
        let consumer = world.spawn("consumer", move || {
            let first = theirs.recv(&mut recv, Deadline::Never);
            (first, if first.is_ok() { theirs.recv(&mut recv, Deadline::Never) } else { first })
        });
        let is_dead = main.keep(victim).is_none();
        let (first, last) = consumer.join().unwrap();
        assert!(last == Err(Stop::Closed) || (is_dead && last == Err(Stop::PeerDead)), "{last:?}");
        assert_eq!(u64::from(first == Ok(1)), ring.shared.sent(), "what was sent is received");
    })
}

fn a_parked_producer_in_a_group_learns_that_the_consumer_died() -> Result<Report, Error> {
    check(1, |world| {
        let (main, [victim, producer]) = members(world, ["victim", "producer"]);
        let (ring, mut send, mut recv) = Ring::with_sides(1);
        role::claim_among(&ring.shared, Side::Consumer, &victim).unwrap();
        send.company = company(&producer);
        ring.send(&mut send, 1, Deadline::Now).unwrap();
        let theirs = Rc::clone(&ring);
        let victim = world.victim("victim", move || theirs.recv(&mut recv, Deadline::Now));
        let theirs = Rc::clone(&ring);
        let producer = world.spawn("producer", move || theirs.send(&mut send, 2, Deadline::Never));
        let received = main.keep(victim);
        match producer.join().unwrap() {
            Ok(()) => assert_eq!(ring.shared.sent(), 2),
            stop => assert_eq!((stop, received), (Err(Stop::PeerDead), None)),
        }
    })
}
