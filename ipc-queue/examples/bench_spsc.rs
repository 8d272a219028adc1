//! Measures the ring and the pipe between two pinned threads, next to a compare-and-swap
//! ping-pong on the same two processors, before and after: the ratio is the portable figure.
//!
//! `cargo run --release -p ipc-queue --example bench_spsc [ROUNDS]`

use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::thread;
use std::time::{Duration, Instant};

use ipc_queue::{pipe, spsc};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use shm_core::futex::Futex;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Keeps the calling thread on the `index`-th processor that this program may use.
fn pin(index: usize) -> Outcome<()> {
    let allowed = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let mut one = CpuSet::new();
    one.set(*cpus.get(index % cpus.len().max(1)).ok_or("no processor")?);
    Ok(sched_setaffinity(None, &one)?)
}

/// Runs `there` on another processor and `here` on this one; the time of `here`.
fn together(
    there: impl FnOnce() -> Outcome<()> + Send + 'static,
    here: impl FnOnce() -> Outcome<()>,
) -> Outcome<Duration> {
    let other = thread::spawn(move || {
        pin(1)?;
        there()
    });
    pin(0)?;
    let start = Instant::now();
    here()?;
    let time = start.elapsed();
    other.join().map_err(|_| "the other thread panicked")??;
    Ok(time)
}

/// Nanoseconds for a round trip of one cache line by compare-and-swap.
fn cas_round_trip() -> Outcome<f64> {
    let rounds = 20_000_u32;
    let line = Arc::new([const { AtomicU32::new(0) }; 64]);
    let turn = move |line: &[AtomicU32; 64], from: u32| {
        for _ in 0..rounds {
            let mut looks = 0;
            while line[32].compare_exchange(from, 1 - from, AcqRel, Acquire).is_err() {
                std::hint::spin_loop();
                looks += 1;
                if looks % 4096 == 0 {
                    // The other thread is not running: somebody else is on its processor.
                    thread::yield_now();
                }
            }
        }
    };
    let other = line.clone();
    let time = together(
        move || {
            turn(&other, 1);
            Ok(())
        },
        move || {
            turn(&line, 0);
            Ok(())
        },
    )?;
    Ok(per(time, rounds.into()))
}

fn per(time: Duration, count: u64) -> f64 {
    time.as_nanos() as f64 / count as f64
}

/// Nanoseconds an element, sent and received one by one.
fn single<T: spsc::Element>(count: u64) -> Outcome<f64> {
    let (mut producer, mut consumer) = spsc::channel::<T>(1024)?;
    let value = T::zeroed();
    let time = together(
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
    )?;
    Ok(per(time, count))
}

/// Nanoseconds an element in batches of 64.
fn batched(count: u64) -> Outcome<f64> {
    let (mut producer, mut consumer) = spsc::channel::<u64>(4096)?;
    let time = together(
        move || {
            let batch = [7; 64];
            for _ in 0..count / 64 {
                producer.send_slice(&batch)?;
            }
            Ok(())
        },
        move || {
            let mut batch = [0; 64];
            let mut left = count / 64 * 64;
            while left > 0 {
                left -= consumer.recv_slice(&mut batch)? as u64;
                std::hint::black_box(&batch);
            }
            Ok(())
        },
    )?;
    Ok(per(time, count))
}

/// Nanoseconds for a message there and back; `spin`: looking again, or asleep each time.
fn round_trip(count: u64, spin: bool) -> Outcome<f64> {
    let (mut ask, mut asked) = spsc::channel::<u64>(64)?;
    let (mut answer, mut answered) = spsc::channel::<u64>(64)?;
    if !spin {
        asked.set_spin_limit(0);
        answered.set_spin_limit(0);
    }
    let time = together(
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
    )?;
    Ok(per(time, count))
}

/// Nanoseconds for a round trip of a bare futex: two words, a wake and a sleep each way.
fn futex_round_trip(count: u32) -> Outcome<f64> {
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
    let time = together(
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
    )?;
    Ok(per(time, count.into()))
}

/// Gigabytes a second, copied in and out of a pipe of 1 MiB in pieces of `size`.
fn stream(size: usize, total: u64) -> Outcome<f64> {
    let (mut writer, mut reader) = pipe::channel(1 << 20)?;
    let count = total / size as u64;
    let mut buffer = vec![1; size];
    let piece = vec![7; size];
    let time = together(
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
    Ok((count * size as u64) as f64 / time.as_nanos() as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs `what` between two calibrations, `rounds` times; prints the medians and the spread.
fn row(name: &str, unit: &str, rounds: usize, what: impl Fn() -> Outcome<f64>) -> Outcome<()> {
    let (mut values, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = cas_round_trip()?;
        let value = what()?;
        let cas = (before + cas_round_trip()?) / 2.0;
        values.push(value);
        ratios.push(value / cas);
    }
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[values.len() / 4], values[values.len() * 3 / 4]);
    let ratio = median(ratios);
    let ratio = if unit == "ns" { format!("{ratio:8.3} x CAS") } else { String::new() };
    println!("{name:<34}{:>10.2} {unit:<5} [{low:.2} .. {high:.2}] {ratio}", median(values));
    Ok(())
}

fn main() -> Outcome<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(9), |text| text.parse())?.max(1);
    println!("medians of {rounds} rounds [quartiles]; {:?}", shm_core::barrier::mode());
    row("compare-and-swap round trip", "ns", rounds, cas_round_trip)?;
    row("spsc 8 B, one by one", "ns", rounds, || single::<u64>(2_000_000))?;
    row("spsc 8 B, batches of 64", "ns", rounds, || batched(8_000_000))?;
    row("spsc 64 B, one by one", "ns", rounds, || single::<[u64; 8]>(1_000_000))?;
    row("spsc 1 KiB, one by one", "ns", rounds, || single::<[u64; 128]>(200_000))?;
    row("spsc round trip, looking again", "ns", rounds, || round_trip(20_000, true))?;
    row("pipe, pieces of 1 KiB", "GB/s", rounds, || stream(1 << 10, 200 << 20))?;
    row("pipe, pieces of 64 KiB", "GB/s", rounds, || stream(1 << 16, 1 << 30))?;
    row("pipe, one piece of 240 MB", "GB/s", rounds, || stream(240_000_000, 240_000_000))?;
    row("bare futex round trip, asleep", "ns", rounds, || futex_round_trip(1_000))?;
    row("spsc round trip, asleep", "ns", rounds, || round_trip(1_000, false))
}
