//! rts-alloc, the other shared allocator in Rust: sizes from 256 to 4,096 bytes.

use std::fs::File;
use std::ptr::NonNull;

use method::{Outcome, Promise};
use rts_alloc::Allocator as Rts;

use crate::loads::Front;
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

/// A file of it that threads join, each as a worker of its own.
#[derive(Debug)]
pub struct SharedFile(File);

/// One of its workers. Blocks are named by their place in the file, which each maps for itself.
pub struct Joined(Rts);

impl SharedFile {
    /// A new one.
    pub fn new() -> Outcome<SharedFile> {
        const FILE: usize = 64 << 20;
        const WORKERS: u32 = 8;
        const SLAB: u32 = 64 << 10;
        let fd = rustix::fs::memfd_create("rts", rustix::fs::MemfdFlags::CLOEXEC)?;
        let file = File::from(fd);
        // SAFETY: the file is new, and nobody else initialises it.
        let made = unsafe { Rts::create(&file, FILE, WORKERS, SLAB) };
        made.map_err(|error| format!("{error:?}"))?;
        Ok(SharedFile(file))
    }

    /// A worker for the calling thread.
    pub fn join(&self) -> Outcome<Joined> {
        Ok(Joined(Rts::join(&self.0).map_err(|error| format!("{error:?}"))?))
    }
}

impl Front for Joined {
    type Block = usize;

    #[inline]
    fn allocate(&self, size: usize) -> Outcome<usize> {
        let block = self.0.allocate(size as u32).ok_or("no block of this size")?;
        // SAFETY: allocated by this worker just now.
        Ok(unsafe { self.0.offset(block) })
    }

    #[inline]
    fn address(&self, block: usize) -> NonNull<u8> {
        // SAFETY: the place of a block that is live.
        unsafe { self.0.ptr_from_offset(block) }
    }

    #[inline]
    fn release(&self, block: usize, _size: usize) -> Outcome<()> {
        // SAFETY: allocated from this file, and given back once.
        unsafe { self.0.free_offset(block) };
        Ok(())
    }
}
