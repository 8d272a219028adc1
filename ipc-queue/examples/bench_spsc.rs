//! Measures the ring and the pipe between two pinned threads, next to a compare-and-swap
//! ping-pong on the same two processors, before and after: the ratio is the portable figure.
//!
//! `cargo run --release -p ipc-queue --example bench_spsc [ROUNDS [PART OF A ROW'S NAME]]`

use std::error::Error;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ipc_queue::{pipe, spsc};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use shm_core::futex::Futex;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The processors that this program may use, asked before any thread is kept on one.
fn processors() -> &'static [usize] {
    static PROCESSORS: OnceLock<Vec<usize>> = OnceLock::new();
    PROCESSORS.get_or_init(|| {
        sched_getaffinity(None)
            .map(|allowed| (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect())
            .unwrap_or_default()
    })
}

/// Keeps the calling thread on the `index`-th processor that this program may use.
fn pin(index: usize) -> Outcome<()> {
    let cpus = processors();
    let mut one = CpuSet::new();
    one.set(*cpus.get(index).ok_or("two processors are needed")?);
    Ok(sched_setaffinity(None, &one)?)
}

/// One measurement: the value, and how many processors were at work on it (2 = undisturbed).
#[derive(Clone, Copy)]
struct Sample {
    value: f64,
    busy: f64,
}

/// Of the calling thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Runs `there` on another processor and `here` on this one, starting together; nanoseconds of
/// `here` divided by `count`.
fn together(
    count: u64,
    there: impl FnOnce() -> Outcome<()> + Send + 'static,
    here: impl FnOnce() -> Outcome<()>,
) -> Outcome<Sample> {
    let ready = Arc::new(AtomicU32::new(0));
    let other = {
        let ready = ready.clone();
        thread::spawn(move || {
            pin(1)?;
            let used = processor_time();
            ready.store(1, Release);
            there()?;
            Ok::<_, Box<dyn Error + Send + Sync>>(processor_time() - used)
        })
    };
    pin(0)?;
    while ready.load(Acquire) == 0 {
        thread::yield_now();
    }
    let (used, start) = (processor_time(), Instant::now());
    here()?;
    let (used, time) = (processor_time() - used, start.elapsed());
    let used = used + other.join().map_err(|_| "the other thread panicked")??;
    Ok(Sample {
        value: time.as_nanos() as f64 / count as f64,
        busy: used.as_secs_f64() / time.as_secs_f64(),
    })
}

/// Nanoseconds for a round trip of one cache line by compare-and-swap.
fn cas_round_trip() -> Outcome<Sample> {
    let rounds = 5_000_u32;
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
    together(
        rounds.into(),
        move || {
            turn(&other, 1);
            Ok(())
        },
        move || {
            turn(&line, 0);
            Ok(())
        },
    )
}

/// Nanoseconds an element, sent and received one by one.
fn single<T: spsc::Element>(value: T, count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = spsc::channel::<T>(1024)?;
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
fn batched<T: spsc::Element, const N: usize>(value: T, count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = spsc::channel::<T>(4096.min(1024 * N))?;
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
fn round_trip(count: u64, spin: bool) -> Outcome<Sample> {
    let (mut ask, mut asked) = spsc::channel::<u64>(64)?;
    let (mut answer, mut answered) = spsc::channel::<u64>(64)?;
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
    Ok(Sample { value: size as f64 / sample.value, ..sample })
}

/// The quartiles: low, median, high.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).copied().unwrap_or(f64::NAN))
}

/// Fewer processors at work than this: somebody else took one away, the sample is dropped.
const UNDISTURBED: f64 = 1.7;

/// Runs `what` between two calibrations, `rounds` times; prints medians and quartiles of the
/// undisturbed rounds (of all, if the threads sleep on purpose), and the best of all.
fn row(
    name: &str,
    unit: &str,
    rounds: usize,
    awake: bool,
    what: impl Fn() -> Outcome<Sample>,
) -> Outcome<()> {
    if !name.contains(&std::env::args().nth(2).unwrap_or_default()) {
        return Ok(());
    }
    let (mut values, mut ratios) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for _ in 0..rounds {
        let before = cas_round_trip()?;
        let sample = what()?;
        let after = cas_round_trip()?;
        all.push(sample.value);
        if awake && sample.busy < UNDISTURBED {
            continue;
        }
        values.push(sample.value);
        if before.busy.min(after.busy) >= UNDISTURBED {
            ratios.push(sample.value / ((before.value + after.value) / 2.0));
        }
    }
    let kept = values.len();
    let ([low, middle, high], [_, ratio, _]) = (quartiles(values), quartiles(ratios));
    let best = all.iter().copied().reduce(if unit == "ns" { f64::min } else { f64::max });
    let best = best.unwrap_or(f64::NAN);
    let ratio = if unit == "ns" { format!("{ratio:8.3} x CAS") } else { String::new() };
    println!(
        "{name:<32}{middle:>10.2} {unit:<5}[{low:.2} .. {high:.2}] of {kept:>3}, best {best:.2} {ratio}"
    );
    Ok(())
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(51), |text| text.parse())?.max(1);
    processors();
    println!(
        "medians [quartiles] of the undisturbed among {rounds} rounds; {:?}",
        shm_core::barrier::mode()
    );
    row("compare-and-swap round trip", "ns", rounds, true, cas_round_trip)?;
    row("spsc 8 B, one by one", "ns", rounds, true, || single(0u64, 200_000))?;
    row("spsc 8 B, batches of 64", "ns", rounds, true, || batched::<_, 64>(0u64, 1_000_000))?;
    row("spsc 64 B, one by one", "ns", rounds, true, || single([0u64; 8], 50_000))?;
    row("spsc 1 KiB, one by one", "ns", rounds, true, || single([0u64; 128], 10_000))?;
    row("spsc 1 KiB, slices of 1", "ns", rounds, true, || batched::<_, 1>([0u64; 128], 10_000))?;
    row("spsc round trip, awake", "ns", rounds, true, || round_trip(5_000, true))?;
    row("pipe, pieces of 1 KiB", "GB/s", rounds, true, || stream(1 << 10, 100 << 20))?;
    row("pipe, pieces of 64 KiB", "GB/s", rounds, true, || stream(1 << 16, 400 << 20))?;
    let few = rounds.div_ceil(5);
    row("pipe, one piece of 240 MB", "GB/s", few, true, || stream(240_000_000, 480_000_000))?;
    row("bare futex round trip, asleep", "ns", few, false, || futex_round_trip(500))?;
    row("spsc round trip, asleep", "ns", few, false, || round_trip(500, false))
}
