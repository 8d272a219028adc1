//! Samples of ours. A pool stays between the rounds, as everybody's does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use method::{Outcome, Promise, Sample};
use proc_pool::{Copied, Pool, TaskError};
use shm_core::{Array, Frozen};

use crate::board::{Board, now};
use crate::tasks;

/// What ours keeps.
pub const PROMISE: Promise =
    Promise::keeps("results surface once; what had not begun runs elsewhere, pure tasks again");

/// Our name in rows.
pub const NAME: &str = "proc-pool";

/// Words in 64 MiB.
pub const WORDS: usize = (64 << 20) / 8;

/// Pools by their number of workers.
#[derive(Debug, Default)]
pub struct Ours {
    pools: HashMap<usize, Pool>,
    shared: Option<Frozen<u64>>,
    private: Option<Copied<u64>>,
    counter: Option<tasks::CounterHandle>,
}

impl Ours {
    fn pool(&mut self, workers: usize) -> Outcome<&Pool> {
        Ok(match self.pools.entry(workers) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Pool::builder().workers(workers).build()?),
        })
    }

    /// Ends the pools: what follows is to find nobody at work.
    pub fn end_pools(&mut self) {
        self.pools.clear();
        self.counter = None;
    }

    /// Microseconds a task, `count` tasks that are one message each.
    pub fn map_one_by_one(&mut self, workers: usize, count: u64) -> Outcome<Sample> {
        self.timed(workers, count, |pool| pool.imap(tasks::next, 0..count).chunk(1).collect())
    }

    /// Microseconds a task, `count` tasks that the pool divides as it likes.
    pub fn map(&mut self, workers: usize, count: u64) -> Outcome<Sample> {
        self.timed(workers, count, |pool| pool.map(tasks::next, 0..count))
    }

    fn timed(
        &mut self,
        workers: usize,
        count: u64,
        map: impl FnOnce(&Pool) -> Result<Vec<u64>, TaskError>,
    ) -> Outcome<Sample> {
        let pool = self.pool(workers)?;
        let start = Instant::now();
        let done = map(pool)?;
        let time = start.elapsed();
        if done.iter().copied().ne(1..=count) {
            return Err("wrong results".into());
        }
        Ok(Sample::from(time.as_secs_f64() * 1e6 / count as f64))
    }

    /// Microseconds for a task submitted and waited for, after a rest if there is one.
    pub fn round_trip(&mut self, rest: Option<Duration>, count: u32) -> Outcome<Sample> {
        let pool = self.pool(1)?;
        let mut time = Duration::ZERO;
        for number in 0..u64::from(count) {
            if let Some(rest) = rest {
                std::thread::sleep(rest);
            }
            let start = Instant::now();
            let answer = pool.submit(tasks::next, number).wait()?;
            time += start.elapsed();
            if answer != number + 1 {
                return Err("a wrong answer".into());
            }
        }
        Ok(Sample::from(time.as_secs_f64() * 1e6 / f64::from(count)))
    }

    /// Microseconds for a call of an actor and its answer, one after the other.
    pub fn call(&mut self, count: u32) -> Outcome<Sample> {
        let counter = match &self.counter {
            Some(counter) => counter,
            None => self.counter.insert(tasks::Counter::spawn(0)?),
        };
        let first = counter.add(1).wait()?;
        let start = Instant::now();
        for number in 1..=u64::from(count) {
            if counter.add(1).wait()? != first + number {
                return Err("a wrong answer".into());
            }
        }
        Ok(Sample::from(start.elapsed().as_secs_f64() * 1e6 / f64::from(count)))
    }

    /// Microseconds a call, `count` of them under way at once.
    pub fn calls(&mut self, count: u32) -> Outcome<Sample> {
        let counter = match &self.counter {
            Some(counter) => counter,
            None => self.counter.insert(tasks::Counter::spawn(0)?),
        };
        let first = counter.add(1).wait()?;
        let start = Instant::now();
        let calls: Vec<_> = (0..count).map(|_| counter.add(1)).collect();
        let mut last = 0;
        for call in calls {
            last = call.wait()?;
        }
        let time = start.elapsed();
        if last != first + u64::from(count) {
            return Err("a wrong answer".into());
        }
        Ok(Sample::from(time.as_secs_f64() * 1e6 / f64::from(count)))
    }

    /// Microseconds from `submit` to the error of a task that panics.
    pub fn panic(&mut self, count: u32) -> Outcome<Sample> {
        let pool = self.pool(1)?;
        let pids = pool.worker_pids();
        let start = Instant::now();
        for number in 0..u64::from(count) {
            match pool.submit(tasks::panics, number).wait() {
                Err(TaskError::Panicked { message, .. }) if message.contains("on purpose") => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        let time = start.elapsed();
        if pool.worker_pids() != pids {
            return Err("the worker was not kept".into());
        }
        Ok(Sample::from(time.as_secs_f64() * 1e6 / f64::from(count)))
    }

    /// Milliseconds until a worker has summed 64 MiB that are shared.
    pub fn sum_shared(&mut self) -> Outcome<Sample> {
        if self.shared.is_none() {
            let mut array = Array::<u64>::zeroed(WORDS)?;
            array.iter_mut().zip(0..).for_each(|(word, number)| *word = number);
            self.shared = Some(array.freeze()?);
        }
        let words = self.shared.clone().ok_or("no array")?;
        let pool = self.pool(1)?;
        let start = Instant::now();
        let sum = pool.submit(tasks::sum_shared, words).wait()?;
        let time = start.elapsed();
        if sum != expected_sum() {
            return Err("a wrong sum".into());
        }
        Ok(Sample::from(time.as_secs_f64() * 1e3))
    }

    /// Gigabytes a second of 64 MiB copied to a worker.
    pub fn copied(&mut self) -> Outcome<Sample> {
        let words = self.private.get_or_insert_with(|| Copied::from(words())).clone();
        let expected = tasks::ends(&words);
        let pool = self.pool(1)?;
        let start = Instant::now();
        let ends = pool.submit(tasks::ends_copied, words).wait()?;
        let time = start.elapsed();
        if ends != expected {
            return Err("a torn copy".into());
        }
        Ok(Sample::from((WORDS * 8) as f64 / time.as_nanos() as f64))
    }
}

/// 64 MiB of numbers.
pub fn words() -> Vec<u64> {
    (0..WORDS as u64).collect()
}

/// The sum of [`words`].
pub fn expected_sum() -> u64 {
    let count = WORDS as u64;
    count * (count - 1) / 2
}

/// Milliseconds from nothing until all of `workers` workers have been seen at work.
pub fn start(workers: usize) -> Outcome<Sample> {
    let board = Board::new()?;
    let start = Instant::now();
    let pool = Pool::builder().workers(workers).build()?;
    let count = workers as u64;
    let met: Vec<_> =
        (0..workers).map(|_| pool.submit(tasks::meet, (board.path(), count))).collect();
    for handle in met {
        if !handle.wait()? {
            return Err("a worker did not find the board".into());
        }
    }
    let time = start.elapsed();
    pool.close()?;
    Ok(Sample::from(time.as_secs_f64() * 1e3))
}

/// Milliseconds from a SIGKILL until the task of the killed worker runs again: the slowest of a
/// hundred, or of all.
pub fn again_after_a_kill(deaths: usize) -> Outcome<Sample> {
    let pool = Pool::builder().workers(2).build()?;
    pool.map(tasks::nothing, vec![(); 100])?;
    let mut times = Vec::new();
    for _ in 0..deaths {
        let board = Board::new()?;
        let task = pool.submit(tasks::wait_to_be_killed, board.path());
        let waiting = Instant::now();
        // Acquire: pairs with the Release store of the worker.
        while board.word(3).load(Acquire) == 0 {
            if waiting.elapsed().as_secs() > 10 {
                return Err("the task did not begin".into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        // Acquire: as above.
        let pid = board.word(3).load(Acquire) as libc::pid_t;
        let killed = now();
        // SAFETY: a worker of ours, alive: it runs a task that does not end.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        if !task.wait()? {
            return Err("the second attempt failed".into());
        }
        // Acquire: as above.
        times.push((board.word(2).load(Acquire) - killed) as f64 / 1e6);
    }
    pool.close()?;
    times.sort_by(f64::total_cmp);
    let place = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(place).copied().map(Sample::from).ok_or_else(|| "nobody died".into())
}
