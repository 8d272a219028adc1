//! What a pool costs: a task that does nothing, one round trip, a start.
//!
//! `cargo run --release -p proc-pool --example bench_pool [-- PART OF A ROW'S NAME [ROUNDS]]`
//!
//! Each figure is the median of its rounds, and the spread is half the distance between the first
//! and the third quartile. The rounds of all figures alternate, so that whatever else the machine
//! does hits all of them. Starts stand beside a bare `posix_spawn` of this same program with an
//! argument on which it ends at once, waited for; and beside one that waits until the program
//! answers a byte, which is what "ready" means.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proc_pool::{Copied, Pool, task};
use shm_core::{Array, Frozen};

#[task(pure)]
fn nothing() {}

#[task(pure)]
fn same(x: u64) -> u64 {
    x
}

/// Tasks in one round of one figure.
const TASKS: usize = 5_000;
/// Items in one round, in chunks.
const ITEMS: u64 = 200_000;
/// Round trips in one round.
const TRIPS: usize = 200;
/// Times that everything is measured.
const ROUNDS: usize = 15;

type Failure = Box<dyn std::error::Error>;

/// Samples of one thing.
struct Row {
    name: String,
    measure: Box<dyn Fn() -> Result<Duration, Failure>>,
    microseconds: Vec<f64>,
}

impl Row {
    fn new(
        name: impl Into<String>,
        measure: impl Fn() -> Result<Duration, Failure> + 'static,
    ) -> Row {
        Row { name: name.into(), measure: Box::new(measure), microseconds: Vec::new() }
    }

    fn run(&mut self) -> Result<(), Failure> {
        self.microseconds.push((self.measure)()?.as_secs_f64() * 1e6);
        Ok(())
    }

    fn print(&mut self) {
        self.microseconds.sort_by(f64::total_cmp);
        let at = |part: f64| {
            self.microseconds[(part * (self.microseconds.len() - 1) as f64).round() as usize]
        };
        let (median, spread) = (at(0.5), (at(0.75) - at(0.25)) / 2.0);
        let percent = 100.0 * spread / median;
        println!("{:<46} {median:>10.3} {percent:>7.0} % {:>10.3}", self.name, at(0.0));
    }
}

fn pool(workers: usize) -> Result<Pool, Failure> {
    Ok(Pool::builder().workers(workers).build()?)
}

/// Time of one task out of many that do nothing, each sent on its own.
fn a_task(workers: usize) -> Result<Duration, Failure> {
    let pool = pool(workers)?;
    pool.map(nothing, vec![(); 500])?;
    let start = Instant::now();
    let done = pool.imap(nothing, vec![(); TASKS]).chunk(1).filter(Result::is_ok).count();
    let time = start.elapsed();
    assert_eq!(done, TASKS);
    Ok(time / TASKS as u32)
}

/// Time of one number out of many that come back unchanged, in chunks that the pool sizes.
fn an_item(workers: usize) -> Result<Duration, Failure> {
    let pool = pool(workers)?;
    pool.map(same, 0..500)?;
    let start = Instant::now();
    let back = pool.map(same, 0..ITEMS)?;
    let time = start.elapsed();
    assert!(back.into_iter().eq(0..ITEMS));
    Ok(time / ITEMS as u32)
}

/// Time from `submit` to the result, with nothing else under way.
fn a_round_trip(workers: usize) -> Result<Duration, Failure> {
    let pool = pool(workers)?;
    pool.map(nothing, vec![(); 500])?;
    let start = Instant::now();
    for _ in 0..TRIPS {
        pool.submit(nothing, ()).wait()?;
    }
    Ok(start.elapsed() / TRIPS as u32)
}

/// The same with a pause before each, in which everybody falls asleep.
fn a_parked_round_trip() -> Result<Duration, Failure> {
    let pool = pool(1)?;
    pool.map(nothing, vec![(); 500])?;
    let mut time = Duration::ZERO;
    for _ in 0..TRIPS / 10 {
        std::thread::sleep(Duration::from_millis(1));
        let start = Instant::now();
        pool.submit(nothing, ()).wait()?;
        time += start.elapsed();
    }
    Ok(time / (TRIPS / 10) as u32)
}

/// 64 MiB of numbers.
const WORDS: u64 = (64 << 20) / 8;

#[task]
fn ends_of(words: Copied<u64>) -> (u64, u64) {
    (words[0], words[words.len() - 1])
}

#[task]
fn numbers(count: u64) -> Copied<u64> {
    thread_local!(static NUMBERS: RefCell<Option<Copied<u64>>> = const { RefCell::new(None) });
    NUMBERS.with_borrow_mut(|kept| {
        kept.get_or_insert_with(|| Copied::from((0..count).collect::<Vec<_>>())).clone()
    })
}

#[task]
fn sum(words: Frozen<u64>) -> u64 {
    words.iter().sum()
}

/// Time until a worker has looked at both ends of 64 MiB that were copied to it.
fn copied_there() -> Result<impl Fn() -> Result<Duration, Failure>, Failure> {
    let pool = pool(1)?;
    let words = Copied::from((0..WORDS).collect::<Vec<_>>());
    Ok(move || {
        let start = Instant::now();
        let ends = pool.submit(ends_of, words.clone()).wait()?;
        let time = start.elapsed();
        assert_eq!(ends, (0, WORDS - 1));
        Ok(time)
    })
}

