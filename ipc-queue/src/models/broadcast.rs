//! One producer, readers that block it or are overwritten; any of them may die.

use std::marker::PhantomData;
use std::rc::Rc;

use crash_check::death::{Error, Report, World};
use shm_core::Peers;
use shm_core::primitive::{AtomicU32, AtomicU64, Ordering, UnsafeCell, spin_loop};

use super::group::{Member, members};
use super::{check, check_awake, model, models, preemptions};
use crate::broadcast::receive::{Missed, Reading};
use crate::broadcast::send::SendSide;
use crate::broadcast::shared::{Ring, Shared};
use crate::broadcast::{Mode, Start};
use crate::ring::Stop;
use crate::wait::Deadline;

models![
    a_blocking_reader_receives_what_was_sent_before_it_is_overwritten,
    an_overwritten_reader_reads_no_torn_element_and_counts_what_it_missed,
    a_reader_that_joins_a_busy_ring_is_never_overwritten,
    two_readers_that_join_have_a_row_each,
    a_reader_that_joins_now_is_never_overwritten,
    whoever_takes_the_place_of_one_who_left_goes_on_behind_it,
    nobody_is_missed_who_produces,
    a_reader_that_leaves_without_receiving_more_had_finished,
    a_successor_goes_on_behind_a_dead_producer,
    what_a_dead_producer_overwrote_is_missed,
    a_dead_reader_blocks_nobody,
    whoever_takes_a_dead_readers_row_is_not_overwritten,
    a_reader_that_left_is_not_waited_for_and_had_finished,
    whoever_sees_the_close_has_received_everything,
    whoever_sees_nobody_has_received_everything,
    a_sleeping_reader_learns_that_the_producer_died,
    a_sleeping_producer_goes_on_without_a_dead_reader,
    nobody_sleeps_beside_an_element_or_room,
    one_send_wakes_both_readers,
    a_producer_that_leaves_wakes_a_sleeping_reader,
];

/// Two words, so that a torn one shows.
type Item = [u64; 2];

fn item(number: u64) -> Item {
    [number, !number]
}

/// A ring on the heap instead of in a segment.
///
/// Elements are atomic words, so that no access to them is a race. Where all readers block, a cell for
/// each stands beside it, which the model checker sees written and read where the element is.
struct Ground {
    shared: Shared,
    words: Vec<AtomicU64>,
    shadows: Option<Vec<UnsafeCell<u64>>>,
}

struct Sender {
    ground: Rc<Ground>,
    peers: Member,
    side: SendSide,
}

struct Reader {
    ground: Rc<Ground>,
    peers: Member,
    side: Reading,
}

impl Ground {
    fn new(capacity: usize) -> Rc<Ground> {
        let shadows = (0..capacity).map(|_| UnsafeCell::new(0)).collect();
        Rc::new(Ground { shadows: Some(shadows), ..Self::plain(capacity) })
    }

    /// For readers that may be overwritten.
    fn overwriting(capacity: usize) -> Rc<Ground> {
        Rc::new(Self::plain(capacity))
    }

    fn plain(capacity: usize) -> Ground {
        let words = (0..2 * capacity).map(|_| AtomicU64::new(0)).collect();
        Ground { shared: Shared::default(), words, shadows: None }
    }

    fn shadow(&self, position: u64) -> Option<&UnsafeCell<u64>> {
        let shadows = self.shadows.as_ref()?;
        shadows.get(position as usize % shadows.len())
    }

    fn ring<'a>(&'a self, peers: &'a Member) -> Ring<'a, Item, Member> {
        let capacity = self.words.len() as u64 / 2;
        let (shared, words) = (&self.shared, self.words.as_slice());
        Ring { shared, words, capacity, peers, elements: PhantomData }
    }

    fn sender(self: &Rc<Self>, peers: &Member) -> Sender {
        self.try_sender(peers).unwrap()
    }

    fn try_sender(self: &Rc<Self>, peers: &Member) -> Option<Sender> {
        self.shared.take_role(peers.me().unwrap(), peers).ok()?;
        let side = SendSide::resume(&self.shared, self.words.len() as u64 / 2).unwrap();
        Some(Sender { ground: Rc::clone(self), peers: peers.clone(), side })
    }

    fn reader(self: &Rc<Self>, peers: &Member, mode: Mode, start: Start) -> Reader {
        let side = Reading::join(self.ring(peers), peers.me().unwrap(), mode, start).unwrap();
        Reader { ground: Rc::clone(self), peers: peers.clone(), side }
    }
}

