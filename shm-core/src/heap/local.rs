//! A thread's place in a heap, and the blocks that it holds.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::cell::Cell;
use super::class::{self, LARGE_AT, SPAN, TABLE};
use super::front::Front;
use super::memory::Ground;
use super::run;
use super::span::free_into;
use super::steps::{self, Held};
use super::words::{BlockId, CellId, Desc, Slot};
use super::{Heap, not_freed};
use crate::primitive::Ordering;
use crate::{Error, Group, Peers};

/// The largest alignment: blocks of large runs begin on a page.
const MAX_ALIGN: usize = LARGE_AT as usize;
/// What sizes that are multiples of it are aligned to.
const LINE_ALIGN: usize = 64;

/// A thread's place in a heap: what it allocates and frees with.
///
/// Made by [`Heap::local`]; it stays on its thread. When it is dropped, its spans are given up:
/// empty ones to everybody, the others to whoever allocates such sizes next.
///
/// A thread that is ended from outside, and alone, keeps its place until its process ends.
pub struct Local<P: Peers + Clone = Group> {
    heap: Heap<P>,
    /// Reached by one method at a time: see [`Local::front`].
    front: UnsafeCell<Front>,
    /// The line is one thread's.
    not_send: PhantomData<*mut ()>,
}

impl<P: Peers + Clone> Local<P> {
    pub(super) fn new(heap: Heap<P>, front: Front) -> Self {
        Local { heap, front: UnsafeCell::new(front), not_send: PhantomData }
    }

    /// The heap.
    #[must_use]
    pub fn heap(&self) -> &Heap<P> {
        &self.heap
    }

    /// Runs `f` on what only this thread reaches. `f` runs none of the user's code.
    #[inline(always)]
    pub(super) fn front<R>(&self, f: impl FnOnce(&mut Front) -> R) -> R {
        // SAFETY: `Local` is neither `Send` nor `Sync`, so this is the only thread here; no `f`
        // calls back into it, so this is the only reference.
        f(unsafe { &mut *self.front.get() })
    }

    #[inline(always)]
    pub(super) fn is_ours(&self) -> bool {
        self.heap.peers().me().is_some()
    }

    pub(super) fn line(&self) -> usize {
        self.front(|front| front.line)
    }

