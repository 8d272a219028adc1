//! A storm of kills: workers are SIGKILLed at random while maps, streams, single tasks, actors and
//! nested pools run, and every result is counted.
//!
//! `cargo run --release -p proc-pool --example storm [KILLS [SEED]]`
//!
//! What is checked, to the last item:
//!
//! - pure tasks (`map`, `imap_unordered`, nested): every result comes once, and is right;
//! - a task that is not pure gives a result and has run once, or fails with its worker's death and
//!   has run once at most;
//! - a call to an actor gives a result or fails with the actor's death; between two deaths its state
//!   counts every call that gave a result;
//! - at the end no process and no open file is left.
//!
//! The histogram says what the victims were doing. A watchdog ends the program when nothing moves.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use proc_pool::{ActorOptions, Intent, Pool, Restart, TaskError, task};
use rustix::process::{Pid, Signal, kill_process};
use shm_core::Segment;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// When no round has ended for so long, the storm hangs.
const HANGS: Duration = Duration::from_secs(60);

/// As often as the storm may hit one pure task.
const MANY: NonZero<u32> = NonZero::new(100_000).unwrap();

/// Tasks in one round of [`count`].
const COUNTED: usize = 200;

/// Inputs of a map and of a stream.
const INPUTS: u64 = 5000;

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

/// Counts its runs in shared memory. Not pure: it runs once at most.
#[task]
fn count(board: Segment, place: usize) -> usize {
    add_one(&board, place);
    // Something to do, so that some victims are at it.
    let sum: usize = (0..20_000).map(std::hint::black_box).sum();
    place + sum - sum
}

/// A pool within a worker.
#[task(pure)]
fn nested(n: u64) -> Result<u64, String> {
    let pool = Pool::builder().workers(1).attempts(MANY).build();
    let pool = pool.map_err(|error| error.to_string())?;
    let squares = pool.map(square, 0..n).map_err(|error| error.to_string())?;
    Ok(squares.into_iter().sum())
}

struct Tally(u64);

#[proc_pool::actor]
impl Tally {
    fn new(start: u64) -> Self {
        Tally(start)
    }

    pub fn add(&mut self, n: u64) -> (u32, u64) {
        self.0 += n;
        (std::process::id(), self.0)
    }
}

fn counter(board: &Segment, place: usize) -> &AtomicU32 {
    assert!((place + 1) * 4 <= board.size(), "no such counter");
    // SAFETY: inside of the segment, as was just checked.
    let counter = unsafe { board.data().cast::<AtomicU32>().add(place) };
    // SAFETY: aligned and inside of the segment, and only ever accessed as an atomic.
    unsafe { counter.as_ref() }
}

fn add_one(board: &Segment, place: usize) {
    // Relaxed: the parent reads it once the task's result has come, or its worker is dead.
    counter(board, place).fetch_add(1, Ordering::Relaxed);
}

fn take_runs(board: &Segment, place: usize) -> u32 {
    // Relaxed: see `add_one`.
    counter(board, place).swap(0, Ordering::Relaxed)
}

/// What the parts of the storm share.
struct Storm {
    pool: Pool,
    nests: Pool,
    over: AtomicBool,
    /// Rounds of all kinds that were checked.
    rounds: AtomicU64,
    results: AtomicU64,
    lost: AtomicU64,
}