impl Sender {
    fn send(&mut self, number: u64, deadline: Deadline) -> Result<(), Stop> {
        let ring = self.ground.ring(&self.peers);
        self.side.wait_room(ring, 1, deadline)?;
        if let Some(shadow) = self.ground.shadow(self.side.tail()) {
            // SAFETY: there is room, which the model checks.
            shadow.with_mut(|at| unsafe { at.write(number) });
        }
        self.side.send(ring, &item(number), deadline)
    }
}

impl Reader {
    fn recv(&mut self, deadline: Deadline) -> Result<u64, Missed> {
        let ring = self.ground.ring(&self.peers);
        self.side.wait_ready(ring, deadline)?;
        let shadow = self.ground.shadow(self.side.position());
        // SAFETY: the element is there, which the model checks.
        let shadow = shadow.map(|shadow| shadow.with(|at| unsafe { at.read() }));
        let found = self.side.recv(ring, deadline)?;
        assert_eq!(found, item(found[0]), "torn");
        assert!(shadow.is_none_or(|shadow| shadow == found[0]), "overwritten");
        Ok(found[0])
    }

    fn leave(&self) {
        self.ground.shared.leave_row(self.side.row());
    }
}

/// Fewer forced switches: three threads, or many operations.
fn check_few(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    model(victims).preemption_bound(Some(preemptions().saturating_sub(1))).check(f)
}

fn a_blocking_reader_receives_what_was_sent_before_it_is_overwritten() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&main);
        let mut reader = ground.reader(&other, Mode::Block, Start::Now);
        sender.send(1, Deadline::Now).unwrap();
        let other = world.spawn("other", move || {
            let first = reader.recv(Deadline::Now);
            (first, reader.recv(Deadline::Now))
        });
        let sent = sender.send(2, Deadline::Now);
        let (first, second) = other.join().unwrap();
        assert_eq!(first, Ok(1));
        assert!(second == Err(Missed::Stopped(Stop::NotYet)) || (second, sent) == (Ok(2), Ok(())));
    })
}

fn an_overwritten_reader_reads_no_torn_element_and_counts_what_it_missed() -> Result<Report, Error>
{
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::overwriting(1);
        let mut sender = ground.sender(&main);
        let mut reader = ground.reader(&other, Mode::Overwrite, Start::Now);
        sender.send(0, Deadline::Now).unwrap();
        let other = world.spawn("other", move || {
            let mut next = 0;
            for _ in 0..2 {
                match reader.recv(Deadline::Now) {
                    Ok(number) => {
                        assert_eq!(number, next);
                        next += 1;
                    }
                    Err(Missed::Lagged(missed)) => next += missed,
                    Err(Missed::Stopped(stop)) => assert_eq!(stop, Stop::NotYet),
                }
            }
            next
        });
        sender.send(1, Deadline::Now).unwrap();
        sender.send(2, Deadline::Now).unwrap();
        assert!(other.join().unwrap() <= 3);
    })
}

fn a_reader_that_joins_a_busy_ring_is_never_overwritten() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&main);
        sender.send(0, Deadline::Now).unwrap();
        let theirs = Rc::clone(&ground);
        let other = world.spawn("other", move || {
            let mut reader = theirs.reader(&other, Mode::Block, Start::Oldest);
            let mut last = None;
            for _ in 0..2 {
                match reader.recv(Deadline::Now) {
                    Ok(number) => {
                        assert!(last.is_none_or(|last| last + 1 == number), "not in a row");
                        last = Some(number);
                    }
                    Err(stop) => assert_eq!(stop, Missed::Stopped(Stop::NotYet)),
                }
            }
        });
        for number in 1..3 {
            let _ = sender.send(number, Deadline::Now);
        }
        other.join().unwrap();
    })
}

fn a_reader_that_joins_now_is_never_overwritten() -> Result<Report, Error> {
    check_few(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&main);
        let theirs = Rc::clone(&ground);
        let other = world.spawn("other", move || {
            let mut reader = theirs.reader(&other, Mode::Block, Start::Now);
            match reader.recv(Deadline::Now) {
                Ok(_) => {}
                Err(stop) => assert_eq!(stop, Missed::Stopped(Stop::NotYet)),
            }
        });
        for number in 0..3 {
            let _ = sender.send(number, Deadline::Now);
        }
        other.join().unwrap();
    })
}

fn whoever_takes_the_place_of_one_who_left_goes_on_behind_it() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(2);
        let mut reader = ground.reader(&main, Mode::Block, Start::Now);
        let mut theirs = ground.sender(&other);
        world.spawn("other", move || {
            theirs.send(1, Deadline::Now).unwrap();
            theirs.ground.shared.leave_role();
        });
        let mut sender = loop {
            match ground.try_sender(&main) {
                Some(sender) => break sender,
                None => spin_loop(),
            }
        };
        sender.send(2, Deadline::Now).unwrap();
        assert_eq!(reader.recv(Deadline::Now), Ok(1));
        assert_eq!(reader.recv(Deadline::Now), Ok(2));
    })
}

