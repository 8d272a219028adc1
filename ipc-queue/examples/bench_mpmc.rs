//! Measures the queue for several producers and consumers between two pinned threads, one of each,
//! beside a compare-and-swap ping-pong in the same run. Rivals: `cargo xtask peers queue`.
//!
//! `cargo run --release -p ipc-queue --example bench_mpmc [ROUNDS [PART OF A ROW'S NAME]]`

mod measure;

use std::hint::black_box;

use ipc_queue::mpmc;
use measure::{Outcome, Sample, cas_round_trip, processors, row, together};

const CAPACITY: usize = 1024;

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

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(31), |text| text.parse())?.max(1);
    processors();
    println!("medians [quartiles] of the undisturbed among {rounds} rounds");
    row("compare-and-swap round trip", "ns", rounds, true, cas_round_trip)?;
    row("mpmc 8 B, one by one", "ns", rounds, true, || single(0u64, 30_000))?;
    row("mpmc 64 B, one by one", "ns", rounds, true, || single([0u64; 8], 30_000))?;
    row("mpmc 8 B, batches of 64", "ns", rounds, true, || batched::<_, 64>(0u64, 60_000))?;
    row("mpmc round trip, awake", "ns", rounds, true, || round_trip(3_000, true))?;
    row("mpmc round trip, asleep", "ns", rounds.div_ceil(5), false, || round_trip(500, false))
}