// Relaxed throughout: flags and counts, no data hangs on them.
impl Storm {
    fn new() -> Result<Storm, Failure> {
        let pool = |workers| Pool::builder().workers(workers).attempts(MANY);
        Ok(Storm {
            pool: pool(3).build()?,
            nests: pool(1).nested_processes(1).build()?,
            over: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            results: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    fn is_over(&self) -> bool {
        // Relaxed: see above.
        self.over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        // Relaxed: see above.
        self.over.store(true, Ordering::Relaxed);
    }

    fn add(&self, to: &AtomicU64, number: u64) {
        // Relaxed: see above.
        to.fetch_add(number, Ordering::Relaxed);
    }

    /// Runs rounds until the storm is over; when one fails, it is.
    fn repeat(&self, mut round: impl FnMut() -> Result<u64, Failure>) -> Result<(), Failure> {
        while !self.is_over() {
            match round() {
                Ok(results) => self.add(&self.results, results),
                Err(failure) => {
                    self.end();
                    return Err(failure);
                }
            }
            self.add(&self.rounds, 1);
        }
        Ok(())
    }

    fn maps(&self) -> Result<u64, Failure> {
        match self.pool.map(square, 0..INPUTS)?.into_iter().eq((0..INPUTS).map(|x| x * x)) {
            true => Ok(INPUTS),
            false => Err("map: wrong results".into()),
        }
    }

    fn streams(&self) -> Result<u64, Failure> {
        let mut seen = vec![0u8; INPUTS as usize];
        for (index, result) in self.pool.imap_unordered(square, 0..INPUTS).chunk(50) {
            if result? != (index * index) as u64 {
                return Err(format!("imap_unordered: a wrong result of {index}").into());
            }
            seen[index] += 1;
        }
        match seen.iter().all(|&times| times == 1) {
            true => Ok(INPUTS),
            false => Err("imap_unordered: a result is missing, or came twice".into()),
        }
    }

    fn counted(&self, board: &Segment) -> Result<u64, Failure> {
        let submit = |place| self.pool.submit(count, (board.clone(), place));
        let handles: Vec<_> = (0..COUNTED).map(submit).collect();
        let mut done = 0;
        for (place, handle) in handles.into_iter().enumerate() {
            let result = handle.wait();
            match (result, take_runs(board, place)) {
                (Ok(back), 1) if back == place => done += 1,
                (Err(TaskError::WorkerDied { attempts: 1, .. }), 0 | 1) => self.add(&self.lost, 1),
                (result, runs) => {
                    return Err(format!("task {place} ran {runs} times: {result:?}").into());
                }
            }
        }
        Ok(done)
    }

    fn nested(&self) -> Result<u64, Failure> {
        match self.nests.submit(nested, 300).wait()? {
            Ok(sum) if sum == (0..300).map(|x| x * x).sum::<u64>() => Ok(300),
            other => Err(format!("nested: {other:?}").into()),
        }
    }

    /// Calls two actors; `sums` is what each process said last.
    fn call(&self, group: &TallyGroup, sums: &mut BTreeMap<u32, u64>) -> Result<u64, Failure> {
        let mut done = 0;
        let calls: Vec<_> = (0..20).flat_map(|_| group.add(1).handles).collect();
        for call in calls {
            match call.wait() {
                Ok((pid, sum)) if sum > sums.insert(pid, sum).unwrap_or(0) => done += 1,
                Err(TaskError::WorkerDied { .. }) => self.add(&self.lost, 1),
                other => return Err(format!("an actor: {other:?}").into()),
            }
        }
        Ok(done)
    }

    /// Kills so many: workers, actors, and workers of workers.
    fn kill(&self, kills: u64, seed: u64, group: &TallyGroup) -> u64 {
        let (mut random, mut killed) = (seed, BTreeSet::new());
        while (killed.len() as u64) < kills && !self.is_over() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            std::thread::sleep(Duration::from_micros((random >> 33) % 8_000));
            let mut pids = self.pool.worker_pids();
            let nests = self.nests.worker_pids();
            pids.extend(nests.iter().flat_map(|&pid| children(pid)));
            pids.extend(nests);
            pids.extend(group.iter().filter_map(|actor| actor.pid()));
            let Some(&pid) = pids.get((random >> 40) as usize % pids.len().max(1)) else {
                continue;
            };
            let process = Pid::from_raw(pid as i32);
            if process.is_some_and(|process| kill_process(process, Signal::KILL).is_ok()) {
                killed.insert(pid);
            }
        }
        killed.len() as u64
    }

    /// Ends the program when no round ends.
    fn watch(&self) {
        let (mut rounds, mut since) = (0, Instant::now());
        while !self.is_over() {
            std::thread::sleep(Duration::from_millis(20));
            // Relaxed: see above.
            let now = self.rounds.load(Ordering::Relaxed);
            if now != rounds {
                (rounds, since) = (now, Instant::now());
            } else if since.elapsed() > HANGS {
                eprintln!("the storm hangs after {rounds} rounds");
                std::process::abort();
            }
        }
    }

    /// All parts at once; gives how many were killed.
    fn run(&self, kills: u64, seed: u64, group: &TallyGroup) -> Result<u64, Failure> {
        let board = Segment::anonymous(COUNTED * size_of::<AtomicU32>())?;
        std::thread::scope(|scope| {
            let parts = self.parts(scope, group, board);
            scope.spawn(|| self.watch());
            let killed = self.kill(kills, seed, group);
            self.end();
            for part in parts {
                part.join().map_err(|_| "a part of the storm panicked")??;
            }
            Ok(killed)
        })
    }

    fn parts<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        group: &'s TallyGroup,
        board: Segment,
    ) -> Vec<ScopedJoinHandle<'s, Result<(), Failure>>> {
        let mut sums = BTreeMap::new();
        vec![
            scope.spawn(|| self.repeat(|| self.maps())),
            scope.spawn(|| self.repeat(|| self.streams())),
            scope.spawn(|| self.repeat(|| self.nested())),
            scope.spawn(move || self.repeat(|| self.counted(&board))),
            scope.spawn(move || self.repeat(|| self.call(group, &mut sums))),
        ]
    }
}

/// Processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|pids| pids.split_whitespace().map(str::parse).collect::<Vec<_>>())
        .filter_map(Result::ok)
        .collect()
}

fn open_files() -> Result<usize, Failure> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

fn name(intent: Intent) -> &'static str {
    match intent {
        Intent::Start => "starting",
        Intent::Wait => "waiting",
        Intent::Claim => "taking a task",
        Intent::Run => "running a task",
        Intent::Publish => "giving a result",
        _ => "doing something else",
    }
}

#[proc_pool::main]
fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let kills = arguments.next().map_or(Ok(1000), |kills| kills.parse())?;
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let files = open_files()?;
    let storm = Storm::new()?;
    let group = Tally::spawn_group(ActorOptions::new().restart(Restart::Always), 2, 0)?;
    let killed = storm.run(kills, seed, &group)?;
    let Storm { pool, nests, results, lost, rounds, .. } = storm;
    println!("killed: {killed}");
    println!("rounds: {}", rounds.into_inner());
    println!("results: {}", results.into_inner());
    println!("lost with their worker, and said so: {}", lost.into_inner());
    for (intent, number) in pool.deaths() {
        println!("died {}: {number}", name(intent));
    }
    pool.close()?;
    nests.close()?;
    drop(group);
    println!("processes left: {}", children(std::process::id()).len());
    println!("files left open: {}", open_files()?.saturating_sub(files));
    Ok(())
}