fn nobody_is_missed_who_produces() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let mut reader = ground.reader(&main, Mode::Block, Start::Now);
        world.spawn("other", move || drop(ground.sender(&other)));
        let end = reader.recv(Deadline::Now);
        assert_eq!(end, Err(Missed::Stopped(Stop::NotYet)), "told of a death that nobody died");
    })
}

fn a_reader_that_leaves_without_receiving_more_had_finished() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&main);
        let reader = ground.reader(&other, Mode::Block, Start::Now);
        sender.send(0, Deadline::Now).unwrap();
        world.spawn("other", move || {
            // SAFETY: the element is there, and the row keeps it, which the model checks.
            let seen = reader.ground.shadow(0).map(|shadow| shadow.with(|at| unsafe { at.read() }));
            assert_eq!(seen, Some(0));
            reader.leave();
        });
        while sender.send(1, Deadline::Now) == Err(Stop::NotYet) {
            spin_loop();
        }
    })
}

fn two_readers_that_join_have_a_row_each() -> Result<Report, Error> {
    check_few(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let theirs = Rc::clone(&ground);
        let other =
            world.spawn("other", move || theirs.reader(&other, Mode::Block, Start::Now).side.row());
        let mine = ground.reader(&main, Mode::Block, Start::Now).side.row();
        assert_ne!(other.join().unwrap(), mine);
    })
}

fn a_successor_goes_on_behind_a_dead_producer() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new(2);
        let mut reader = ground.reader(&main, Mode::Block, Start::Now);
        let theirs = Rc::clone(&ground);
        let member = victim.clone();
        let victim = world.victim("victim", move || {
            theirs.sender(&member).send(1, Deadline::Now).unwrap();
        });
        let died = main.keep(victim).is_none();
        // Who ended in order holds the role still, and lives on.
        let Some(mut sender) = ground.try_sender(&main) else { return assert!(!died) };
        sender.send(2, Deadline::Now).unwrap();
        let first = reader.recv(Deadline::Now).unwrap();
        if first == 1 {
            assert_eq!(reader.recv(Deadline::Now), Ok(2));
        } else {
            assert_eq!((first, died), (2, true));
        }
    })
}

fn what_a_dead_producer_overwrote_is_missed() -> Result<Report, Error> {
    check_awake(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::overwriting(1);
        let mut sender = ground.sender(&victim);
        sender.send(0, Deadline::Now).unwrap();
        let mut reader = ground.reader(&main, Mode::Overwrite, Start::Oldest);
        let victim = world.victim("victim", move || sender.send(1, Deadline::Now).unwrap());
        let early = reader.recv(Deadline::Now);
        main.keep(victim);
        assert!(early == Ok(0) || early == Err(Missed::Lagged(1)), "{early:?}");
        match reader.recv(Deadline::Now) {
            Ok(number) => assert_eq!(number, 1),
            Err(missed) => {
                assert!(matches!(missed, Missed::Stopped(Stop::NotYet | Stop::Disconnected)))
            }
        }
    })
}

fn a_dead_reader_blocks_nobody() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&main);
        let theirs = Rc::clone(&ground);
        let member = victim.clone();
        let victim = world.victim("victim", move || {
            let mut reader = theirs.reader(&member, Mode::Block, Start::Now);
            let _ = reader.recv(Deadline::Now);
            reader.leave();
        });
        let _ = sender.send(0, Deadline::Now);
        main.keep(victim);
        for number in 1..4 {
            sender.send(number, Deadline::Now).unwrap();
        }
    })
}

fn whoever_takes_a_dead_readers_row_is_not_overwritten() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim]) = members(world, ["victim"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&main);
        let theirs = Rc::clone(&ground);
        let member = victim.clone();
        let victim = world.victim("victim", move || {
            theirs.reader(&member, Mode::Block, Start::Now).leave();
        });
        let _ = sender.send(0, Deadline::Now);
        main.keep(victim);
        let mut next = ground.reader(&main, Mode::Block, Start::Now);
        sender.send(1, Deadline::Now).unwrap();
        assert_eq!(sender.send(2, Deadline::Now), Err(Stop::NotYet));
        assert_eq!(next.recv(Deadline::Now), Ok(1));
    })
}

fn a_reader_that_left_is_not_waited_for_and_had_finished() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&main);
        let mut reader = ground.reader(&other, Mode::Block, Start::Now);
        sender.send(0, Deadline::Now).unwrap();
        let other = world.spawn("other", move || {
            assert_eq!(reader.recv(Deadline::Now), Ok(0));
            reader.leave();
        });
        while sender.send(1, Deadline::Now) == Err(Stop::NotYet) {
            spin_loop();
        }
        other.join().unwrap();
        sender.send(2, Deadline::Now).unwrap();
    })
}

