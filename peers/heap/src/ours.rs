//! Our side: the heap of `shm-core`, one front a thread.

use std::alloc::Layout;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use method::{Outcome, Promise, Sample};
use shm_core::futex::{Futex, Waited};
use shm_core::heap::{Heap, HeapOptions, HeapStats, Local};
use shm_core::{Group, Owner, Peers, Segment, Ticket};

use crate::loads;
use crate::work::{self, Allocator, BATCH, layout};

/// What ours keeps.
pub const PROMISE: Promise =
    Promise::keeps("what a killed process had not published comes back; what it published stays");

/// Our name in rows.
pub const NAME: &str = "shm-core Heap";

/// The heap, in memory of this process and of whoever joins it.
#[derive(Debug)]
pub struct Ours(Heap);

/// One thread's front, and the layout of its blocks.
struct Front<'a>(&'a Local, Layout);

/// An error on its way out of a loop that is timed: not a part of it.
#[cold]
#[inline(never)]
fn boxed(error: shm_core::Error) -> Box<dyn std::error::Error + Send + Sync> {
    error.into()
}

impl Allocator for Front<'_> {
    type Block = u64;

    #[inline(always)]
    fn allocate(&self) -> Outcome<u64> {
        self.0.allocate_raw(self.1).map_err(boxed)
    }

    #[inline]
    fn address(&self, block: u64) -> NonNull<u8> {
        self.0.heap().pointer(block).unwrap_or(NonNull::dangling())
    }

    #[inline(always)]
    fn release(&self, block: u64) -> Outcome<()> {
        // SAFETY: allocated from this heap by `allocate`, and given back once.
        unsafe { self.0.free_raw(block) }.map_err(boxed)
    }
}

/// One thread's front, for blocks of any size, which it has to itself.
#[derive(Debug)]
pub struct OwnFront(Local);

impl loads::Front for OwnFront {
    type Block = u64;

    #[inline]
    fn allocate(&self, size: usize) -> Outcome<u64> {
        Ok(self.0.allocate_raw(layout(size)?)?)
    }

    #[inline]
    fn address(&self, block: u64) -> NonNull<u8> {
        self.0.heap().pointer(block).unwrap_or(NonNull::dangling())
    }

    #[inline]
    fn release(&self, block: u64, _size: usize) -> Outcome<()> {
        // SAFETY: allocated from this heap by `allocate`, and given back once.
        Ok(unsafe { self.0.free_raw(block) }?)
    }
}

impl Ours {
    /// A front for the calling thread.
    pub fn front(&self) -> Outcome<OwnFront> {
        Ok(OwnFront(self.0.local()?))
    }

    /// A new one.
    pub fn new(size: usize) -> Outcome<Ours> {
        let (segment, group) = (Segment::anonymous(size)?, Group::anonymous()?);
        Ok(Ours(Heap::create(&segment, &group, HeapOptions::default())?))
    }

    /// See [`work::alternating`].
    pub fn alternating(&self, size: usize, count: usize) -> Outcome<Sample> {
        let local = self.0.local()?;
        work::alternating(&Front(&local, layout(size)?), count)
    }

    /// See [`work::alternating_used`].
    pub fn alternating_used(&self, size: usize, count: usize) -> Outcome<Sample> {
        let local = self.0.local()?;
        work::alternating_used(&Front(&local, layout(size)?), count)
    }

    /// See [`work::batched`].
    pub fn batched(&self, size: usize, count: usize) -> Outcome<Sample> {
        let local = self.0.local()?;
        work::batched(&Front(&local, layout(size)?), count)
    }

    /// As [`alternating`](Ours::alternating), with blocks that come back when the process dies.
    pub fn recoverable(&self, size: usize, count: usize) -> Outcome<Sample> {
        let (local, layout) = (self.0.local()?, layout(size)?);
        let start = Instant::now();
        for number in 0..count {
            let block = black_box(local.allocate(layout)?);
            // SAFETY: the block is ours, has at least a word, and is aligned to it.
            unsafe { block.as_ptr().cast::<usize>().write_volatile(number) };
        }
        Ok(Sample::from(start.elapsed().as_nanos() as f64 / count as f64))
    }

    /// Nanoseconds for a block reserved, written, published, taken and freed.
    pub fn published(&self, size: usize, count: usize) -> Outcome<Sample> {
        let (local, layout) = (self.0.local()?, layout(size)?);
        let cell = self.0.root("published")?;
        let start = Instant::now();
        for number in 0..count {
            let block = local.allocate(layout)?;
            // SAFETY: the block is ours, has at least a word, and is aligned to it.
            unsafe { block.as_ptr().cast::<usize>().write_volatile(number) };
            block.publish(cell).map_err(|_| "the cell is taken")?;
            let block = cell.take(&local)?.ok_or("the cell is empty")?;
            // SAFETY: as above, and written above.
            if unsafe { block.as_ptr().cast::<usize>().read_volatile() } != number {
                return Err("another block came out".into());
            }
        }
        Ok(Sample::from(start.elapsed().as_nanos() as f64 / count as f64))
    }

