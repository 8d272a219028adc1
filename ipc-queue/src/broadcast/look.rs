//! What those who only look see of a ring: counts to show, and whether it is in order. Relaxed
//! throughout: nothing is done on the strength of it.

use shm_core::Peers;
use shm_core::primitive::Ordering;

use super::row::Word;
use super::shared::{Ring, Shared};
use crate::Error;
use crate::ring::Line;

impl Shared {
    /// Readers that are there and alive, as far as one look tells, and the lowest cursor of them.
    pub(crate) fn readers(&self, peers: &impl Peers) -> (usize, Option<u64>) {
        let alive = self.rows_in_use().iter().filter_map(|Line(row)| {
            // Relaxed: a count to show.
            let word = Word(row.owner.load(Ordering::Relaxed));
            let is_alive = word.owner().is_some_and(|owner| !peers.is_gone(owner));
            // Relaxed: as above.
            (word.is_reading() && is_alive).then(|| row.cursor.load(Ordering::Relaxed))
        });
        alive.fold((0, None), |(count, lowest), cursor| {
            (count + 1, Some(lowest.map_or(cursor, |lowest: u64| lowest.min(cursor))))
        })
    }
}

impl<T, P> Ring<'_, T, P> {
    /// Elements sent that `cursor` has not passed.
    pub(crate) fn behind(&self, cursor: u64) -> u64 {
        // Relaxed: only a count is made of it.
        self.shared.producer.0.tail.load(Ordering::Relaxed).saturating_sub(cursor)
    }

    /// Checks every word. Meaningful while nobody sends, joins or leaves.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let producer = &self.shared.producer.0;
        // Relaxed: whoever asks is alone.
        let tail = producer.tail.load(Ordering::Relaxed);
        let reserved = producer.reserved.load(Ordering::Relaxed);
        let limit = producer.limit.load(Ordering::Relaxed);
        if reserved < tail || reserved - tail > self.capacity {
            return Err(Error::Corrupted("more is begun than a ring holds, or less than is sent"));
        }
        if limit > tail.saturating_add(self.capacity).max(reserved) {
            return Err(Error::Corrupted("the producer's limit is more than a ring ahead"));
        }
        for Line(row) in self.shared.rows_in_use() {
            // Relaxed: as above.
            let word = Word(row.owner.load(Ordering::Relaxed));
            let cursor = row.cursor.load(Ordering::Relaxed);
            if !word.is_possible() {
                return Err(Error::Corrupted("a reader's row is of an impossible state"));
            }
            if word.is_reading() && cursor > tail {
                return Err(Error::Corrupted("a reader is ahead of the producer"));
            }
        }
        Ok(())
    }
}
