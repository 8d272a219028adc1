//! Who is attached to a queue: for each member of the group, how many producers and consumers.
//!
//! One word a member, with the stay that it counts for. A member that was killed leaves its word
//! as it was; whoever asks then finds that its owner is gone, and the next stay at that index
//! begins to count anew. So nothing has to be swept, and no count can be wrong for ever.

use shm_core::primitive::{AtomicU32, AtomicU64, Ordering};
use shm_core::{MAX_MEMBERS, Owner, Peers};

use crate::{Error, Side};

/// Handles of one side that a process can have on one queue.
const MOST: u64 = (1 << SIDE_BITS) - 1;
const SIDE_BITS: u32 = 17;

/// `owner (30 bits) << 34 | producers (17) << 17 | consumers (17)`; 0: nobody yet.
#[derive(Clone, Copy)]
struct Count(u64);

impl Count {
    fn nobody(owner: Owner) -> Count {
        Count(u64::from(owner.to_bits()) << (2 * SIDE_BITS))
    }

    #[inline]
    fn owner(self) -> Option<Owner> {
        Owner::from_bits((self.0 >> (2 * SIDE_BITS)) as u32)
    }

    #[inline]
    fn of(self, side: Side) -> u64 {
        self.0 >> shift(side) & MOST
    }
}

fn shift(side: Side) -> u32 {
    match side {
        Side::Producer => SIDE_BITS,
        Side::Consumer => 0,
    }
}

/// A word for each index of a group, the one kept back for recovery included.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Attached {
    /// Words in use: one more than the highest index that ever attached.
    mark: AtomicU32,
    counts: [AtomicU64; MAX_MEMBERS + 1],
}

impl Default for Attached {
    fn default() -> Self {
        Attached { mark: AtomicU32::new(0), counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Attached {
    /// One more of `side`.
    pub(crate) fn arrive(&self, me: Owner, side: Side) -> Result<(), Error> {
        // Relaxed: whoever sees us counted sees the mark, which comes before; see `update`.
        self.mark.fetch_max(me.index() as u32 + 1, Ordering::Relaxed);
        self.update(me, |count| {
            (count.of(side) < MOST).then(|| Count(count.0 + (1 << shift(side))))
        })
        .ok_or(Error::TooManyHandles { max: MOST as usize })
        .map(drop)
    }

    /// One less; whether it was this member's last.
    pub(crate) fn leave(&self, me: Owner, side: Side) -> bool {
        let left = self
            .update(me, |count| (count.of(side) > 0).then(|| Count(count.0 - (1 << shift(side)))));
        left.is_none_or(|count| count.of(side) == 0)
    }

    fn update(&self, me: Owner, change: impl Fn(Count) -> Option<Count>) -> Option<Count> {
        let word = &self.counts[me.index()];
        // Relaxed: compared again by the exchange.
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let count = match Count(seen) {
                mine if mine.owner() == Some(me) => mine,
                // Of an earlier stay at this index, which is over.
                _ => Count::nobody(me),
            };
            let new = change(count)?;
            // Release: what a producer sent comes before its leaving; pairs with the Acquire in
            // `anybody`. Relaxed on failure: only compared again.
            match word.compare_exchange(seen, new.0, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(new),
                Err(now) => seen = now,
            }
        }
    }

    #[inline]
    fn in_use(&self) -> &[AtomicU64] {
        // Relaxed: of one who arrived before the caller's last Acquire it is seen; for others it is
        // as if they came later.
        let mark = self.mark.load(Ordering::Relaxed) as usize;
        self.counts.get(..mark).unwrap_or(&self.counts)
    }

    /// Whether anybody alive is attached to `side`. After a `false` the caller sees everything that
    /// those did who have left or died. Costs one load a member up to the first that is attached.
    pub(crate) fn anybody(&self, side: Side, peers: &impl Peers) -> bool {
        self.in_use().iter().any(|word| {
            // Acquire: pairs with the Release in `update`.
            let count = Count(word.load(Ordering::Acquire));
            count.of(side) > 0 && count.owner().is_some_and(|owner| !peers.is_gone(owner))
        })
    }

    /// Handles of `side` that are alive, as far as one look tells.
    pub(crate) fn count(&self, side: Side, peers: &impl Peers) -> usize {
        let alive = self.in_use().iter().map(|word| {
            // Relaxed: a count to show.
            let count = Count(word.load(Ordering::Relaxed));
            let is_alive = count.owner().is_some_and(|owner| !peers.is_gone(owner));
            if is_alive { count.of(side) as usize } else { 0 }
        });
        alive.sum()
    }
}
