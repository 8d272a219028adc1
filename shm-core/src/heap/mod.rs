//! A heap in shared memory: any process allocates, any process frees, and the dead hold nothing.

// Orderings: Relaxed for the header, which its magic number publishes, and for failed exchanges;
// Release where a line is left: its entries come before.

mod alloc;
mod cell;
mod class;
mod front;
mod hardened;
mod line;
mod local;
mod memory;
#[cfg(all(test, loom))]
mod models;

mod reach;
mod recover;
mod run;
mod span;
mod steps;
mod validate;
mod words;

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use cell::{Cell, Lease};
pub use local::{Block, Local};
pub use validate::HeapStats;

use crate::primitive::Ordering;
use crate::{Error, Group, Peers, Segment, SegmentId, Watch};
use front::Front;
use memory::{Geometry, Ground, Memory, ROOTS};
use words::{BlockId, CellId, GRANULE};

const MAGIC: u64 = u64::from_ne_bytes(*b"shm-heap");
/// Changes with everything that two programs must agree on to share a heap.
const FORMAT: u64 = 1;

/// Offsets of the header's words.
const MAGIC_AT: u64 = 0;
const FORMAT_AT: u64 = 8;
const LEN_AT: u64 = 16;
const LINES_AT: u64 = 24;
const GROUP_AT: [u64; 2] = [32, 40];
/// In the word of [`LINES_AT`]: see [`HeapOptions::hardened`].
const HARDENED: u64 = 1 << 32;
/// Of the four before it: finds accidents.
const CHECK_AT: u64 = 48;

/// A heap in the data of a [`Segment`], for the processes of a [`Group`].
///
/// Each thread allocates through a [`Local`] of its own: [`Heap::local`]. A block that it allocates
/// is private and comes back if the process is killed ([`Block`]); it is handed to others by
/// putting it into a [`Cell`], in one step. Clones of a heap share one mapping.
///
/// # What it promises
/// Any process may be killed at any instruction. What it had allocated and not published is given
/// back, once its death is proven; what it had published stays; what it had leased is to be had
/// again; what it had acknowledged is freed once. No other process waits for it, or for the
/// clearing up. Only a block taken out of all this by [`Block::into_raw`] is the user's to lose.
///
/// The protocol, its kill points and its orderings are on the page on the heap in the book.
///
/// # Limits
/// At most 16 GiB, and 512 threads at a time. Alignments up to 4096 bytes.
///
/// ```
/// use shm_core::heap::{Heap, HeapOptions};
/// use shm_core::{Group, Segment};
/// use std::alloc::Layout;
///
/// let segment = Segment::anonymous(4 << 20)?;
/// let group = Group::anonymous()?;
/// let heap = Heap::create(&segment, &group, HeapOptions::default())?;
///
/// let local = heap.local()?; // one a thread
/// let mut block = local.allocate(Layout::new::<u64>())?;
/// block.bytes_mut()[..8].copy_from_slice(&7u64.to_ne_bytes());
/// let cell = heap.root("answer")?;
/// block.publish(cell).map_err(|_| "the cell is taken")?;
///
/// // Here, or in any other process of the group:
/// let found = heap.root("answer")?.take(&local)?.ok_or("nothing there")?;
/// assert_eq!(found.bytes()[..8], 7u64.to_ne_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Heap<P: Peers = Group> {
    inner: Arc<Inner<P>>,
}

struct Inner<P: Peers> {
    memory: Memory,
    peers: P,
    /// Lines of ended threads that still hold something.
    idle: Mutex<Vec<Front>>,
    watch: OnceLock<Watch>,
}

/// How a heap is made: see [`Heap::create`].
#[derive(Clone, Debug)]
pub struct HeapOptions {
    offset: usize,
    size: Option<usize>,
    threads: usize,
    hardened: bool,
}

impl Default for HeapOptions {
    fn default() -> Self {
        HeapOptions { offset: 0, size: None, threads: 128, hardened: false }
    }
}

impl HeapOptions {
    /// Where in the segment the heap begins, in bytes: a multiple of 4096. 0 unless given.
    #[must_use]
    pub fn offset(mut self, bytes: usize) -> Self {
        self.offset = bytes;
        self
    }

