//! What the heap profiler costs: nanoseconds an allocation with its free, beside the bare
//! allocator, in one run.
//!
//! `RUSTFLAGS="-C force-frame-pointers=yes" cargo run --release -p profiling --example heap_cost`
//!
//! In each thread the bare allocator and the profiled one take turns of a fraction of a millisecond;
//! a row's figure is the median of the differences between a turn and the bare turn before it, in
//! the thread's processor time. Two shared atomic counters, as counting allocators have them, stand
//! beside as a yardstick.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use profiling::heap::{self, Mode, Profiler};

#[global_allocator]
static HEAP: Profiler<System> = Profiler::new(System, Mode::Off);

/// Live blocks of a thread; each step frees one and allocates one.
const LIVE: usize = 1024;
/// Steps of a turn: a fraction of a millisecond.
const STEPS: usize = 4_000;
const TURNS: usize = 25;
const ROUNDS: usize = 11;
/// Depth of recursion at which a block is allocated.
const DEPTH: usize = 5;

struct Shared;
static BYTES: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

// SAFETY: all calls are passed on to the system's allocator.
unsafe impl GlobalAlloc for Shared {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES[0].fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES[1].fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.dealloc(block, layout) }
    }
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

/// Some live blocks of one allocator, in the hands of one thread.
struct Churn<'a, A: GlobalAlloc> {
    allocator: &'a A,
    live: Vec<(*mut u8, Layout)>,
    layouts: Vec<Layout>,
    step: usize,
}

impl<'a, A: GlobalAlloc> Churn<'a, A> {
    fn new(allocator: &'a A, seed: u64) -> Churn<'a, A> {
        let mut state = seed;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        // Sizes from 16 bytes to 4 KiB, some 750 bytes on average.
        let mut layout = || {
            let size = (16usize << (next() % 9)) + (next() % 16) as usize;
            Layout::from_size_align(size, 8).unwrap_or(Layout::new::<u64>())
        };
        let layouts: Vec<Layout> = (0..4096).map(|_| layout()).collect();
        let live = layouts[..LIVE].iter().map(|l| (allocate_at(allocator, DEPTH, *l), *l));
        let live = live.collect();
        let mut churn = Churn { allocator, live, layouts, step: 0 };
        churn.run(STEPS);
        churn
    }

    /// Nanoseconds a step of the thread's own processor time.
    fn run(&mut self, steps: usize) -> f64 {
        let begin = processor_time();
        for step in self.step..self.step + steps {
            let place = &mut self.live[step * 7919 % LIVE];
            // SAFETY: live, allocated by this allocator with this layout.
            unsafe { self.allocator.dealloc(place.0, place.1) };
            let layout = self.layouts[step % self.layouts.len()];
            *place = (allocate_at(self.allocator, DEPTH, layout), layout);
        }
        self.step += steps;
        (processor_time() - begin) as f64 / steps as f64
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

/// What this thread has used, in nanoseconds: others on the machine take time, but not this.
fn processor_time() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Nanoseconds a step: of the bare allocator, and what `allocator` adds to them. In each thread the
/// two take turns.
fn added<A: GlobalAlloc + Sync>(allocator: &A, threads: usize) -> (f64, f64) {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let run = |nth: usize| {
            let barrier = &barrier;
            scope.spawn(move || {
                let seed = 0x9e37_79b9 + nth as u64;
                let (mut bare, mut ours) = (Churn::new(&System, seed), Churn::new(allocator, seed));
                barrier.wait();
                let turns = (0..TURNS).map(|_| (bare.run(STEPS), ours.run(STEPS)));
                let (bare, added): (Vec<f64>, Vec<f64>) =
                    turns.map(|(bare, ours)| (bare, ours - bare)).unzip();
                (median(bare), median(added))
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        let times = threads.into_iter().map(|thread| thread.join().unwrap_or((0.0, f64::NAN)));
        // The slower thread's.
        times.fold((0.0, f64::MIN), |a, b| if a.1 > b.1 { a } else { b })
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> profiling::Result<()> {
    let sampled = |mean_bytes| Mode::Sampled { mean_bytes };
    let rows = [
        ("off", Mode::Off, 0.5),
        ("counters", Mode::Counters, 3.0),
        ("sampled, 512 KiB", sampled(512 << 10), 6.0),
        ("sampled, 16 KiB", sampled(16 << 10), 20.0),
        ("exact", Mode::Exact, 100.0),
    ];
    heap::set_mode(Mode::SAMPLED)?;
    let works = heap::snapshot()?.quality.frame_pointers == Some(true);
    println!("frame pointers: {}", if works { "yes" } else { "NO: no stacks are walked" });
    println!(
        "{:18}{:>10}{:>10}{:>10}{:>10}",
        "ns a pair, added", "1 thread", "2", "target", "bare"
    );
    let mut found = vec![[const { Vec::new() }; 2]; rows.len() + 1];
    let mut bare = Vec::new();
    for _ in 0..ROUNDS {
        for (nth, count) in [1, 2].into_iter().enumerate() {
            for (row, (_, mode, _)) in rows.iter().enumerate() {
                heap::set_mode(*mode)?;
                let (time, more) = added(&HEAP, count);
                bare.push(time);
                found[row][nth].push(more);
            }
            heap::set_mode(Mode::Off)?;
            found[rows.len()][nth].push(added(&Shared, count).1);
        }
    }
    let bare = median(bare);
    for (row, (name, _, target)) in rows.iter().enumerate() {
        let [one, two] = found[row].clone().map(median);
        println!("{name:18}{one:>10.1}{two:>10.1}{target:>10.1}{bare:>10.1}");
    }
    let [one, two] = found[rows.len()].clone().map(median);
    println!("{:18}{one:>10.1}{two:>10.1}", "two shared atomics");
    heap::set_mode(Mode::Exact)?;
    let snapshot = heap::snapshot()?;
    let quality = snapshot.quality;
    println!(
        "own memory {} KiB, {} sites; {quality:?}",
        snapshot.own_bytes >> 10,
        snapshot.sites.len()
    );
    Ok(())
}
