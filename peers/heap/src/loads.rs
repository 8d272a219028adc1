//! Loads as the literature has them: blocks of mixed sizes that change hands between threads (after
//! larson), and two threads that fill and empty at once (after threadtest).

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::Barrier;
use std::time::Instant;

use method::cores::Pinned;
use method::{Outcome, Sample};

/// Threads of a load.
const THREADS: usize = 2;
/// Places of a thread, each with a live block.
const PLACES: usize = 1000;
/// How often a thread's places go to the next thread.
const HANDS: usize = 10;
/// Blocks that a thread fills before it empties.
const FILL: usize = 5000;

/// One thread's way into an allocator; blocks may be given back through another thread's.
pub trait Front {
    /// What names a block.
    type Block: Copy + Send;

    /// A block of `size` bytes.
    fn allocate(&self, size: usize) -> Outcome<Self::Block>;
    /// Where it lies.
    fn address(&self, block: Self::Block) -> NonNull<u8>;
    /// Gives it back; `size` as it was allocated.
    fn release(&self, block: Self::Block, size: usize) -> Outcome<()>;
}

/// An allocator of Rust's kind.
#[derive(Debug)]
pub struct OfRust<'a, A>(pub &'a A);

/// A block's address that may go to another thread.
#[derive(Clone, Copy, Debug)]
pub struct Address(NonNull<u8>);

// SAFETY: a block belongs to whoever has its address, on any thread.
unsafe impl Send for Address {}

fn layout(size: usize) -> Outcome<Layout> {
    Ok(Layout::from_size_align(size, 8)?)
}

impl<A: GlobalAlloc> Front for OfRust<'_, A> {
    type Block = Address;

    #[inline]
    fn allocate(&self, size: usize) -> Outcome<Address> {
        // SAFETY: no size of this program is zero.
        let block = unsafe { self.0.alloc(layout(size)?) };
        NonNull::new(block).map(Address).ok_or_else(|| "no memory".into())
    }

    #[inline]
    fn address(&self, block: Address) -> NonNull<u8> {
        block.0
    }

    #[inline]
    fn release(&self, block: Address, size: usize) -> Outcome<()> {
        // SAFETY: allocated by the same allocator with the same layout, and given back once.
        unsafe { self.0.dealloc(block.0.as_ptr(), layout(size)?) };
        Ok(())
    }
}

/// Sizes from 256 to 4,096 bytes, which all allocators here have, small ones more often.
fn size(random: &mut u64) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    256 << (random.leading_zeros().min(4))
}

fn make<F: Front>(front: &F, random: &mut u64) -> Outcome<(F::Block, usize)> {
    let size = size(random);
    let block = front.allocate(size)?;
    let word = front.address(block).cast::<usize>();
    // SAFETY: the block is the caller's, has at least a word, and is aligned to it.
    unsafe { word.write_volatile(size) };
    Ok((block, size))
}

fn end<F: Front>(front: &F, (block, size): (F::Block, usize)) -> Outcome<()> {
    // SAFETY: as in `make`, which wrote it.
    if unsafe { front.address(block).cast::<usize>().read_volatile() } != size {
        return Err("two blocks are one".into());
    }
    front.release(block, size)
}

/// Nanoseconds for a block and the release of another, at places drawn at random, of two threads
/// at once; every tenth part the threads exchange their places, so that each releases what the
/// other allocated.
pub fn larson<F: Front>(front: impl Fn() -> Outcome<F> + Sync, count: usize) -> Outcome<Sample> {
    let barrier = Barrier::new(THREADS);
    let hands: [_; THREADS] = std::array::from_fn(|_| std::sync::Mutex::new(Vec::new()));
    let run = |nth: usize| -> Outcome<f64> {
        let _pinned = Pinned::to(nth)?;
        let front = front()?;
        let mut random = 0x9e37_79b9_7f4a_7c15 + nth as u64;
        let mut places =
            (0..PLACES).map(|_| make(&front, &mut random)).collect::<Outcome<Vec<_>>>()?;
        barrier.wait();
        let start = Instant::now();
        for _ in 0..HANDS {
            for _ in 0..count / HANDS {
                let new = make(&front, &mut random)?;
                let place = &mut places[random as usize % PLACES];
                end(&front, std::mem::replace(place, new))?;
            }
            *hands[nth].lock().map_err(|_| "poisoned")? = places;
            barrier.wait();
            places =
                std::mem::take(&mut *hands[(nth + 1) % THREADS].lock().map_err(|_| "poisoned")?);
            barrier.wait();
        }
        let time = start.elapsed();
        places.into_iter().try_for_each(|place| end(&front, place))?;
        // Nobody leaves before all blocks are back: a front may go with its thread.
        barrier.wait();
        Ok(time.as_nanos() as f64 / (count / HANDS * HANDS) as f64)
    };
    slower(run)
}

/// Nanoseconds for a block of 256 bytes and its release, of two threads at once, each of which
/// fills some thousands and then empties them.
pub fn fill_and_empty<F: Front>(
    front: impl Fn() -> Outcome<F> + Sync,
    count: usize,
) -> Outcome<Sample> {
    const SIZE: usize = 256;
    let barrier = Barrier::new(THREADS);
    let rounds = count.div_ceil(FILL);
    let run = |nth: usize| -> Outcome<f64> {
        let _pinned = Pinned::to(nth)?;
        let front = front()?;
        let mut blocks = Vec::with_capacity(FILL);
        barrier.wait();
        let start = Instant::now();
        for _ in 0..rounds {
            for _ in 0..FILL {
                let block = front.allocate(SIZE)?;
                // SAFETY: the block is ours, has at least a word, and is aligned to it.
                unsafe { front.address(block).cast::<usize>().write_volatile(SIZE) };
                blocks.push(black_box(block));
            }
            blocks.drain(..).try_for_each(|block| end(&front, (block, SIZE)))?;
        }
        let time = start.elapsed();
        barrier.wait();
        Ok(time.as_nanos() as f64 / (rounds * FILL) as f64)
    };
    slower(run)
}

fn slower(run: impl Fn(usize) -> Outcome<f64> + Sync) -> Outcome<Sample> {
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..THREADS).map(|nth| scope.spawn(move || run(nth))).collect();
        let mut slowest = 0.0_f64;
        for thread in threads {
            slowest = slowest.max(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok(Sample::from(slowest))
    })
}