    /// How large the heap is, in bytes: up to the segment's end unless given.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = Some(bytes);
        self
    }

    /// How many threads, of all processes together, can use the heap at a time: 1 to 512, and 128
    /// unless given. Each costs 512 bytes.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Whether the heap finds every use of a block that is not the user's any more. `false` unless
    /// given; kept in the heap, for all who attach.
    ///
    /// What a hardened heap gives out in place of offsets of raw blocks ([`Local::allocate_raw`],
    /// [`Block::into_raw`]) carries the stamp of the block's placement: a number that is the same
    /// again after four million placements of that block. Freeing and adopting by such a handle begin
    /// with an exchange on the block's home word, so that of two who free a block one is told, also if another has it by
    /// then; [`Heap::pointer`] compares the stamp; and what a corrupted cell says is refused by
    /// [`Cell::take`] and [`Cell::lease`]. Cost: some 10 ns for a block and its release; for a heap
    /// that is not hardened, a branch.
    ///
    /// Offsets of blocks that a thread holds ([`Block::offset`]) are plain: what holds a block is a
    /// value that cannot be used twice.
    #[must_use]
    pub fn hardened(mut self, hardened: bool) -> Self {
        self.hardened = hardened;
        self
    }
}

impl Heap<Group> {
    /// Makes a heap in memory that still reads as zeros, as a new segment's does.
    ///
    /// Cost: a few page faults, whatever the size.
    ///
    /// # Errors
    /// [`Error::BadHeap`], [`Error::BadHeapSize`], [`Error::OutOfBounds`].
    pub fn create(segment: &Segment, group: &Group, options: HeapOptions) -> Result<Self, Error> {
        let heap = Heap::create_for(segment, group.clone(), group.id(), options)?;
        heap.watch();
        Ok(heap)
    }

    /// Attaches to the heap that begins at `offset` in the segment. Everything in its header is
    /// checked.
    ///
    /// # Errors
    /// [`Error::BadHeap`], also when it belongs to another group; [`Error::OutOfBounds`].
    pub fn attach(segment: &Segment, group: &Group, offset: usize) -> Result<Self, Error> {
        let heap = Heap::attach_for(segment, group.clone(), group.id(), offset)?;
        heap.watch();
        Ok(heap)
    }

    /// Clears up after each death as soon as the group tells of it.
    fn watch(&self) {
        let weak = Arc::downgrade(&self.inner);
        let watch = self.inner.peers.on_death(move |_| {
            if let Some(inner) = weak.upgrade() {
                Heap { inner }.recover();
            }
        });
        let _ = self.inner.watch.set(watch);
    }
}

impl<P: Peers + Clone> Heap<P> {
    /// The same as [`create`](Heap::create) for other [`Peers`] than a group, known by `id`. Nobody
    /// tells it of deaths: they are noticed when room is short, and by [`recover`](Heap::recover).
    ///
    /// # Errors
    /// Those of [`create`](Heap::create).
    pub fn create_for(
        segment: &Segment,
        peers: P,
        id: SegmentId,
        options: HeapOptions,
    ) -> Result<Self, Error> {
        let rest = segment.size().saturating_sub(options.offset);
        let len = options.size.unwrap_or(rest) as u64;
        let geometry = Geometry::new(len, options.threads)?;
        let memory = Memory::new(segment, options.offset as u64, geometry)?;
        let memory = memory.harden(options.hardened);
        let flags = if options.hardened { HARDENED } else { 0 };
        // Relaxed: nobody else knows of the heap yet.
        if (0..64).step_by(8).any(|at| memory.at(at).load(Ordering::Relaxed) != 0) {
            return Err(Error::BadHeap { what: "it is made in memory that still reads as zeros" });
        }
        let [first, second] = id.0;
        let fields = [
            (FORMAT_AT, FORMAT),
            (LEN_AT, len),
            (LINES_AT, options.threads as u64 | flags),
            (GROUP_AT[0], first),
            (GROUP_AT[1], second),
        ];
        for (at, value) in fields {
            memory.at(at).store(value, Ordering::Relaxed);
        }
        memory.at(CHECK_AT).store(check_of(&memory), Ordering::Relaxed);
        // Release: pairs with the Acquire in `attach_for`: the header is whole.
        memory.at(MAGIC_AT).store(MAGIC, Ordering::Release);
        Ok(Heap::of(memory, peers))
    }

