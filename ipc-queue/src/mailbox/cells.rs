//! The cells of a mailbox's slots, as the heap has them.

use std::alloc::Layout;

use shm_core::heap::{Block, Cell, Heap, Lease, Local};
use shm_core::{Error, Peers};

use super::shared::{CELL_AT, Cells, Content};
use crate::ring::Stop;

/// Bytes of a slot.
pub(super) const SLOT: u64 = 64;

/// The sizes of blocks that are cut from a span: as few as waste at most half of each, because a
/// producer keeps a span for each size that it has used. Each is one that the heap cuts exactly.
pub(super) const SIZES: [usize; 10] = [64, 128, 256, 512, 1024, 2048, 4096, 7936, 15872, 32000];

fn size_for(len: usize) -> usize {
    SIZES.into_iter().find(|&size| len <= size).unwrap_or(len)
}

/// The cells, as one handle reaches them.
#[derive(Debug)]
pub(crate) struct HeapCells<'a, P: Peers + Clone> {
    pub(super) heap: &'a Heap<P>,
    pub(super) local: &'a Local<P>,
    /// Where the slots begin, from the heap's start.
    pub(super) slots_at: u64,
}

impl<P: Peers + Clone> Clone for HeapCells<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Peers + Clone> Copy for HeapCells<'_, P> {}

impl<'a, P: Peers + Clone> HeapCells<'a, P> {
    #[inline(always)]
    fn cell(self, index: usize) -> Option<Cell<'a, P>> {
        let offset = self.slots_at + index as u64 * SLOT + CELL_AT;
        // SAFETY: the slots lie in a block that was zeroed before anybody could attach, and is never
        // freed; this word of each is its cell and nothing else.
        unsafe { self.heap.cell_at(offset) }.ok()
    }

    /// A block for a message of so many bytes. `NotYet`: there is no room now.
    #[inline(always)]
    pub(super) fn allocate(self, len: usize) -> Result<Block<'a, P>, Stop> {
        let layout = Layout::from_size_align(size_for(len), 8).map_err(|_| Stop::Corrupted)?;
        self.local.allocate(layout).map_err(|error| match error {
            Error::HeapFull { .. } => Stop::NotYet,
            Error::Inherited => Stop::Forked,
            _ => Stop::Corrupted,
        })
    }
}

fn look<P: Peers + Clone>(cell: Cell<'_, P>) -> Content {
    match () {
        () if cell.is_empty() => Content::Empty,
        () if cell.is_full() => Content::Full,
        () => Content::Unsettled,
    }
}

impl<'a, P: Peers + Clone> Cells for HeapCells<'a, P> {
    type Block = Block<'a, P>;
    type Lease = Lease<'a, P>;

    #[inline(always)]
    fn settle(&self, index: usize) -> Content {
        let Some(cell) = self.cell(index) else { return Content::Unsettled };
        match look(cell) {
            Content::Unsettled => {
                self.heap.recover();
                look(cell)
            }
            settled => settled,
        }
    }

    #[inline(always)]
    fn put(&self, index: usize, block: Block<'a, P>) -> Result<(), Block<'a, P>> {
        match self.cell(index) {
            Some(cell) => block.publish(cell),
            None => Err(block),
        }
    }

    #[cold]
    fn clear(&self, index: usize) {
        // Fails where there is no place to note what is held: then it stays there for the next.
        let _ = self.cell(index).map(|cell| cell.take(self.local).map(drop));
    }

    #[inline(always)]
    fn lease(&self, index: usize) -> Option<Lease<'a, P>> {
        self.cell(index)?.lease(self.local).ok().flatten()
    }

    #[inline(always)]
    fn acknowledge(&self, lease: Lease<'a, P>) {
        // Fails if somebody else has freed the block: nothing is left to do.
        let _ = lease.acknowledge();
    }
}
