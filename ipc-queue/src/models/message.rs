//! Messages: one producer and one consumer at a time, each of whom may die.

use std::rc::Rc;

use crash_check::death::{Error, Report, World};
use shm_core::Peers;
use shm_core::primitive::{AtomicU32, Ordering, UnsafeCell, spin_loop};

use super::group::{Member, members};
use super::{check, check_awake, model, models, preemptions};
use crate::Side;
use crate::message::receive::RecvSide;
use crate::message::send::SendSide;
use crate::message::shared::{Ring, Shared};
use crate::ring::Stop;
use crate::wait::Deadline;

models![
    messages_are_received_whole_and_their_room_is_used_again,
    whoever_takes_the_place_of_one_who_left_goes_on_behind_it,
    a_receiver_that_comes_late_finds_whole_messages,
    a_sender_that_comes_late_overwrites_nothing_that_is_read,
    nobody_is_missed_who_sends,
    a_successor_goes_on_behind_a_dead_sender,
    what_a_dead_receiver_had_not_released_is_received_again,
    a_message_before_the_close_is_received,
    a_message_before_the_leaving_is_received,
    what_was_released_before_the_leaving_is_room,
    nobody_sleeps_beside_a_message_or_room,
    a_sleeping_receiver_learns_that_the_sender_died,
    a_sleeping_sender_learns_that_the_receiver_died,
    who_leaves_wakes_who_sleeps,
    a_close_wakes_a_sleeping_receiver,
];

/// A ring for two messages of no bytes: their lengths stand for them.
const CAPACITY: u64 = 16;

struct Ground {
    shared: Shared,
    words: Vec<UnsafeCell<u64>>,
}

struct Sender {
    ground: Rc<Ground>,
    peers: Member,
    side: SendSide,
}

struct Receiver {
    ground: Rc<Ground>,
    peers: Member,
    side: RecvSide,
}

impl Ground {
    fn new() -> Rc<Ground> {
        let words = (0..CAPACITY / 4).map(|_| UnsafeCell::new(9)).collect();
        Rc::new(Ground { shared: Shared::default(), words })
    }

    fn ring<'a>(&'a self, peers: &'a Member) -> Ring<'a, Member> {
        Ring { shared: &self.shared, words: &self.words, capacity: CAPACITY, peers }
    }

    fn sender(self: &Rc<Self>, peers: &Member) -> Option<Sender> {
        let me = peers.me().unwrap();
        self.shared.take_role(Side::Producer, me, peers).ok()?;
        let side = SendSide::resume(&self.shared, CAPACITY).unwrap();
        Some(Sender { ground: Rc::clone(self), peers: peers.clone(), side })
    }

    fn receiver(self: &Rc<Self>, peers: &Member) -> Option<Receiver> {
        let me = peers.me().unwrap();
        self.shared.take_role(Side::Consumer, me, peers).ok()?;
        let side = RecvSide::resume(&self.shared, CAPACITY).unwrap();
        Some(Receiver { ground: Rc::clone(self), peers: peers.clone(), side })
    }
}

impl Sender {
    /// Sends a message that fills the ring (`len` 1 to 8), or half of it (0).
    fn send(&mut self, len: usize, deadline: Deadline) -> Result<(), Stop> {
        let ring = self.ground.ring(&self.peers);
        self.side.reserve(ring, len, deadline)?;
        self.side.commit(ring, len);
        Ok(())
    }

    fn leave(&self) {
        self.ground.shared.leave_role(Side::Producer);
    }
}

impl Receiver {
    fn recv(&mut self, deadline: Deadline) -> Result<usize, Stop> {
        let ring = self.ground.ring(&self.peers);
        let found = self.side.find(ring, deadline)?;
        self.side.release(ring, found);
        Ok(found.len)
    }

    fn leave(&self) {
        self.ground.shared.leave_role(Side::Consumer);
    }
}

/// Fewer forced switches: three threads.
fn check_few(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    model(victims).preemption_bound(Some(preemptions().saturating_sub(1))).check(f)
}

