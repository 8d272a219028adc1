//! A counter of items, a producer and consumers that park: nobody sleeps while there is something
//! to do, also when a consumer dies with its wake, or the producer before its ring.

use std::sync::Arc;

use crash_check::death::doorbell::Doorbells;
use crash_check::death::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crash_check::death::sync::{AtomicU32, UnsafeCell};
use crash_check::death::{Error, Model, Report, World, futex};

/// Set in the count of items once the producer is gone.
const CLOSED: u32 = 0x8000;

/// What a consumer sleeps on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parking {
    Doorbell,
    /// A futex on the count itself: no bell, no life words, one wake for one item.
    ItemsAlone,
}

/// Participant 0 is the producer.
struct Mailbox {
    items: AtomicU32,
    /// The producer's while it lives, then the one's who holds the claim of its recovery.
    journal: UnsafeCell<u32>,
    doorbells: Doorbells,
    parking: Parking,
}

impl Mailbox {
    fn new(world: &World, participants: &[&str], parking: Parking) -> Arc<Self> {
        let doorbells = Doorbells::new(world, participants);
        let journal = UnsafeCell::new(0);
        Arc::new(Self { items: AtomicU32::new(0), journal, doorbells, parking })
    }

    fn send(&self) {
        self.write_journal(1);
        // Release: pairs with the Acquire exchange in `take`.
        self.items.fetch_add(1, Release);
        match self.parking {
            Parking::Doorbell => self.doorbells.ring_one(),
            Parking::ItemsAlone => drop(futex::wake(&self.items, 1)),
        }
    }

    /// `Some(true)`: taken. `Some(false)`: there will never be anything.
    fn take(&self) -> Option<bool> {
        // Acquire: pairs with the Release in `send`, or with a recovery's.
        let result = self.items.fetch_update(Acquire, Acquire, |items| match items {
            0 | CLOSED => None,
            _ => Some(items - 1),
        });
        match result {
            Ok(_) => Some(true),
            Err(CLOSED) => Some(false),
            Err(_) => None,
        }
    }

    /// Takes one item.
    fn receive(&self, me: usize) -> bool {
        let mut parked = false;
        loop {
            if let Some(got) = self.take() {
                // Acquire: as in `take`. The baton: whoever slept may have taken another's wake.
                if parked && !matches!(self.items.load(Acquire), 0 | CLOSED) {
                    self.doorbells.ring_one();
                }
                return got;
            }
            parked = true;
            match self.parking {
                Parking::Doorbell => {
                    // Acquire: as in `take`.
                    let ready = || self.items.load(Acquire) != 0;
                    self.doorbells.park(me, ready, |who| self.recover(who));
                }
                Parking::ItemsAlone => drop(futex::wait(&self.items, 0)),
            }
        }
    }

    /// The producer is dead: no item will come any more.
    fn recover(&self, who: usize) {
        if who == 0 {
            self.write_journal(2);
            // AcqRel: Release pairs with the Acquire in `take`.
            self.items.fetch_or(CLOSED, AcqRel);
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

/// A consumer that may die at any point, also asleep or just woken; the other gets its item.
pub fn check_dying_consumer(parking: Parking) -> Result<Report, Error> {
    Model::new().preemption_bound(Some(2)).check(move |world| {
        let mailbox = Mailbox::new(world, &["main", "first", "second"], parking);
        let (one, two) = (Arc::clone(&mailbox), Arc::clone(&mailbox));
        let first = world.victim("first", move || one.receive(1));
        let second = world.spawn("second", move || two.receive(2));
        mailbox.send();
        mailbox.send();
        assert_eq!(second.join(), Ok(true));
        if first.join().is_ok() {
            // Relaxed: joined.
            assert_eq!(mailbox.items.load(Relaxed), 0, "two items, each taken once");
        }
    })
}

/// A producer that may die before it sends or between the item and the ring.
pub fn check_dying_producer(parking: Parking) -> Result<Report, Error> {
    Model::new().preemption_bound(Some(2)).check(move |world| {
        let mailbox = Mailbox::new(world, &["producer", "main"], parking);
        let theirs = Arc::clone(&mailbox);
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
        let (theirs, one) = (Arc::clone(&mailbox), Arc::clone(&mailbox));
        let producer = world.victim("producer", move || {
            theirs.send();
            theirs.send();
        });
        let first = world.victim("first", move || one.receive(1));
        let got = mailbox.receive(2);
        if mailbox.doorbells.is_free(0) {
            assert_eq!(mailbox.journal(), 2, "the producer is free, and not recovered");
        }
        let died = producer.join().is_err();
        assert!(got || died, "an item that was sent is lost");
        let _ = first.join();
        if !got {
            assert!(mailbox.doorbells.is_free(0), "the producer is never freed");
        }
    })
}

/// Nobody dies, every interleaving.
pub fn check_without_death() -> Result<Report, Error> {
    Model::new().victims(0).spurious(1).check(move |world| {
        let mailbox = Mailbox::new(world, &["producer", "main"], Parking::Doorbell);
        let theirs = Arc::clone(&mailbox);
        world.spawn("producer", move || theirs.send());
        assert!(mailbox.receive(1), "an item that was sent is lost");
    })
}
