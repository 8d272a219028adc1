//! Waiting for several ends at once.

use std::rc::Rc;

use crash_check::death::{Error, Report};
use shm_core::Peers;

use super::group::members;
use super::mpmc::{Ground, Handles};
use super::{Ring, check, model, preemptions, tests};
use crate::Side;
use crate::bell::Bell;
use crate::ring::{RecvSide, Stop};
use crate::select::source::Source;
use crate::select::wait_for_any;
use crate::wait::{Deadline, Patience};

tests![
    a_selector_never_sleeps_beside_an_element_of_either_ring,
    a_selector_never_sleeps_beside_an_element_of_a_queue_or_its_end,
    a_selector_learns_of_a_death_in_the_group_of_one_of_its_ends,
    a_selector_that_was_woken_for_more_than_it_takes_passes_the_wake_on,
    a_selector_that_was_woken_and_killed_wakes_another,
];

/// The consumer's end of a ring.
struct RingEnd {
    ring: Rc<Ring>,
    side: RecvSide,
}

impl RingEnd {
    fn try_recv(&mut self) -> Result<u32, Stop> {
        self.ring.recv(&mut self.side, Deadline::Now)
    }
}

impl Source for RingEnd {
    fn is_ready(&self) -> bool {
        self.ring.shared.is_receivable(self.side.position(), &self.side.company)
    }

    fn bell(&self) -> &Bell {
        &self.ring.shared.control.0.data
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn peers(&self) -> Option<&dyn Peers> {
        None
    }
}

/// A consumer of a queue for many.
impl Source for Handles {
    fn is_ready(&self) -> bool {
        self.is_receivable()
    }

    fn bell(&self) -> &Bell {
        self.ground.shared.bell_of(Side::Consumer)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn peers(&self) -> Option<&dyn Peers> {
        Some(&self.peers)
    }
}

fn select(sources: &[&dyn Source]) -> usize {
    wait_for_any(&mut Patience::default(), sources, 0, Deadline::Never).unwrap()
}

fn a_selector_never_sleeps_beside_an_element_of_either_ring() -> Result<Report, Error> {
    check(0, |world| {
        let (first, mut send_first, recv_first) = Ring::with_sides(1);
        let (second, mut send_second, recv_second) = Ring::with_sides(1);
        let mut first = RingEnd { ring: first, side: recv_first };
        let mut second = RingEnd { ring: second, side: recv_second };
        let theirs = Rc::clone(&first.ring);
        world.spawn("first", move || theirs.send(&mut send_first, 1, Deadline::Now).unwrap());
        let theirs = Rc::clone(&second.ring);
        world.spawn("second", move || theirs.send(&mut send_second, 2, Deadline::Now).unwrap());
        let mut sum = 0;
        while sum < 3 {
            sum += match select(&[&first, &second]) {
                0 => first.try_recv().unwrap(),
                _ => second.try_recv().unwrap(),
            };
        }
    })
}

fn a_selector_never_sleeps_beside_an_element_of_a_queue_or_its_end() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [producer]) = members(world, ["producer"]);
        let (ring, mut send, recv) = Ring::with_sides(1);
        let mut ring = RingEnd { ring, side: recv };
        let ground = Ground::new(1);
        let mut queue = ground.handles(&main);
        let mut theirs = ground.handles(&producer).attached(&[Side::Producer]);
        let their_ring = Rc::clone(&ring.ring);
        let producer = world.spawn("producer", move || {
            theirs.send(1, Deadline::Now).unwrap();
            their_ring.send(&mut send, 2, Deadline::Now).unwrap();
            theirs.leave(Side::Producer);
        });
        let mut of_the_ring = Err(Stop::NotYet);
        let mut of_the_queue = Vec::new();
        while of_the_queue.len() < 2 {
            match select(&[&ring, &queue]) {
                0 => of_the_ring = ring.try_recv(),
                _ => of_the_queue.push(queue.recv(Deadline::Now)),
            }
        }
        assert_eq!(of_the_queue, [Ok(1), Err(Stop::Disconnected)]);
        let was_received = of_the_ring == Ok(2) || ring.try_recv() == Ok(2);
        assert!(was_received, "it was sent before the end of the queue");
        producer.join().unwrap();
    })
}

fn a_selector_learns_of_a_death_in_the_group_of_one_of_its_ends() -> Result<Report, Error> {
    check(1, |world| {
        let (main, [victim, selector]) = members(world, ["victim", "selector"]);
        let ground = Ground::new(1);
        let mut theirs = ground.handles(&victim).attached(&[Side::Producer]);
        let mut queue = ground.handles(&selector);
        let victim = world.victim("victim", move || {
            theirs.send(1, Deadline::Now).unwrap();
            theirs.leave(Side::Producer);
        });
        let selector = world.spawn("selector", move || {
            let (ring, _send, recv) = Ring::with_sides(1);
            let ring = RingEnd { ring, side: recv };
            loop {
                assert_eq!(select(&[&ring, &queue]), 1);
                match queue.recv(Deadline::Now) {
                    Ok(value) => assert_eq!(value, 1),
                    Err(stop) => return stop,
                }
            }
        });
        main.keep(victim);
        assert_eq!(selector.join().unwrap(), Stop::Disconnected);
    })
}

fn a_selector_that_was_woken_for_more_than_it_takes_passes_the_wake_on() -> Result<Report, Error> {
    model(0).preemption_bound(Some(preemptions().saturating_sub(1))).check(|world| {
        let (main, [selector, consumer]) = members(world, ["selector", "consumer"]);
        let ground = Ground::new(1);
        let queue = ground.handles(&selector);
        let mut others = ground.handles(&consumer);
        let (ring, mut send, recv) = Ring::with_sides(1);
        let ring = RingEnd { ring, side: recv };
        let their_ring = Rc::clone(&ring.ring);
        // Takes nothing, whichever it is.
        let selector = world.spawn("selector", move || select(&[&ring, &queue]));
        let consumer = world.spawn("consumer", move || others.recv(Deadline::Never));
        their_ring.send(&mut send, 1, Deadline::Now).unwrap();
        ground.handles(&main).send(2, Deadline::Now).unwrap();
        selector.join().unwrap();
        assert_eq!(consumer.join().unwrap(), Ok(2));
    })
}

fn a_selector_that_was_woken_and_killed_wakes_another() -> Result<Report, Error> {
    model(1).preemption_bound(Some(preemptions().saturating_sub(2))).check(|world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(1);
        let queue = ground.handles(&victim);
        let mut others = ground.handles(&other).attached(&[Side::Producer]);
        let (ring, _send, recv) = Ring::with_sides(1);
        let ring = RingEnd { ring, side: recv };
        let victim = world.victim("victim", move || select(&[&ring, &queue]));
        let other = world.spawn("other", move || {
            let received = others.recv(Deadline::Never);
            // If it was first, the selector waits for this.
            others.leave(Side::Producer);
            received
        });
        ground.handles(&main).send(1, Deadline::Now).unwrap();
        if main.keep(victim).is_some_and(|index| index != 1) {
            panic!("the ring is empty");
        }
        assert_eq!(other.join().unwrap(), Ok(1));
    })
}
