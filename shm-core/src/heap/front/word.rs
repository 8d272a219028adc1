//! The word of A that blocks of a class come from.

// Orderings: Relaxed for words that only this thread writes (A, hints, descriptors of our spans).

use crate::heap::class::{A_AT, HOMES_AT, TABLE};
use crate::heap::memory::{Ground, Memory};
use crate::primitive::Ordering;

/// The spans of one class, and the word of A that blocks come from.
#[derive(Debug, Default)]
pub(super) struct Current {
    /// Bits of the word that were clear when we turned to it, and whose blocks are not given out.
    pub free: u64,
    /// Where the word is.
    pub a: u64,
    /// Where the home of its first block is.
    pub homes: u64,
    /// Where its first block begins.
    pub blocks: u64,
    /// Bytes of a block.
    pub size: u64,
    pub epoch: u64,
    /// Offset of the span; 0 is none.
    pub span_at: u64,
    pub word: u32,
    pub next: usize,
    pub owned: Vec<u32>,
}

impl Current {
    /// Whether the word of A, all of whose blocks were given out, has room again.
    pub fn turn_again(&mut self, memory: &Memory, class: usize) -> bool {
        self.span_at != 0 && self.turn_to(memory, class, self.word)
    }

    /// Whether this word of A has room; allocations come from it then.
    pub fn turn_to(&mut self, memory: &Memory, class: usize, word: u32) -> bool {
        let cut = &TABLE[class];
        let first = word * 64;
        self.a = self.span_at + A_AT + u64::from(word) * 8;
        // Relaxed: only we write A.
        self.free = !memory.at(self.a).load(Ordering::Relaxed) & cut.valid(word);
        self.homes = self.span_at + HOMES_AT + u64::from(first) * 8;
        self.blocks = self.span_at + u64::from(cut.start + first * cut.size);
        (self.size, self.word) = (cut.size.into(), word);
        self.free != 0
    }
}
