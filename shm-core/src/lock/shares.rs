//! How much each member holds of something that can be held by many.
//!
//! One word a member, `owner << 32 | count`: taking and giving back are single stores, and what the
//! dead held is told by the owner in its word, whoever looks and whenever.

use crate::group::{MAX_MEMBERS, Owner, Peers};
use crate::primitive::{AtomicU64, Ordering};

/// Any value is a valid one.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Shares([AtomicU64; MAX_MEMBERS]);

/// The owner of a share, in the upper half of its word.
fn owner_of(word: u64) -> u32 {
    (word >> 32) as u32
}

fn count_of(word: u64) -> u32 {
    word as u32
}

impl Shares {
    pub fn new() -> Shares {
        Shares(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// The word of a member: the index kept in reserve never holds anything.
    fn word(&self, me: Owner) -> &AtomicU64 {
        &self.0[me.index() % MAX_MEMBERS]
    }

    /// Takes `count` more; one read-modify-write.
    #[inline]
    pub fn add(&self, me: Owner, count: u32) {
        let word = self.word(me);
        // Relaxed: compared by the exchange.
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            // What an earlier stay at this index held is gone with it.
            let held = if owner_of(seen) == me.to_bits() { count_of(seen) } else { 0 };
            let next = u64::from(me.to_bits()) << 32 | u64::from(held.saturating_add(count));
            // Relaxed: who may take is decided elsewhere, and acquired there.
            match word.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Gives `count` back; one read-modify-write.
    #[inline]
    pub fn sub(&self, me: Owner, count: u32) {
        // Release: what was done while it was held; pairs with the Acquire in `living`.
        self.word(me).fetch_sub(u64::from(count), Ordering::Release);
    }

    /// How much the living hold together.
    pub fn living<P: Peers>(&self, peers: &P) -> u64 {
        self.0.iter().map(|word| living(word, peers).0).sum()
    }

    /// The same, for the holder of the lock that decides who may take; clears what the dead held.
    pub fn take_stock<P: Peers>(&self, peers: &P) -> u64 {
        self.0.iter().map(|word| cleared(word, peers)).sum()
    }
}

/// What the word's owner holds, if it lives, and the word.
fn living<P: Peers>(word: &AtomicU64, peers: &P) -> (u64, u64) {
    // Acquire: pairs with the Release in `sub`.
    let seen = word.load(Ordering::Acquire);
    let living = count_of(seen) != 0
        && Owner::from_bits(owner_of(seen)).is_some_and(|owner| !peers.is_gone(owner));
    (if living { count_of(seen).into() } else { 0 }, seen)
}

fn cleared<P: Peers>(word: &AtomicU64, peers: &P) -> u64 {
    let (share, seen) = living(word, peers);
    if share != 0 || count_of(seen) == 0 {
        return share;
    }
    // Relaxed: the next who takes stock has our lock after us, and with it our proof of the death.
    // On failure a newcomer has taken a share at the same index.
    match word.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => 0,
        Err(now) => count_of(now).into(),
    }
}
