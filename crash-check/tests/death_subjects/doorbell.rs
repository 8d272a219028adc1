//! One item, a producer and consumers that park: nobody sleeps while there is something to do, also
//! when a consumer dies with its wake, or the producer before its ring.

use std::sync::Arc;

use crash_check::death::doorbell::Doorbells;
use crash_check::death::sync::AtomicU32;
use crash_check::death::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
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

struct Mailbox {
    item: AtomicU32,
    doorbells: Doorbells,
    parking: Parking,
}

impl Mailbox {
    fn new(world: &World, parking: Parking) -> Arc<Self> {
        let doorbells = Doorbells::new(world, &["producer", "first", "second"]);
        Arc::new(Self { item: AtomicU32::new(EMPTY), doorbells, parking })
    }

    fn send(&self) {
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

    /// The producer is dead and its item never came: say so, once.
    fn recover(&self, who: usize) {
        if who == 0 {
            // AcqRel: Release pairs with the Acquire in `take`.
            let _ = self.item.compare_exchange(EMPTY, GIVEN_UP, AcqRel, Relaxed);
        }
    }
}

/// A consumer that may die at any point, also asleep or just woken; another gets the item then.
pub fn check_dying_consumer(parking: Parking, spurious: usize) -> Result<Report, Error> {
    let model = Model::new().spurious(spurious).preemption_bound(Some(2));
    model.check(move |world| {
        let mailbox = Mailbox::new(world, parking);
        let (one, two) = (Arc::clone(&mailbox), Arc::clone(&mailbox));
        let first = world.victim("first", move || one.receive(1));
        let second = world.spawn("second", move || two.receive(2));
        mailbox.send();
        let second = second.join() == Ok(true);
        match first.join() {
            Ok(first) => assert!(first != second, "one item, taken once"),
            // The dead one may have taken it with it.
            Err(_) => assert!(second || mailbox.item.load(Relaxed) == TAKEN, "an item is lost"),
        }
    })
}

/// A producer that may die before it sends or between the item and the ring.
pub fn check_dying_producer(parking: Parking) -> Result<Report, Error> {
    Model::new().preemption_bound(Some(2)).check(move |world| {
        let mailbox = Mailbox::new(world, parking);
        let theirs = Arc::clone(&mailbox);
        let producer = world.victim("producer", move || theirs.send());
        let got = mailbox.receive(1);
        if producer.join().is_ok() {
            assert!(got, "an item that was sent is lost");
        }
    })
}

/// Nobody dies, every interleaving.
pub fn check_without_death() -> Result<Report, Error> {
    Model::new().victims(0).spurious(1).check(move |world| {
        let mailbox = Mailbox::new(world, Parking::Doorbell);
        let theirs = Arc::clone(&mailbox);
        world.spawn("producer", move || theirs.send());
        assert!(mailbox.receive(1), "an item that was sent is lost");
    })
}
