//! procspawn, the other general pool of processes in Rust.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use method::{Outcome, Promise, Sample};
use procspawn::Pool;

use crate::tasks;

/// What it keeps.
pub const PROMISE: Promise =
    Promise::may_lose("a killed worker's task fails; killed while idle, the next task fails");

/// Its name in rows.
pub const NAME: &str = "procspawn 1.0.2";

/// Tasks that are under way at once: each takes three descriptors, so not all of them can be.
const AHEAD: usize = 64;

/// Pools by their number of workers.
#[derive(Default)]
pub struct Rival {
    pools: HashMap<usize, Pool>,
}

impl std::fmt::Debug for Rival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rival").finish_non_exhaustive()
    }
}

impl Rival {
    fn pool(&mut self, workers: usize) -> Outcome<&Pool> {
        Ok(match self.pools.entry(workers) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Pool::new(workers)?),
        })
    }

    /// Ends the pools.
    pub fn end_pools(&mut self) {
        for (_, pool) in self.pools.drain() {
            pool.shutdown();
        }
    }

    /// Microseconds a task.
    pub fn map(&mut self, workers: usize, count: u64) -> Outcome<Sample> {
        let pool = self.pool(workers)?;
        let (mut ahead, mut expected) = (VecDeque::new(), 1);
        let mut take = |handle: procspawn::JoinHandle<u64>| -> Outcome<()> {
            let is_right = handle.join()? == expected;
            expected += 1;
            if is_right { Ok(()) } else { Err("a wrong result".into()) }
        };
        let start = Instant::now();
        for number in 0..count {
            ahead.push_back(pool.spawn(number, |number| number + 1));
            if ahead.len() == AHEAD
                && let Some(first) = ahead.pop_front()
            {
                take(first)?;
            }
        }
        ahead.into_iter().try_for_each(take)?;
        Ok(Sample::from(start.elapsed().as_secs_f64() * 1e6 / count as f64))
    }

    /// Microseconds for a task and its result, after a rest if there is one.
    pub fn round_trip(&mut self, rest: Option<Duration>, count: u32) -> Outcome<Sample> {
        let pool = self.pool(1)?;
        let mut time = Duration::ZERO;
        for number in 0..u64::from(count) {
            if let Some(rest) = rest {
                std::thread::sleep(rest);
            }
            let start = Instant::now();
            let answer = pool.spawn(number, |number| number + 1).join()?;
            time += start.elapsed();
            if answer != number + 1 {
                return Err("a wrong answer".into());
            }
        }
        Ok(Sample::from(time.as_secs_f64() * 1e6 / f64::from(count)))
    }

    /// Microseconds from `spawn` to the error of a task that panics.
    pub fn panic(&mut self, count: u32) -> Outcome<Sample> {
        let pool = self.pool(1)?;
        let start = Instant::now();
        for number in 0..u64::from(count) {
            let number: u64 = number;
            if pool.spawn(number, panics).join().is_ok() {
                return Err("it did not panic".into());
            }
        }
        Ok(Sample::from(start.elapsed().as_secs_f64() * 1e6 / f64::from(count)))
    }

    /// Gigabytes a second of 64 MiB copied to a worker.
    pub fn copied(&mut self) -> Outcome<Sample> {
        let words = crate::ours::words();
        let expected = tasks::ends(&words);
        let pool = self.pool(1)?;
        let start = Instant::now();
        let ends = pool.spawn(words, |words: Vec<u64>| tasks::ends(&words)).join()?;
        let time = start.elapsed();
        if ends != expected {
            return Err("a torn copy".into());
        }
        Ok(Sample::from((crate::ours::WORDS * 8) as f64 / time.as_nanos() as f64))
    }
}

fn panics(number: u64) -> u64 {
    panic!("on purpose: {number}")
}

/// Milliseconds from nothing until one worker has given a result.
pub fn start() -> Outcome<Sample> {
    let start = Instant::now();
    let pool = Pool::new(1)?;
    let answer = pool.spawn(1_u64, |number| number + 1).join()?;
    let time = start.elapsed();
    pool.shutdown();
    if answer == 2 { Ok(Sample::from(time.as_secs_f64() * 1e3)) } else { Err("wrong".into()) }
}
