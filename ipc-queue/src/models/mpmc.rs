//! Several producers and consumers, any of whom may die.

use std::rc::Rc;

use crash_check::death::{Error, Report, World};
use shm_core::Peers;
use shm_core::primitive::{
    AtomicU32, AtomicU64, Ordering, System, UnsafeCell, on_a_system_where, spin_loop,
};

use super::group::{Member, members};
use super::{check, check_awake, model, models, preemptions};
use crate::Side;
use crate::mpmc::receive::RecvSide;
use crate::mpmc::send::SendSide;
use crate::mpmc::shared::{Queue, Shared, Slot};
use crate::mpmc::word::Word;
use crate::ring::Stop;
use crate::wait::Deadline;

models![
    two_producers_never_write_one_slot,
    two_consumers_never_take_one_element,
    handles_meet_again_after_laps_that_they_missed,
    whatever_the_dead_had_in_hand_the_queue_goes_on,
    consumers_pass_over_a_dead_producer_once,
    who_gets_a_slot_of_the_dead_from_others_sees_what_the_dead_did_to_it,
    whoever_sees_the_close_sees_what_came_before_it,
    whoever_sees_everybody_gone_has_received_everything,
    nobody_is_missed_who_arrived_before_the_others_were_seen_gone,
    a_parked_consumer_passes_over_a_dead_producer,
    a_parked_producer_gets_the_slot_of_a_dead_consumer,
    two_elements_wake_two_sleepers_though_the_first_was_finished_last,
    a_parked_producer_never_sleeps_beside_a_free_slot,
    a_consumer_that_was_woken_and_killed_wakes_another,
    a_parked_consumer_drains_and_learns_that_the_producer_died,
    a_send_that_succeeded_before_the_close_is_received,
    a_close_by_one_who_dies_closes_or_disconnects,
    the_last_to_leave_wakes_a_parked_consumer,
];

/// A queue on the heap instead of in a segment.
pub(super) struct Ground {
    pub(super) shared: Shared,
    slots: Vec<Slot<u32>>,
}

/// A thread's handles: what it sends and receives as.
pub(super) struct Handles {
    pub(super) ground: Rc<Ground>,
    pub(super) peers: Member,
    send: SendSide,
    recv: RecvSide,
}

impl Ground {
    pub(super) fn new(capacity: u64) -> Rc<Ground> {
        let slots = (0..capacity).map(|position| Slot {
            word: AtomicU64::new(Word::free(position).0),
            value: UnsafeCell::new(0),
        });
        Rc::new(Ground { shared: Shared::default(), slots: slots.collect() })
    }

    pub(super) fn handles(self: &Rc<Self>, peers: &Member) -> Handles {
        let (send, recv) = (SendSide::new(0, 1), RecvSide::new(0, 1));
        Handles { ground: Rc::clone(self), peers: peers.clone(), send, recv }
    }
}

impl Handles {
    pub(super) fn attached(self, sides: &[Side]) -> Handles {
        for &side in sides {
            self.ground.shared.attached.arrive(self.peers.me().unwrap(), side).unwrap();
            self.ground.shared.has_arrived(side);
        }
        self
    }

    pub(super) fn leave(&self, side: Side) {
        if self.ground.shared.attached.leave(self.peers.me().unwrap(), side) {
            self.ground.shared.ring_everybody();
        }
    }

    pub(super) fn send(&mut self, value: u32, deadline: Deadline) -> Result<(), Stop> {
        let Ground { shared, slots } = &*self.ground;
        let me = self.peers.me().unwrap();
        self.send.send(Queue { shared, slots, peers: &self.peers, me }, value, deadline)
    }

    /// Whether a receive would not wait.
    pub(super) fn is_receivable(&self) -> bool {
        let Ground { shared, slots } = &*self.ground;
        let me = self.peers.me().unwrap();
        self.recv.is_ready(Queue { shared, slots, peers: &self.peers, me })
    }

    pub(super) fn recv(&mut self, deadline: Deadline) -> Result<u32, Stop> {
        let Ground { shared, slots } = &*self.ground;
        let me = self.peers.me().unwrap();
        self.recv.recv(Queue { shared, slots, peers: &self.peers, me }, deadline)
    }

