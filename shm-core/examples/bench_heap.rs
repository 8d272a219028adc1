//! What allocating costs: this crate's heap beside mimalloc and the system's `malloc`, in
//! alternating rounds of one run. Nanoseconds for an allocation and its free; medians.
//!
//! `cargo run --release -p shm-core --example bench_heap`
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

use mimalloc::MiMalloc;
use rustix::time::{ClockId, clock_gettime};
use shm_core::heap::{Heap, HeapOptions, Local};
use shm_core::{Group, Segment};

const ROUNDS: usize = 9;
const PAIRS: usize = 400_000;
const BATCH: usize = 1000;

fn main() {
    let segment = Segment::anonymous(256 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    let heap = Heap::create(&segment, &group, HeapOptions::default()).unwrap();
    let (local, other) = (heap.local().unwrap(), heap.local().unwrap());
    println!("{:<42} {:>7} {:>7} {:>7} {:>7}", "ns a pair", "16 B", "64 B", "1 KiB", "16 KiB");
    let sizes = [16, 64, 1024, 16 << 10];
    let mut rows: Vec<Row<'_>> = Vec::new();
    rows.push(("alternating: malloc", Box::new(|layout| alternating_of(&System, layout))));
    rows.push(("alternating: mimalloc", Box::new(|layout| alternating_of(&MiMalloc, layout))));
    rows.push(("alternating: heap, raw", Box::new(|layout| alternating_raw(&local, layout))));
    rows.push(("alternating: heap, recoverable", Box::new(|layout| alternating(&local, layout))));
    rows.push(("batched: malloc", Box::new(|layout| batched_of(&System, layout))));
    rows.push(("batched: mimalloc", Box::new(|layout| batched_of(&MiMalloc, layout))));
    rows.push(("batched: heap, raw", Box::new(|layout| batched_raw(&local, layout))));
    rows.push(("batched: heap, recoverable", Box::new(|layout| batched(&local, layout))));
    rows.push(("allocate, publish, take, free", Box::new(|layout| published(&local, layout))));
    rows.push(("allocate, publish, lease, acknowledge", Box::new(|layout| leased(&local, layout))));
    let remote = |layout| remote(&local, &other, layout);
    rows.push(("batched, freed by another thread's front", Box::new(remote)));
    let mut times = vec![vec![Vec::new(); sizes.len()]; rows.len()];
    for _ in 0..ROUNDS {
        for (row, times) in rows.iter().zip(&mut times) {
            for (&size, times) in sizes.iter().zip(times) {
                times.push(row.1(Layout::from_size_align(size, 8).unwrap()));
            }
        }
    }
    for ((name, _), times) in rows.iter().zip(&mut times) {
        let medians = times.iter_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            format!(" {:>7.1}", times[ROUNDS / 2])
        });
        println!("{name:<42}{}", medians.collect::<String>());
    }
}

type Row<'a> = (&'static str, Box<dyn Fn(Layout) -> f64 + 'a>);

/// How much processor time `pairs` pairs take, by the pair: what other programs do meanwhile counts
/// as little as it can.
fn timed(pairs: usize, work: impl FnOnce()) -> f64 {
    let start = clock_gettime(ClockId::ThreadCPUTime);
    work();
    let end = clock_gettime(ClockId::ThreadCPUTime);
    let nanoseconds = (end.tv_sec - start.tv_sec) * 1_000_000_000 + end.tv_nsec - start.tv_nsec;
    nanoseconds as f64 / pairs as f64
}

fn alternating_of(allocator: &dyn GlobalAlloc, layout: Layout) -> f64 {
    timed(PAIRS, || {
        for _ in 0..PAIRS {
            // SAFETY: the layout is not empty.
            let block = black_box(unsafe { allocator.alloc(layout) });
            // SAFETY: allocated a line above; the block is large enough for a byte.
            unsafe { block.write_volatile(1) };
            // SAFETY: as above, with the same layout.
            unsafe { allocator.dealloc(block, layout) };
        }
    })
}

