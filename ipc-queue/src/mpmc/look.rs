//! Looking at a queue without changing it: lengths, statistics, and whether it is sound.

use std::cmp::Ordering::{Equal, Greater, Less};

use shm_core::Peers;
use shm_core::primitive::Ordering;

use super::shared::{Queue, Shared};
use super::word::{State, Word};
use crate::wait::SideStats;
use crate::{Error, Side};

/// What the waits of one side have cost.
pub(crate) fn stats(shared: &Shared, side: Side) -> SideStats {
    let counters = &shared.direction(side).counters;
    SideStats {
        // Relaxed: counts to show, each by itself.
        spins: counters.spins.load(Ordering::Relaxed),
        parks: counters.parks.load(Ordering::Relaxed),
        wakes: counters.wakes.load(Ordering::Relaxed),
    }
}

impl<T, P: Peers> Queue<'_, T, P> {
    fn word(&self, position: u64) -> Word {
        // Relaxed: only looked at.
        Word(self.slot(position).word.load(Ordering::Relaxed))
    }

    /// The first position that nobody has claimed.
    fn tail(&self) -> u64 {
        let mut at = self.shared.direction(Side::Producer).hint();
        let end = at.saturating_add(2 * self.capacity());
        while at < end && self.word(at) != Word::free(at) && self.word(at).against(at) != Less {
            at += 1;
        }
        at
    }

    /// The first position that nobody has taken.
    fn head(&self) -> u64 {
        let mut at = self.shared.direction(Side::Consumer).hint();
        let end = at.saturating_add(2 * self.capacity());
        loop {
            let word = self.word(at);
            match (word.against(at), word.state()) {
                (Equal, State::Taking(_)) | (Greater, _) if at < end => at += 1,
                _ => return at,
            }
        }
    }

    /// Positions between head and tail.
    pub(crate) fn len(&self) -> usize {
        let head = self.head();
        self.tail().saturating_sub(head).min(self.capacity()) as usize
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let tail = self.tail();
        let head = self.shared.direction(Side::Consumer).hint();
        if head > tail {
            return Err(Error::Corrupted("more positions are taken than claimed"));
        }
        for index in 0..self.capacity() {
            let word = self.word(index);
            let state = word.state();
            if state == State::Strange {
                return Err(Error::Corrupted("a slot is in no possible state"));
            }
            let position = word.position(tail);
            if (position ^ index) & (self.capacity() - 1) != 0 {
                return Err(Error::Corrupted("a slot holds a position of another slot"));
            }
            // A free slot is the next lap's; any other is of a position not long ago.
            let lap = match state {
                State::Free | State::End => tail..tail + self.capacity(),
                _ => tail.saturating_sub(self.capacity())..tail,
            };
            if !lap.contains(&position) {
                return Err(Error::Corrupted("a slot is of an impossible lap"));
            }
        }
        Ok(())
    }
}