    fn send_spinning(&mut self, value: u32) {
        while self.send(value, Deadline::Now) == Err(Stop::NotYet) {
            spin_loop();
        }
    }

    fn recv_spinning(&mut self) -> u32 {
        loop {
            match self.recv(Deadline::Now) {
                Ok(value) => return value,
                Err(stop) => assert_eq!(stop, Stop::NotYet),
            }
            spin_loop();
        }
    }
}

fn two_producers_never_write_one_slot() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(2);
        let mut theirs = ground.handles(&other);
        let other = world.spawn("other", move || theirs.send(1, Deadline::Now));
        let mut mine = ground.handles(&main);
        mine.send(2, Deadline::Now).unwrap();
        other.join().unwrap().unwrap();
        let got = [mine.recv(Deadline::Now).unwrap(), mine.recv(Deadline::Now).unwrap()];
        assert!(got == [1, 2] || got == [2, 1], "{got:?}");
    })
}

fn two_consumers_never_take_one_element() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(2);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        let mut theirs = ground.handles(&other);
        let other = world.spawn("other", move || theirs.recv(Deadline::Now).ok());
        mine.send(2, Deadline::Now).unwrap();
        let first = mine.recv(Deadline::Now).ok();
        let mut got: Vec<u32> = first.into_iter().chain(other.join().unwrap()).collect();
        while let Ok(value) = mine.recv(Deadline::Now) {
            got.push(value);
        }
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    })
}

fn handles_meet_again_after_laps_that_they_missed() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let (mut idle, mut theirs) = (ground.handles(&main), ground.handles(&other));
        let mut busy = ground.handles(&main);
        for value in 1..=2 {
            busy.send(value, Deadline::Now).unwrap();
            assert_eq!(busy.recv(Deadline::Now), Ok(value));
        }
        let other = world.spawn("other", move || {
            theirs.send_spinning(3);
            theirs.send_spinning(4);
        });
        assert_eq!([idle.recv_spinning(), busy.recv_spinning()], [3, 4]);
        other.join().unwrap();
    })
}

fn whatever_the_dead_had_in_hand_the_queue_goes_on() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new(1);
        let mut theirs = ground.handles(&victim);
        let victim = world.victim("victim", move || {
            for value in 1..=2 {
                theirs.send(value, Deadline::Now).unwrap();
                theirs.recv(Deadline::Now).unwrap();
            }
        });
        main.keep(victim);
        let mut mine = ground.handles(&main);
        if let Ok(found) = mine.recv(Deadline::Now) {
            assert!(found == 1 || found == 2);
        }
        for value in 7..=8 {
            mine.send(value, Deadline::Now).unwrap();
            assert_eq!(mine.recv(Deadline::Now), Ok(value));
        }
    })
}

fn consumers_pass_over_a_dead_producer_once() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(2);
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&other));
        let victim = world.victim("victim", move || theirs.send(1, Deadline::Now));
        let other = world.spawn("other", move || others.recv(Deadline::Now).ok());
        let mut mine = ground.handles(&main);
        let mut got: Vec<u32> = mine.recv(Deadline::Now).into_iter().collect();
        main.keep(victim);
        got.extend(other.join().unwrap());
        mine.send(3, Deadline::Now).unwrap();
        while let Ok(value) = mine.recv(Deadline::Now) {
            got.push(value);
        }
        assert!(got == [1, 3] || got == [3], "{got:?}");
    })
}

fn who_gets_a_slot_of_the_dead_from_others_sees_what_the_dead_did_to_it() -> Result<Report, Error> {
    check_few_awake(1, |world| {
        let (_, [victim, other, next]) = members(world, ["victim", "other", "next"]);
        let ground = Ground::new(1);
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&other));
        let mut nexts = ground.handles(&next.ignorant());
        world.victim("victim", move || theirs.send(1, Deadline::Now));
        // Gives the slot back, whether it was sent or its producer is dead.
        world.spawn("other", move || others.recv(Deadline::Now).ok());
        world.spawn("next", move || nexts.send(3, Deadline::Now).ok());
    })
}