fn ends_after_everything(world: &World, end: impl FnOnce(&Ground) + 'static, expected: Stop) {
    let (main, [other]) = members(world, ["other"]);
    let ground = Ground::new(1);
    let mut sender = ground.sender(&other);
    let mut reader = ground.reader(&main, Mode::Block, Start::Now);
    let before = Rc::new(AtomicU32::new(0));
    let mark = Rc::clone(&before);
    world.spawn("other", move || {
        sender.send(1, Deadline::Now).unwrap();
        // Relaxed: the end orders it.
        mark.store(1, Ordering::Relaxed);
        end(&sender.ground);
    });
    loop {
        match reader.recv(Deadline::Now) {
            Ok(number) => break assert_eq!(number, 1),
            Err(missed) => assert_eq!(missed, Missed::Stopped(Stop::NotYet), "an element is lost"),
        }
        spin_loop();
    }
    while reader.recv(Deadline::Now) != Err(Missed::Stopped(expected)) {
        spin_loop();
    }
    // Relaxed: after the end.
    assert_eq!(before.load(Ordering::Relaxed), 1);
}

fn whoever_sees_the_close_has_received_everything() -> Result<Report, Error> {
    check_awake(0, |world| ends_after_everything(world, |g| g.shared.close(), Stop::Closed))
}

fn whoever_sees_nobody_has_received_everything() -> Result<Report, Error> {
    check_awake(0, |world| {
        ends_after_everything(world, |g| g.shared.leave_role(), Stop::Disconnected);
    })
}

fn a_sleeping_reader_learns_that_the_producer_died() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(2);
        let mut sender = ground.sender(&victim);
        let mut reader = ground.reader(&other, Mode::Block, Start::Now);
        let victim = world.victim("victim", move || {
            sender.send(1, Deadline::Now).unwrap();
            sender.ground.shared.leave_role();
        });
        let other = world.spawn("other", move || {
            let first = reader.recv(Deadline::Never);
            (first, if first.is_ok() { reader.recv(Deadline::Never) } else { first })
        });
        let ended = main.keep(victim);
        let (first, last) = other.join().unwrap();
        assert_eq!(last, Err(Missed::Stopped(Stop::Disconnected)));
        assert!(first == Ok(1) || ended.is_none(), "a send that had returned is lost");
    })
}

fn a_sleeping_producer_goes_on_without_a_dead_reader() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim, other]) = members(world, ["victim", "other"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&other);
        let mut reader = ground.reader(&victim, Mode::Block, Start::Now);
        sender.send(1, Deadline::Now).unwrap();
        let victim = world.victim("victim", move || {
            reader.recv(Deadline::Now).unwrap();
            reader.leave();
        });
        let other = world.spawn("other", move || sender.send(2, Deadline::Never));
        main.keep(victim);
        other.join().unwrap().unwrap();
    })
}

fn nobody_sleeps_beside_an_element_or_room() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&other);
        let mut reader = ground.reader(&main, Mode::Block, Start::Now);
        let other = world.spawn("other", move || {
            sender.send(1, Deadline::Never).unwrap();
            sender.send(2, Deadline::Never).unwrap();
        });
        assert_eq!(reader.recv(Deadline::Never), Ok(1));
        assert_eq!(reader.recv(Deadline::Never), Ok(2));
        other.join().unwrap();
    })
}

fn one_send_wakes_both_readers() -> Result<Report, Error> {
    check_few(0, |world| {
        let (main, [first, second]) = members(world, ["first", "second"]);
        let ground = Ground::new(1);
        let mut sender = ground.sender(&main);
        let readers = [&first, &second].map(|m| ground.reader(m, Mode::Block, Start::Now));
        let [mut one, mut two] = readers;
        let one = world.spawn("first", move || one.recv(Deadline::Never));
        let two = world.spawn("second", move || two.recv(Deadline::Never));
        sender.send(1, Deadline::Now).unwrap();
        assert_eq!((one.join().unwrap(), two.join().unwrap()), (Ok(1), Ok(1)));
    })
}

fn a_producer_that_leaves_wakes_a_sleeping_reader() -> Result<Report, Error> {
    check(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let sender = ground.sender(&other);
        let mut reader = ground.reader(&main, Mode::Block, Start::Now);
        let other = world.spawn("other", move || sender.ground.shared.leave_role());
        let end = reader.recv(Deadline::Never);
        assert_eq!(end, Err(Missed::Stopped(Stop::Disconnected)));
        other.join().unwrap();
    })
}
