//! What one process can do: rayon, and a plain thread. A limit, as nobody is isolated.

use std::sync::mpsc::channel;
use std::time::Instant;

use method::{Outcome, Sample};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{ours, tasks};

/// Its name in rows.
pub const NAME: &str = "rayon 1.12.0, one process";

fn pool(workers: usize) -> Outcome<ThreadPool> {
    Ok(ThreadPoolBuilder::new().num_threads(workers).build()?)
}

/// Microseconds a task, each spawned for itself and answered through a channel.
pub fn map(workers: usize, count: u64) -> Outcome<Sample> {
    let pool = pool(workers)?;
    let (sender, receiver) = channel();
    let start = Instant::now();
    for number in 0..count {
        let sender = sender.clone();
        pool.spawn(move || {
            let _ = sender.send(std::hint::black_box(number + 1));
        });
    }
    drop(sender);
    let sum: u64 = receiver.iter().sum();
    let time = start.elapsed();
    if sum != count * (count + 1) / 2 {
        return Err("a wrong sum".into());
    }
    Ok(Sample::from(time.as_secs_f64() * 1e6 / count as f64))
}

/// Microseconds an item of a parallel iterator, which divides the work as it likes.
pub fn divided(workers: usize, count: u64) -> Outcome<Sample> {
    let pool = pool(workers)?;
    let start = Instant::now();
    let done: Vec<u64> = pool.install(|| {
        (0..count).into_par_iter().map(|number| std::hint::black_box(number + 1)).collect()
    });
    let time = start.elapsed();
    if done.len() as u64 != count || done.last() != Some(&count) {
        return Err("wrong results".into());
    }
    Ok(Sample::from(time.as_secs_f64() * 1e6 / count as f64))
}

/// Milliseconds until a new thread has summed 64 MiB that are there.
pub fn sum(words: &[u64]) -> Outcome<Sample> {
    let start = Instant::now();
    let sum = std::thread::scope(|scope| scope.spawn(|| tasks::sum(words)).join());
    let time = start.elapsed();
    match sum {
        Ok(sum) if sum == ours::expected_sum() => Ok(Sample::from(time.as_secs_f64() * 1e3)),
        _ => Err("a wrong sum".into()),
    }
}
