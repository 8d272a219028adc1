//! A mailbox: several producers and consumers, any of whom may die, and a heap that is cleared up
//! before the slots, after them, or meanwhile.

mod cells;
mod taking_over;

use std::rc::Rc;

use crash_check::death::{Error, Report, World};
use shm_core::Peers;
use shm_core::primitive::{
    AtomicU32, AtomicU64, Ordering, System, UnsafeCell, on_a_system_where, spin_loop,
};

use super::group::{Member, members};
use super::{check, check_awake, model, models, preemptions};
use crate::Side;
use crate::mailbox::receive::RecvSide;
use crate::mailbox::send::SendSide;
use crate::mailbox::shared::{Cells, Mailbox, Parcel};
use crate::mpmc::shared::{Queue, Shared, Slot};
use crate::mpmc::word::Word;
use crate::ring::Stop;
use crate::wait::Deadline;
use cells::{Heap, ModelCells};
use taking_over::{
    a_message_in_a_dead_ones_hand_comes_again, of_two_who_take_over_one_succeeds,
    what_a_dead_one_had_comes_before_the_end, what_a_dead_one_had_passes_into_one_hand,
    who_is_killed_while_it_takes_over_is_taken_over_from,
};

models![
    two_producers_never_use_one_slot,
    two_consumers_never_take_one_message,
    handles_meet_again_after_laps_that_they_missed,
    whatever_the_dead_had_in_hand_the_mailbox_goes_on,
    a_producer_alone_gets_the_slot_that_the_dead_left_empty,
    a_message_in_a_dead_ones_hand_comes_again,
    of_two_who_take_over_one_succeeds,
    what_a_dead_one_had_passes_into_one_hand,
    what_a_dead_one_had_comes_before_the_end,
    a_recovery_that_runs_late_harms_no_successor,
    who_is_killed_while_it_takes_over_is_taken_over_from,
    who_gets_a_slot_of_the_dead_from_others_sees_what_the_dead_did_to_it,
    a_slot_that_nobody_can_settle_is_passed_over,
    what_was_never_sent_is_not_received,
    nothing_ends_while_a_message_may_come_again,
    whoever_sees_that_nothing_is_inside_sees_the_memory_free,
    whoever_sees_everybody_gone_has_received_everything,
    a_parked_consumer_gets_what_a_dead_one_had,
    a_parked_consumer_passes_over_a_dead_producer,
    a_parked_producer_gets_the_slot_of_a_dead_consumer,
    a_parked_producer_never_sleeps_beside_a_free_slot,
    two_messages_wake_two_sleepers_though_the_first_was_finished_last,
    whoever_waits_for_the_end_learns_that_a_slot_was_skipped,
    a_send_that_succeeded_before_the_close_is_received,
    a_message_in_hand_at_the_close_delays_no_end,
    whoever_sees_the_close_sees_what_came_before_it,
];

/// A mailbox on the heap instead of in a segment.
struct Ground {
    shared: Shared,
    slots: Vec<Slot<Parcel>>,
    heap: Heap,
}

/// A thread's handles: what it sends and receives as.
struct Handles {
    ground: Rc<Ground>,
    peers: Member,
    send: SendSide,
    recv: RecvSide,
}

type View<'a> = Mailbox<'a, Member, ModelCells<'a>>;

impl Ground {
    /// For so many members, the main thread included.
    fn new(capacity: u64, members: usize) -> Rc<Ground> {
        let slots = (0..capacity).map(|position| Slot {
            word: AtomicU64::new(Word::free(position).0),
            value: UnsafeCell::new(Parcel::default()),
        });
        let (slots, heap) = (slots.collect(), Heap::new(capacity as usize, members));
        Rc::new(Ground { shared: Shared::default(), slots, heap })
    }

    fn handles(self: &Rc<Self>, peers: &Member) -> Handles {
        let (send, recv) = (SendSide::new(0, 1), RecvSide::new(0, 1));
        Handles { ground: Rc::clone(self), peers: peers.clone(), send, recv }
    }
}

