//! What a slot of a mailbox holds beside its word, and what its operations see of a mailbox.

use shm_core::Peers;
use shm_core::primitive::{AtomicU64, Ordering};

use crate::Side;
use crate::mpmc::shared::Queue;
use crate::mpmc::word::{State, Word};

/// In a slot, behind its word.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Parcel {
    /// The heap's word (see [`Cells`]): never reached as a part of this.
    cell: AtomicU64,
    /// Bytes of the message, or [`SKIPPED`]. Written by whoever has claimed the slot. Relaxed: the
    /// slot's word publishes it; of a slot that was the dead's it is read as a hint, which an exchange
    /// of that word confirms.
    len: AtomicU64,
}

/// In place of a length: nothing was sent from the position; consumers pass over it.
pub(crate) const SKIPPED: u64 = u64::MAX;

/// Where the cell lies in a slot.
pub(crate) const CELL_AT: u64 = 8;
#[cfg(not(loom))]
const _: () = {
    use crate::mpmc::shared::Slot;
    assert!(size_of::<Slot<Parcel>>() == 64);
    assert!(std::mem::offset_of!(Slot<Parcel>, value) == CELL_AT as usize);
    assert!(std::mem::offset_of!(Parcel, cell) == 0 && std::mem::offset_of!(Parcel, len) == 8);
};

/// What is in a cell whose owner is dead or oneself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    Full,
    /// On its way in or out, in a dead one's hands, and the recovery of that is not over.
    Unsettled,
}

/// The cells of the slots: the heap's, or a model's. Each is reached by the owner of its slot alone,
/// and by the recovery of the dead.
pub(crate) trait Cells {
    /// A message that is not sent yet: free again if it is dropped, or its process dies.
    type Block;
    /// A message in hand: in its cell again if it is dropped, or its process dies.
    type Lease;

    /// What is in a cell; clears up after the dead if need be.
    fn settle(&self, index: usize) -> Content;

    /// Puts a block into an empty cell.
    fn put(&self, index: usize, block: Self::Block) -> Result<(), Self::Block>;

    /// Frees what is in a cell.
    fn clear(&self, index: usize);

    /// Takes what is in a full cell into one's hand.
    fn lease(&self, index: usize) -> Option<Self::Lease>;

    /// Frees what is in hand; its cell is empty. The linearization point of every receive.
    fn acknowledge(&self, lease: Self::Lease);
}

/// A mailbox as an operation sees it, wherever it lies.
#[derive(Debug)]
pub(crate) struct Mailbox<'a, P, C> {
    pub(crate) queue: Queue<'a, Parcel, P>,
    pub(crate) cells: C,
}

impl<P, C: Clone> Clone for Mailbox<'_, P, C> {
    fn clone(&self) -> Self {
        Mailbox { queue: self.queue, cells: self.cells.clone() }
    }
}

impl<P, C: Copy> Copy for Mailbox<'_, P, C> {}

impl<P, C> Mailbox<'_, P, C> {
    #[inline(always)]
    pub(crate) fn index(&self, position: u64) -> usize {
        position as usize & (self.queue.slots.len() - 1)
    }

    #[inline(always)]
    pub(crate) fn set_len(&self, position: u64, len: u64) {
        self.queue.slot(position).value.with(|parcel| {
            // SAFETY: a parcel is atomics, which are there as long as the slot is.
            let parcel = unsafe { &*parcel };
            // Relaxed: see the type.
            parcel.len.store(len, Ordering::Relaxed);
        });
    }

    #[inline(always)]
    pub(crate) fn len_at(&self, position: u64) -> u64 {
        self.queue.slot(position).value.with(|parcel| {
            // SAFETY: as in `set_len`.
            let parcel = unsafe { &*parcel };
            // Relaxed: see the type.
            parcel.len.load(Ordering::Relaxed)
        })
    }
}

impl<P, C: Cells> Mailbox<'_, P, C> {
    /// What is left to be received of a slot that one who is dead had taken.
    pub(crate) fn left_by_the_dead(&self, position: u64) -> Content {
        match self.len_at(position) {
            SKIPPED => Content::Empty,
            _ => self.cells.settle(self.index(position)),
        }
    }
}

impl<P: Peers, C> Mailbox<'_, P, C> {
    /// Somebody's slot has become free, or was passed over: who waits for room looks again, all of
    /// them, because the memory that one waits for is not what another does; and so does whoever
    /// waits for the end of a closed mailbox at that slot.
    #[inline(always)]
    pub(crate) fn announce_room(&self) {
        let shared = self.queue.shared;
        if shared.bell_of(Side::Producer).ring() {
            shared.direction(Side::Producer).counters.count_wake();
        }
        if shared.is_closed() {
            shared.bell_of(Side::Consumer).ring();
        }
    }

    /// Whether nothing is in any slot, nor on its way in or out: nobody is about to give back memory.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.slots.iter().all(|slot| {
            // Acquire: pairs with the Release of FREE: the memory of what was in there is seen free.
            let word = Word(slot.word.load(Ordering::Acquire));
            matches!(word.state(), State::Free | State::End)
        })
    }
}
