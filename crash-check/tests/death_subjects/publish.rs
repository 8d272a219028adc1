//! Publish to one consumer: payload first, index last. The producer may die; every item whose index
//! it published is received, whole, and no other is.

use std::rc::Rc;

use crash_check::death::hint::spin_loop;
use crash_check::death::sync::Ordering::{Acquire, Relaxed, Release};
use crash_check::death::sync::{AtomicU64, UnsafeCell};
use crash_check::death::{Error, Life, Model, Report};

const ITEMS: u64 = 2;

/// What the broken twins do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    Correct,
    /// Stores the index before the payload.
    IndexFirst,
    /// Stores the index Relaxed.
    RelaxedIndex,
    /// On the producer's death leaves without a last look at the index.
    NoLastLook,
}

struct Ring {
    tail: AtomicU64,
    slots: [[UnsafeCell<u64>; 2]; ITEMS as usize],
}

impl Ring {
    fn new() -> Self {
        let slot = |_| [UnsafeCell::new(0), UnsafeCell::new(0)];
        Self { tail: AtomicU64::new(0), slots: std::array::from_fn(slot) }
    }

    fn push(&self, at: u64, value: u64, twin: Twin) {
        // Release: pairs with the Acquire load in `pop`.
        let order = if twin == Twin::RelaxedIndex { Relaxed } else { Release };
        let publish = || self.tail.store(at + 1, order);
        if twin == Twin::IndexFirst {
            publish();
        }
        for half in &self.slots[at as usize] {
            // SAFETY: the slot is the producer's until the index passes it; the model checks that.
            half.with_mut(|half| unsafe { half.write(value) });
        }
        if twin != Twin::IndexFirst {
            publish();
        }
    }

    fn pop(&self, at: u64) -> Option<u64> {
        // Acquire: pairs with the Release store in `push`.
        if self.tail.load(Acquire) <= at {
            return None;
        }
        // SAFETY: the index has passed the slot, the producer does not write it again.
        let read = |half: &UnsafeCell<u64>| half.with(|half| unsafe { half.read() });
        let [left, right] = &self.slots[at as usize];
        let (left, right) = (read(left), read(right));
        assert_eq!(left, right, "the item is torn");
        Some(left)
    }
}

/// Receives until all came or the producer is known to be dead and the ring to be empty.
fn receive_all(ring: &Ring, producer: &Life, twin: Twin) -> Vec<u64> {
    let mut got = Vec::new();
    while got.len() < ITEMS as usize {
        // The order matters: first the death, then the last look.
        let dead = producer.is_dead();
        if twin == Twin::NoLastLook && dead {
            break;
        }
        match ring.pop(got.len() as u64) {
            Some(item) => got.push(item),
            None if dead => break,
            None => spin_loop(),
        }
    }
    got
}

pub fn check(twin: Twin) -> Result<Report, Error> {
    Model::new().check(move |world| {
        let ring = Rc::new(Ring::new());
        let life = world.life("producer");
        let theirs = Rc::clone(&ring);
        let producer = world.victim("producer", move || {
            for at in 0..ITEMS {
                theirs.push(at, 10 + at, twin);
            }
        });
        let got = receive_all(&ring, &life, twin);
        let _ = producer.join();
        // Relaxed: joined.
        let published = ring.tail.load(Relaxed);
        assert_eq!(got, (10..10 + published).collect::<Vec<_>>(), "not what was published");
    })
}
