//! A reader's row: who reads, how, and how far it has come.

use shm_core::Owner;
use shm_core::primitive::AtomicU64;

use super::park::Counters;

const STATE_SHIFT: u32 = 32;
const JOINING: u64 = 1;
const BLOCK: u64 = 2;
const OVERWRITE: u64 = 3;

/// What the producer does when a reader falls a whole ring behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It waits for the reader, who so receives everything.
    Block,
    /// It goes on; the reader is told how many elements it has missed.
    Overwrite,
}

/// Who has a row: `state << 32 | owner`, 0 for nobody.
///
/// | from | to | who |
/// |---|---|---|
/// | `FREE`, or anything of the dead | `JOINING(me)` | a reader that comes |
/// | `JOINING(me)` | `BLOCK(me)`, `OVERWRITE(me)` | that reader |
/// | `BLOCK(me)`, `OVERWRITE(me)` | `FREE` | that reader, when it leaves |
///
/// A living owner's word is stored by that owner alone, and a dead one's never comes again: so no
/// exchange takes an old word for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    pub(crate) const FREE: Word = Word(0);

    pub(crate) fn joining(owner: Owner) -> Word {
        Word(JOINING << STATE_SHIFT | u64::from(owner.to_bits()))
    }

    pub(crate) fn reading(owner: Owner, mode: Mode) -> Word {
        let state = match mode {
            Mode::Block => BLOCK,
            Mode::Overwrite => OVERWRITE,
        };
        Word(state << STATE_SHIFT | u64::from(owner.to_bits()))
    }

    pub(crate) fn is_blocking(self) -> bool {
        self.0 >> STATE_SHIFT == BLOCK
    }

    pub(crate) fn is_reading(self) -> bool {
        matches!(self.0 >> STATE_SHIFT, BLOCK | OVERWRITE)
    }

    /// `None` for nobody, and in a corrupted word.
    pub(crate) fn owner(self) -> Option<Owner> {
        Owner::from_bits(self.0 as u32)
    }

    pub(crate) fn is_possible(self) -> bool {
        self == Word::FREE || (self.owner().is_some() && self.0 >> STATE_SHIFT <= OVERWRITE)
    }
}

/// One reader's words.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Row {
    pub(crate) owner: AtomicU64,
    /// Elements that the reader has done with: received, or missed.
    pub(crate) cursor: AtomicU64,
    pub(crate) counters: Counters,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_again_what_it_was_made_of() {
        let Some(owner) = Owner::from_bits(3 << 6 | 7) else { panic!("an owner has such bits") };
        for (word, blocks, reads) in [
            (Word::joining(owner), false, false),
            (Word::reading(owner, Mode::Block), true, true),
            (Word::reading(owner, Mode::Overwrite), false, true),
        ] {
            assert_eq!(word.owner(), Some(owner));
            assert_eq!((word.is_blocking(), word.is_reading()), (blocks, reads));
            assert!(word.is_possible());
        }
        assert_eq!(Word::FREE.owner(), None);
        assert!(Word::FREE.is_possible());
        assert!(!Word(BLOCK << STATE_SHIFT).is_possible() && !Word(u64::MAX).is_possible());
    }
}
