//! The work that every profiler watches: blocks of mixed sizes, allocated a few frames deep.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use method::cores::Pinned;

/// Live blocks of a thread; each step frees one and allocates one.
pub const LIVE: usize = 1024;

/// Steps of one turn: a fraction of a millisecond.
pub const STEPS: usize = 4_000;

/// Depth of recursion at which a block is allocated.
const DEPTH: usize = 5;

/// Some live blocks of one allocator, in the hands of one thread.
#[derive(Debug)]
pub struct Churn<'a, A: GlobalAlloc> {
    allocator: &'a A,
    live: Vec<(*mut u8, Layout)>,
    layouts: Vec<Layout>,
    step: usize,
}

#[inline(never)]
fn allocate_at<A: GlobalAlloc>(allocator: &A, depth: usize, layout: Layout) -> *mut u8 {
    if depth > 0 {
        // Not a tail call.
        return black_box(allocate_at(allocator, black_box(depth - 1), layout));
    }
    // SAFETY: no layout of this program is of size zero.
    unsafe { allocator.alloc(layout) }
}

impl<'a, A: GlobalAlloc> Churn<'a, A> {
    /// `live` blocks, sizes from 16 bytes to 4 KiB, some 750 bytes on average.
    pub fn new(allocator: &'a A, live: usize, seed: u64) -> Churn<'a, A> {
        let mut state = seed;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut layout = || {
            let size = (16_usize << (next() % 9)) + (next() % 16) as usize;
            Layout::from_size_align(size, 8).unwrap_or(Layout::new::<u64>())
        };
        let layouts: Vec<Layout> = (0..4096).map(|_| layout()).collect();
        let mut churn = Churn { allocator, live: Vec::with_capacity(live), layouts, step: 0 };
        for place in 0..live {
            let layout = churn.layouts[place % churn.layouts.len()];
            churn.live.push((allocate_at(allocator, DEPTH, layout), layout));
        }
        churn.run(STEPS);
        churn
    }

    /// Nanoseconds a step, waiting for other threads included.
    pub fn run(&mut self, steps: usize) -> f64 {
        let begin = Instant::now();
        for step in self.step..self.step + steps {
            let count = self.live.len();
            let place = &mut self.live[step * 7919 % count];
            // SAFETY: live, allocated by this allocator with this layout.
            unsafe { self.allocator.dealloc(place.0, place.1) };
            let layout = self.layouts[step % self.layouts.len()];
            *place = (allocate_at(self.allocator, DEPTH, layout), layout);
        }
        self.step += steps;
        begin.elapsed().as_nanos() as f64 / steps as f64
    }
}

impl<A: GlobalAlloc> Drop for Churn<'_, A> {
    fn drop(&mut self) {
        for (block, layout) in &self.live {
            // SAFETY: live, allocated by this allocator with this layout.
            unsafe { self.allocator.dealloc(*block, *layout) };
        }
    }
}

/// Turns of one sample.
const TURNS: usize = 25;

/// Nanoseconds that `watched` takes longer a step than `bare`, the median of turns that alternate;
/// of the slower of `threads` threads.
pub fn added<A, B>(bare: &A, watched: &B, threads: usize, live: usize) -> f64
where
    A: GlobalAlloc + Sync,
    B: GlobalAlloc + Sync,
{
    slowest(threads, |seed| {
        let (mut bare, mut watched) =
            (Churn::new(bare, live, seed), Churn::new(watched, live, seed));
        let turns = (0..TURNS).map(|_| (bare.run(STEPS), watched.run(STEPS)));
        turns.map(|(bare, watched)| watched - bare).collect()
    })
}

/// Nanoseconds a step of `allocator` itself, the median of some turns; of the slower thread.
pub fn plain<A: GlobalAlloc + Sync>(allocator: &A, threads: usize, live: usize) -> f64 {
    slowest(threads, |seed| {
        let mut churn = Churn::new(allocator, live, seed);
        (0..TURNS).map(|_| churn.run(STEPS)).collect()
    })
}

fn slowest(threads: usize, one: impl Fn(u64) -> Vec<f64> + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let run = |nth: usize| {
            let (barrier, one) = (&barrier, &one);
            scope.spawn(move || {
                // Where there are fewer processors than threads, they go where they may.
                let _pinned = Pinned::to(nth);
                barrier.wait();
                method::median(&one(0x9e37_79b9 + nth as u64))
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        let times = threads.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN));
        times.fold(f64::MIN, f64::max)
    })
}
