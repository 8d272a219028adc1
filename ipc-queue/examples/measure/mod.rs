//! What the benchmarks of this folder share: two threads on two processors, calibrated by a
//! compare-and-swap ping-pong before and after each sample.

use std::error::Error;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The processors that this program may use, asked before any thread is kept on one.
pub fn processors() -> &'static [usize] {
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
pub struct Sample {
    value: f64,
    busy: f64,
}

impl Sample {
    /// The same measurement in another unit.
    #[allow(dead_code, reason = "not every benchmark needs it")]
    pub fn map(self, to: impl FnOnce(f64) -> f64) -> Sample {
        Sample { value: to(self.value), ..self }
    }
}

/// Of the calling thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Runs `there` on another processor and `here` on this one, starting together; nanoseconds of
/// `here` divided by `count`.
pub fn together(
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
pub fn cas_round_trip() -> Outcome<Sample> {
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

/// The quartiles: low, median, high.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).copied().unwrap_or(f64::NAN))
}

/// Fewer processors at work than this: somebody else took one away, the sample is dropped.
const UNDISTURBED: f64 = 1.7;

/// Runs `what` between two calibrations, `rounds` times; prints medians and quartiles of the
/// undisturbed rounds (of all, if the threads sleep on purpose), and the best of all.
pub fn row(
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
