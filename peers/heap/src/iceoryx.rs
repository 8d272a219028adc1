//! iceoryx2's pool: blocks of one size, which its shared memory is made of.

use std::alloc::Layout;
use std::ptr::NonNull;

use iceoryx2_bb_memory::pool_allocator::{Allocate, Deallocate, FixedSizePoolAllocator};
use method::{Outcome, Promise};
use shm_core::Segment;

use crate::work::{Allocator, BATCH, layout};

// Its crates log through one that the program chooses.
extern crate iceoryx2_bb_loggers;

/// Its name in rows.
pub const NAME: &str = "iceoryx2's pool allocator 0.10.0";

/// What it keeps.
pub const PROMISE: Promise =
    Promise::may_lose("one size; a killed process's blocks are lost until the pool goes");

/// One more index than blocks: it asks for that much when it is made.
const INDICES: usize = 2 * BATCH + 1;

/// A pool in a segment, and the layout of its blocks.
#[derive(Debug)]
pub struct Pool {
    pool: Box<FixedSizePoolAllocator<INDICES>>,
    layout: Layout,
    _segment: Segment,
}

impl Pool {
    /// Blocks of `size` bytes, twice as many as a batch takes.
    pub fn new(size: usize) -> Outcome<Pool> {
        let (segment, layout) = (Segment::anonymous(2 * BATCH * size)?, layout(size)?);
        let pool = FixedSizePoolAllocator::new(layout, segment.data(), 2 * BATCH * size);
        Ok(Pool { pool: Box::new(pool), layout, _segment: segment })
    }
}

impl Allocator for Pool {
    type Block = NonNull<u8>;

    #[inline]
    fn allocate(&self) -> Outcome<NonNull<u8>> {
        self.pool.allocate(self.layout).map_err(|error| format!("{error:?}").into())
    }

    #[inline]
    fn address(&self, block: NonNull<u8>) -> NonNull<u8> {
        block
    }

    #[inline]
    fn release(&self, block: NonNull<u8>) -> Outcome<()> {
        // SAFETY: allocated from this pool with this layout, and given back once.
        unsafe { self.pool.deallocate(block, self.layout) };
        Ok(())
    }
}
