//! What a dead consumer had in hand passes into the hand of one that is alive.

use crash_check::death::{Error, Report};
use shm_core::primitive::spin_loop;

use super::{Ground, check_few_awake};
use crate::models::check_awake;
use crate::models::group::members;
use crate::ring::Stop;
use crate::wait::Deadline;

pub(super) fn a_message_in_a_dead_ones_hand_comes_again() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new(2, 2);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        mine.send(2, Deadline::Now).unwrap();
        let mut theirs = ground.handles(&victim);
        let victim = world.victim("victim", move || theirs.recv(Deadline::Now).unwrap());
        let done = main.keep(victim);
        let left = mine.drain();
        assert!(left == [2] || (left == [1, 2] && done.is_none()), "{left:?}");
        mine.send(3, Deadline::Now).unwrap();
        mine.send(4, Deadline::Now).unwrap();
        assert_eq!(mine.drain(), [3, 4]);
        assert!(ground.heap.is_empty());
    })
}

pub(super) fn of_two_who_take_over_one_succeeds() -> Result<Report, Error> {
    check_few_awake(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(2, 3);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&other));
        let victim = world.victim("victim", move || theirs.recv(Deadline::Now).ok());
        let other = world.spawn("other", move || others.recv(Deadline::Now).ok());
        let done = main.keep(victim).flatten();
        let mut got = mine.drain();
        got.extend(other.join().unwrap());
        // What others were still clearing up.
        got.extend(mine.drain());
        assert!(got == [1] || got.is_empty(), "{got:?}");
        assert!(got.is_empty() || done.is_none(), "twice");
        assert!(ground.heap.is_empty());
    })
}

/// The quick form of the one above: both begin when the victim is dead.
pub(super) fn what_a_dead_one_had_passes_into_one_hand() -> Result<Report, Error> {
    check_few_awake(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(1, 3);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&other));
        // In hand to the end.
        let victim = world.victim("victim", move || theirs.take(Deadline::Now).map(drop));
        let is_dead = main.keep(victim).is_none();
        let other = world.spawn("other", move || others.recv(Deadline::Now).ok());
        let mut got = mine.drain();
        got.extend(other.join().unwrap());
        // What the other was still clearing up.
        got.extend(mine.drain());
        assert_eq!(got.len(), usize::from(is_dead), "{got:?}");
        assert_eq!(ground.heap.is_empty(), is_dead);
    })
}

pub(super) fn who_is_killed_while_it_takes_over_is_taken_over_from() -> Result<Report, Error> {
    check_few_awake(2, |world| {
        let (main, [first, second]) = members(world, ["first", "second"]);
        let ground = Ground::new(1, 3);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        let (mut theirs, mut others) = (ground.handles(&first), ground.handles(&second));
        let first = world.victim("first", move || theirs.recv(Deadline::Now).is_ok());
        let one = main.keep(first);
        let second = world.victim("second", move || others.recv(Deadline::Now).is_ok());
        let other = main.keep(second);
        let left = mine.drain();
        assert!(left == [1] || left.is_empty(), "{left:?}");
        assert!(left.is_empty() || (one != Some(true) && other != Some(true)), "twice");
        mine.send(2, Deadline::Now).unwrap();
        assert_eq!(mine.recv(Deadline::Now), Ok(2));
        assert!(ground.heap.is_empty());
    })
}

/// Whoever sees the end of a mailbox that was closed after a death sees the death.
pub(super) fn what_a_dead_one_had_comes_before_the_end() -> Result<Report, Error> {
    check_few_awake(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(2, 3);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&other));
        // In hand to the end.
        let victim = world.victim("victim", move || theirs.take(Deadline::Now).map(drop));
        let other = world.spawn("other", move || {
            loop {
                match others.recv(Deadline::Now) {
                    Err(Stop::NotYet) => spin_loop(),
                    found => break found,
                }
            }
        });
        let is_dead = main.keep(victim).is_none();
        ground.shared.close();
        let found = other.join().unwrap();
        assert!(!is_dead || found == Ok(1), "{found:?} beside a message");
    })
}
