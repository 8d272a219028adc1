//! How many workers, and how many items at once.

use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::error::TaskError;
use crate::pool::Pool;
use crate::task::Task;
use crate::{PoolError, codec};

/// What [`Pool::tune`] proposes, and what it measured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// So many workers: the fewest whose throughput is within a twentieth of the best.
    pub workers: usize,
    /// So many items at once, for [`Imap::chunk`](crate::Imap::chunk): about 100 µs of work. What a
    /// stream finds out by itself, to be fixed.
    pub chunk: usize,
    /// What an item takes in this process, by itself.
    pub item_time: Duration,
    /// What an item takes with each number of workers, all of them at work.
    pub measured: Vec<(usize, Duration)>,
}

/// How long each number of workers is measured.
const ROUND: Duration = Duration::from_millis(60);

impl Pool {
    /// Measures a task on these samples, and proposes how many workers and what chunks it wants.
    ///
    /// The task runs here once on each sample, then in pools of 1, 2, 4 and so on workers up to the
    /// number of processors, each for about 60 ms; so it must not mind.
    ///
    /// ```standalone_crate
    /// use proc_pool::{Pool, task};
    ///
    /// #[task(pure)]
    /// fn sum_to(n: u64) -> u64 {
    ///     (0..n).map(std::hint::black_box).sum()
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let tuning = Pool::tune(sum_to, &[1000, 2000, 3000])?;
    ///     let pool = Pool::builder().workers(tuning.workers).build()?;
    ///     let sums = pool.imap(sum_to, 0..5).chunk(tuning.chunk);
    ///     assert_eq!(sums.collect::<Result<Vec<_>, _>>()?, [0, 0, 1, 3, 6]);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TaskError`]s of the samples; [`TaskError::PoolEnded`] when a pool cannot be made;
    /// [`TaskError::Encode`] when there is no sample.
    pub fn tune<T: Task<Input: Clone>>(task: T, samples: &[T::Input]) -> Result<Tuning, TaskError> {
        if samples.is_empty() {
            let reason = "there is no sample to measure".to_owned();
            return Err(TaskError::Encode { task: T::NAME, reason });
        }
        let item_time = alone::<T>(samples)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut sizes: Vec<usize> =
            (0..).map(|power| 1 << power).take_while(|&n| n < cores).collect();
        sizes.push(cores);
        let rounds = ROUND.as_nanos() / (item_time.as_nanos().max(1) * samples.len() as u128);
        let mut measured = Vec::new();
        for workers in sizes {
            let rounds = (rounds as usize).clamp(1, 100_000 / samples.len() + 1) * workers;
            measured.push((workers, together(task, samples, workers, rounds)?));
        }
        let best = measured.iter().map(|(_, time)| *time).min().unwrap_or(item_time);
        let good = |time: Duration| time <= best + best / 20;
        let workers = measured.iter().find(|(_, time)| good(*time)).map_or(1, |found| found.0);
        let chunk = (100_000 / item_time.as_nanos().max(1)).clamp(1, 1024) as usize;
        Ok(Tuning { workers, chunk, item_time, measured })
    }
}

/// What an item takes here, coded and decoded as on its way.
fn alone<T: Task>(samples: &[T::Input]) -> Result<Duration, TaskError> {
    let start = Instant::now();
    for sample in samples {
        let input =
            codec::encode(sample).map_err(|reason| TaskError::Encode { task: T::NAME, reason })?;
        let source = &mut codec::Arrived { rest: &[] };
        let decoded = codec::run::<T>(&input.bytes, source);
        if let Err(failure) = decoded {
            let reason = format!("a sample cannot be measured here: {failure:?}");
            return Err(TaskError::Decode { task: T::NAME, reason });
        }
    }
    Ok(start.elapsed() / samples.len() as u32)
}

/// What an item takes with these workers.
fn together<T: Task<Input: Clone>>(
    task: T,
    samples: &[T::Input],
    workers: usize,
    rounds: usize,
) -> Result<Duration, TaskError> {
    let ended =
        |error: PoolError| TaskError::PoolEnded { task: T::NAME, reason: error.to_string() };
    let pool = Pool::builder().workers(workers).build().map_err(ended)?;
    // Everybody has started, and the stream has found its pace.
    pool.map(task, samples.iter().cycle().take(samples.len().max(2 * workers)).cloned())?;
    let inputs = samples.iter().cycle().take(samples.len() * rounds).cloned();
    let start = Instant::now();
    for result in pool.imap_unordered(task, inputs) {
        result.1?;
    }
    Ok(start.elapsed() / (samples.len() * rounds) as u32)
}