impl Handles {
    fn attached(self, sides: &[Side]) -> Handles {
        for &side in sides {
            self.ground.shared.attached.arrive(self.peers.me().unwrap(), side).unwrap();
            self.ground.shared.has_arrived(side);
        }
        self
    }

    fn leave(&self, side: Side) {
        if self.ground.shared.attached.leave(self.peers.me().unwrap(), side) {
            self.ground.shared.ring_everybody();
        }
    }

    fn view(&self) -> View<'_> {
        let Ground { shared, slots, heap } = &*self.ground;
        let (peers, me) = (&self.peers, self.peers.me().unwrap());
        Mailbox { queue: Queue { shared, slots, peers, me }, cells: ModelCells { heap, peers } }
    }

    /// Sends the block of that number, whose content and length say so.
    fn send(&mut self, block: usize, deadline: Deadline) -> Result<(), Stop> {
        let Ground { shared, slots, heap } = &*self.ground;
        let (peers, me) = (&self.peers, self.peers.me().unwrap());
        let cells = ModelCells { heap, peers };
        let view = Mailbox { queue: Queue { shared, slots, peers, me }, cells };
        let sent = self.send.send(view, cells.write(block), block, deadline);
        sent.map_err(|(stop, _)| stop)
    }

    /// Takes a message, and keeps it.
    fn take(&mut self, deadline: Deadline) -> Result<usize, Stop> {
        let Ground { shared, slots, heap } = &*self.ground;
        let (peers, me) = (&self.peers, self.peers.me().unwrap());
        let cells = ModelCells { heap, peers };
        let view = Mailbox { queue: Queue { shared, slots, peers, me }, cells };
        self.recv.take_until(view, deadline)?;
        let position = self.recv.hand();
        let lease = cells.lease(view.index(position)).expect("a message that is taken is there");
        assert_eq!(view.len_at(position), lease as u64 & 0xff, "of another message");
        Ok(lease)
    }

    fn recv(&mut self, deadline: Deadline) -> Result<u32, Stop> {
        let lease = self.take(deadline)?;
        let found = self.view().cells.read(lease & 0xff);
        assert_eq!(found as usize, lease & 0xff, "torn");
        self.recv.release(self.view(), lease);
        Ok(found)
    }

    fn send_spinning(&mut self, block: usize) {
        while self.send(block, Deadline::Now) == Err(Stop::NotYet) {
            spin_loop();
        }
    }

    fn recv_spinning(&mut self) -> u32 {
        loop {
            match self.recv(Deadline::Now) {
                Ok(found) => return found,
                Err(stop) => assert_eq!(stop, Stop::NotYet),
            }
            spin_loop();
        }
    }

    /// What is there.
    fn drain(&mut self) -> Vec<u32> {
        std::iter::from_fn(|| self.recv(Deadline::Now).ok()).collect()
    }

    /// What a process of the group does after each death.
    fn looks_after_the_dead(&self) {
        self.view().cells.recover();
        self.ground.shared.ring_everybody();
    }
}

/// Three threads that sleep and die: as many switches as elsewhere would take minutes.
fn check_few(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    model(victims).preemption_bound(Some(preemptions().saturating_sub(1))).check(f)
}

/// The same where nobody sleeps.
fn check_few_awake(
    victims: usize,
    f: impl Fn(&World) + Send + Sync + 'static,
) -> Result<Report, Error> {
    on_a_system_where(System::NobodySleeps, || check_few(victims, f))
}

fn two_producers_never_use_one_slot() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(2, 2);
        let mut theirs = ground.handles(&other);
        let other = world.spawn("other", move || theirs.send(1, Deadline::Now));
        let mut mine = ground.handles(&main);
        mine.send(2, Deadline::Now).unwrap();
        other.join().unwrap().unwrap();
        let got = mine.drain();
        assert!(got == [1, 2] || got == [2, 1], "{got:?}");
        assert!(ground.heap.is_empty());
    })
}

fn two_consumers_never_take_one_message() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(2, 2);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        let mut theirs = ground.handles(&other);
        let other = world.spawn("other", move || theirs.recv(Deadline::Now).ok());
        mine.send(2, Deadline::Now).unwrap();
        let mut got: Vec<u32> = mine.recv(Deadline::Now).into_iter().collect();
        got.extend(other.join().unwrap());
        got.extend(mine.drain());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    })
}

