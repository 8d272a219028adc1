//! Who holds something: one incarnation of one participant, in 30 bits.

use std::fmt;
use std::num::NonZeroU32;

/// How many processes can be in one group.
pub const MAX_MEMBERS: usize = crate::primitive::MOST_MEMBERS;

/// Indices in use: one for each member, and one that is kept back for a newcomer who finds all of
/// them taken, some by the dead.
pub(crate) const INDICES: usize = MAX_MEMBERS + 1;

const INDEX_BITS: u32 = 6;
const GENERATION_MASK: u32 = (1 << (Owner::BITS - INDEX_BITS)) - 1;

/// One stay of one process in a [`Group`](crate::Group): written into a lock, a slot or a lease, it
/// says whose that is.
///
/// Never 0, and only the lowest [`BITS`](Owner::BITS) bits of the word are used: two are free for a
/// structure's own marks. Its index is used again once its process is gone; the generation tells
/// the stays apart, modulo 2²⁴ stays at one index.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(NonZeroU32);

impl Owner {
    /// Bits that an owner takes.
    pub const BITS: u32 = 30;
    /// Those bits.
    pub const MASK: u32 = (1 << Owner::BITS) - 1;

    pub(crate) fn new(index: usize, generation: u32) -> Owner {
        debug_assert!(index < INDICES);
        let word = (generation & GENERATION_MASK) << INDEX_BITS | (index as u32 + 1);
        // `index + 1` is at least 1.
        Owner(NonZeroU32::new(word).unwrap_or(NonZeroU32::MIN))
    }

    /// The owner in a word of shared memory, whose other bits are left aside. `None` where there is
    /// none: nobody's, or a corrupted word.
    #[inline]
    #[must_use]
    pub fn from_bits(word: u32) -> Option<Owner> {
        let word = NonZeroU32::new(word & Owner::MASK)?;
        let index = word.get() & ((1 << INDEX_BITS) - 1);
        (index != 0 && index as usize <= INDICES).then_some(Owner(word))
    }

    /// As a word: not 0, within [`MASK`](Owner::MASK).
    #[inline(always)]
    #[must_use]
    pub fn to_bits(self) -> u32 {
        self.0.get()
    }

    /// Its place in the group, below 49.
    #[inline(always)]
    #[must_use]
    pub fn index(self) -> usize {
        (self.0.get() & ((1 << INDEX_BITS) - 1)) as usize - 1
    }

    /// Which stay at this index, modulo 2²⁴.
    #[inline(always)]
    #[must_use]
    pub fn generation(self) -> u32 {
        self.0.get() >> INDEX_BITS
    }

    /// Whether the stay is the one that a counter of stays shows.
    #[inline(always)]
    pub(crate) fn is_of(self, generation: u32) -> bool {
        self.generation() == generation & GENERATION_MASK
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({}, stay {})", self.index(), self.generation())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_the_way_through_a_word_with_marks() {
        for index in [0, 1, MAX_MEMBERS - 1, INDICES - 1] {
            for generation in [0, 1, GENERATION_MASK] {
                let owner = Owner::new(index, generation);
                assert_eq!(Owner::from_bits(owner.to_bits() | !Owner::MASK), Some(owner));
                assert_eq!((owner.index(), owner.generation()), (index, generation));
            }
        }
    }

    #[test]
    fn a_corrupted_word_has_no_owner() {
        assert_eq!(Owner::from_bits(0), None);
        assert_eq!(Owner::from_bits(!Owner::MASK), None);
        assert_eq!(Owner::from_bits(63), None);
        assert_eq!(Owner::from_bits(1 << INDEX_BITS), None);
    }

    #[test]
    fn generations_wrap() {
        assert!(Owner::new(3, GENERATION_MASK + 1).is_of(0));
        assert!(Owner::new(3, 7).is_of(7 + GENERATION_MASK + 1));
    }
}