    /// A new block, which is this thread's: dropped, it is free again, and so it is when the
    /// process is killed.
    ///
    /// Its bytes are what they were: another block's, or zeros. Progress: wait-free but for a
    /// search for a span, about every 64 KiB. Cost: some 10 ns with its free.
    ///
    /// # Errors
    /// [`Error::HeapFull`]; [`Error::BadAlignment`] above 4096; [`Error::Inherited`] in a forked
    /// child.
    #[inline(always)]
    pub fn allocate(&self, layout: Layout) -> Result<Block<'_, P>, Error> {
        if !self.is_ours() {
            return Err(Error::Inherited);
        }
        let memory = self.heap.memory();
        let held = common_class_of(layout)
            .and_then(|class| self.front(|front| front.allocate_held(memory, class)));
        let held = match held {
            Some(held) => held,
            None => self.allocate_slowly(layout)?,
        };
        Ok(Block { local: self, held })
    }

    /// The same of any layout, and when the word of A that blocks come from has none left.
    #[inline(never)]
    fn allocate_slowly(&self, layout: Layout) -> Result<Held, Error> {
        let (memory, peers) = (self.heap.memory(), self.heap.peers());
        self.front(|front| {
            let class = class_of(layout)?;
            let entry = front.take_entry(memory, peers)?;
            let held = match class {
                Some(class) => front.allocate(memory, peers, class, entry),
                None => front.allocate_large(memory, peers, layout.size() as u64, entry),
            };
            if held.is_err() {
                front.return_entry(entry);
            }
            held
        })
    }

    /// A new block that is nobody's: its offset from the heap's start. If the process is killed
    /// before it is freed, it is lost.
    ///
    /// For other allocators to build on, and for memory that is reached by other means than cells.
    /// Prefer [`allocate`](Local::allocate).
    ///
    /// # Errors
    /// Those of [`allocate`](Local::allocate).
    #[inline(always)]
    pub fn allocate_raw(&self, layout: Layout) -> Result<u64, Error> {
        if !self.is_ours() {
            return Err(Error::Inherited);
        }
        let memory = self.heap.memory();
        if let Some(class) = common_class_of(layout)
            && let Some(held) = self.front(|front| front.allocate_now(memory, class, CellId::NONE))
        {
            return Ok(memory.handle(held.block, held.stamp));
        }
        self.allocate_raw_slowly(layout)
    }

    /// As [`allocate_slowly`](Local::allocate_slowly).
    #[inline(never)]
    fn allocate_raw_slowly(&self, layout: Layout) -> Result<u64, Error> {
        let (memory, peers) = (self.heap.memory(), self.heap.peers());
        let held = self.front(|front| match class_of(layout)? {
            Some(class) => front.allocate(memory, peers, class, CellId::NONE),
            None => front.allocate_large(memory, peers, layout.size() as u64, CellId::NONE),
        })?;
        Ok(memory.handle(held.block, held.stamp))
    }

    /// Frees a block by its offset, whoever allocated it.
    ///
    /// An offset where no block begins and a block that is free are refused. A block that was freed
    /// and is another's by now can not be told from that one's, but by a
    /// [hardened](super::HeapOptions::hardened) heap.
    ///
    /// # Errors
    /// [`Error::NotABlock`], [`Error::NotAllocated`], [`Error::StaleBlock`]; [`Error::Inherited`].
    ///
    /// # Safety
    /// - The block was made the caller's by [`Block::into_raw`] or
    ///   [`allocate_raw`](Local::allocate_raw), and nobody uses it any more.
    #[inline(always)]
    pub unsafe fn free_raw(&self, offset: u64) -> Result<(), Error> {
        let memory = self.heap.memory();
        if self.is_ours()
            && let Some(span) = memory.span_by_offset(offset)
        {
            // Relaxed: as in `Front::free`.
            let desc = Desc(memory.desc(span).load(Ordering::Relaxed));
            let span = (memory.span_at(span), desc);
            let freed = if self.front(|front| front.owns(desc)) {
                self.front(|front| front.free_here(memory, span, offset))
            } else {
                free_into(memory, span, offset)
            };
            if freed {
                return Ok(());
            }
        }
        self.free_raw_slowly(offset)
    }

    /// The same of runs, of the last block in a span, of a hardened heap, and of mistakes.
    #[inline(never)]
    fn free_raw_slowly(&self, offset: u64) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Error::Inherited);
        }
        let block = self.heap.memory().claim_raw(offset)?;
        let freed = self.front(|front| front.free(self.heap.memory(), block));
        freed.map_err(|why| not_freed(why, offset))
    }

    /// Takes a block that is nobody's into this thread's hands: the reverse of
    /// [`Block::into_raw`].
    ///
    /// # Errors
    /// [`Error::NotABlock`]; [`Error::HeapFull`] when there is no place to note it;
    /// [`Error::Inherited`].
    ///
    /// # Safety
    /// - The block was made the caller's by [`Block::into_raw`] or
    ///   [`allocate_raw`](Local::allocate_raw), and nobody else uses it.
    pub unsafe fn adopt_raw(&self, offset: u64) -> Result<Block<'_, P>, Error> {
        if !self.is_ours() {
            return Err(Error::Inherited);
        }
        let memory = self.heap.memory();
        let block = memory.claim_raw(offset)?;
        let place = steps::place_of(memory, block).ok_or(Error::NotABlock { offset })?;
        let entry = self.take_entry()?;
        Ok(Block { local: self, held: steps::adopt(memory, block, CellId::at(place.home), entry) })
    }

    /// Gives the memory of free spans back to the system; how many bytes at most. Large blocks'
    /// memory goes back by itself when they are freed.
    ///
    /// Nothing is given back of a named segment: its memory was taken when it was made, so that it
    /// can not run out. Cost: a system call for each free span.
    pub fn trim(&self) -> u64 {
        if !self.is_ours() {
            return 0;
        }
        let memory = self.heap.memory();
        self.front(|front| {
            front.give_up_empty(memory);
            (0..memory.spans()).map(|span| run::trim(memory, span, front.line)).sum()
        })
    }

    pub(super) fn take_entry(&self) -> Result<CellId, Error> {
        self.front(|front| front.take_entry(self.heap.memory(), self.heap.peers()))
    }

    pub(super) fn return_entry(&self, entry: CellId) {
        self.front(|front| front.return_entry(entry));
    }
}

/// The class for a layout that needs no care.
#[inline(always)]
fn common_class_of(layout: Layout) -> Option<usize> {
    if layout.align() <= 16 { class::of_size(layout.size()) } else { None }
}

/// The class for a layout; `None` for a run of spans.
fn class_of(layout: Layout) -> Result<Option<usize>, Error> {
    let (size, align) = (layout.size(), layout.align());
    if align <= 16 {
        return Ok(class::of_size(size));
    }
    if align > MAX_ALIGN {
        return Err(Error::BadAlignment { align, most: MAX_ALIGN });
    }
    if align > LINE_ALIGN {
        return Ok(None);
    }
    Ok(size.max(1).checked_next_multiple_of(LINE_ALIGN).and_then(class::of_size))
}