fn handles_meet_again_after_laps_that_they_missed() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1, 2);
        let (mut idle, mut theirs) = (ground.handles(&main), ground.handles(&other));
        let mut busy = ground.handles(&main);
        for block in 1..=2 {
            busy.send(block, Deadline::Now).unwrap();
            assert_eq!(busy.recv(Deadline::Now), Ok(block as u32));
        }
        let other = world.spawn("other", move || {
            theirs.send_spinning(3);
            theirs.send_spinning(4);
        });
        assert_eq!([idle.recv_spinning(), busy.recv_spinning()], [3, 4]);
        other.join().unwrap();
    })
}

fn whatever_the_dead_had_in_hand_the_mailbox_goes_on() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new(1, 2);
        let mut theirs = ground.handles(&victim);
        let victim = world.victim("victim", move || {
            for block in 1..=2 {
                theirs.send(block, Deadline::Now).unwrap();
                theirs.recv(Deadline::Now).unwrap();
            }
        });
        main.keep(victim);
        let mut mine = ground.handles(&main);
        let left = mine.drain();
        assert!(left.is_empty() || left == [1] || left == [2], "{left:?}");
        for block in 3..=5 {
            mine.send(block, Deadline::Now).unwrap();
            assert_eq!(mine.recv(Deadline::Now), Ok(block as u32));
        }
        assert!(ground.heap.is_empty());
    })
}

fn a_producer_alone_gets_the_slot_that_the_dead_left_empty() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new(1, 2);
        let mut theirs = ground.handles(&victim);
        let victim = world.victim("victim", move || {
            theirs.send(1, Deadline::Now).unwrap();
            theirs.recv(Deadline::Now).unwrap();
        });
        main.keep(victim);
        let mut mine = ground.handles(&main);
        match mine.send(2, Deadline::Now) {
            Ok(()) => assert_eq!(mine.drain(), [2]),
            Err(stop) => assert_eq!((stop, mine.drain()), (Stop::NotYet, vec![1])),
        }
    })
}

fn a_recovery_that_runs_late_harms_no_successor() -> Result<Report, Error> {
    check_few_awake(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(1, 3);
        let (mut theirs, others) = (ground.handles(&victim), ground.handles(&other));
        let victim = world.victim("victim", move || theirs.send(1, Deadline::Now).unwrap());
        let other = world.spawn("other", move || others.looks_after_the_dead());
        let done = main.keep(victim);
        let mut mine = ground.handles(&main);
        let first = mine.drain();
        assert!(first == [1] || (first.is_empty() && done.is_none()), "{first:?}");
        while mine.send(2, Deadline::Now) == Err(Stop::NotYet) {
            // It was skipped, while the other clears up.
            assert_eq!(mine.drain(), []);
            spin_loop();
        }
        assert_eq!(mine.recv(Deadline::Now), Ok(2));
        other.join().unwrap();
        mine.send(3, Deadline::Now).unwrap();
        assert_eq!(mine.recv(Deadline::Now), Ok(3));
        assert!(ground.heap.is_empty());
    })
}

fn who_gets_a_slot_of_the_dead_from_others_sees_what_the_dead_did_to_it() -> Result<Report, Error> {
    check_few_awake(1, |world| {
        let (_, [victim, other, next]) = members(world, ["victim", "other", "next"]);
        let ground = Ground::new(1, 4);
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&other));
        let mut nexts = ground.handles(&next.ignorant());
        world.victim("victim", move || theirs.send(1, Deadline::Now));
        // Gives the slot back, whether it was sent or its producer is dead.
        world.spawn("other", move || others.recv(Deadline::Now).ok());
        world.spawn("next", move || nexts.send(3, Deadline::Now).ok());
    })
}

