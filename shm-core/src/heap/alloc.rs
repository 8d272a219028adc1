//! The heap for library authors: pointers in place of blocks, and the `Allocator` of other crates.

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::block_at;
use super::local::{Block, Local};
use super::memory::Ground;
use super::steps::{self, Held};
use super::words::{CellId, Home, Slot};
use crate::primitive::Ordering;
use crate::{Error, Peers};

impl<P: Peers + Clone> Local<P> {
    /// A new block by its address in this process: [`GlobalAlloc::alloc`](std::alloc::GlobalAlloc)
    /// with reasons.
    ///
    /// The block is held by this thread as a [`Block`] is: it comes back when the process is
    /// killed. To hand it to others, make it one again: [`block_of`](Local::block_of).
    ///
    /// Cost: that of [`allocate`](Local::allocate).
    ///
    /// # Errors
    /// Those of [`allocate`](Local::allocate).
    ///
    /// ```
    /// # use shm_core::heap::{Heap, HeapOptions};
    /// # use shm_core::{Group, Segment};
    /// # use std::alloc::Layout;
    /// # let segment = Segment::anonymous(4 << 20)?;
    /// # let group = Group::anonymous()?;
    /// # let heap = Heap::create(&segment, &group, HeapOptions::default())?;
    /// let local = heap.local()?;
    /// let layout = Layout::new::<[u64; 4]>();
    /// let pointer = local.alloc(layout)?;
    /// // SAFETY: allocated a line above, with this layout, and not used any more.
    /// unsafe { local.dealloc(pointer, layout) }?;
    /// # Ok::<(), shm_core::Error>(())
    /// ```
    #[inline]
    pub fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, Error> {
        Ok(ManuallyDrop::new(self.allocate(layout)?).as_ptr())
    }

    /// Frees a block that [`alloc`](Local::alloc) of this thread's `Local` gave.
    ///
    /// # Errors
    /// [`Error::NotABlock`] for what is no block of this heap, or too small for the layout;
    /// [`Error::NotAllocated`] for a block that this thread does not hold (any more);
    /// [`Error::Inherited`].
    ///
    /// # Safety
    /// - The block came from [`alloc`](Local::alloc) of this `Local`, with that layout, and nobody
    ///   uses it any more.
    #[inline]
    pub unsafe fn dealloc(&self, pointer: NonNull<u8>, layout: Layout) -> Result<(), Error> {
        // SAFETY: the caller's word.
        let block = unsafe { self.block_of(pointer) }?;
        if block.size() < layout.size() {
            return Err(Error::NotABlock { offset: ManuallyDrop::new(block).offset() });
        }
        drop(block);
        Ok(())
    }

    /// The block that begins at an address, as the value that holds it: to publish what was
    /// allocated by address. From here on the block is freed by dropping it.
    ///
    /// # Errors
    /// Those of [`dealloc`](Local::dealloc).
    ///
    /// # Safety
    /// - The block came from [`alloc`](Local::alloc) of this `Local`, and nobody else frees it or
    ///   makes it a [`Block`].
    #[inline]
    pub unsafe fn block_of(&self, pointer: NonNull<u8>) -> Result<Block<'_, P>, Error> {
        if !self.is_ours() {
            return Err(Error::Inherited);
        }
        let memory = self.heap().memory();
        let address = Error::NotABlock { offset: pointer.addr().get() as u64 };
        let Some(offset) = self.heap().offset_of(pointer) else { return Err(address) };
        let block = block_at(offset)?;
        let Some(place) = steps::place_of(memory, block) else {
            return Err(Error::NotABlock { offset });
        };
        // Relaxed: our own words, if it is ours.
        let home = Home(memory.at(place.home).load(Ordering::Relaxed));
        let (entry, stamp) = (home.cell(), home.stamp());
        let held = memory.cell(entry).map(|word| word.load(Ordering::Relaxed));
        if held != Some(Slot::held(block, stamp).0) || !self.front(|f| f.has_entry(memory, entry)) {
            return Err(Error::NotAllocated { offset });
        }
        let home = CellId::at(place.home);
        Ok(Block::new(self, Held { entry, block, stamp, home }))
    }
}

#[cfg(feature = "allocator-api2")]
mod api {
    use allocator_api2::alloc::{AllocError, Allocator};

    use super::*;

    // SAFETY: a block stays where it is until it is freed, in whatever place the `Local` is moved
    // to; it is mapped as long as the `Local` lives, and aligned and sized as asked for.
    unsafe impl<P: Peers + Clone> Allocator for Local<P> {
        #[inline]
        fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
            let block = Local::allocate(self, layout).map_err(|_| AllocError)?;
            let block = ManuallyDrop::new(block);
            Ok(NonNull::slice_from_raw_parts(block.as_ptr(), block.size()))
        }

        /// What cannot be freed (in a forked child, or after a mistake) stays.
        #[inline]
        unsafe fn deallocate(&self, pointer: NonNull<u8>, layout: Layout) {
            // SAFETY: the caller's word.
            let _ = unsafe { self.dealloc(pointer, layout) };
        }
    }
}