/// Time until 64 MiB that a worker has were copied from it.
fn copied_back() -> Result<impl Fn() -> Result<Duration, Failure>, Failure> {
    let pool = pool(1)?;
    Ok(move || {
        let start = Instant::now();
        let words = pool.submit(numbers, WORDS).wait()?;
        let time = start.elapsed();
        assert_eq!((words.len() as u64, words[words.len() - 1]), (WORDS, WORDS - 1));
        Ok(time)
    })
}

/// Time until a worker, or else this thread, has summed 64 MiB that are shared.
fn summed(by_worker: bool) -> Result<impl Fn() -> Result<Duration, Failure>, Failure> {
    let pool = pool(1)?;
    let mut words = Array::<u64>::zeroed(WORDS as usize)?;
    words.iter_mut().zip(0..).for_each(|(word, number)| *word = number);
    let words = words.freeze()?;
    Ok(move || {
        let start = Instant::now();
        let total = match by_worker {
            true => pool.submit(sum, words.clone()).wait()?,
            false => words.iter().sum(),
        };
        let time = start.elapsed();
        assert_eq!(total, WORDS * (WORDS - 1) / 2);
        Ok(time)
    })
}

/// Time until `build` returns.
fn a_start(workers: usize) -> Result<Duration, Failure> {
    let start = Instant::now();
    let pool = pool(workers)?;
    let time = start.elapsed();
    pool.close()?;
    Ok(time)
}

/// Time until the first result is there.
fn a_first_result(workers: usize) -> Result<Duration, Failure> {
    let start = Instant::now();
    let pool = pool(workers)?;
    pool.submit(nothing, ()).wait()?;
    let time = start.elapsed();
    pool.close()?;
    Ok(time)
}

/// Time of `build`, a result, and `close`.
fn a_whole_life(workers: usize) -> Result<Duration, Failure> {
    let start = Instant::now();
    let pool = pool(workers)?;
    pool.submit(nothing, ()).wait()?;
    pool.close()?;
    Ok(start.elapsed())
}

/// Time of these many programs from their start until each has written a byte.
fn bare_spawns_that_answer(processes: usize) -> Result<Duration, Failure> {
    let start = Instant::now();
    let spawn = || {
        Command::new("/proc/self/exe")
            .arg("answer")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut children = (0..processes).map(|_| spawn()).collect::<Result<Vec<_>, _>>()?;
    for child in &mut children {
        let mut byte = [0];
        child.stdout.take().ok_or("no output")?.read_exact(&mut byte)?;
    }
    let time = start.elapsed();
    for mut child in children {
        child.wait()?;
    }
    Ok(time)
}

/// Time of one program from its start until it has ended and was waited for.
fn bare_spawn_that_ends() -> Result<Duration, Failure> {
    let start = Instant::now();
    Command::new("/proc/self/exe").arg("end").status()?;
    Ok(start.elapsed())
}

fn main() -> Result<(), Failure> {
    // Before anything of the pool's, as in a program that knows of none.
    match std::env::args().nth(1).as_deref() {
        Some("end") => return Ok(()),
        Some("answer") => return Ok(std::io::stdout().write_all(b"x")?),
        _ => proc_pool::init(),
    }
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let rounds = std::env::args().nth(2).map_or(Ok(ROUNDS), |rounds| rounds.parse())?.max(1);
    let mut rows = vec![
        Row::new("a task at chunk 1, 1 worker", || a_task(1)),
        Row::new("a task at chunk 1, 2 workers", || a_task(2)),
        Row::new("a task at chunk 1, 4 workers", || a_task(4)),
        Row::new("an item in adaptive chunks, 1 worker", || an_item(1)),
        Row::new("an item in adaptive chunks, 2 workers", || an_item(2)),
        Row::new("an item in adaptive chunks, 4 workers", || an_item(4)),
        Row::new("round trip, 1 worker", || a_round_trip(1)),
        Row::new("round trip, 2 workers", || a_round_trip(2)),
        Row::new("round trip after 1 ms of rest, 1 worker", a_parked_round_trip),
        Row::new("64 MiB copied to a worker", copied_there()?),
        Row::new("64 MiB copied from a worker", copied_back()?),
        Row::new("64 MiB by handle, summed", summed(true)?),
        Row::new("64 MiB summed by a thread", summed(false)?),
        Row::new("posix_spawn until it has ended", bare_spawn_that_ends),
        Row::new("posix_spawn until it answers", || bare_spawns_that_answer(1)),
        Row::new("4 × posix_spawn until all answer", || bare_spawns_that_answer(4)),
        Row::new("pool of 1: build", || a_start(1)),
        Row::new("pool of 1: build and a result", || a_first_result(1)),
        Row::new("pool of 1: build, a result, close", || a_whole_life(1)),
        Row::new("pool of 4: build", || a_start(4)),
        Row::new("pool of 4: build and a result", || a_first_result(4)),
        Row::new("pool of 4: build, a result, close", || a_whole_life(4)),
    ];
    rows.retain(|row| row.name.contains(&wanted));
    for _ in 0..rounds {
        rows.iter_mut().try_for_each(Row::run)?;
    }
    println!("{:<46} {:>10} {:>9} {:>10}", "", "median µs", "spread", "least µs");
    rows.iter_mut().for_each(Row::print);
    Ok(())
}
