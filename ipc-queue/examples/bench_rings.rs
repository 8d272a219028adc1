//! Measures the typed queues and the pipe between two pinned threads, next to a compare-and-swap
//! ping-pong on the same two processors, before and after: the ratio is the portable figure. Rivals:
//! `cargo xtask peers queue`.
//!
//! `cargo run --release -p ipc-queue --example bench_rings [ROUNDS [PART OF A ROW'S NAME]]`

mod measure;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{Ordering::Acquire, Ordering::Release};

use ipc_queue::pipe;
use measure::{Outcome, Sample, cas_round_trip, processors, row, together};
use shm_core::futex::Futex;

/// The same measurements for each kind of typed queue.
macro_rules! measured {
    ($kind:ident) => {
        mod $kind {
            use super::*;
            use ipc_queue::$kind;

            /// Nanoseconds an element, sent and received one by one.
            pub fn single<T: $kind::Element>(value: T, count: u64) -> Outcome<Sample> {
                let (mut producer, mut consumer) = $kind::channel::<T>(1024)?;
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
                            std::hint::black_box(consumer.recv()?);
                        }
                        Ok(())
                    },
                )
            }

            /// Nanoseconds an element, sent from and received into slices of `N`: one copy a side.
            pub fn batched<T: $kind::Element, const N: usize>(
                value: T,
                count: u64,
            ) -> Outcome<Sample> {
                let (mut producer, mut consumer) = $kind::channel::<T>(4096.min(1024 * N))?;
                together(
                    count,
                    move || {
                        let batch = [value; N];
                        for _ in 0..count / N as u64 {
                            producer.send_slice(&batch)?;
                        }
                        Ok(())
                    },
                    move || {
                        let mut batch = [value; N];
                        let mut left = count / N as u64 * N as u64;
                        while left > 0 {
                            left -= consumer.recv_slice(&mut batch)? as u64;
                            std::hint::black_box(&batch);
                        }
                        Ok(())
                    },
                )
            }

            /// Nanoseconds for a message there and back; `spin`: looking again, or asleep each time.
            pub fn round_trip(count: u64, spin: bool) -> Outcome<Sample> {
                let (mut ask, mut asked) = $kind::channel::<u64>(64)?;
                let (mut answer, mut answered) = $kind::channel::<u64>(64)?;
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
        }
    };
}

measured!(spsc);
measured!(mpmc);

/// Nanoseconds for a round trip of a bare futex: two words, a wake and a sleep each way.
fn futex_round_trip(count: u32) -> Outcome<Sample> {
    let words = Arc::new([Futex::new(0), Futex::new(0)]);
    let wait = |word: &Futex, round: u32| {
        while word.word().load(Acquire) != round {
            word.wait(round - 1, None);
        }
    };
    let tell = |word: &Futex, round: u32| {
        word.word().store(round, Release);
        word.wake(1);
    };
    let other = words.clone();
    together(
        count.into(),
        move || {
            for round in 1..=count {
                wait(&other[0], round);
                tell(&other[1], round);
            }
            Ok(())
        },
        move || {
            for round in 1..=count {
                tell(&words[0], round);
                wait(&words[1], round);
            }
            Ok(())
        },
    )
}

/// Gigabytes a second, copied in and out of a pipe of 1 MiB in pieces of `size`.
fn stream(size: usize, total: u64) -> Outcome<Sample> {
    let (mut writer, mut reader) = pipe::channel(1 << 20)?;
    let count = total / size as u64;
    let mut buffer = vec![1; size];
    let piece = vec![7; size];
    let sample = together(
        count,
        move || {
            for _ in 0..count {
                writer.write_all(&piece)?;
            }
            Ok(())
        },
        move || {
            for _ in 0..count {
                reader.read_exact(&mut buffer)?;
                std::hint::black_box(&buffer);
            }
            Ok(())
        },
    )?;
    Ok(sample.map(|time| size as f64 / time))
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(51), |text| text.parse())?.max(1);
    processors();
    println!(
        "medians [quartiles] of the undisturbed among {rounds} rounds; {:?}",
        shm_core::barrier::mode()
    );
    row("compare-and-swap round trip", "ns", rounds, true, cas_round_trip)?;
    row("spsc 8 B, one by one", "ns", rounds, true, || spsc::single(0u64, 200_000))?;
    row("spsc 8 B, batches of 64", "ns", rounds, true, || spsc::batched::<_, 64>(0u64, 1_000_000))?;
    row("spsc 64 B, one by one", "ns", rounds, true, || spsc::single([0u64; 8], 50_000))?;
    row("spsc 1 KiB, one by one", "ns", rounds, true, || spsc::single([0u64; 128], 10_000))?;
    row("spsc 1 KiB, slices of 1", "ns", rounds, true, || {
        spsc::batched::<_, 1>([0u64; 128], 10_000)
    })?;
    row("spsc round trip, awake", "ns", rounds, true, || spsc::round_trip(5_000, true))?;
    row("mpmc 8 B, one by one", "ns", rounds, true, || mpmc::single(0u64, 30_000))?;
    row("mpmc 64 B, one by one", "ns", rounds, true, || mpmc::single([0u64; 8], 30_000))?;
    row("mpmc 8 B, batches of 64", "ns", rounds, true, || mpmc::batched::<_, 64>(0u64, 60_000))?;
    row("mpmc round trip, awake", "ns", rounds, true, || mpmc::round_trip(3_000, true))?;
    row("pipe, pieces of 1 KiB", "GB/s", rounds, true, || stream(1 << 10, 100 << 20))?;
    row("pipe, pieces of 64 KiB", "GB/s", rounds, true, || stream(1 << 16, 400 << 20))?;
    let few = rounds.div_ceil(5);
    row("pipe, one piece of 240 MB", "GB/s", few, true, || stream(240_000_000, 480_000_000))?;
    row("bare futex round trip, asleep", "ns", few, false, || futex_round_trip(500))?;
    row("spsc round trip, asleep", "ns", few, false, || spsc::round_trip(500, false))?;
    row("mpmc round trip, asleep", "ns", few, false, || mpmc::round_trip(500, false))
}
