//! A heap of a few cells: each change of hands with the steps that `shm_core`'s heap has, and its
//! recovery, which anybody runs, in which anybody may be killed.

use shm_core::primitive::{AtomicU64, Ordering, UnsafeCell};
use shm_core::{Owner, Peers};

use crate::mailbox::shared::{Cells, Content};
use crate::models::group::Member;

const EMPTY: u64 = 0;
const INCOMING: u64 = 1;
const FULL: u64 = 2;
const LEASED: u64 = 3;
const DONE: u64 = 4;
const KIND: u64 = 7;
/// Beside the kind: the line, and the block.
const LINE_SHIFT: u32 = 8;
const BLOCK_SHIFT: u32 = 16;

/// In a line's word.
const LIVE: u64 = 0;
const SWEPT: u64 = 255;

/// Cells, lines (one a member), and blocks, each of which is used once.
pub(super) struct Heap {
    cells: Vec<AtomicU64>,
    lines: Vec<AtomicU64>,
    /// Where each block is published: the cell, plus one.
    homes: Vec<AtomicU64>,
    blocks: Vec<UnsafeCell<u32>>,
}

fn word(kind: u64, line: usize, block: usize) -> u64 {
    kind | (line as u64) << LINE_SHIFT | (block as u64) << BLOCK_SHIFT
}

fn block_in(word: u64) -> usize {
    (word >> BLOCK_SHIFT) as usize
}

impl Heap {
    pub(super) fn new(cells: usize, lines: usize) -> Heap {
        let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let blocks = (0..BLOCKS).map(|_| UnsafeCell::new(0)).collect();
        Heap { cells: words(cells), lines: words(lines), homes: words(BLOCKS), blocks }
    }

    /// As if one of that line had begun to put a block in, and another were about to clear it up, and
    /// were stopped.
    pub(super) fn is_left_unsettled(&self, cell: usize, line: usize, by: usize) {
        // Relaxed: nobody else is there yet.
        self.cells[cell].store(word(INCOMING, line, 0), Ordering::Relaxed);
        // Relaxed: as above.
        self.lines[line].store(by as u64 + 1, Ordering::Relaxed);
    }

    /// As if it had been put in and not been handed over.
    pub(super) fn is_left_full(&self, cell: usize, line: usize) {
        // Relaxed: nobody else is there yet.
        self.cells[cell].store(word(FULL, line, 0), Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        // Relaxed: looked at in the end.
        self.cells.iter().all(|cell| cell.load(Ordering::Relaxed) == EMPTY)
    }
}

const BLOCKS: usize = 6;

/// The heap, as one member reaches it.
#[derive(Clone, Copy)]
pub(super) struct ModelCells<'a> {
    pub(super) heap: &'a Heap,
    pub(super) peers: &'a Member,
}

fn owner(line: usize) -> Owner {
    Owner::from_bits(line as u32 + 1).unwrap()
}

impl ModelCells<'_> {
    fn me(self) -> usize {
        self.peers.me().unwrap().index()
    }

    /// A new block, and what is written in it.
    pub(super) fn write(self, block: usize) -> usize {
        self.heap.blocks[block].with_mut(|at| {
            // SAFETY: the block is this thread's until it is put into a cell.
            unsafe { at.write(block as u32) }
        });
        block
    }

    pub(super) fn read(self, block: usize) -> u32 {
        self.heap.blocks[block].with(|at| {
            // SAFETY: the block is in this thread's hand.
            unsafe { at.read() }
        })
    }

    fn look(self, index: usize) -> Content {
        // Relaxed: as the heap looks.
        match self.heap.cells[index].load(Ordering::Relaxed) & KIND {
            EMPTY => Content::Empty,
            FULL => Content::Full,
            _ => Content::Unsettled,
        }
    }

    /// Clears up after every line whose member is gone.
    pub(super) fn recover(self) {
        for line in 0..self.heap.lines.len() {
            let word = &self.heap.lines[line];
            // Acquire: what an earlier recoverer did.
            let seen = word.load(Ordering::Acquire);
            let is_mine_to_claim = match seen {
                SWEPT => false,
                LIVE => self.peers.is_gone(owner(line)),
                by => self.peers.is_gone(owner(by as usize - 1)),
            };
            let claimed = self.me() as u64 + 1;
            let (ok, lost) = (Ordering::AcqRel, Ordering::Relaxed);
            if is_mine_to_claim && word.compare_exchange(seen, claimed, ok, lost).is_ok() {
                (0..self.heap.cells.len()).for_each(|cell| self.leave(cell, line));
                // Release: the cells come before.
                word.store(SWEPT, Ordering::Release);
            }
        }
    }

    fn leave(self, index: usize, line: usize) {
        let cell = &self.heap.cells[index];
        // Relaxed: while it names the dead line, only we write it.
        let seen = cell.load(Ordering::Relaxed);
        let (kind, of) = (seen & KIND, (seen >> LINE_SHIFT & 0xff) as usize);
        if of != line || !matches!(kind, INCOMING | LEASED | DONE) {
            return;
        }
        let block = block_in(seen);
        // Relaxed: the dead one's word came with the proof.
        let home = self.heap.homes[block].load(Ordering::Relaxed);
        let is_there = kind == LEASED || kind == INCOMING && home == index as u64 + 1;
        let left = if is_there { word(FULL, 0, block) } else { EMPTY };
        // Release: as the heap's recovery.
        cell.store(left, Ordering::Release);
    }
}

impl Cells for ModelCells<'_> {
    type Block = usize;
    type Lease = usize;

    fn settle(&self, index: usize) -> Content {
        if self.look(index) == Content::Unsettled {
            self.recover();
        }
        self.look(index)
    }

    fn put(&self, index: usize, block: usize) -> Result<(), usize> {
        let cell = &self.heap.cells[index];
        let incoming = word(INCOMING, self.me(), block);
        let (ok, lost) = (Ordering::Release, Ordering::Relaxed);
        if cell.compare_exchange(EMPTY, incoming, ok, lost).is_err() {
            return Err(block);
        }
        self.heap.homes[block].store(index as u64 + 1, Ordering::Release);
        // Release: what was written into the block is seen.
        cell.store(word(FULL, 0, block), Ordering::Release);
        Ok(())
    }

    fn clear(&self, index: usize) {
        if self.lease(index).is_some() {
            // Release: as the heap.
            self.heap.cells[index].store(EMPTY, Ordering::Release);
        }
    }

    fn lease(&self, index: usize) -> Option<usize> {
        let cell = &self.heap.cells[index];
        // Relaxed: the exchange decides.
        let seen = cell.load(Ordering::Relaxed);
        let leased = word(LEASED, self.me(), block_in(seen));
        let (ok, lost) = (Ordering::AcqRel, Ordering::Relaxed);
        let is_full = seen & KIND == FULL;
        (is_full && cell.compare_exchange(seen, leased, ok, lost).is_ok())
            .then(|| self.put_in_hand(index, seen))
    }

    fn acknowledge(&self, lease: usize) {
        let (index, block) = (lease >> 8, lease & 0xff);
        let cell = &self.heap.cells[index];
        // Release: as the heap's steps.
        cell.store(word(DONE, self.me(), block), Ordering::Release);
        // Release: as above.
        cell.store(EMPTY, Ordering::Release);
    }
}

impl ModelCells<'_> {
    fn put_in_hand(self, index: usize, full: u64) -> usize {
        index << 8 | block_in(full)
    }
}
