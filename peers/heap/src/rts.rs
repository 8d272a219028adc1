//! rts-alloc, the other shared allocator in Rust: sizes from 256 to 4,096 bytes.

use std::fs::File;
use std::ptr::NonNull;

use method::{Outcome, Promise};
use rts_alloc::Allocator as Rts;

use crate::work::Allocator;

/// Its name in rows.
pub const NAME: &str = "rts-alloc 5.1.0";

/// What it keeps.
pub const PROMISE: Promise =
    Promise::may_lose("a killed process's place and blocks are lost for ever");

/// A worker of it, and the size of its blocks.
pub struct Worker {
    allocator: Rts,
    size: u32,
}

impl Worker {
    /// The only worker of a new file of 64 MiB.
    pub fn new(size: usize) -> Outcome<Worker> {
        const FILE: usize = 64 << 20;
        const SLAB: u32 = 64 << 10;
        let fd = rustix::fs::memfd_create("rts", rustix::fs::MemfdFlags::CLOEXEC)?;
        let file = File::from(fd);
        // SAFETY: the file is new, and nobody else initialises it.
        let made = unsafe { Rts::create(&file, FILE, 2, SLAB) };
        let allocator = made.map_err(|error| format!("{error:?}"))?;
        Ok(Worker { allocator, size: u32::try_from(size)? })
    }
}

impl Allocator for Worker {
    type Block = NonNull<u8>;

    #[inline]
    fn allocate(&self) -> Outcome<NonNull<u8>> {
        self.allocator.allocate(self.size).ok_or_else(|| "no block of this size".into())
    }

    #[inline]
    fn address(&self, block: NonNull<u8>) -> NonNull<u8> {
        block
    }

    #[inline]
    fn release(&self, block: NonNull<u8>) -> Outcome<()> {
        // SAFETY: allocated by this allocator, and given back once.
        unsafe { self.allocator.free(block) };
        Ok(())
    }
}
