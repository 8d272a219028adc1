//! What the heap profiler costs: nanoseconds an allocation with its free, beside the bare
//! allocator, in one run.
//!
//! `RUSTFLAGS="-C force-frame-pointers=yes" cargo run --release -p profiling --example heap_cost`
//!
//! Every round runs all rows one after another: the bare allocator, then each mode. A row's figure
//! is the median over the rounds of its time less the bare time of the same round. `stats_alloc`'s
//! manner, two shared atomic counters, stands beside as a yardstick.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use profiling::heap::{self, Mode, Profiler};

#[global_allocator]
static HEAP: Profiler<System> = Profiler::new(System, Mode::Off);

/// Live blocks of a thread; each step frees one and allocates one.
const LIVE: usize = 1024;
const STEPS: usize = 200_000;
const ROUNDS: usize = 9;
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

/// Nanoseconds a step.
fn churn<A: GlobalAlloc>(allocator: &A, seed: u64) -> f64 {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    // Sizes from 16 bytes to 8 KiB, 750 bytes on average.
    let mut layout = || {
        let size = 16usize << (next() % 9).min(next() % 10);
        Layout::from_size_align(size + (next() % 16) as usize, 8).unwrap_or(Layout::new::<u64>())
    };
    let mut live: Vec<(*mut u8, Layout)> = Vec::with_capacity(LIVE);
    for _ in 0..LIVE {
        let layout = layout();
        live.push((allocate_at(allocator, DEPTH, layout), layout));
    }
    let layouts: Vec<Layout> = (0..4096).map(|_| layout()).collect();
    let begin = Instant::now();
    for step in 0..STEPS {
        let place = &mut live[step * 7919 % LIVE];
        // SAFETY: live, allocated by this allocator with this layout.
        unsafe { allocator.dealloc(place.0, place.1) };
        let layout = layouts[step % layouts.len()];
        *place = (allocate_at(allocator, DEPTH, layout), layout);
    }
    let time = begin.elapsed().as_nanos() as f64 / STEPS as f64;
    for (block, layout) in live {
        // SAFETY: live, allocated by this allocator with this layout.
        unsafe { allocator.dealloc(block, layout) };
    }
    time
}

/// The slowest thread's nanoseconds a step.
fn threads<A: GlobalAlloc + Sync>(allocator: &A, count: usize) -> f64 {
    let barrier = Barrier::new(count);
    std::thread::scope(|scope| {
        let run = |nth: usize| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                churn(allocator, 0x9e37_79b9 + nth as u64)
            })
        };
        let threads: Vec<_> = (0..count).map(run).collect();
        let times = threads.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN));
        times.fold(0.0, f64::max)
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
    let mut found = vec![[const { Vec::new() }; 2]; rows.len() + 2];
    for _ in 0..ROUNDS {
        for (nth, count) in [1, 2].into_iter().enumerate() {
            heap::set_mode(Mode::Off)?;
            let bare = threads(&System, count);
            found[rows.len() + 1][nth].push(bare);
            found[rows.len()][nth].push(threads(&Shared, count) - bare);
            for (row, (_, mode, _)) in rows.iter().enumerate() {
                // The bare allocator again before each row: the machine is not alone.
                heap::set_mode(Mode::Off)?;
                let bare = threads(&System, count);
                heap::set_mode(*mode)?;
                let time = threads(&HEAP, count);
                found[row][nth].push(time - bare);
            }
        }
    }
    let bare = found[rows.len() + 1].clone().map(median);
    for (row, (name, _, target)) in rows.iter().enumerate() {
        let [one, two] = found[row].clone().map(median);
        println!("{name:18}{one:>10.1}{two:>10.1}{target:>10.1}{:>10.1}", bare[0]);
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
