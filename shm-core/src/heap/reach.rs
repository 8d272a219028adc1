//! What structures over the heap reach besides blocks: words at an offset, the block in a full cell,
//! and whether the heap still names somebody.

use super::Heap;
use super::cell::Cell;
use super::memory::Ground;
use super::words::{Kind, Line, Slot};
use crate::primitive::{AtomicU64, Ordering};
use crate::{Owner, Peers, SegmentId};

impl<P: Peers + Clone> Heap<P> {
    /// Segment and offset: the same in every process.
    pub(crate) fn place(&self) -> (SegmentId, u64) {
        (self.memory().segment.id(), self.memory().start())
    }

    /// The word at an offset that [`holds`](Heap::holds) was asked about.
    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        self.memory().at(offset)
    }

    /// Whether so many bytes from an offset on, a multiple of 8, lie in spans of the heap.
    pub(crate) fn holds(&self, offset: u64, size: u64) -> bool {
        let end = offset.checked_add(size);
        offset.is_multiple_of(8)
            && self.memory().span_in(offset).is_some()
            && end.is_some_and(|end| end <= self.memory().geometry.len)
    }

    /// Whether a line is in this owner's name: what it held is not settled yet.
    pub(crate) fn names(&self, owner: Owner) -> bool {
        let memory = self.memory();
        (0..memory.lines()).any(|line| {
            // Acquire: pairs with the Release of FREE in the sweep: whoever does not find the owner
            // sees its cells settled.
            match Line::of(memory.line(line).load(Ordering::Acquire)) {
                Line::Free => false,
                Line::Live(dead) | Line::Recovering { dead, .. } => dead == owner.to_bits(),
            }
        })
    }
}

impl<P: Peers + Clone> Cell<'_, P> {
    /// Where the block in a full cell begins, from the heap's start. It is the caller's to know that
    /// nobody takes it.
    pub(crate) fn peek(self, heap: &Heap<P>) -> Option<u64> {
        // Acquire: pairs with the Release of FULL: what was written into the block is seen.
        let slot = Slot(heap.memory().cell(self.id())?.load(Ordering::Acquire));
        (slot.kind() == Kind::Full).then(|| slot.block().offset())
    }
}
