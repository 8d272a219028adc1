//! Roles: claimed by one, given back, taken over from the dead.

use std::rc::Rc;

use crash_check::death::{Error, Report};
use shm_core::primitive::spin_loop;

use super::group::members;
use super::{Ring, check_awake, models};
use crate::ring::{RecvSide, SendSide, Stop};
use crate::role::{self, Side};
use crate::wait::Deadline;

models![
    a_free_role_is_claimed_by_one_of_two,
    the_role_of_the_dead_is_taken_over_by_one_of_two,
    a_holder_that_was_taken_over_gives_nothing_back,
    a_producer_goes_on_where_the_one_before_it_gave_the_role_back,
    a_member_goes_on_where_the_one_before_it_gave_the_role_back,
    a_consumer_goes_on_where_the_one_before_it_gave_the_role_back,
    the_successor_of_a_dead_producer_goes_on_where_it_stopped,
    the_successor_of_a_dead_consumer_goes_on_where_it_stopped,
    a_late_report_does_not_speak_of_the_successor,
    a_report_that_its_reporter_did_not_finish_is_finished_by_another,
];

impl Ring {
    /// Sends an element that is its position, counted from 1.
    fn send_next(&self, side: &mut SendSide) -> Result<(), Stop> {
        let value = side.position() as u32 + 1;
        self.send(side, value, Deadline::Now)
    }

    /// Receives one, which must be its position.
    fn recv_next(&self, side: &mut RecvSide) -> Result<(), Stop> {
        let value = self.recv(side, Deadline::Now)?;
        assert_eq!(u64::from(value), side.position(), "an element is lost, or comes twice");
        Ok(())
    }
}

fn a_free_role_is_claimed_by_one_of_two() -> Result<Report, Error> {
    check_awake(0, |world| {
        let ring = Ring::new(1);
        let theirs = Rc::clone(&ring);
        let other =
            world.spawn("other", move || role::claim(&theirs.shared, Side::Consumer, None).is_ok());
        let mine = role::claim(&ring.shared, Side::Consumer, None).is_ok();
        assert_eq!(u32::from(mine) + u32::from(other.join().unwrap()), 1);
        assert!(role::holder(&ring.shared, Side::Consumer).is_some());
        assert!(role::holder(&ring.shared, Side::Producer).is_none());
    })
}

fn the_role_of_the_dead_is_taken_over_by_one_of_two() -> Result<Report, Error> {
    check_awake(1, |world| {
        let ring = Ring::new(1);
        let dead = role::claim(&ring.shared, Side::Producer, None).unwrap();
        let (proof, theirs) = (world.proof("producer"), Rc::clone(&ring));
        world.victim("producer", move || theirs.send_next(&mut theirs.send_side()));
        let (others, others_proof) = (Rc::clone(&ring), proof.clone());
        let take = move |ring: &Ring| role::claim(&ring.shared, Side::Producer, Some(dead)).is_ok();
        let other = world.spawn("other", move || others_proof.is_gone().then(|| take(&others)));
        let mine = proof.is_gone().then(|| take(&ring));
        match (mine, other.join().unwrap()) {
            (Some(mine), Some(other)) => assert!(mine != other, "taken by both, or by neither"),
            (took, None) | (None, took) => assert!(took != Some(false), "taken by nobody"),
        }
    })
}

fn a_holder_that_was_taken_over_gives_nothing_back() -> Result<Report, Error> {
    check_awake(0, |world| {
        let ring = Ring::new(1);
        let first = role::claim(&ring.shared, Side::Producer, None).unwrap();
        let theirs = Rc::clone(&ring);
        let successor = world.spawn("successor", move || {
            role::claim(&theirs.shared, Side::Producer, Some(first)).ok()
        });
        role::release(&ring.shared, Side::Producer, first);
        let successor = successor.join().unwrap();
        assert_eq!(role::holder(&ring.shared, Side::Producer), successor);
    })
}

fn a_producer_goes_on_where_the_one_before_it_gave_the_role_back() -> Result<Report, Error> {
    check_awake(0, |world| {
        let ring = Ring::new(1);
        let first = role::claim(&ring.shared, Side::Producer, None).unwrap();
        let theirs = Rc::clone(&ring);
        world.spawn("first", move || {
            theirs.send_next(&mut theirs.send_side()).unwrap();
            theirs.recv_next(&mut theirs.recv_side()).unwrap();
            role::release(&theirs.shared, Side::Producer, first);
        });
        while role::claim(&ring.shared, Side::Producer, None).is_err() {
            spin_loop();
        }
        let mut send = ring.send_side();
        assert_eq!(send.position(), 1, "goes on behind what was sent");
        ring.send_next(&mut send).unwrap();
    })
}

