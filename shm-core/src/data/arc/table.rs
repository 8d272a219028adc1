//! Where the words of shared references lie: tables in blocks of the heap, found by four of its roots
//! and never freed, so that every word stays what it is.
//!
//! A table is `mark 8 | slots`, the first `mark 8 | seats 48 × 8 | slots`; a slot is `mask 8 | cell 8 |
//! flights 16 × 8`. No slot at or behind the mark was ever used: sweeps end there.

use std::alloc::Layout;
use std::sync::OnceLock;

use super::steps;
use super::words::{FLIGHTS, SEATS};
use crate::heap::{Cell, Heap, Local};
use crate::primitive::{AtomicU64, Ordering, yield_now};
use crate::{Error, Peers};

/// Slots of each table: a table is made when those before it are full.
pub(super) const SLOTS: [u32; 4] = [128, 1024, 8192, 65536];
/// Values that can be shared at a time.
pub(super) const MOST: u32 = SLOTS[0] + SLOTS[1] + SLOTS[2] + SLOTS[3];
/// How many tables there can be.
pub(super) const TABLES: usize = SLOTS.len();
const NAMES: [&str; 4] =
    ["shm-core arcs 0", "shm-core arcs 1", "shm-core arcs 2", "shm-core arcs 3"];
const SLOT: u64 = 16 + FLIGHTS as u64 * 8;

/// Where the tables are, as far as this process has asked.
#[derive(Debug, Default)]
pub(super) struct Tables([OnceLock<u64>; SLOTS.len()]);

/// Where the first table's seats begin.
pub(super) const SEATS_AT: u64 = 8;

/// Bytes before the slots.
fn before_slots(table: usize) -> u64 {
    SEATS_AT + if table == 0 { SEATS as u64 * 8 } else { 0 }
}

fn size_of(table: usize) -> u64 {
    before_slots(table) + u64::from(SLOTS[table]) * SLOT
}

impl Tables {
    /// The table, if somebody has made it.
    pub fn find<P: Peers + Clone>(
        &self,
        heap: &Heap<P>,
        table: usize,
    ) -> Result<Option<u64>, Error> {
        let Some(known) = self.0.get(table) else { return Ok(None) };
        if let Some(&found) = known.get() {
            return Ok(Some(found));
        }
        let found = heap.root(NAMES[table])?.peek(heap);
        match found {
            Some(offset) if heap.holds(offset, size_of(table)) => {
                Ok(Some(*known.get_or_init(|| offset)))
            }
            Some(_) => Err(Error::BadHeap { what: "its tables of shared values lie in it" }),
            None => Ok(None),
        }
    }

    /// The table, which is made if nobody has.
    pub fn make<P: Peers + Clone>(&self, local: &Local<P>, table: usize) -> Result<u64, Error> {
        let heap = local.heap();
        loop {
            if let Some(found) = self.find(heap, table)? {
                return Ok(found);
            }
            let cell = heap.root(NAMES[table])?;
            if cell.is_empty() {
                let bad = |_| Error::BadHeap { what: "a table fits into it" };
                let layout = Layout::from_size_align(size_of(table) as usize, 16).map_err(bad)?;
                let mut block = local.allocate(layout)?;
                block.bytes_mut().fill(0);
                // Another's was first: this one is freed.
                drop(block.publish(cell));
            } else if !cell.is_full() {
                // In the hands of another, for some instructions; or of a dead one.
                heap.recover();
                yield_now();
            }
        }
    }

    /// Table and place of a slot's number.
    #[inline]
    fn place(&self, slot: u32) -> Option<(usize, u64)> {
        let mut rest = slot;
        for (table, &slots) in SLOTS.iter().enumerate() {
            if rest < slots {
                return Some((table, before_slots(table) + u64::from(rest) * SLOT));
            }
            rest -= slots;
        }
        None
    }

