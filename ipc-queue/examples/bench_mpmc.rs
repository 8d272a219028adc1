//! Measures the queue for several producers and consumers between two pinned threads, one of each,
//! next to crossbeam's `ArrayQueue` in the same run, which neither sleeps nor survives a death.
//!
//! `cargo run --release -p ipc-queue --example bench_mpmc [ROUNDS [PART OF A ROW'S NAME]]`

mod measure;

use std::hint::{black_box, spin_loop};
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use ipc_queue::mpmc;
use measure::{Outcome, Sample, cas_round_trip, processors, row, together};

const CAPACITY: usize = 1024;

fn push<T>(queue: &ArrayQueue<T>, mut value: T) {
    while let Err(back) = queue.push(value) {
        value = back;
        spin_loop();
    }
}

fn pop<T>(queue: &ArrayQueue<T>) -> T {
    loop {
        if let Some(value) = queue.pop() {
            return value;
        }
        spin_loop();
    }
}

/// Nanoseconds an element, one by one.
fn single<T: mpmc::Element>(value: T, count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = mpmc::channel::<T>(CAPACITY)?;
    together(
        count,
        move || {
            for _ in 0..count {
                producer.send(value).map_err(|_| "closed")?;
            }
            Ok(())
        },
        move || {
            for _ in 0..count {
                black_box(consumer.recv()?);
            }
            Ok(())
        },
    )
}

fn array_queue<T: mpmc::Element>(value: T, count: u64) -> Outcome<Sample> {
    let queue = Arc::new(ArrayQueue::new(CAPACITY));
    let theirs = Arc::clone(&queue);
    together(
        count,
        move || {
            (0..count).for_each(|_| push(&theirs, value));
            Ok(())
        },
        move || {
            (0..count).for_each(|_| {
                black_box(pop(&queue));
            });
            Ok(())
        },
    )
}

/// Nanoseconds an element, in slices of `N`.
fn batched<T: mpmc::Element, const N: usize>(value: T, count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = mpmc::channel::<T>(CAPACITY)?;
    together(
        count,
        move || {
            for _ in 0..count / N as u64 {
                producer.send_slice(&[value; N])?;
            }
            Ok(())
        },
        move || {
            let mut batch = [value; N];
            let mut left = count / N as u64 * N as u64;
            while left > 0 {
                left -= consumer.recv_slice(&mut batch)? as u64;
                black_box(&batch);
            }
            Ok(())
        },
    )
}

/// Nanoseconds for a message there and back; `spin`: looking again, or asleep each time.
fn round_trip(count: u64, spin: bool) -> Outcome<Sample> {
    let (mut ask, mut asked) = mpmc::channel::<u64>(64)?;
    let (mut answer, mut answered) = mpmc::channel::<u64>(64)?;
    if !spin {
        asked.set_spin_limit(0);
        answered.set_spin_limit(0);
    }
    together(
        count,
        move || {
            for value in asked.iter() {
                answer.send(value).map_err(|_| "closed")?;
            }
            Ok(())
        },
        move || {
            for number in 0..count {
                ask.send(number).map_err(|_| "closed")?;
                answered.recv()?;
            }
            Ok(())
        },
    )
}

fn array_queue_round_trip(count: u64) -> Outcome<Sample> {
    let (ask, answer) = (Arc::new(ArrayQueue::new(64)), Arc::new(ArrayQueue::new(64)));
    let (asked, answered) = (Arc::clone(&ask), Arc::clone(&answer));
    together(
        count,
        move || {
            (0..count).for_each(|_| push(&answer, pop(&asked)));
            Ok(())
        },
        move || {
            for number in 0..count {
                push(&ask, number);
                black_box(pop(&answered));
            }
            Ok(())
        },
    )
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(31), |text| text.parse())?.max(1);
    processors();
    println!("medians [quartiles] of the undisturbed among {rounds} rounds");
    row("compare-and-swap round trip", "ns", rounds, true, cas_round_trip)?;
    // Alternating, so that both meet the same machine.
    for _ in 0..2 {
        row("mpmc 8 B, one by one", "ns", rounds, true, || single(0u64, 30_000))?;
        row("ArrayQueue 8 B", "ns", rounds, true, || array_queue(0u64, 30_000))?;
        row("mpmc 64 B, one by one", "ns", rounds, true, || single([0u64; 8], 30_000))?;
        row("ArrayQueue 64 B", "ns", rounds, true, || array_queue([0u64; 8], 30_000))?;
        row("mpmc 8 B, batches of 64", "ns", rounds, true, || batched::<_, 64>(0u64, 60_000))?;
        row("mpmc round trip, awake", "ns", rounds, true, || round_trip(3_000, true))?;
        row("ArrayQueue round trip", "ns", rounds, true, || array_queue_round_trip(3_000))?;
    }
    row("mpmc round trip, asleep", "ns", rounds.div_ceil(5), false, || round_trip(500, false))
}
