//! Shared references: one value, many holders in many processes, freed with the last.

// Orderings: Relaxed for what is shown to people; what the protocol needs is in `steps`.

mod counts;
mod free;
mod handle;
#[cfg(all(test, loom))]
mod models;
mod steps;
mod table;
#[cfg(feature = "serde")]
mod wire;
mod words;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

pub use handle::{Arc, Flight};
#[cfg(feature = "serde")]
pub use wire::sent_to;

use crate::heap::{Heap, Local};
use crate::primitive::{AtomicU64, Ordering};
use crate::{Error, Group, Owner, Peers, Watch};
use counts::Counts;
use free::Free;
use steps::Claimed;
use table::{InHeap, MOST, SEATS_AT, TABLES, Tables};
use words::{FLIGHTS, SEATS, seat_bit};

/// This process's place among those that share values of a heap: what [`Arc`]s are made with.
///
/// One for each heap and process. Clones are the same place; it is given up with the last clone and
/// the last [`Arc`].
///
/// # What it promises
/// Any process may be killed at any instruction. A value lives as long as anybody holds a reference
/// or one is on its way, and is freed once. What a dead process held is released once its death is
/// proven, by whoever notices: when the group tells of it, when a value is made and an earlier
/// recovery could not be finished, and by [`recover`](Arcs::recover). Protocol, kill points and
/// orderings: the page on shared references in the book.
///
/// # Windows
/// A process that is *stopped* while it makes one of the heap's four tables, some instructions long,
/// delays whoever needs that table; one stopped while it recovers, what the dead one held.
///
/// # Limits
/// 48 holders, 16 references to one value on their way at once, 74,880 values. It takes four of the
/// heap's roots, and one of its threads for each process.
///
/// ```
/// use shm_core::data::{Arc, Arcs};
/// use shm_core::heap::{Heap, HeapOptions};
/// use shm_core::{Group, Segment};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// let (segment, group) = (Segment::anonymous(4 << 20)?, Group::anonymous()?);
/// let heap = Heap::create(&segment, &group, HeapOptions::default())?;
/// let arcs = Arcs::open(&heap)?;
///
/// let hits = Arc::new(&arcs, AtomicU64::new(0))?;
/// let flight = hits.send(None)?; // 16 plain bytes, for any queue
/// // In another process of the group, which has opened the same heap:
/// let theirs = Arc::<AtomicU64>::receive(&arcs, flight)?;
/// theirs.fetch_add(1, Relaxed);
/// assert_eq!(hits.load(Relaxed), 1);
/// # Ok::<(), shm_core::Error>(())
/// ```
pub struct Arcs<P: Peers + Clone = Group> {
    inner: std::sync::Arc<Inner<P>>,
}

/// What all handles of one process share.
struct Inner<P: Peers + Clone> {
    heap: Heap<P>,
    tables: Tables,
    me: Owner,
    seat: usize,
    counts: Counts,
    state: Mutex<State<P>>,
    /// A recovery has to be tried again.
    pending: AtomicBool,
    watch: OnceLock<Watch>,
}

/// What one thread at a time reaches.
struct State<P: Peers + Clone> {
    local: Local<P>,
    free: Free,
}

// SAFETY: what keeps a `Local` on its thread is that one thread at a time may use it; the state lies
// in a mutex, and nothing in it belongs to the thread that made it.
unsafe impl<P: Peers + Clone + Send> Send for State<P> {}

impl Arcs<Group> {
    /// This process's place among those that share values of the heap.
    ///
    /// Cost: some microseconds, the first of all processes a block of 19 KB.
    ///
    /// # Errors
    /// [`Error::TooManyHolders`]; [`Error::TooManyRoots`]; those of [`Heap::local`] and of
    /// [`Local::allocate`].
    pub fn open(heap: &Heap) -> Result<Arcs, Error> {
        #[cfg(feature = "serde")]
        if let Some(known) = wire::known(heap) {
            return Ok(known);
        }
        let arcs = Arcs::open_for(heap)?;
        let weak = std::sync::Arc::downgrade(&arcs.inner);
        let watch = heap.peers().on_death(move |_| {
            if let Some(inner) = weak.upgrade() {
                inner.recover(&inner.state().local);
            }
        });
        let _ = arcs.inner.watch.set(watch);
        #[cfg(feature = "serde")]
        wire::register(&arcs);
        Ok(arcs)
    }
}

impl<P: Peers + Clone> Arcs<P> {
    /// The same as [`open`](Arcs::open) for other [`Peers`] than a group: nobody tells of deaths.
    ///
    /// # Errors
    /// Those of [`open`](Arcs::open).
    pub fn open_for(heap: &Heap<P>) -> Result<Arcs<P>, Error> {
        let me = heap.peers().me().ok_or(Error::Inherited)?;
        let local = heap.local()?;
        let tables = Tables::default();
        let first = tables.make(&local, 0)?;
        let mut seated = steps::take_seat(|seat| seat_word(heap, first, seat), me);
        if seated.is_none() {
            // All are taken, some perhaps by the dead.
            recover(&tables, &local, me);
            seated = steps::take_seat(|seat| seat_word(heap, first, seat), me);
        }
        let seat = seated.ok_or(Error::TooManyHolders { max: SEATS })?;
        let mut free = Free::default();
        free.learn(&tables, &local)?;
        let state = Mutex::new(State { local, free });
        let (heap, counts) = (heap.clone(), Counts::default());
        let (pending, watch) = (AtomicBool::new(false), OnceLock::new());
        let inner = Inner { heap, tables, me, seat, counts, state, pending, watch };
        Ok(Arcs { inner: std::sync::Arc::new(inner) })
    }