fn a_member_goes_on_where_the_one_before_it_gave_the_role_back() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [first]) = members(world, ["first"]);
        // So that nothing but the role's word says that it is free.
        let main = main.ignorant();
        let ring = Ring::new(1);
        let held = role::claim_among(&ring.shared, Side::Producer, &first).unwrap();
        let theirs = Rc::clone(&ring);
        world.spawn("first", move || {
            theirs.send_next(&mut theirs.send_side()).unwrap();
            theirs.recv_next(&mut theirs.recv_side()).unwrap();
            role::release(&theirs.shared, Side::Producer, held);
        });
        while role::claim_among(&ring.shared, Side::Producer, &main).is_err() {
            spin_loop();
        }
        let mut send = ring.send_side();
        assert_eq!(send.position(), 1, "goes on behind what was sent");
        ring.send_next(&mut send).unwrap();
    })
}

fn a_consumer_goes_on_where_the_one_before_it_gave_the_role_back() -> Result<Report, Error> {
    check_awake(0, |world| {
        let ring = Ring::new(2);
        let mut send = ring.send_side();
        ring.send_next(&mut send).unwrap();
        let first = role::claim(&ring.shared, Side::Consumer, None).unwrap();
        let theirs = Rc::clone(&ring);
        world.spawn("first", move || {
            theirs.recv_next(&mut theirs.recv_side()).unwrap();
            role::release(&theirs.shared, Side::Consumer, first);
        });
        let _ = ring.send_next(&mut send);
        while role::claim(&ring.shared, Side::Consumer, None).is_err() {
            spin_loop();
        }
        ring.recv_next(&mut ring.recv_side()).unwrap();
    })
}

fn the_successor_of_a_dead_producer_goes_on_where_it_stopped() -> Result<Report, Error> {
    check_awake(1, |world| {
        let ring = Ring::new(2);
        let dead = role::claim(&ring.shared, Side::Producer, None).unwrap();
        let (proof, theirs) = (world.proof("producer"), Rc::clone(&ring));
        world.victim("producer", move || {
            let mut side = theirs.send_side();
            let _ = theirs.send_next(&mut side);
            let _ = theirs.send_next(&mut side);
        });
        let theirs = Rc::clone(&ring);
        world.spawn("supervisor", move || {
            if proof.is_gone() {
                theirs.report(dead);
                role::claim(&theirs.shared, Side::Producer, Some(dead)).unwrap();
                let sent = theirs.send_next(&mut theirs.send_side());
                assert!(matches!(sent, Ok(()) | Err(Stop::NotYet)), "{sent:?}");
            }
        });
        let mut recv = ring.recv_side();
        for _ in 0..3 {
            let _ = ring.recv_next(&mut recv);
        }
    })
}

fn the_successor_of_a_dead_consumer_goes_on_where_it_stopped() -> Result<Report, Error> {
    check_awake(1, |world| {
        let ring = Ring::new(1);
        let dead = role::claim(&ring.shared, Side::Consumer, None).unwrap();
        let mut send = ring.send_side();
        ring.send_next(&mut send).unwrap();
        let (proof, theirs) = (world.proof("consumer"), Rc::clone(&ring));
        world.victim("consumer", move || theirs.recv_next(&mut theirs.recv_side()));
        let theirs = Rc::clone(&ring);
        world.spawn("supervisor", move || {
            if proof.is_gone() {
                theirs.report(dead);
                role::claim(&theirs.shared, Side::Consumer, Some(dead)).unwrap();
                let received = theirs.recv_next(&mut theirs.recv_side());
                assert!(matches!(received, Ok(()) | Err(Stop::NotYet)), "{received:?}");
            }
        });
        for _ in 0..2 {
            let sent = ring.send_next(&mut send);
            assert!(matches!(sent, Ok(()) | Err(Stop::NotYet | Stop::PeerDead)), "{sent:?}");
        }
    })
}

fn a_late_report_does_not_speak_of_the_successor() -> Result<Report, Error> {
    check_awake(0, |world| {
        let ring = Ring::new(1);
        let dead = ring.hold(Side::Producer);
        let mut send = ring.send_side();
        let theirs = Rc::clone(&ring);
        let supervisor = world.spawn("supervisor", move || role::disconnect(&theirs.shared, dead));
        role::claim(&ring.shared, Side::Producer, Some(dead)).unwrap();
        ring.send_next(&mut send).unwrap();
        let _ = supervisor.join().unwrap();
        let mut recv = ring.recv_side();
        ring.recv_next(&mut recv).unwrap();
        assert_eq!(ring.recv_next(&mut recv), Err(Stop::NotYet), "the successor lives");
        ring.send_next(&mut send).unwrap();
    })
}

fn a_report_that_its_reporter_did_not_finish_is_finished_by_another() -> Result<Report, Error> {
    check_awake(1, |world| {
        let ring = Ring::new(1);
        let dead = ring.hold(Side::Producer);
        let theirs = Rc::clone(&ring);
        let first = world.victim("first", move || theirs.report(dead));
        ring.report(dead);
        let _ = first.join();
        assert_eq!(ring.recv_next(&mut ring.recv_side()), Err(Stop::PeerDead));
    })
}
