//! What a hardened heap checks: handles that carry the stamp of a block's placement.
//!
//! A block that is nobody's has the home `(none, x)`, and no two placements of it the same x. Whoever
//! frees or adopts it by its handle `(b, x)` first makes x into x + 1, by an exchange: one can, and
//! the handle is stale from then on. A process that is killed between the exchange and the free
//! leaves a block that is nobody's and that no handle names, as one that is killed before it had
//! freed it would: raw blocks are the user's to lose.

use super::class::{LARGE, LARGE_AT, Place, TABLE};
use super::memory::{Ground, Memory};
use super::words::{BlockId, CellId, Desc, Handle, Home, Kind, Slot, Stamp, State};
use super::{block_at, steps};
use crate::Error;
use crate::primitive::Ordering;

impl Memory {
    /// What is given out for a block that is nobody's.
    #[inline(always)]
    pub fn handle(&self, block: BlockId, stamp: Stamp) -> u64 {
        if self.hardened { Handle::new(block.offset(), stamp).0 } else { block.offset() }
    }

    /// The block of a handle that nobody else frees or adopts.
    #[inline(always)]
    pub fn claim_raw(&self, handle: u64) -> Result<BlockId, Error> {
        if self.hardened { self.claim_by_stamp(handle) } else { block_at(handle) }
    }

    #[inline(never)]
    fn claim_by_stamp(&self, handle: u64) -> Result<BlockId, Error> {
        let none = Error::NotABlock { offset: handle };
        let Some((offset, stamp)) = Handle(handle).parts() else { return Err(none) };
        let block = block_at(offset)?;
        let Some(place) = steps::place_of(self, block) else { return Err(none) };
        let seen = Home::new(CellId::NONE, stamp).0;
        let next = Home::new(CellId::NONE, stamp.next()).0;
        // Relaxed: the free or the adoption that follows orders what was done with the block.
        let (ok, lost) = (Ordering::Relaxed, Ordering::Relaxed);
        match self.at(place.home).compare_exchange(seen, next, ok, lost) {
            Ok(_) => Ok(block),
            Err(_) => Err(Error::StaleBlock { offset }),
        }
    }

    /// The offset in a handle, or in a place behind it, that is not stale; an offset is one itself.
    #[inline(always)]
    pub fn plain(&self, handle: u64) -> Option<u64> {
        if self.hardened { self.plain_by_stamp(handle) } else { Some(handle) }
    }

    #[inline(never)]
    fn plain_by_stamp(&self, handle: u64) -> Option<u64> {
        let Some((offset, stamp)) = Handle(handle).parts() else { return Some(handle) };
        let place = self.place_around(offset)?;
        // Relaxed: whoever uses the block may; this finds mistakes.
        let home = self.at(place.home).load(Ordering::Relaxed);
        (home == Home::new(CellId::NONE, stamp).0).then_some(offset)
    }

    /// The words of the block that an offset lies in.
    fn place_around(&self, offset: u64) -> Option<Place> {
        let mut span = self.span_in(offset)?;
        // Relaxed: as above.
        let desc = |span| Desc(self.desc(span).load(Ordering::Relaxed));
        if desc(span).state() == State::Cont {
            span = desc(span).argument();
        }
        let (head, start) = (desc(span), self.span_at(span));
        if span >= self.spans() || !head.has_blocks() {
            return None;
        }
        let index = match TABLE.get(head.class()) {
            Some(cut) => cut.index_and_rest(offset - start)?.0,
            None if head.class() == LARGE && offset >= start + LARGE_AT => 0,
            None => return None,
        };
        Some(Place::new(start, index))
    }

    /// Whether what a full cell says of its block is true, where that is checked.
    #[inline(always)]
    pub fn check_cell(&self, id: CellId) -> Result<(), Error> {
        if self.hardened { self.check_cell_by_home(id) } else { Ok(()) }
    }

    #[inline(never)]
    fn check_cell_by_home(&self, id: CellId) -> Result<(), Error> {
        let Some(cell) = self.cell(id) else { return Ok(()) };
        // Acquire: pairs with the Release of FULL: the block's home comes before.
        let seen = cell.load(Ordering::Acquire);
        let slot = Slot(seen);
        if slot.kind() != Kind::Full {
            return Ok(());
        }
        let home = steps::place_of(self, slot.block()).map(|place| {
            // Acquire: the cell is looked at again after it.
            Home(self.at(place.home).load(Ordering::Acquire))
        });
        // Relaxed: a cell that is still the same was so while we looked at the home.
        if home == Some(Home::new(id, slot.stamp())) || cell.load(Ordering::Relaxed) != seen {
            return Ok(());
        }
        Err(Error::NotABlock { offset: slot.block().offset() })
    }
}