    /// The heap.
    #[must_use]
    pub fn heap(&self) -> &Heap<P> {
        &self.inner.heap
    }

    /// Releases what processes that are gone held and had on its way; whether nothing is left for
    /// later, because somebody else is still clearing up after them.
    ///
    /// There is no need to call it. Cost: a look at every slot, 144 bytes each.
    pub fn recover(&self) -> bool {
        let inner = &self.inner;
        inner.is_ours() && inner.recover(&inner.state().local)
    }

    /// How many values there are, and how many references to them are on their way: of a moment,
    /// while others go on.
    #[must_use]
    pub fn stats(&self) -> ArcStats {
        let mut stats = ArcStats::default();
        for range in self.inner.tables.slots(self.heap()).unwrap_or_default() {
            for at in range.used() {
                // Relaxed: a count for people.
                let mask = self.heap().word(at).load(Ordering::Relaxed);
                stats.values += u64::from(mask != 0);
                stats.on_their_way += u64::from((mask >> SEATS).count_ones());
            }
        }
        stats
    }
}

/// What [`Arcs::stats`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArcStats {
    /// Values that somebody holds, or that are on their way to somebody.
    pub values: u64,
    /// References that were sent and not received yet.
    pub on_their_way: u64,
}

fn seat_word<P: Peers + Clone>(heap: &Heap<P>, first: u64, seat: usize) -> &AtomicU64 {
    heap.word(first + SEATS_AT + (seat % SEATS) as u64 * 8)
}

/// Releases what everybody who is gone held and had on its way; `false`: something is left, because
/// another is still clearing up in the heap, or there is no table to be had.
fn recover<P: Peers + Clone>(tables: &Tables, local: &Local<P>, me: Owner) -> bool {
    let heap = local.heap();
    // Blocks are in cells, or freed: nobody is in the middle of it.
    heap.recover();
    let settled = |owner| !heap.names(owner);
    let us = (heap.peers(), me);
    let (Ok(Some(first)), Ok(ranges)) = (tables.find(heap, 0), tables.slots(heap)) else {
        return false;
    };
    let slots = || ranges.iter().flat_map(|range| range.used());
    let mut whole = true;
    for at in slots() {
        for flight in 0..FLIGHTS {
            let slot = InHeap { local, at };
            whole &= steps::settle(&slot, flight, us, settled) != Claimed::Later;
        }
    }
    for seat in 0..SEATS {
        let word = seat_word(heap, first, seat);
        let claimed = steps::claim_seat(word, us, settled);
        whole &= claimed != Claimed::Later;
        if claimed == Claimed::Yes {
            slots().for_each(|at| steps::release(&InHeap { local, at }, seat_bit(seat)));
            steps::leave_seat(word);
        }
    }
    whole
}

impl<P: Peers + Clone> Inner<P> {
    fn is_ours(&self) -> bool {
        self.heap.peers().me() == Some(self.me)
    }

    fn state(&self) -> MutexGuard<'_, State<P>> {
        // A panic under this lock leaves whole what it guards: single steps only.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recover(&self, local: &Local<P>) -> bool {
        let whole = recover(&self.tables, local, self.me);
        // Relaxed: a mark for ourselves.
        self.pending.store(!whole, Ordering::Relaxed);
        whole
    }

    /// A slot that nobody has becomes ours: its number, and where it lies.
    #[inline]
    fn claim(&self, local: &Local<P>, free: &mut Free) -> Result<(u32, u64), Error> {
        // Relaxed: a mark for ourselves.
        if self.pending.load(Ordering::Relaxed) {
            self.recover(local);
        }
        match free.claim(local, seat_bit(self.seat)) {
            Some(found) => Ok(found),
            None => self.claim_slowly(local, free),
        }
    }

    /// The same when all slots that we know of are taken.
    #[cold]
    fn claim_slowly(&self, local: &Local<P>, free: &mut Free) -> Result<(u32, u64), Error> {
        let mine = seat_bit(self.seat);
        self.recover(local);
        free.learn(&self.tables, local)?;
        if let Some(found) = free.claim(local, mine) {
            return Ok(found);
        }
        let missing = (1..).find_map(|table| match self.tables.find(&self.heap, table) {
            Ok(Some(_)) => None,
            other => Some(other.map(|_| table)),
        });
        let table = missing.unwrap_or(Ok(TABLES))?;
        if table >= TABLES {
            return Err(Error::TooManyValues { max: MOST });
        }
        self.tables.make(local, table)?;
        free.learn(&self.tables, local)?;
        free.claim(local, mine).ok_or(Error::TooManyValues { max: MOST })
    }
}

impl<P: Peers + Clone> Drop for Inner<P> {
    fn drop(&mut self) {
        // Every handle keeps us: there is none. What is on its way from us names our stay.
        if let (true, Ok(Some(first))) = (self.is_ours(), self.tables.find(&self.heap, 0)) {
            steps::leave_seat(seat_word(&self.heap, first, self.seat));
        }
    }
}

impl<P: Peers + Clone> Clone for Arcs<P> {
    fn clone(&self) -> Self {
        Arcs { inner: std::sync::Arc::clone(&self.inner) }
    }
}

impl<P: Peers + Clone> fmt::Debug for Arcs<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arcs").field("seat", &self.inner.seat).finish_non_exhaustive()
    }
}