fn whoever_sees_the_close_sees_what_came_before_it() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let (theirs, mut mine) = (ground.handles(&other), ground.handles(&main));
        let before = Rc::new(AtomicU32::new(0));
        let mark = Rc::clone(&before);
        world.spawn("other", move || {
            mark.store(1, Ordering::Relaxed);
            theirs.ground.shared.close();
        });
        while mine.recv(Deadline::Now) != Err(Stop::Closed) {
            spin_loop();
        }
        assert_eq!(before.load(Ordering::Relaxed), 1);
    })
}

fn whoever_sees_everybody_gone_has_received_everything() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let mut theirs = ground.handles(&other).attached(&[Side::Producer]);
        let mut mine = ground.handles(&main);
        world.spawn("other", move || {
            theirs.send(1, Deadline::Now).unwrap();
            theirs.leave(Side::Producer);
        });
        assert_eq!(mine.recv_spinning(), 1, "said to be deserted beside an element");
    })
}

fn nobody_is_missed_who_arrived_before_the_others_were_seen_gone() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let (theirs, mut mine) = (ground.handles(&other), ground.handles(&main));
        world.spawn("other", move || drop(theirs.attached(&[Side::Producer])));
        assert_eq!(mine.recv(Deadline::Now), Err(Stop::NotYet));
    })
}

fn a_parked_consumer_passes_over_a_dead_producer() -> Result<Report, Error> {
    check_many(1, 1, |world| {
        let (main, [victim, consumer]) = members(world, ["victim", "consumer"]);
        let ground = Ground::new(2);
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&consumer));
        let victim = world.victim("victim", move || theirs.send(1, Deadline::Now));
        let consumer =
            world.spawn("consumer", move || while others.recv(Deadline::Never) == Ok(1) {});
        ground.handles(&main).send(2, Deadline::Now).unwrap();
        main.keep(victim);
        consumer.join().unwrap();
    })
}

fn a_parked_producer_gets_the_slot_of_a_dead_consumer() -> Result<Report, Error> {
    check(1, |world| {
        let (main, [victim, producer]) = members(world, ["victim", "producer"]);
        let ground = Ground::new(1);
        ground.handles(&main).send(1, Deadline::Now).unwrap();
        let mut theirs = ground.handles(&victim).attached(&[Side::Consumer]);
        let mut others = ground.handles(&producer);
        let victim = world.victim("victim", move || theirs.recv(Deadline::Now).unwrap());
        let producer = world.spawn("producer", move || others.send(2, Deadline::Never));
        let taken = main.keep(victim);
        let sent = producer.join().unwrap();
        let left = ground.handles(&main).recv(Deadline::Now);
        match sent {
            Ok(()) => assert_eq!(left, Ok(2)),
            // It died before it took anything.
            Err(stop) => assert_eq!((stop, taken, left), (Stop::Disconnected, None, Ok(1))),
        }
    })
}

/// Three or four threads that sleep and die: as many switches as elsewhere would take minutes.
fn check_many(
    victims: usize,
    fewer: usize,
    f: impl Fn(&World) + Send + Sync + 'static,
) -> Result<Report, Error> {
    model(victims).preemption_bound(Some(preemptions().saturating_sub(fewer))).check(f)
}

/// The same where nobody sleeps.
fn check_few_awake(
    victims: usize,
    f: impl Fn(&World) + Send + Sync + 'static,
) -> Result<Report, Error> {
    on_a_system_where(System::NobodySleeps, || check_many(victims, 1, f))
}

/// Needs a forced switch, so the short depth does not see a missing second ring; the usual one does.
fn two_elements_wake_two_sleepers_though_the_first_was_finished_last() -> Result<Report, Error> {
    check_many(0, 2, |world| {
        let names = ["first", "second", "consumer"];
        let (main, [first, second, consumer]) = members(world, names);
        let ground = Ground::new(2);
        let mut others = ground.handles(&consumer);
        let consumer = world.spawn("consumer", move || others.recv(Deadline::Never).unwrap());
        let mut theirs = ground.handles(&first);
        world.spawn("first", move || theirs.send(1, Deadline::Now).unwrap());
        let mut theirs = ground.handles(&second);
        world.spawn("second", move || theirs.send(2, Deadline::Now).unwrap());
        let mine = ground.handles(&main).recv(Deadline::Never).unwrap();
        assert_eq!(mine + consumer.join().unwrap(), 3);
    })
}

