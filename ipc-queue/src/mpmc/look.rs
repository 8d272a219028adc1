//! Looking at a queue without changing it: lengths, and whether it is sound.

use std::cmp::Ordering::{Equal, Greater, Less};

use shm_core::Peers;
use shm_core::primitive::Ordering;

use super::shared::Queue;
use super::word::{State, Word};
use crate::{Error, Side};

impl<T, P: Peers> Queue<'_, T, P> {
    fn word(&self, position: u64) -> Word {
        // Relaxed: only looked at.
        Word(self.slot(position).word.load(Ordering::Relaxed))
    }

    /// The first position from `at` on where `is_it`; not found in a corrupted queue.
    fn first(&self, mut at: u64, is_it: impl Fn(Word, u64) -> bool) -> u64 {
        // A lap behind after the first jump at the latest.
        for _ in 0..4 * self.capacity() {
            let word = self.word(at);
            if is_it(word, at) {
                break;
            }
            at = self.behind(word, at);
        }
        at
    }

    /// The first position that nobody has claimed.
    fn tail(&self) -> u64 {
        let hint = self.shared.direction(Side::Producer).hint();
        self.first(hint, |word, at| {
            let is_end = word.state() == State::End && word.against(at) == Equal;
            word == Word::free(at) || word.against(at) == Less || is_end
        })
    }

    /// The first position that nobody has taken.
    fn head(&self) -> u64 {
        let hint = self.shared.direction(Side::Consumer).hint();
        self.first(hint, |word, at| match word.against(at) {
            Equal => !matches!(word.state(), State::Taking(_)),
            Less => true,
            Greater => false,
        })
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
            let capacity = self.capacity();
            let lap = match state {
                State::Free | State::End => tail..tail.saturating_add(capacity),
                _ => tail.saturating_sub(capacity)..tail,
            };
            if !lap.contains(&position) {
                return Err(Error::Corrupted("a slot is of an impossible lap"));
            }
        }
        Ok(())
    }
}