/// Whoever clears up after a dead producer is stopped: nobody waits for it.
fn a_slot_that_nobody_can_settle_is_passed_over() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [dead, other]) = members(world, ["dead", "other"]);
        world.spawn("dead", || ()).join().unwrap();
        let ground = Ground::new(2, 3);
        ground.heap.is_left_unsettled(0, dead.me().unwrap().index(), main.me().unwrap().index());
        let mut theirs = ground.handles(&other);
        let other = world.spawn("other", move || {
            theirs.send_spinning(1);
            theirs.send_spinning(2);
        });
        let mut mine = ground.handles(&main);
        assert_eq!([mine.recv_spinning(), mine.recv_spinning()], [1, 2]);
        other.join().unwrap();
    })
}

fn what_was_never_sent_is_not_received() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new(1, 2);
        ground.heap.is_left_full(0, 3);
        let mut theirs = ground.handles(&victim);
        let victim = world.victim("victim", move || theirs.send(1, Deadline::Now));
        let sent = main.keep(victim);
        let mut mine = ground.handles(&main);
        let got = mine.drain();
        assert!(got == [1] || (got.is_empty() && sent.is_none()), "{got:?}");
        mine.send(2, Deadline::Now).unwrap();
        assert_eq!(mine.recv(Deadline::Now), Ok(2));
        assert!(ground.heap.is_empty());
    })
}

/// One clears up, another looks meanwhile: it is not told that all has been received.
fn nothing_ends_while_a_message_may_come_again() -> Result<Report, Error> {
    check_few_awake(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(1, 3);
        let mut mine = ground.handles(&main).attached(&[Side::Producer]);
        mine.send(1, Deadline::Now).unwrap();
        mine.leave(Side::Producer);
        let (mut theirs, others) = (ground.handles(&victim), ground.handles(&other));
        // In hand to the end.
        let victim = world.victim("victim", move || theirs.take(Deadline::Now).map(drop));
        let other = world.spawn("other", move || others.looks_after_the_dead());
        if main.keep(victim).is_none() {
            let found = loop {
                match mine.recv(Deadline::Now) {
                    Err(Stop::NotYet) => spin_loop(),
                    found => break found,
                }
            };
            assert_eq!(found, Ok(1));
        }
        other.join().unwrap();
    })
}

/// Who waits for memory gives up once nothing is inside: then there is none to come.
fn whoever_sees_that_nothing_is_inside_sees_the_memory_free() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1, 2);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        let mut theirs = ground.handles(&other);
        world.spawn("other", move || assert_eq!(theirs.recv(Deadline::Now), Ok(1)));
        while !mine.view().is_idle() {
            spin_loop();
        }
        assert!(ground.heap.is_empty());
    })
}

fn whoever_sees_everybody_gone_has_received_everything() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1, 2);
        let mut theirs = ground.handles(&other).attached(&[Side::Producer]);
        let mut mine = ground.handles(&main);
        world.spawn("other", move || {
            theirs.send(1, Deadline::Now).unwrap();
            theirs.leave(Side::Producer);
        });
        assert_eq!(mine.recv_spinning(), 1, "said to be deserted beside a message");
    })
}

fn a_parked_consumer_gets_what_a_dead_one_had() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim, consumer]) = members(world, ["victim", "consumer"]);
        let ground = Ground::new(1, 3);
        let mut mine = ground.handles(&main).attached(&[Side::Producer]);
        mine.send(1, Deadline::Now).unwrap();
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&consumer));
        let victim = world.victim("victim", move || theirs.recv(Deadline::Now).ok());
        let consumer = world.spawn("consumer", move || others.recv(Deadline::Never));
        let done = main.keep(victim).flatten();
        mine.looks_after_the_dead();
        mine.leave(Side::Producer);
        match (done, consumer.join().unwrap()) {
            (Some(1), Err(Stop::Disconnected)) | (None, Ok(1)) => {}
            // Killed after it had received.
            (None, Err(Stop::Disconnected)) => assert!(ground.heap.is_empty(), "a message is lost"),
            other => panic!("{other:?}"),
        }
    })
}

