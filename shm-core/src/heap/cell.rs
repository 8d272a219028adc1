//! Cells: where published blocks wait, and leases on them.

use std::fmt;
use std::ptr::NonNull;

use super::local::{Block, Local, size_of_block};
use super::memory::Ground;
use super::steps::{self, Leased};
use super::words::{CellId, Kind, Slot};
use super::{Heap, not_freed};
use crate::primitive::Ordering;
use crate::{Error, Group, Peers};

/// A word of a heap that holds one published block, or none.
///
/// One process at a time puts a block in ([`Block::publish`]), one takes it out. Found by name
/// ([`Heap::root`]), or at a place in a block ([`Heap::cell_at`]).
pub struct Cell<'h, P: Peers = Group> {
    heap: &'h Heap<P>,
    id: CellId,
}

impl<P: Peers> Clone for Cell<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Peers> Copy for Cell<'_, P> {}

impl<'h, P: Peers + Clone> Cell<'h, P> {
    pub(super) fn new(heap: &'h Heap<P>, id: CellId) -> Self {
        Cell { heap, id }
    }

    pub(super) fn id(self) -> CellId {
        self.id
    }

    /// Whether it is a cell of this mapping of the heap.
    #[inline(always)]
    pub(super) fn is_of(self, heap: &Heap<P>) -> bool {
        std::ptr::eq(self.heap.memory(), heap.memory())
    }

    /// Whether nothing is in it and nothing on its way: an answer that may be old when it is read.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.look() == Kind::Empty
    }

    /// Whether a block is there to be taken: an answer that may be old when it is read.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.look() == Kind::Full
    }

    fn look(self) -> Kind {
        // Relaxed: whoever acts on it makes an exchange.
        let word = self.heap.memory().cell(self.id).map(|word| word.load(Ordering::Relaxed));
        Slot(word.unwrap_or(0)).kind()
    }

    /// Takes the block out of the cell, into this thread's hands: from its return on, the block is
    /// gone if this process is killed. `None`: the cell is not full.
    ///
    /// Linearization point: the store to the block's home word. A process that is killed before
    /// it has taken nothing: the block is to be had again. Progress: lock-free.
    ///
    /// # Errors
    /// [`Error::HeapFull`] when there is no place to note what is held; [`Error::Inherited`];
    /// [`Error::NotABlock`] when a [hardened](super::HeapOptions::hardened) heap finds the cell
    /// corrupted.
    #[inline]
    pub fn take<'l>(self, local: &'l Local<P>) -> Result<Option<Block<'l, P>>, Error> {
        if !local.is_ours() || !self.is_of(local.heap()) {
            return Err(Error::Inherited);
        }
        let (memory, peers) = (self.heap.memory(), self.heap.peers());
        memory.check_cell(self.id)?;
        let held = local.front(|front| {
            let entry = front.take_entry(memory, peers)?;
            let held = steps::take(memory, front.line, self.id, entry);
            if held.is_none() {
                front.return_entry(entry);
            }
            Ok(held)
        })?;
        Ok(held.map(|held| Block::new(local, held)))
    }

    /// Leases the block: it stays in the cell, for this thread alone, until it is acknowledged or
    /// given back. If the process is killed, it is to be had again. `None`: the cell is not full.
    ///
    /// # Errors
    /// Those of [`take`](Cell::take).
    pub fn lease<'l>(self, local: &'l Local<P>) -> Result<Option<Lease<'l, P>>, Error> {
        if !local.is_ours() || !self.is_of(local.heap()) {
            return Err(Error::Inherited);
        }
        self.heap.memory().check_cell(self.id)?;
        let entry = local.take_entry()?;
        match steps::lease(self.heap.memory(), local.line(), self.id, entry) {
            Some(leased) => Ok(Some(Lease { local, leased })),
            None => {
                local.return_entry(entry);
                Ok(None)
            }
        }
    }
}

impl<P: Peers + Clone> fmt::Debug for Cell<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("offset", &self.id.offset())
            .field("state", &self.look())
            .finish()
    }
}

/// A block that stays in its cell while one thread uses it: see [`Cell::lease`].
///
/// Dropped, it is given back: to be had again by anybody.
pub struct Lease<'l, P: Peers + Clone = Group> {
    local: &'l Local<P>,
    leased: Leased,
}

impl<'l, P: Peers + Clone> Lease<'l, P> {
    /// Where the block begins in this process.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        let pointer = self.local.heap().memory().pointer(self.leased.slot.block().offset());
        // A mapping is never at address zero.
        NonNull::new(pointer).unwrap_or(NonNull::dangling())
    }

    /// Bytes in the block.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of_block(self.local.heap(), self.leased.slot.block())
    }

    /// The block's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: leased: nobody else reaches the block, and any bytes are valid `u8`.
        unsafe { std::slice::from_raw_parts(self.as_ptr().as_ptr(), self.size()) }
    }

    /// The block's bytes, for writing: who leases it after a death finds them as they were left.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr().as_ptr(), self.size()) }
    }

    /// The block has been used: it is freed, and the cell is empty. From the first store on it is
    /// never delivered again.
    ///
    /// # Errors
    /// [`Error::NotAllocated`] when somebody else has freed the block; [`Error::Inherited`].
    pub fn acknowledge(self) -> Result<(), Error> {
        let Lease { local, leased } = self;
        std::mem::forget(self);
        if !local.is_ours() {
            return Err(Error::Inherited);
        }
        let memory = local.heap().memory();
        let freed = local.front(|front| {
            let line = front.line;
            let freed = steps::acknowledge(memory, line, leased, |block| front.free(memory, block));
            front.return_entry(leased.entry);
            freed
        });
        freed.map_err(|why| not_freed(why, leased.slot.block().offset()))
    }

    /// Keeps the block: it leaves its cell for this thread's hands.
    ///
    /// # Errors
    /// Gives the lease back, with the reason, as [`Cell::take`].
    pub fn take(self) -> Result<Block<'l, P>, (Self, Error)> {
        let Lease { local, leased } = self;
        if !local.is_ours() {
            return Err((self, Error::Inherited));
        }
        let entry = match local.take_entry() {
            Ok(entry) => entry,
            Err(error) => return Err((self, error)),
        };
        let Some(held) = steps::accept(local.heap().memory(), leased, entry) else {
            local.return_entry(entry);
            return Err((self, Error::NotABlock { offset: leased.slot.block().offset() }));
        };
        local.return_entry(leased.entry);
        std::mem::forget(self);
        Ok(Block::new(local, held))
    }
}

impl<P: Peers + Clone> Drop for Lease<'_, P> {
    fn drop(&mut self) {
        if self.local.is_ours() {
            steps::give_back(self.local.heap().memory(), self.leased);
            self.local.return_entry(self.leased.entry);
        }
    }
}

impl<P: Peers + Clone> fmt::Debug for Lease<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("slot", &self.leased.slot).finish_non_exhaustive()
    }
}
