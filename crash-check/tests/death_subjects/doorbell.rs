//! One item, a producer and consumers that park: nobody sleeps while there is something to do, also
//! when a consumer dies with its wake, or the producer before its ring.

use std::rc::Rc;

use crash_check::death::doorbell::Doorbells;
use crash_check::death::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crash_check::death::sync::{AtomicU32, UnsafeCell};
use crash_check::death::{Error, Model, Report, World, futex};

const EMPTY: u32 = 0;
const FULL: u32 = 1;
const TAKEN: u32 = 2;
const GIVEN_UP: u32 = 3;

/// What a consumer sleeps on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parking {
    Doorbell,
    /// A futex on the item itself: no bell, no life words, one wake for one item.
    ItemAlone,
}

/// Participant 0 is the producer.
struct Mailbox {
    item: AtomicU32,
    /// The producer's while it lives, then the one's who holds the claim of its recovery.
    journal: UnsafeCell<u32>,
    doorbells: Doorbells,
    parking: Parking,
}

impl Mailbox {
    fn new(world: &World, participants: &[&str], parking: Parking) -> Rc<Self> {
        let doorbells = Doorbells::new(world, participants);
        let journal = UnsafeCell::new(0);
        Rc::new(Self { item: AtomicU32::new(EMPTY), journal, doorbells, parking })
    }

    fn send(&self) {
        self.write_journal(1);
        // Release: pairs with the Acquire exchange in `take`.
        self.item.store(FULL, Release);
        match self.parking {
            Parking::Doorbell => self.doorbells.ring_one(),
            Parking::ItemAlone => drop(futex::wake(&self.item, 1)),
        }
    }

    /// `Some(true)`: taken. `Some(false)`: there will never be anything.
    fn take(&self) -> Option<bool> {
        // Acquire: pairs with the Release store in `send`, or with a recovery's.
        match self.item.compare_exchange(FULL, TAKEN, Acquire, Acquire) {
            Ok(_) => Some(true),
            Err(EMPTY) => None,
            Err(_) => Some(false),
        }
    }

    fn receive(&self, me: usize) -> bool {
        loop {
            if let Some(got) = self.take() {
                if got {
                    // There will be no other item: the others may go home.
                    self.tell_all();
                }
                return got;
            }
            match self.parking {
                Parking::Doorbell => {
                    // Acquire: as in `take`.
                    let ready = || self.item.load(Acquire) != EMPTY;
                    self.doorbells.park(me, ready, |who| self.recover(who));
                }
                Parking::ItemAlone => drop(futex::wait(&self.item, EMPTY)),
            }
        }
    }

    fn tell_all(&self) {
        match self.parking {
            Parking::Doorbell => self.doorbells.ring_all(),
            Parking::ItemAlone => drop(futex::wake(&self.item, usize::MAX)),
        }
    }

    /// The producer is dead: if its item has not come, none will.
    fn recover(&self, who: usize) {
        if who == 0 {
            self.write_journal(2);
            // AcqRel: Release pairs with the Acquire in `take`.
            let _ = self.item.compare_exchange(EMPTY, GIVEN_UP, AcqRel, Relaxed);
        }
    }

    fn write_journal(&self, value: u32) {
        // SAFETY: see the field; the model checks that no two get here at once.
        self.journal.with_mut(|journal| unsafe { journal.write(value) });
    }

    fn journal(&self) -> u32 {
        // SAFETY: called once the producer is seen to be recovered.
        self.journal.with(|journal| unsafe { journal.read() })
    }
}

/// A consumer that may die at any point, also asleep or just woken; another gets the item then.
pub fn check_dying_consumer(parking: Parking) -> Result<Report, Error> {
    Model::new().preemption_bound(Some(2)).check(move |world| {
        let mailbox = Mailbox::new(world, &["main", "first", "second"], parking);
        let (one, two) = (Rc::clone(&mailbox), Rc::clone(&mailbox));
        let first = world.victim("first", move || one.receive(1));
        let second = world.spawn("second", move || two.receive(2));
        mailbox.send();
        let second = second.join() == Ok(true);
        match first.join() {
            Ok(first) => assert!(first != second, "one item, taken once"),
            // The dead one may have taken it with it. Relaxed: joined.
            Err(_) => assert!(second || mailbox.item.load(Relaxed) == TAKEN, "an item is lost"),
        }
    })
}