    /// Nanoseconds for a release by another thread's front, of blocks allocated outside of the time.
    pub fn remote(&self, size: usize, count: usize) -> Outcome<Sample> {
        let (local, other) = (self.0.local()?, self.0.local()?);
        let (owner, other) = (Front(&local, layout(size)?), Front(&other, layout(size)?));
        let mut time = 0;
        for _ in 0..count / BATCH {
            let blocks = (0..BATCH).map(|_| owner.allocate()).collect::<Outcome<Vec<u64>>>()?;
            let start = Instant::now();
            for block in blocks {
                other.release(block)?;
            }
            time += start.elapsed().as_nanos();
        }
        Ok(Sample::from(time as f64 / (count / BATCH * BATCH) as f64))
    }
}

/// Nanoseconds for each block of a page, touched, while a heap grows to `bytes`; then all are given
/// back.
pub fn growth(bytes: usize) -> Outcome<Sample> {
    let (segment, group) =
        (Segment::anonymous(bytes + bytes / 8 + (64 << 20))?, Group::anonymous()?);
    let heap = Heap::create(&segment, &group, HeapOptions::default())?;
    let local = heap.local()?;
    let front = Front(&local, layout(work::PAGE)?);
    work::growth(&front, bytes)
}

/// The argument at which this program fills a heap and waits to be killed.
pub const VICTIM: &str = "fill-a-heap";

/// Blocks of a victim.
const BLOCK: usize = 1 << 10;

/// Fills the heap whose files and size `told` names.
pub fn victim(told: &str) -> Outcome<()> {
    let mut words = told.split_whitespace();
    let mut next = || words.next().ok_or("a word is missing");
    let open = |path: &str| OpenOptions::new().read(true).write(true).open(path).map(OwnedFd::from);
    let segment = Segment::attach(open(next()?)?)?;
    let group = Group::attach(open(next()?)?)?;
    let bytes: usize = next()?.parse()?;
    let heap = Heap::attach(&segment, &group, 0)?;
    let local = heap.local()?;
    let layout = layout(BLOCK)?;
    let mut blocks = Vec::new();
    let count = bytes / BLOCK;
    match next()? == RESERVED {
        true => blocks = (0..count).map(|_| local.allocate(layout)).collect::<Result<_, _>>()?,
        // Nobody's from the first: what its thread held was never noted, and is not looked for.
        false => (0..count).try_for_each(|_| local.allocate_raw(layout).map(drop))?,
    }
    println!("{count}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(blocks);
    Ok(())
}

/// What `told` says of a victim that keeps its blocks, or makes them everybody's to free.
const RESERVED: &str = "reserved";
const LOST: &str = "lost";

/// Milliseconds from the proof of the death of a process that held `bytes` in blocks until all of
/// them are free again.
pub fn after_a_death(bytes: usize) -> Outcome<Sample> {
    timed_recovery(bytes, RESERVED, |stats, _| stats.blocks == 0)
}

/// Milliseconds from the proof of such a death until the living own the memory, where the blocks
/// themselves are nobody's to give back.
pub fn owned_again(bytes: usize) -> Outcome<Sample> {
    timed_recovery(bytes, LOST, |stats, held| stats.blocks >= held && stats.unrecovered == 0)
}

/// The group, and nobody who clears up by himself when it tells of a death: what is timed is our own
/// call.
#[derive(Clone)]
struct Quiet(Group);

impl Peers for Quiet {
    fn me(&self) -> Option<Owner> {
        self.0.me()
    }

    fn is_gone(&self, owner: Owner) -> bool {
        self.0.is_gone(owner)
    }

    fn ticket(&self) -> Ticket {
        self.0.ticket()
    }

    fn park(&self, word: &Futex, is: u32, ticket: Ticket, limit: Option<Duration>) -> Waited {
        self.0.park(word, is, ticket, limit)
    }
}

fn timed_recovery(
    bytes: usize,
    how: &str,
    is_done: impl Fn(HeapStats, u64) -> bool,
) -> Outcome<Sample> {
    let (segment, group) =
        (Segment::anonymous(bytes + bytes / 8 + (64 << 20))?, Group::anonymous()?);
    let (quiet, id) = (Quiet(group.clone()), group.id());
    let heap = Heap::create_for(&segment, quiet, id, HeapOptions::default())?;
    let path = |fd: std::os::fd::BorrowedFd<'_>| {
        format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())
    };
    let told = format!("{} {} {bytes} {how}", path(segment.as_fd()), path(group.as_fd()));
    let mut victim = Command::new("/proc/self/exe")
        .args([VICTIM, &told])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(victim.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let held: u64 = line.trim().parse().map_err(|_| "the victim could not fill the heap")?;
    if heap.stats().blocks < held {
        return Err("fewer blocks than the victim holds".into());
    }
    victim.kill()?;
    victim.wait()?;
    // Waited for: its death is proven from here on.
    let start = Instant::now();
    let recovered = heap.recover();
    let time = start.elapsed();
    if recovered == 0 || !is_done(heap.stats(), held) {
        return Err("not everything of the dead came back".into());
    }
    heap.validate()?;
    Ok(Sample::from(time.as_secs_f64() * 1e3))
}