    /// The same as [`attach`](Heap::attach) for other [`Peers`] than a group, known by `id`.
    ///
    /// # Errors
    /// Those of [`attach`](Heap::attach).
    pub fn attach_for(
        segment: &Segment,
        peers: P,
        id: SegmentId,
        offset: usize,
    ) -> Result<Self, Error> {
        let bad = |what| Err(Error::BadHeap { what });
        // The least heap there can be: its header is read through it.
        let least = Geometry::new(Geometry::needed(1, 1), 1)?;
        let header = Memory::new(segment, offset as u64, least)?;
        // Acquire: pairs with the Release in `create_for`.
        if header.at(MAGIC_AT).load(Ordering::Acquire) != MAGIC {
            return bad("one was made there (no magic number is)");
        }
        // Relaxed: written before the magic number, and read once.
        let read = |at| header.at(at).load(Ordering::Relaxed);
        if read(FORMAT_AT) != FORMAT {
            return bad("it was made by a program built with this version");
        }
        if GROUP_AT.map(read) != id.0 {
            return bad("it belongs to the group that it was made for");
        }
        if read(CHECK_AT) != check_of(&header) {
            return bad("its header is whole (the checksum does not match)");
        }
        let lines = usize::try_from(read(LINES_AT) & !HARDENED).unwrap_or(usize::MAX);
        let geometry = Geometry::new(read(LEN_AT), lines)?;
        let memory = Memory::new(segment, offset as u64, geometry)?;
        Ok(Heap::of(memory.harden(read(LINES_AT) & HARDENED != 0), peers))
    }

    fn of(memory: Memory, peers: P) -> Self {
        let idle = Mutex::default();
        Heap { inner: Arc::new(Inner { memory, peers, idle, watch: OnceLock::new() }) }
    }

    /// This thread's place in the heap: what it allocates and frees with.
    ///
    /// Keep it: making one costs about a microsecond, and its spans stay warm.
    ///
    /// # Errors
    /// [`Error::TooManyThreads`]; [`Error::Inherited`] in a forked child.
    pub fn local(&self) -> Result<Local<P>, Error> {
        let front = self.claim_line()?;
        Ok(Local::new(self.clone(), front))
    }

    fn claim_line(&self) -> Result<Front, Error> {
        let me = self.inner.peers.me().ok_or(Error::Inherited)?;
        if let Some(front) = self.idle().pop() {
            return Ok(front);
        }
        let memory = self.memory();
        for _ in 0..2 {
            if let Some(line) = (0..memory.lines()).find(|&line| line::claim(memory, me, line)) {
                return Ok(Front::new(memory, line));
            }
            recover::everybody(memory, &self.inner.peers, me);
        }
        Err(Error::TooManyThreads { max: memory.lines() })
    }

    /// A thread ends, or has no use for its line any more.
    fn return_line(&self, front: &mut Front) {
        let memory = self.memory();
        if front.leave_all(memory) {
            line::leave(memory, front.line);
        } else {
            let unused = Front::new(memory, front.line);
            self.idle().push(std::mem::replace(front, unused));
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Front>> {
        self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell of that name: the first who asks for it makes it, empty.
    ///
    /// Names are told apart by a 64-bit hash, and are never given up: a heap has 128 of them.
    ///
    /// # Errors
    /// [`Error::TooManyRoots`].
    pub fn root(&self, name: &str) -> Result<Cell<'_, P>, Error> {
        let hash = hash_of(name.bytes());
        for step in 0..ROOTS {
            let (known, cell) = self.memory().root((hash + step) % ROOTS);
            // Relaxed: the hash guards no other memory; an empty cell is a zeroed word.
            let seen = match known.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => hash,
                Err(seen) => seen,
            };
            if seen == hash {
                return Ok(Cell::new(self, CellId::at(cell)));
            }
        }
        Err(Error::TooManyRoots { max: ROOTS })
    }

    /// The cell at an offset from the heap's start: one that lies in a block, for structures of
    /// blocks that name blocks.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] for an offset that is not a multiple of 8 within the heap.
    ///
    /// # Safety
    /// - The 8 bytes lie in an allocated block, read as zeros when they became a cell, and are used
    ///   as this cell only, by every process;
    /// - the block is not freed while the cell is not empty.
    pub unsafe fn cell_at(&self, offset: u64) -> Result<Cell<'_, P>, Error> {
        let len = self.memory().geometry.len;
        if offset == 0 || !offset.is_multiple_of(8) || offset > len - 8 {
            return Err(Error::OutOfBounds { start: offset, end: offset.saturating_add(8), len });
        }
        Ok(Cell::new(self, CellId::at(offset)))
    }