fn batched_of(allocator: &dyn GlobalAlloc, layout: Layout) -> f64 {
    let mut blocks = Vec::with_capacity(BATCH);
    timed(PAIRS, || {
        for _ in 0..PAIRS / BATCH {
            for _ in 0..BATCH {
                // SAFETY: the layout is not empty.
                let block = black_box(unsafe { allocator.alloc(layout) });
                // SAFETY: allocated a line above.
                unsafe { block.write_volatile(1) };
                blocks.push(block);
            }
            for block in blocks.drain(..) {
                // SAFETY: allocated above with the same layout.
                unsafe { allocator.dealloc(block, layout) };
            }
        }
    })
}

fn write(local: &Local, offset: u64) {
    let pointer = local.heap().pointer(offset).unwrap();
    // SAFETY: the block is ours.
    unsafe { pointer.write_volatile(1) };
}

fn free(local: &Local, offset: u64) {
    // SAFETY: allocated by the callers, and freed once.
    unsafe { local.free_raw(offset) }.unwrap();
}

fn alternating_raw(local: &Local, layout: Layout) -> f64 {
    timed(PAIRS, || {
        for _ in 0..PAIRS {
            let offset = black_box(local.allocate_raw(layout).unwrap());
            write(local, offset);
            free(local, offset);
        }
    })
}

fn alternating(local: &Local, layout: Layout) -> f64 {
    timed(PAIRS, || {
        for _ in 0..PAIRS {
            let block = local.allocate(layout).unwrap();
            // SAFETY: the block is ours.
            unsafe { block.as_ptr().write_volatile(1) };
        }
    })
}

fn batched_raw(local: &Local, layout: Layout) -> f64 {
    let mut offsets = Vec::with_capacity(BATCH);
    timed(PAIRS, || {
        for _ in 0..PAIRS / BATCH {
            for _ in 0..BATCH {
                let offset = local.allocate_raw(layout).unwrap();
                write(local, offset);
                offsets.push(offset);
            }
            offsets.drain(..).for_each(|offset| free(local, offset));
        }
    })
}

fn batched(local: &Local, layout: Layout) -> f64 {
    let mut blocks = Vec::with_capacity(BATCH);
    timed(PAIRS, || {
        for _ in 0..PAIRS / BATCH {
            for _ in 0..BATCH {
                let block = local.allocate(layout).unwrap();
                // SAFETY: the block is ours.
                unsafe { block.as_ptr().write_volatile(1) };
                blocks.push(block);
            }
            blocks.clear();
        }
    })
}

fn published(local: &Local, layout: Layout) -> f64 {
    let cell = local.heap().root("cell").unwrap();
    timed(PAIRS, || {
        for _ in 0..PAIRS {
            let block = local.allocate(layout).unwrap();
            // SAFETY: the block is ours.
            unsafe { block.as_ptr().write_volatile(1) };
            assert!(block.publish(cell).is_ok());
            drop(cell.take(local).unwrap().unwrap());
        }
    })
}

fn leased(local: &Local, layout: Layout) -> f64 {
    let cell = local.heap().root("cell").unwrap();
    timed(PAIRS, || {
        for _ in 0..PAIRS {
            let block = local.allocate(layout).unwrap();
            // SAFETY: the block is ours.
            unsafe { block.as_ptr().write_volatile(1) };
            assert!(block.publish(cell).is_ok());
            cell.lease(local).unwrap().unwrap().acknowledge().unwrap();
        }
    })
}

fn remote(local: &Local, other: &Local, layout: Layout) -> f64 {
    let mut offsets = Vec::with_capacity(BATCH);
    timed(PAIRS, || {
        for _ in 0..PAIRS / BATCH {
            for _ in 0..BATCH {
                let offset = local.allocate_raw(layout).unwrap();
                write(local, offset);
                offsets.push(offset);
            }
            offsets.drain(..).for_each(|offset| free(other, offset));
        }
    })
}