    /// Where the words of a slot begin. `None`: there is no such slot.
    pub fn slot<P: Peers + Clone>(&self, heap: &Heap<P>, slot: u32) -> Result<Option<u64>, Error> {
        let Some((table, place)) = self.place(slot) else { return Ok(None) };
        Ok(self.find(heap, table)?.map(|table| table + place))
    }

    /// The slots of the tables that there are.
    pub fn slots<P: Peers + Clone>(&self, heap: &Heap<P>) -> Result<Vec<Range>, Error> {
        let mut ranges = Vec::new();
        let mut first = 0;
        for (table, &slots) in SLOTS.iter().enumerate() {
            if let Some(at) = self.find(heap, table)? {
                // Relaxed: what the dead have used is seen with the proof of their death.
                let used = heap.word(at).load(Ordering::Relaxed).min(slots.into()) as u32;
                ranges.push(Range { first, slots, used, mark: at, at: at + before_slots(table) });
            }
            first += slots;
        }
        Ok(ranges)
    }
}

/// The slots of one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    first: u32,
    slots: u32,
    used: u32,
    mark: u64,
    at: u64,
}

impl Range {
    fn place(self, index: u32) -> (u32, u64) {
        (self.first + index, self.at + u64::from(index) * SLOT)
    }

    /// Each slot's number, and where it lies, from a slot on.
    pub fn from(self, slot: u32) -> impl Iterator<Item = (u32, u64)> {
        let index = slot.saturating_sub(self.first).min(self.slots);
        (index..self.slots).map(move |index| self.place(index))
    }

    /// Where each slot lies that was ever used.
    pub fn used(self) -> impl Iterator<Item = u64> {
        (0..self.used).map(move |index| self.place(index).1)
    }

    /// Where a slot lies, if it is one of these.
    pub fn at(self, slot: u32) -> Option<u64> {
        let index = slot.checked_sub(self.first).filter(|&index| index < self.slots)?;
        Some(self.place(index).1)
    }

    /// Notes, before it is, that a slot is used.
    pub fn mark<P: Peers + Clone>(self, heap: &Heap<P>, slot: u32) {
        let (mark, behind) = (heap.word(self.mark), u64::from(slot - self.first) + 1);
        // Relaxed: it only grows. Of the store, the claim of the slot is a Release, for recovery.
        if mark.load(Ordering::Relaxed) < behind {
            mark.fetch_max(behind, Ordering::Relaxed);
        }
    }
}

/// The words of a slot in a heap.
pub(super) struct InHeap<'a, P: Peers + Clone> {
    pub local: &'a Local<P>,
    pub at: u64,
}

impl<'a, P: Peers + Clone> InHeap<'a, P> {
    /// Where the value's block is while somebody holds it.
    pub fn cell(&self) -> Result<Cell<'a, P>, Error> {
        // SAFETY: in a table, which is never freed; nothing else uses the word.
        unsafe { self.local.heap().cell_at(self.at + 8) }
    }
}

impl<P: Peers + Clone> steps::Slot for InHeap<'_, P> {
    fn mask(&self) -> &AtomicU64 {
        self.local.heap().word(self.at)
    }

    fn flight(&self, flight: usize) -> &AtomicU64 {
        self.local.heap().word(flight_at(self.at, flight))
    }

    fn free(&self) {
        // A block that there is no entry for stays: whoever claims the slot next frees it.
        let taken = self.cell().and_then(|cell| cell.take(self.local));
        drop(taken);
    }
}

fn flight_at(at: u64, flight: usize) -> u64 {
    at + 16 + (flight % FLIGHTS) as u64 * 8
}

/// The words of a slot in a heap, for whoever cannot be the last to release it.
pub(super) struct Words<'a, P: Peers + Clone> {
    pub heap: &'a Heap<P>,
    pub at: u64,
}

impl<P: Peers + Clone> steps::Slot for Words<'_, P> {
    fn mask(&self) -> &AtomicU64 {
        self.heap.word(self.at)
    }

    fn flight(&self, flight: usize) -> &AtomicU64 {
        self.heap.word(flight_at(self.at, flight))
    }

    fn free(&self) {}
}