fn a_parked_producer_never_sleeps_beside_a_free_slot() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let (mut mine, mut theirs) = (ground.handles(&main), ground.handles(&other));
        mine.send(1, Deadline::Now).unwrap();
        let other = world.spawn("other", move || theirs.send(2, Deadline::Never));
        assert_eq!(mine.recv(Deadline::Never), Ok(1));
        assert_eq!(mine.recv(Deadline::Never), Ok(2));
        other.join().unwrap().unwrap();
    })
}

fn a_consumer_that_was_woken_and_killed_wakes_another() -> Result<Report, Error> {
    check_many(1, 2, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(1);
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&other));
        let mut mine = ground.handles(&main).attached(&[Side::Producer]);
        let victim = world.victim("victim", move || theirs.recv(Deadline::Never));
        let other = world.spawn("other", move || others.recv(Deadline::Never));
        mine.send(1, Deadline::Now).unwrap();
        mine.leave(Side::Producer);
        let first = main.keep(victim);
        let second = other.join().unwrap();
        match first {
            Some(Ok(1)) => assert_eq!(second, Err(Stop::Disconnected)),
            Some(Err(Stop::Disconnected)) => assert_eq!(second, Ok(1)),
            // It may have taken the element with it.
            None => assert!(matches!(second, Ok(1) | Err(Stop::Disconnected))),
            Some(other) => panic!("{other:?}"),
        }
    })
}

fn a_parked_consumer_drains_and_learns_that_the_producer_died() -> Result<Report, Error> {
    check_many(1, 1, |world| {
        let (main, [victim, consumer]) = members(world, ["victim", "consumer"]);
        let ground = Ground::new(2);
        let mut theirs = ground.handles(&victim).attached(&[Side::Producer]);
        let mut others = ground.handles(&consumer);
        let victim = world.victim("victim", move || {
            theirs.send(1, Deadline::Now).unwrap();
            theirs.leave(Side::Producer);
        });
        let consumer = world.spawn("consumer", move || {
            let first = others.recv(Deadline::Never);
            (first, if first.is_ok() { others.recv(Deadline::Never) } else { first })
        });
        let ended = main.keep(victim);
        let (first, last) = consumer.join().unwrap();
        assert_eq!(last, Err(Stop::Disconnected));
        assert!(first == Ok(1) || ended.is_none(), "a send that had returned is lost");
    })
}

fn a_send_that_succeeded_before_the_close_is_received() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [producer, consumer]) = members(world, ["producer", "consumer"]);
        let ground = Ground::new(1);
        let (mut theirs, mut others) = (ground.handles(&producer), ground.handles(&consumer));
        let producer = world.spawn("producer", move || theirs.send(1, Deadline::Never));
        let consumer = world.spawn("consumer", move || others.recv(Deadline::Never));
        ground.handles(&main).ground.shared.close();
        match (producer.join().unwrap(), consumer.join().unwrap()) {
            (Ok(()), Ok(1)) | (Err(Stop::Closed), Err(Stop::Closed)) => {}
            other => panic!("{other:?}"),
        }
    })
}

fn a_close_by_one_who_dies_closes_or_disconnects() -> Result<Report, Error> {
    check(1, |world| {
        let (main, [victim, consumer]) = members(world, ["victim", "consumer"]);
        let ground = Ground::new(1);
        let theirs = ground.handles(&victim).attached(&[Side::Producer]);
        let mut others = ground.handles(&consumer);
        let victim = world.victim("victim", move || theirs.ground.shared.close());
        let consumer = world.spawn("consumer", move || others.recv(Deadline::Never));
        main.keep(victim);
        let end = consumer.join().unwrap();
        assert!(matches!(end, Err(Stop::Closed | Stop::Disconnected)), "{end:?}");
    })
}

fn the_last_to_leave_wakes_a_parked_consumer() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [producer]) = members(world, ["producer"]);
        let ground = Ground::new(1);
        let theirs = ground.handles(&producer).attached(&[Side::Producer]);
        let producer = world.spawn("producer", move || theirs.leave(Side::Producer));
        assert_eq!(ground.handles(&main).recv(Deadline::Never), Err(Stop::Disconnected));
        producer.join().unwrap();
    })
}