    /// Where an offset lies in this process: valid as long as this heap or a clone of it lives, and
    /// its block is not freed. `None`: not an offset of a block, or a stale one of a
    /// [hardened](HeapOptions::hardened) heap.
    #[must_use]
    pub fn pointer(&self, offset: u64) -> Option<NonNull<u8>> {
        let offset = self.memory().plain(offset)?;
        self.memory().span_in(offset)?;
        NonNull::new(self.memory().pointer(offset))
    }

    /// The offset of a pointer into a block of this heap; the reverse of [`pointer`](Heap::pointer).
    /// It is a plain one in a hardened heap, too.
    #[must_use]
    pub fn offset_of(&self, pointer: NonNull<u8>) -> Option<u64> {
        let start = self.memory().pointer(0).addr();
        let offset = pointer.addr().get().checked_sub(start)? as u64;
        self.memory().span_in(offset).map(|_| offset)
    }

    /// Clears up after every process that is gone; after how many threads.
    ///
    /// There is no need to call it: it happens when the group tells of a death, and when room is
    /// short. Any number of processes may call it at once. Cost for each line of a dead process:
    /// its entries and one look at every span's descriptor.
    pub fn recover(&self) -> usize {
        match self.inner.peers.me() {
            Some(me) => recover::everybody(self.memory(), &self.inner.peers, me),
            None => 0,
        }
    }

    /// Frees a block by its offset, from a thread that has no [`Local`] at hand.
    ///
    /// # Errors
    /// [`Error::NotABlock`], [`Error::NotAllocated`]; [`Error::Inherited`].
    ///
    /// # Safety
    /// - The block was made the caller's by [`Block::into_raw`] or [`Local::allocate_raw`], and
    ///   nobody uses it any more.
    pub unsafe fn free_raw(&self, offset: u64) -> Result<(), Error> {
        self.inner.peers.me().ok_or(Error::Inherited)?;
        let freed = span::free_anywhere(self.memory(), self.memory().claim_raw(offset)?);
        freed.map_err(|why| not_freed(why, offset))
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    pub(crate) fn peers(&self) -> &P {
        &self.inner.peers
    }
}

fn block_at(offset: u64) -> Result<BlockId, Error> {
    if offset.is_multiple_of(GRANULE) && offset < words::MAX_LEN {
        Ok(BlockId::at(offset))
    } else {
        Err(Error::NotABlock { offset })
    }
}

fn not_freed(why: steps::NotFreed, offset: u64) -> Error {
    match why {
        steps::NotFreed::NoBlock => Error::NotABlock { offset },
        steps::NotFreed::Free => Error::NotAllocated { offset },
    }
}

/// Of the header's fields.
fn check_of(header: &Memory) -> u64 {
    let fields = (FORMAT_AT..CHECK_AT).step_by(8);
    // Relaxed: as where it is written and where it is read.
    hash_of(fields.flat_map(|at| header.at(at).load(Ordering::Relaxed).to_ne_bytes()))
}

/// 64-bit FNV-1a, never 0.
fn hash_of(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}

impl<P: Peers> Clone for Heap<P> {
    fn clone(&self) -> Self {
        Heap { inner: Arc::clone(&self.inner) }
    }
}

impl<P: Peers> fmt::Debug for Heap<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap")
            .field("segment", &self.inner.memory.segment.id())
            .field("geometry", &self.inner.memory.geometry)
            .finish_non_exhaustive()
    }
}