/// A producer that may die before it sends or between the item and the ring.
pub fn check_dying_producer(parking: Parking) -> Result<Report, Error> {
    Model::new().preemption_bound(Some(2)).check(move |world| {
        let mailbox = Mailbox::new(world, &["producer", "main"], parking);
        let theirs = Rc::clone(&mailbox);
        let producer = world.victim("producer", move || theirs.send());
        let got = mailbox.receive(1);
        let died = producer.join().is_err();
        assert!(got || died, "an item that was sent is lost");
    })
}

/// The producer dies, and then perhaps the consumer that recovers it; the other consumer ends.
pub fn check_dying_recoverer(deaths: usize) -> Result<Report, Error> {
    Model::new().victims(deaths).preemption_bound(Some(1)).check(move |world| {
        let participants = ["producer", "first", "main"];
        let mailbox = Mailbox::new(world, &participants, Parking::Doorbell);
        let (theirs, one) = (Rc::clone(&mailbox), Rc::clone(&mailbox));
        let producer = world.victim("producer", move || theirs.send());
        let first = world.victim("first", move || one.receive(1));
        let got = mailbox.receive(2);
        if mailbox.doorbells.is_free(0) {
            assert_eq!(mailbox.journal(), 2, "the producer is free, and not recovered");
        }
        let died = producer.join().is_err();
        let first = first.join();
        if !got && first == Ok(false) {
            assert!(died, "an item that was sent is lost");
            assert!(mailbox.doorbells.is_free(0), "the producer is never freed");
        }
    })
}

/// The producer dies, and then perhaps the one that recovers it, at any point; nobody parks.
pub fn check_inheritance() -> Result<Report, Error> {
    Model::new().victims(2).preemption_bound(Some(2)).check(move |world| {
        let participants = ["producer", "first", "main"];
        let mailbox = Mailbox::new(world, &participants, Parking::Doorbell);
        let (theirs, one) = (Rc::clone(&mailbox), Rc::clone(&mailbox));
        let producer = world.victim("producer", move || theirs.write_journal(1));
        let first = world.victim("first", move || {
            one.doorbells.survey(1, &mut |who| one.recover(who));
        });
        mailbox.doorbells.survey(2, &mut |who| mailbox.recover(who));
        let died = producer.join().is_err();
        let _ = first.join();
        // Twice: the first may only have found out that the claimant is gone.
        mailbox.doorbells.survey(2, &mut |who| mailbox.recover(who));
        mailbox.doorbells.survey(2, &mut |who| mailbox.recover(who));
        assert_eq!(mailbox.doorbells.is_free(0), died);
    })
}

/// The mailbox is closed by somebody who rings all, without a barrier of its own.
pub fn check_close() -> Result<Report, Error> {
    Model::new().victims(0).check(move |world| {
        let mailbox = Mailbox::new(world, &["main"], Parking::Doorbell);
        let theirs = Rc::clone(&mailbox);
        world.spawn("closer", move || {
            // Relaxed: the Release of the bell carries it.
            theirs.item.store(GIVEN_UP, Relaxed);
            theirs.doorbells.ring_all();
        });
        assert!(!mailbox.receive(0));
    })
}

/// Nobody dies, every interleaving.
pub fn check_without_death() -> Result<Report, Error> {
    Model::new().victims(0).spurious(1).check(move |world| {
        let mailbox = Mailbox::new(world, &["producer", "main"], Parking::Doorbell);
        let theirs = Rc::clone(&mailbox);
        world.spawn("producer", move || theirs.send());
        assert!(mailbox.receive(1), "an item that was sent is lost");
    })
}
