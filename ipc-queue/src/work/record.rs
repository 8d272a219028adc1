//! The word of a record: what has become of an item.
//!
//! ```text
//!  63..61   60    59........52   51..............30   29.....0
//! | state | join | redeliveries |      epoch        |  owner  |
//! ```
//! | from | to | who |
//! |---|---|---|
//! | `FREE` | `RESERVED(me)` | a submitter |
//! | `RESERVED(me)` | `QUEUED` | that submitter: the item is submitted |
//! | `RESERVED(me)`, `RESERVED(dead)` | `FREE` | a submitter that finds the queue closed; anybody |
//! | `QUEUED` | `LEASED(me)` | a worker |
//! | `LEASED(me)` | `FREE` | that worker: acknowledged |
//! | `LEASED(me)`, `LEASED(dead)` | `QUEUED`, one redelivery more; `FAILED` at the limit | that worker; anybody |
//! | `FAILED` | `FREE` | whoever takes the failed item |
//!
//! Every change is an exchange of the whole word, but the one from `RESERVED` by its owner. The epoch
//! counts the times that the record became free, modulo 2²²: it tells one item from the next, so that
//! two equal looks at all records are a snapshot.

use shm_core::Owner;

const STATE_SHIFT: u32 = 61;
const JOIN: u64 = 1 << 60;
const REDELIVERIES_SHIFT: u32 = 52;
const ONE_REDELIVERY: u64 = 1 << REDELIVERIES_SHIFT;
const EPOCH_SHIFT: u32 = Owner::BITS;
const EPOCH: u64 = ((1 << 22) - 1) << EPOCH_SHIFT;
const ONE_EPOCH: u64 = 1 << EPOCH_SHIFT;

const FREE: u64 = 0;
const RESERVED: u64 = 1;
const QUEUED: u64 = 2;
const LEASED: u64 = 3;
const FAILED: u64 = 4;

/// What has become of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) u64);

/// A record's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    /// Being filled.
    Reserved(Owner),
    Queued,
    Leased(Owner),
    /// Given back too often.
    Failed,
    /// A corrupted word.
    Strange,
}

impl Record {
    #[inline]
    pub(crate) fn state(self) -> State {
        match (self.0 >> STATE_SHIFT, Owner::from_bits(self.0 as u32)) {
            (FREE, _) => State::Free,
            (RESERVED, Some(owner)) => State::Reserved(owner),
            (QUEUED, _) => State::Queued,
            (LEASED, Some(owner)) => State::Leased(owner),
            (FAILED, _) => State::Failed,
            _ => State::Strange,
        }
    }

    /// Whether something is still to become of it.
    #[inline]
    pub(crate) fn is_busy(self) -> bool {
        matches!(self.state(), State::Queued | State::Leased(_))
    }

    #[inline]
    pub(crate) fn redeliveries(self) -> u32 {
        (self.0 >> REDELIVERIES_SHIFT) as u32 & 0xff
    }

    /// Somebody waits for it in `join`.
    #[inline]
    pub(crate) fn is_joined(self) -> bool {
        self.0 & JOIN != 0
    }

    #[inline]
    fn with(self, state: u64, owner: u32) -> Record {
        let kept = self.0 & (JOIN | EPOCH | 0xff << REDELIVERIES_SHIFT);
        Record(state << STATE_SHIFT | kept | u64::from(owner))
    }

    #[inline]
    pub(crate) fn reserved(self, by: Owner) -> Record {
        self.with(RESERVED, by.to_bits())
    }

    #[inline]
    pub(crate) fn queued(self) -> Record {
        self.with(QUEUED, 0)
    }

    #[inline]
    pub(crate) fn leased(self, by: Owner) -> Record {
        self.with(LEASED, by.to_bits())
    }

    pub(crate) fn joined(self) -> Record {
        Record(self.0 | JOIN)
    }

    /// After a lease that did not end well: once more, or, at `limit`, never again.
    pub(crate) fn given_back(self, limit: u32) -> Record {
        if self.redeliveries() >= limit {
            return Record(self.with(FAILED, 0).0 & !JOIN);
        }
        Record(self.queued().0 + ONE_REDELIVERY)
    }

    /// For the next item.
    #[inline]
    pub(crate) fn freed(self) -> Record {
        Record((self.0 & EPOCH).wrapping_add(ONE_EPOCH) & EPOCH)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn owner() -> Owner {
        let Some(owner) = Owner::from_bits(5 << 6 | 2) else { panic!("an owner has such bits") };
        owner
    }

    #[test]
    fn an_item_passes_through_its_states_and_keeps_its_epoch() {
        let free = Record(EPOCH);
        let reserved = free.reserved(owner());
        assert_eq!(reserved.state(), State::Reserved(owner()));
        let leased = reserved.queued().joined().leased(owner());
        assert_eq!((leased.state(), leased.is_joined()), (State::Leased(owner()), true));
        let again = leased.given_back(1);
        assert_eq!((again.state(), again.redeliveries()), (State::Queued, 1));
        assert!(again.is_joined() && again.is_busy());
        let failed = again.leased(owner()).given_back(1);
        assert_eq!((failed.state(), failed.is_joined()), (State::Failed, false));
        assert_eq!(failed.freed(), Record(0), "the epoch wraps, and takes nothing else with it");
    }
}
