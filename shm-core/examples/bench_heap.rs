//! What allocating costs: this crate's heap beside the system's `malloc`, in alternating rounds
//! of one run. Nanoseconds for an allocation and its free; medians. Other allocators: `cargo xtask
//! peers heap`.
//!
//! `cargo run --release -p shm-core --example bench_heap [-- PART OF A ROW'S NAME]`
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use shm_core::futex::{Futex, Waited};
use shm_core::heap::{Heap, HeapOptions, Local};
use shm_core::{Group, Owner, Peers, Segment, Ticket};

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
    let remote = |layout| remote(&local, &other, layout);
    let rows: Vec<Row<'_>> = vec![
        ("alternating: malloc", Box::new(|layout| alternating_of(&System, layout))),
        ("alternating: heap, raw", Box::new(|layout| alternating_raw(&local, layout))),
        ("alternating: heap, recoverable", Box::new(|layout| alternating(&local, layout))),
        ("batched: malloc", Box::new(|layout| batched_of(&System, layout))),
        ("batched: heap, raw", Box::new(|layout| batched_raw(&local, layout))),
        ("batched: heap, recoverable", Box::new(|layout| batched(&local, layout))),
        ("allocate, publish, take, free", Box::new(|layout| published(&local, layout))),
        ("allocate, publish, lease, acknowledge", Box::new(|layout| leased(&local, layout))),
        ("batched, freed by another thread's front", Box::new(remote)),
    ];
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let rows: Vec<Row<'_>> = rows.into_iter().filter(|row| row.0.contains(&wanted)).collect();
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
    if wanted.is_empty() || "recovery".contains(&wanted) {
        recovery();
    }
}

/// Peers of a process that is gone as soon as it is said to be.
#[derive(Clone)]
struct Mortal {
    me: Owner,
    gone: Arc<AtomicBool>,
}

impl Peers for Mortal {
    fn me(&self) -> Option<Owner> {
        Some(self.me)
    }

    fn is_gone(&self, owner: Owner) -> bool {
        owner != self.me && self.gone.load(Ordering::Acquire)
    }

    fn ticket(&self) -> Ticket {
        Ticket(0)
    }

    fn park(&self, _: &Futex, _: u32, _: Ticket, _: Option<Duration>) -> Waited {
        Waited::Woken
    }
}

/// How long it takes until a heap of 1 GiB whose only user has died is everybody's again.
fn recovery() {
    for (what, held, size) in [
        ("spans alone", false, 40_000),
        ("8,000 blocks of 128 KiB held", true, 120_000),
        ("900,000 blocks of 1 KiB held", true, 1024),
    ] {
        let mut times: Vec<f64> = (0..5).map(|_| recovery_of(held, size)).collect();
        times.sort_by(f64::total_cmp);
        println!("recovery of a dead 1 GiB heap, {what}: {:.3} ms", times[2]);
    }
}

fn recovery_of(held: bool, size: usize) -> f64 {
    let segment = Segment::anonymous(1 << 30).unwrap();
    let gone = Arc::new(AtomicBool::new(false));
    let owner = |index: u32| Owner::from_bits(1 << 6 | index).unwrap();
    let victim = Mortal { me: owner(1), gone: Arc::clone(&gone) };
    let id = segment.id();
    let heap = Heap::create_for(&segment, victim, id, HeapOptions::default()).unwrap();
    let local = heap.local().unwrap();
    let layout = Layout::from_size_align(size, 8).unwrap();
    loop {
        if held {
            let Ok(block) = local.allocate(layout) else { break };
            std::mem::forget(block);
        } else if local.allocate_raw(layout).is_err() {
            break;
        }
    }
    std::mem::forget(local);
    let survivor = Mortal { me: owner(2), gone: Arc::clone(&gone) };
    let survivor = Heap::attach_for(&segment, survivor, id, 0).unwrap();
    gone.store(true, Ordering::Release);
    let start = clock_gettime(ClockId::ThreadCPUTime);
    assert_eq!(survivor.recover(), 1);
    nanoseconds_since(start) / 1e6
}

type Row<'a> = (&'static str, Box<dyn Fn(Layout) -> f64 + 'a>);

/// How much processor time `pairs` pairs take, by the pair: what other programs do meanwhile counts
/// as little as it can.
fn timed(pairs: usize, work: impl FnOnce()) -> f64 {
    let start = clock_gettime(ClockId::ThreadCPUTime);
    work();
    nanoseconds_since(start) / pairs as f64
}

fn nanoseconds_since(start: Timespec) -> f64 {
    let end = clock_gettime(ClockId::ThreadCPUTime);
    ((end.tv_sec - start.tv_sec) * 1_000_000_000 + end.tv_nsec - start.tv_nsec) as f64
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
