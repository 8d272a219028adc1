//! The word of a slot: what state it is in, for which position, and who has it in hand.
//!
//! ```text
//!  63 62 61                            32 31                    0
//! |state| position (62 bits)                                     |  FREE, READY
//! |state| owner (30 bits)                | low half of position  |  CLAIMED, TAKING
//! ```
//! | from | to | who |
//! |---|---|---|
//! | `FREE(p)` | `CLAIMED(me, p)` | a producer; `CLAIMED(nobody, p)`: whoever ends a closed queue |
//! | `CLAIMED(me, p)` | `READY(p)` | that producer |
//! | `CLAIMED(dead, p)` | `FREE(p + capacity)` | whoever comes across it: nothing was sent |
//! | `READY(p)` | `TAKING(me, p)` | a consumer |
//! | `TAKING(me, p)` | `FREE(p + capacity)` | that consumer |
//! | `TAKING(dead, p)` | `FREE(p + capacity)` | whoever comes across it: it was received |
//!
//! **Wrapping.** A word that anybody may exchange names the whole position: it does not come again
//! within 2⁶² messages, more than a century of one a nanosecond. A word with an owner is exchanged
//! by that owner, or, after the proof of its death, by others: a dead owner never makes that word
//! again. So no exchange takes an old word for a new one, however long its thread was stopped. The
//! half of a position that stands beside an owner is completed by what is known of the whole (see
//! `Word::against`), never by itself.

use std::cmp::Ordering;

use shm_core::Owner;

const STATE_SHIFT: u32 = 62;
const POSITION: u64 = (1 << STATE_SHIFT) - 1;
const FREE: u64 = 0;
const READY: u64 = 1;
const CLAIMED: u64 = 2;
const TAKING: u64 = 3;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

/// A word taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Ready,
    /// Being filled.
    Claimed(Owner),
    /// Being emptied.
    Taking(Owner),
    /// Nothing will ever be sent from this position on.
    End,
    /// A corrupted word.
    Strange,
}

impl Word {
    #[inline(always)]
    pub(crate) fn free(position: u64) -> Word {
        Word(position & POSITION)
    }

    #[inline(always)]
    pub(crate) fn ready(position: u64) -> Word {
        Word(READY << STATE_SHIFT | position & POSITION)
    }

    #[inline(always)]
    pub(crate) fn claimed(by: Owner, position: u64) -> Word {
        Word::owned(CLAIMED, by.to_bits(), position)
    }

    #[inline(always)]
    pub(crate) fn taking(by: Owner, position: u64) -> Word {
        Word::owned(TAKING, by.to_bits(), position)
    }

    pub(crate) fn end(position: u64) -> Word {
        Word::owned(CLAIMED, 0, position)
    }

    #[inline(always)]
    fn owned(state: u64, owner: u32, position: u64) -> Word {
        Word(state << STATE_SHIFT | u64::from(owner) << 32 | u64::from(position as u32))
    }

    pub(crate) fn state(self) -> State {
        let bits = (self.0 >> 32) as u32 & Owner::MASK;
        match (self.0 >> STATE_SHIFT, Owner::from_bits(bits)) {
            (FREE, _) => State::Free,
            (READY, _) => State::Ready,
            (CLAIMED, None) if bits == 0 => State::End,
            (CLAIMED, Some(owner)) => State::Claimed(owner),
            (TAKING, Some(owner)) => State::Taking(owner),
            _ => State::Strange,
        }
    }

    /// The word's position against `cursor`. With an owner in the word, right if they are less than
    /// 2³¹ apart; without one, always.
    pub(crate) fn against(self, cursor: u64) -> Ordering {
        match self.0 >> STATE_SHIFT {
            FREE | READY => (self.0 & POSITION).cmp(&cursor),
            _ => ((self.0 as u32).wrapping_sub(cursor as u32) as i32).cmp(&0),
        }
    }

    /// The position, if it is within 2³¹ of `near`.
    pub(crate) fn position(self, near: u64) -> u64 {
        match self.0 >> STATE_SHIFT {
            FREE | READY => self.0 & POSITION,
            _ => {
                let ahead = (self.0 as u32).wrapping_sub(near as u32) as i32;
                near.wrapping_add_signed(i64::from(ahead))
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Index 6, stay 3.
    fn owner() -> Owner {
        let Some(owner) = Owner::from_bits(3 << 6 | 7) else { panic!("an owner has such bits") };
        owner
    }

    #[test]
    fn a_word_says_again_what_it_was_made_of() {
        for position in [0, 1, 1 << 31, (1 << 32) + 5, POSITION] {
            let words = [
                (Word::free(position), State::Free),
                (Word::ready(position), State::Ready),
                (Word::claimed(owner(), position), State::Claimed(owner())),
                (Word::taking(owner(), position), State::Taking(owner())),
                (Word::end(position), State::End),
            ];
            for (word, state) in words {
                assert_eq!(word.state(), state);
                assert_eq!(word.position(position.saturating_sub(9)), position);
                assert_eq!(word.against(position), Ordering::Equal);
            }
        }
    }

    #[test]
    fn words_compare_across_the_wrap_of_the_lower_half() {
        let wrap = 1 << 32;
        for word in [Word::ready(wrap + 1), Word::claimed(owner(), wrap + 1)] {
            assert_eq!(word.against(wrap - 3), Ordering::Greater);
            assert_eq!(word.against(wrap + 9), Ordering::Less);
            assert_eq!(word.position(wrap - 3), wrap + 1);
        }
        assert_eq!(Word::ready(wrap + 1).against(1), Ordering::Greater, "a whole wrap behind");
    }

    #[test]
    fn a_corrupted_word_is_strange() {
        for word in [TAKING << STATE_SHIFT, CLAIMED << STATE_SHIFT | 63 << 32, u64::MAX] {
            assert_eq!(Word(word).state(), State::Strange);
        }
    }
}