fn messages_are_received_whole_and_their_room_is_used_again() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let mut sender = ground.sender(&other).unwrap();
        let mut receiver = ground.receiver(&main).unwrap();
        world.spawn("other", move || {
            for len in [5, 6, 7] {
                while sender.send(len, Deadline::Now) == Err(Stop::NotYet) {
                    spin_loop();
                }
            }
        });
        for expected in [5, 6, 7] {
            loop {
                match receiver.recv(Deadline::Now) {
                    Ok(found) => break assert_eq!(found, expected),
                    Err(stop) => assert_eq!(stop, Stop::NotYet),
                }
                spin_loop();
            }
        }
    })
}

fn whoever_takes_the_place_of_one_who_left_goes_on_behind_it() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let mut theirs = ground.sender(&other).unwrap();
        world.spawn("other", move || {
            theirs.send(0, Deadline::Now).unwrap();
            theirs.leave();
        });
        let mut sender = loop {
            match ground.sender(&main) {
                Some(sender) => break sender,
                None => spin_loop(),
            }
        };
        sender.send(0, Deadline::Now).unwrap();
        assert_eq!(sender.send(0, Deadline::Now), Err(Stop::NotYet), "room for a third");
    })
}

fn a_receiver_that_comes_late_finds_whole_messages() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let mut sender = ground.sender(&other).unwrap();
        world.spawn("other", move || sender.send(5, Deadline::Now).unwrap());
        let mut receiver = ground.receiver(&main).unwrap();
        let found = receiver.recv(Deadline::Now);
        assert!(found == Ok(5) || found == Err(Stop::NotYet), "{found:?}");
    })
}

fn a_sender_that_comes_late_overwrites_nothing_that_is_read() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let mut first = ground.sender(&main).unwrap();
        first.send(5, Deadline::Now).unwrap();
        first.leave();
        let mut receiver = ground.receiver(&other).unwrap();
        world.spawn("other", move || assert_eq!(receiver.recv(Deadline::Now), Ok(5)));
        let sent = ground.sender(&main).unwrap().send(6, Deadline::Now);
        assert!(sent == Ok(()) || sent == Err(Stop::NotYet), "{sent:?}");
    })
}

fn nobody_is_missed_who_sends() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let mut receiver = ground.receiver(&main).unwrap();
        world.spawn("other", move || drop(ground.sender(&other)));
        let end = receiver.recv(Deadline::Now);
        assert_eq!(end, Err(Stop::NotYet), "told of a death that nobody died");
    })
}

fn a_successor_goes_on_behind_a_dead_sender() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new();
        let theirs = Rc::clone(&ground);
        let member = victim.clone();
        let victim = world.victim("victim", move || {
            let mut sender = theirs.sender(&member).unwrap();
            sender.send(0, Deadline::Now).unwrap();
            sender.leave();
        });
        let died = main.keep(victim).is_none();
        ground.sender(&main).unwrap().send(0, Deadline::Now).unwrap();
        let mut receiver = ground.receiver(&main).unwrap();
        assert_eq!(receiver.recv(Deadline::Now), Ok(0));
        let second = receiver.recv(Deadline::Now);
        assert!(second == Ok(0) || (died && second == Err(Stop::NotYet)), "{second:?}");
    })
}

fn what_a_dead_receiver_had_not_released_is_received_again() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new();
        let mut sender = ground.sender(&main).unwrap();
        sender.send(5, Deadline::Now).unwrap();
        let theirs = Rc::clone(&ground);
        let member = victim.clone();
        let victim = world.victim("victim", move || {
            let mut receiver = theirs.receiver(&member).unwrap();
            let found = receiver.recv(Deadline::Now);
            receiver.leave();
            found
        });
        // Room again as soon as it is released, whoever is alive then.
        let early = sender.send(6, Deadline::Now);
        let ended = main.keep(victim);
        let mut receiver = ground.receiver(&main).unwrap();
        let next = receiver.recv(Deadline::Now);
        match (ended, early) {
            (_, Ok(())) => assert_eq!(next, Ok(6)),
            (Some(found), _) => assert_eq!((found, next), (Ok(5), Err(Stop::NotYet))),
            (None, _) => assert!(next == Ok(5) || next == Err(Stop::NotYet)),
        }
    })
}