fn a_parked_consumer_passes_over_a_dead_producer() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim, consumer]) = members(world, ["victim", "consumer"]);
        let ground = Ground::new(2, 3);
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
        let ground = Ground::new(1, 3);
        ground.handles(&main).send(1, Deadline::Now).unwrap();
        let mut theirs = ground.handles(&victim).attached(&[Side::Consumer]);
        let mut others = ground.handles(&producer);
        let victim = world.victim("victim", move || theirs.recv(Deadline::Now).unwrap());
        let producer = world.spawn("producer", move || others.send(2, Deadline::Never));
        let received = main.keep(victim);
        let mut mine = ground.handles(&main);
        mine.looks_after_the_dead();
        let sent = producer.join().unwrap();
        match sent {
            Ok(()) => assert_eq!(mine.drain(), [2]),
            // It died before it had received anything.
            Err(stop) => {
                assert_eq!((stop, received, mine.drain()), (Stop::Disconnected, None, vec![1]));
            }
        }
    })
}

fn a_parked_producer_never_sleeps_beside_a_free_slot() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1, 2);
        let (mut mine, mut theirs) = (ground.handles(&main), ground.handles(&other));
        mine.send(1, Deadline::Now).unwrap();
        let other = world.spawn("other", move || theirs.send(2, Deadline::Never));
        assert_eq!(mine.recv(Deadline::Never), Ok(1));
        assert_eq!(mine.recv(Deadline::Never), Ok(2));
        other.join().unwrap().unwrap();
    })
}

/// Needs a forced switch, so the short depth does not see a missing second ring; the usual one does.
fn two_messages_wake_two_sleepers_though_the_first_was_finished_last() -> Result<Report, Error> {
    model(0).preemption_bound(Some(preemptions().saturating_sub(2))).check(|world| {
        let names = ["first", "second", "consumer"];
        let (main, [first, second, consumer]) = members(world, names);
        let ground = Ground::new(2, 4);
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

fn whoever_waits_for_the_end_learns_that_a_slot_was_skipped() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [dead, other]) = members(world, ["dead", "other"]);
        world.spawn("dead", || ()).join().unwrap();
        let ground = Ground::new(1, 3);
        ground.heap.is_left_unsettled(0, dead.me().unwrap().index(), main.me().unwrap().index());
        let mut theirs = ground.handles(&other);
        world.spawn("other", move || {
            assert!(matches!(theirs.send(1, Deadline::Now), Err(Stop::NotYet | Stop::Closed)));
        });
        let mut mine = ground.handles(&main);
        ground.shared.close();
        assert_eq!(mine.recv(Deadline::Never), Err(Stop::Closed));
    })
}

fn a_send_that_succeeded_before_the_close_is_received() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [producer, consumer]) = members(world, ["producer", "consumer"]);
        let ground = Ground::new(1, 3);
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

/// Who waits for the end may see the last slot in another's hand: the release wakes it.
fn a_message_in_hand_at_the_close_delays_no_end() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1, 2);
        let mut mine = ground.handles(&main);
        mine.send(1, Deadline::Now).unwrap();
        let mut theirs = ground.handles(&other);
        let other = world.spawn("other", move || {
            theirs.ground.shared.close();
            theirs.recv(Deadline::Now).ok()
        });
        let mut got = Vec::new();
        let end = loop {
            match mine.recv(Deadline::Never) {
                Ok(found) => got.push(found),
                Err(end) => break end,
            }
        };
        assert_eq!(end, Stop::Closed);
        got.extend(other.join().unwrap());
        assert_eq!(got, [1]);
    })
}

fn whoever_sees_the_close_sees_what_came_before_it() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1, 2);
        let (theirs, mut mine) = (ground.handles(&other), ground.handles(&main));
        let before = Rc::new(AtomicU32::new(0));
        let mark = Rc::clone(&before);
        world.spawn("other", move || {
            // Relaxed: the close comes behind it.
            mark.store(1, Ordering::Relaxed);
            theirs.ground.shared.close();
        });
        while mine.recv(Deadline::Now) != Err(Stop::Closed) {
            spin_loop();
        }
        // Relaxed: the close that is seen brings it.
        assert_eq!(before.load(Ordering::Relaxed), 1);
    })
}