impl<P: Peers + Clone> Drop for Local<P> {
    fn drop(&mut self) {
        if self.is_ours() {
            self.heap.return_line(self.front.get_mut());
        }
    }
}

impl<P: Peers + Clone> fmt::Debug for Local<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("line", &self.line()).finish_non_exhaustive()
    }
}

/// A block of a heap that one thread holds: private, and given back when its process dies.
///
/// Dropping it frees it. [`publish`](Block::publish) hands it over.
#[must_use = "a block that is dropped is free again"]
pub struct Block<'l, P: Peers + Clone = Group> {
    local: &'l Local<P>,
    held: Held,
}

impl<'l, P: Peers + Clone> Block<'l, P> {
    pub(super) fn new(local: &'l Local<P>, held: Held) -> Self {
        Block { local, held }
    }

    /// Where the block begins in this process: aligned as was asked for.
    #[inline]
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        let pointer = self.local.heap.memory().pointer(self.offset());
        // A mapping is never at address zero.
        NonNull::new(pointer).unwrap_or(NonNull::dangling())
    }

    /// Where the block begins, from the heap's start: the same in every process.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.held.block.offset()
    }

    /// Bytes in the block: at least what was asked for.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of_block(self.local.heap(), self.held.block)
    }

    /// The block's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block is ours alone until it is published, and any bytes are valid `u8`.
        unsafe { std::slice::from_raw_parts(self.as_ptr().as_ptr(), self.size()) }
    }

    /// The block's bytes, for writing.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr().as_ptr(), self.size()) }
    }

    /// Hands the block over to whoever takes it out of the cell. What was written into it is seen
    /// by the taker.
    ///
    /// Linearization point: the store to the block's home word. A process that is killed before it
    /// has published nothing, and after it has published. Another process that finds the cell
    /// between a publisher's death and its recovery finds it neither full nor empty. Progress:
    /// wait-free. Cost: one compare-and-swap.
    ///
    /// # Errors
    /// Gives the block back if the cell is not empty.
    #[inline]
    pub fn publish(self, cell: Cell<'_, P>) -> Result<(), Self> {
        let Block { local, held } = self;
        if !local.is_ours() || !cell.is_of(&local.heap) {
            return Err(self);
        }
        let published = local.front(|front| {
            let published = steps::publish(local.heap.memory(), front.line, held, cell.id());
            if published {
                front.return_entry(held.entry);
            }
            published
        });
        if !published {
            return Err(self);
        }
        std::mem::forget(self);
        Ok(())
    }

    /// Makes the block the caller's to free ([`Local::free_raw`]) or to lose: no recovery gives it
    /// back from now on. Its offset from the heap's start.
    #[must_use = "a block whose offset is lost is lost"]
    pub fn into_raw(self) -> u64 {
        let mut offset = self.offset();
        if self.local.is_ours() {
            let memory = self.local.heap.memory();
            let stamp = steps::forget(memory, self.held);
            offset = memory.handle(self.held.block, stamp);
            self.local.return_entry(self.held.entry);
        }
        std::mem::forget(self);
        offset
    }
}

/// Bytes in a block that is in use.
pub(super) fn size_of_block<P: Peers + Clone>(heap: &Heap<P>, block: BlockId) -> usize {
    let memory = heap.memory();
    // Relaxed: the span stays what it is while the block is in use.
    let desc = memory.span_of(block).map(|span| Desc(memory.desc(span).load(Ordering::Relaxed)));
    desc.map_or(0, |desc| match TABLE.get(desc.class()) {
        Some(cut) => cut.size as usize,
        None => (desc.argument() * SPAN).saturating_sub(LARGE_AT) as usize,
    })
}

impl<P: Peers + Clone> Drop for Block<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        let local = self.local;
        if !local.is_ours() {
            return;
        }
        let (memory, held) = (local.heap.memory(), self.held);
        local.front(|front| {
            // Fails for a block that somebody else has freed: nothing is left to do.
            let _ = front.free_held(memory, held);
            // Release: the free comes before.
            memory.at(held.entry.offset()).store(Slot::EMPTY.0, Ordering::Release);
            front.return_entry(held.entry);
        });
    }
}

impl<P: Peers + Clone> fmt::Debug for Block<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("offset", &self.offset()).field("size", &self.size()).finish()
    }
}