fn ends_after_everything(world: &World, end: fn(&Sender), expected: Stop) {
    let (main, [other]) = members(world, ["other"]);
    let ground = Ground::new();
    let mut sender = ground.sender(&other).unwrap();
    let mut receiver = ground.receiver(&main).unwrap();
    let before = Rc::new(AtomicU32::new(0));
    let mark = Rc::clone(&before);
    world.spawn("other", move || {
        sender.send(5, Deadline::Now).unwrap();
        // Relaxed: the end orders it.
        mark.store(1, Ordering::Relaxed);
        end(&sender);
    });
    let mut received = None;
    loop {
        match receiver.recv(Deadline::Now) {
            Ok(found) => received = Some(found),
            Err(stop) if stop == expected => break,
            Err(stop) => assert_eq!(stop, Stop::NotYet),
        }
        spin_loop();
    }
    assert_eq!(received, Some(5), "a message is lost");
    // Relaxed: after the end.
    assert_eq!(before.load(Ordering::Relaxed), 1);
}

fn a_message_before_the_close_is_received() -> Result<Report, Error> {
    check_awake(0, |world| {
        ends_after_everything(world, |sender| sender.ground.shared.close(), Stop::Closed);
    })
}

fn a_message_before_the_leaving_is_received() -> Result<Report, Error> {
    check_awake(0, |world| ends_after_everything(world, Sender::leave, Stop::Disconnected))
}

fn what_was_released_before_the_leaving_is_room() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let mut sender = ground.sender(&main).unwrap();
        let mut receiver = ground.receiver(&other).unwrap();
        sender.send(5, Deadline::Now).unwrap();
        world.spawn("other", move || {
            assert_eq!(receiver.recv(Deadline::Now), Ok(5));
            receiver.leave();
        });
        assert_eq!(
            sender.send(6, Deadline::Never),
            Ok(()),
            "told that nobody is there, beside room"
        );
    })
}

fn nobody_sleeps_beside_a_message_or_room() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let mut sender = ground.sender(&other).unwrap();
        let mut receiver = ground.receiver(&main).unwrap();
        let other = world.spawn("other", move || {
            sender.send(5, Deadline::Never).unwrap();
            sender.send(6, Deadline::Never).unwrap();
        });
        assert_eq!(receiver.recv(Deadline::Never), Ok(5));
        assert_eq!(receiver.recv(Deadline::Never), Ok(6));
        other.join().unwrap();
    })
}

fn a_sleeping_receiver_learns_that_the_sender_died() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new();
        let mut sender = ground.sender(&victim).unwrap();
        let mut receiver = ground.receiver(&other).unwrap();
        let victim = world.victim("victim", move || {
            sender.send(5, Deadline::Now).unwrap();
            sender.leave();
        });
        let other = world.spawn("other", move || {
            let first = receiver.recv(Deadline::Never);
            (first, if first.is_ok() { receiver.recv(Deadline::Never) } else { first })
        });
        let ended = main.keep(victim);
        let (first, last) = other.join().unwrap();
        assert_eq!(last, Err(Stop::Disconnected));
        assert!(first == Ok(5) || ended.is_none(), "a send that had returned is lost");
    })
}

fn a_sleeping_sender_learns_that_the_receiver_died() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new();
        let mut sender = ground.sender(&other).unwrap();
        let mut receiver = ground.receiver(&victim).unwrap();
        sender.send(5, Deadline::Now).unwrap();
        let victim = world.victim("victim", move || receiver.recv(Deadline::Now).unwrap());
        let other = world.spawn("other", move || sender.send(6, Deadline::Never));
        let ended = main.keep(victim);
        let sent = other.join().unwrap();
        assert!(sent == Ok(()) || (ended.is_none() && sent == Err(Stop::Disconnected)), "{sent:?}");
    })
}

fn who_leaves_wakes_who_sleeps() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let mut sender = ground.sender(&main).unwrap();
        let receiver = ground.receiver(&other).unwrap();
        sender.send(5, Deadline::Now).unwrap();
        world.spawn("other", move || receiver.leave());
        assert_eq!(sender.send(6, Deadline::Never), Err(Stop::Disconnected));
    })
}

fn a_close_wakes_a_sleeping_receiver() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new();
        let sender = ground.sender(&other).unwrap();
        let mut receiver = ground.receiver(&main).unwrap();
        world.spawn("other", move || sender.ground.shared.close());
        assert_eq!(receiver.recv(Deadline::Never), Err(Stop::Closed));
    })
}
