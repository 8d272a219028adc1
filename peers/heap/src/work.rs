//! What is asked of every allocator: blocks of one size, a word written into each, given back.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use method::cores::{Pinned, thread_time};
use method::{Outcome, Sample};

/// Blocks between two turns of a batch.
pub const BATCH: usize = 1000;

/// An allocator of one thread.
pub trait Allocator {
    /// What names a block.
    type Block: Copy;

    /// A block of the size that this was made for.
    fn allocate(&self) -> Outcome<Self::Block>;
    /// Where it lies.
    fn address(&self, block: Self::Block) -> NonNull<u8>;
    /// Gives it back.
    fn release(&self, block: Self::Block) -> Outcome<()>;
}

/// An allocator of Rust's kind, and the layout of its blocks.
#[derive(Debug)]
pub struct OfRust<'a, A>(pub &'a A, pub Layout);

impl<A: GlobalAlloc> Allocator for OfRust<'_, A> {
    type Block = NonNull<u8>;

    #[inline]
    fn allocate(&self) -> Outcome<NonNull<u8>> {
        // SAFETY: no layout of this program is empty.
        NonNull::new(unsafe { self.0.alloc(self.1) }).ok_or_else(|| "no memory".into())
    }

    #[inline]
    fn address(&self, block: NonNull<u8>) -> NonNull<u8> {
        block
    }

    #[inline]
    fn release(&self, block: NonNull<u8>) -> Outcome<()> {
        // SAFETY: allocated by the same allocator with the same layout, and given back once.
        unsafe { self.0.dealloc(block.as_ptr(), self.1) };
        Ok(())
    }
}

/// The layout of a block of `size` bytes.
pub fn layout(size: usize) -> Outcome<Layout> {
    Ok(Layout::from_size_align(size, 8)?)
}

/// Writes a word to the block, and reads it again: it is there, and ours.
#[inline]
fn write<A: Allocator>(allocator: &A, block: A::Block, number: usize) {
    let at = allocator.address(block).cast::<usize>();
    // SAFETY: the block is the caller's, has at least a word, and is aligned to it.
    unsafe { at.write_volatile(number) };
}

fn read<A: Allocator>(allocator: &A, block: A::Block) -> usize {
    // SAFETY: as in `write`, which wrote it.
    unsafe { allocator.address(block).cast::<usize>().read_volatile() }
}

/// Nanoseconds for a block and its release, one after the other.
pub fn alternating<A: Allocator>(allocator: &A, count: usize) -> Outcome<Sample> {
    let start = Instant::now();
    alternate(allocator, count)?;
    Ok(Sample::from(start.elapsed().as_nanos() as f64 / count as f64))
}

/// The same, of the thread's processor time: what other programs do meanwhile is not in it, what
/// another thread's caches cost is.
pub fn alternating_used<A: Allocator>(allocator: &A, count: usize) -> Outcome<Sample> {
    let start = thread_time();
    alternate(allocator, count)?;
    Ok(Sample::from((thread_time() - start).as_nanos() as f64 / count as f64))
}

#[inline(always)]
fn alternate<A: Allocator>(allocator: &A, count: usize) -> Outcome<()> {
    for number in 0..count {
        let block = black_box(allocator.allocate()?);
        write(allocator, block, number);
        allocator.release(block)?;
    }
    Ok(())
}

/// Nanoseconds for the two, a thousand blocks before their releases; what was written is checked.
pub fn batched<A: Allocator>(allocator: &A, count: usize) -> Outcome<Sample> {
    batches(allocator, allocator, count)
}

/// As [`batched`], the releases by somebody else.
pub fn batches<A: Allocator>(allocator: &A, releaser: &A, count: usize) -> Outcome<Sample> {
    let rounds = count.div_ceil(BATCH);
    let mut blocks = Vec::with_capacity(BATCH);
    let mut time = 0;
    for _ in 0..rounds {
        let start = Instant::now();
        for number in 0..BATCH {
            let block = allocator.allocate()?;
            write(allocator, block, number);
            blocks.push(block);
        }
        time += start.elapsed().as_nanos();
        for (number, block) in blocks.iter().enumerate() {
            if read(allocator, *block) != number {
                return Err("two blocks are one".into());
            }
        }
        let start = Instant::now();
        for block in blocks.drain(..) {
            releaser.release(block)?;
        }
        time += start.elapsed().as_nanos();
    }
    Ok(Sample::from(time as f64 / (rounds * BATCH) as f64))
}

/// Bytes of a page, and of a block that makes a heap grow.
pub const PAGE: usize = 4096;

/// Nanoseconds a block of a page, a byte written into each, until `bytes` are live. The releases are
/// outside of the time.
pub fn growth<A: Allocator>(allocator: &A, bytes: usize) -> Outcome<Sample> {
    let mut blocks = Vec::with_capacity(bytes / PAGE);
    let start = Instant::now();
    for _ in 0..bytes / PAGE {
        let block = allocator.allocate()?;
        // SAFETY: the block is the caller's, and not empty.
        unsafe { allocator.address(block).write_volatile(1) };
        blocks.push(block);
    }
    let time = start.elapsed();
    blocks.into_iter().try_for_each(|block| allocator.release(block))?;
    Ok(Sample::from(time.as_nanos() as f64 / (bytes / PAGE) as f64))
}

/// The same of a shared mapping without an allocator, one page after the other.
pub fn bare_growth(bytes: usize) -> Outcome<Sample> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED) }?;
    let start = Instant::now();
    for page in (0..bytes).step_by(PAGE) {
        // SAFETY: inside the mapping.
        let byte = unsafe { at.cast::<u8>().add(page) };
        // SAFETY: as above, and nobody else's.
        unsafe { byte.write_volatile(1) };
    }
    let time = start.elapsed();
    // SAFETY: mapped above, and not used any more.
    unsafe { munmap(at, bytes) }?;
    Ok(Sample::from(time.as_nanos() as f64 / (bytes / PAGE) as f64))
}

/// The slower thread's nanoseconds, of `threads` that do the same at once, each on a processor of its
/// own. Who is done first goes on until all are: nobody's time is without the others at work.
pub fn at_once(threads: usize, one: impl Fn() -> Outcome<Sample> + Sync) -> Outcome<Sample> {
    let (barrier, done) = (Barrier::new(threads), AtomicUsize::new(0));
    let run = |nth: usize| {
        let _pinned = Pinned::to(nth)?;
        barrier.wait();
        let sample = one();
        // Relaxed both: a number of threads, which guards nothing.
        done.fetch_add(1, Ordering::Relaxed);
        while done.load(Ordering::Relaxed) < threads {
            one()?;
        }
        sample
    };
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads).map(|nth| scope.spawn(move || run(nth))).collect();
        let mut slowest = 0.0_f64;
        for thread in threads {
            let sample = thread.join().map_err(|_| "a thread panicked")??;
            slowest = slowest.max(sample.value);
        }
        Ok(Sample::from(slowest))
    })
}
