//! The two ways: everybody reads the same memory, or everybody gets a copy.

use std::ops::Range;
use std::time::{Duration, Instant};

use proc_pool::{Copied, Pool, Task, TaskHandle, as_completed};
use profiling::{Sampler, Timeline};
use shm_core::NamedFrozen;

use crate::Error;
use crate::kernel::Sum;
use crate::options::{Options, Way};
use crate::progress::Progress;
use crate::source::Source;
use crate::tasks::{Answer, sum_copied, sum_named, sum_shared};

/// What one way gave and cost.
#[derive(Debug)]
pub struct Outcome {
    pub sum: Sum,
    /// From the data in place until every sum is there: starting the workers, handing over, and
    /// summing.
    pub seconds: f64,
    /// Through the queues to and from the workers.
    pub bytes_moved: u64,
    /// Of the whole process tree, each shared segment once.
    pub timeline: Timeline,
}

/// Goes one way.
pub fn go(
    way: Way,
    source: &Source,
    options: &Options,
    progress: &Progress,
) -> Result<Outcome, Error> {
    match (way, &options.named) {
        (Way::Shared, Some(name)) => named(name, source, options, progress),
        (Way::Shared, None) => shared(source, options, progress),
        (Way::Copied, _) => copied(source, options, progress),
    }
}

/// Frozen shared memory; what goes to the workers is a handle.
fn shared(source: &Source, options: &Options, progress: &Progress) -> Result<Outcome, Error> {
    progress.say("shared: making the data");
    let sampler = watch()?;
    let data = source.frozen()?;
    sampler.mark("data ready");
    progress.step();
    progress.say("shared: summing");
    let stride = source.place.stride;
    measure(source, options, progress, sampler, |pool, rows| {
        let view = data.slice(rows.start * stride..rows.end * stride)?;
        Ok(pool.submit(sum_shared, (view, source.place.clone())))
    })
}

/// The same under a name in `/dev/shm`, which the workers open.
fn named(
    name: &str,
    source: &Source,
    options: &Options,
    progress: &Progress,
) -> Result<Outcome, Error> {
    progress.say("shared: making the data");
    let sampler = watch()?;
    let data = NamedFrozen::publish(name, &source.private()?)?;
    sampler.mark("data published");
    progress.step();
    progress.say("shared: summing");
    let stride = source.place.stride;
    let outcome = measure(source, options, progress, sampler, |pool, rows| {
        let (start, end) = (rows.start * stride, rows.end * stride);
        Ok(pool.submit(sum_named, (name.to_owned(), start, end, source.place.clone())))
    });
    drop(data);
    outcome
}

/// A copy for each worker, through its queue.
fn copied(source: &Source, options: &Options, progress: &Progress) -> Result<Outcome, Error> {
    progress.say("copied: making the data");
    let sampler = watch()?;
    let mut data = Some(source.private()?);
    sampler.mark("data ready");
    progress.step();
    progress.say("copied: sending and summing");
    let stride = source.place.stride;
    let whole = if options.split { None } else { data.take().map(Copied::from) };
    measure(source, options, progress, sampler, |pool, rows| {
        let bytes = match (&whole, &data) {
            (Some(whole), _) => whole.clone(),
            (None, Some(data)) => {
                Copied::from(data[rows.start * stride..rows.end * stride].to_vec())
            }
            (None, None) => return Err("no data".into()),
        };
        Ok(pool.submit(sum_copied, (bytes, source.place.clone())))
    })
}

fn watch() -> Result<Sampler, Error> {
    Ok(Sampler::builder(std::process::id()).interval(Duration::from_millis(5)).start()?)
}

/// Starts the workers, has each sum its rows, and ends them, with the tree's memory watched.
fn measure<T: Task<Output = Answer>>(
    source: &Source,
    options: &Options,
    progress: &Progress,
    sampler: Sampler,
    mut submit: impl FnMut(&Pool, Range<usize>) -> Result<TaskHandle<T>, Error>,
) -> Result<Outcome, Error> {
    let start = Instant::now();
    let pool = Pool::builder().workers(options.workers).build()?;
    for (number, pid) in pool.worker_pids().into_iter().enumerate() {
        sampler.label(pid, format!("worker {}", number + 1));
    }
    let handles =
        rows(source, options).map(|rows| submit(&pool, rows)).collect::<Result<Vec<_>, Error>>()?;
    let mut sums = vec![None; handles.len()];
    for (index, result) in as_completed(handles) {
        sums[index] = Some(result??);
        progress.step();
    }
    let seconds = start.elapsed().as_secs_f64();
    sampler.mark("summed");
    let bytes_moved = pool.bytes_moved();
    pool.close()?;
    let sum = together(sums.into_iter().flatten(), options.split)?;
    Ok(Outcome { sum, seconds, bytes_moved, timeline: sampler.stop() })
}

/// The rows of each task: all of them for everybody, or a part each.
fn rows(source: &Source, options: &Options) -> impl Iterator<Item = Range<usize>> {
    let (rows, workers, split) = (source.rows, options.workers, options.split);
    (0..workers).map(
        move |i| {
            if split { rows * i / workers..rows * (i + 1) / workers } else { 0..rows }
        },
    )
}

/// One sum: of the parts, or that of everybody, who must agree.
fn together(sums: impl Iterator<Item = Sum>, split: bool) -> Result<Sum, Error> {
    let mut sums = sums;
    let first = sums.next().ok_or("no sum came back")?;
    if split {
        return Ok(sums.fold(first, Sum::add));
    }
    match sums.find(|sum| *sum != first) {
        None => Ok(first),
        Some(other) => Err(format!("the workers disagree: {first} and {other}").into()),
    }
}
