//! Workers are killed: what is promised, holds.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod parent;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use proc_pool::{Death, Pool, TaskError, task};
use rustix::process::{Pid, Signal, kill_process};
use shm_core::Frozen;

use parent::{Parent, becomes, open_files, runs};

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

/// Names, in a worker's environment, the folder where it keeps its progress byte.
const PROGRESS: &str = "PROC_POOL_TEST_PROGRESS";

thread_local! {
    /// This worker's progress byte: `r` while it runs a task, `b` between two.
    static PROGRESS_FILE: OnceCell<File> = const { OnceCell::new() };
}

/// Survives this process: whoever kills it can read what it was doing.
fn note_progress(what: u8) {
    PROGRESS_FILE.with(|file| {
        let file = file.get_or_init(|| {
            let folder = std::env::var(PROGRESS).expect("the folder");
            File::create(format!("{folder}/{}", std::process::id())).expect("a file")
        });
        file.write_all_at(&[what], 0).expect("one byte");
    });
}

#[task(pure)]
fn work(x: u64) -> u64 {
    note_progress(b'r');
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(200) {
        std::hint::spin_loop();
    }
    note_progress(b'b');
    x * x
}

#[task]
fn end(how: String) {
    match how.as_str() {
        "kill" => kill(std::process::id(), Signal::KILL),
        "exit" => std::process::exit(3),
        _ => std::process::abort(),
    }
}

#[task(pure)]
fn kill_always() {
    kill(std::process::id(), Signal::KILL);
}

/// Dies the first time; `marker` tells the times apart.
#[task(pure)]
fn survive_second_time(marker: String) -> u32 {
    if std::fs::File::create_new(marker).is_ok() {
        kill(std::process::id(), Signal::KILL);
    }
    7
}

#[task]
fn busy() {
    loop {
        std::thread::park();
    }
}

#[task]
fn total_of_all(parts: Vec<Frozen<u64>>) -> u64 {
    parts.iter().flat_map(|part| part.iter()).sum()
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a process id");
    // Fails only when the process is gone already.
    let _ = kill_process(pid, signal);
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool")
}

fn death_of(result: Result<(), TaskError>) -> (Death, u32) {
    match result {
        Err(TaskError::WorkerDied { death, attempts, .. }) => (death, attempts),
        other => panic!("{other:?}"),
    }
}

#[proc_pool::test]
fn a_task_that_ends_its_worker_fails_and_says_how() {
    let pool = pool(1);
    for (how, death) in
        [("kill", Death::Signal(9)), ("exit", Death::Exit(3)), ("abort", Death::Signal(6))]
    {
        let result = pool.submit(end, how.to_owned()).wait();
        assert_eq!(death_of(result), (death, 1));
        assert_eq!(pool.submit(square, 5).wait().unwrap(), 25, "the worker was not replaced");
    }
}

#[proc_pool::test]
fn a_pure_task_whose_worker_was_killed_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("first").to_str().unwrap().to_owned();
    assert_eq!(pool(1).submit(survive_second_time, marker).wait().unwrap(), 7);
    assert!(folder.path().join("first").exists(), "no worker died");
}

#[proc_pool::test]
fn three_deaths_are_enough_for_a_pure_task() {
    let pool = pool(2);
    let others: Vec<_> = (0..50).map(|x| pool.submit(square, x)).collect();
    assert_eq!(death_of(pool.submit(kill_always, ()).wait()), (Death::Signal(9), 3));
    for (x, other) in others.into_iter().enumerate() {
        assert_eq!(other.wait().unwrap(), (x * x) as u64);
    }
}

#[proc_pool::test]
fn what_a_killed_worker_had_not_begun_runs_elsewhere() {
    let pool = pool(1);
    // Short tasks, so that the worker is given several in advance.
    pool.map(square, 0..1000).unwrap();
    let killer = pool.submit(end, "kill".to_owned());
    let rest: Vec<_> = (0..20).map(|x| pool.submit(square, x)).collect();
    assert_eq!(death_of(killer.wait()).0, Death::Signal(9));
    for (x, handle) in rest.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), (x * x) as u64);
    }
}

#[proc_pool::test]
fn an_idle_worker_killed_is_replaced_and_nobody_notices() {
    let pool = pool(2);
    for _ in 0..5 {
        assert_eq!(pool.submit(square, 3).wait().unwrap(), 9);
        pool.worker_pids().into_iter().for_each(|pid| kill(pid, Signal::KILL));
    }
    assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
}

#[proc_pool::test]
fn workers_killed_while_they_start_do_not_end_the_pool() {
    let pool = pool(1);
    let mut killed = std::collections::BTreeSet::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while killed.len() < 10 {
        assert!(Instant::now() < deadline, "the pool starts no more workers: {killed:?}");
        for pid in pool.worker_pids() {
            kill(pid, Signal::KILL);
            killed.insert(pid);
        }
    }
    assert_eq!(pool.submit(square, 4).wait().unwrap(), 16);
}

#[proc_pool::test]
fn a_pool_with_stopped_and_busy_workers_is_dropped_in_bounded_time() {
    let pool = pool(2);
    let running = [pool.submit(busy, ()), pool.submit(busy, ())];
    let pids = pool.worker_pids();
    kill(pids[0], Signal::STOP);
    drop(pool);
    assert!(!pids.into_iter().any(runs), "a worker outlived its pool");
    for handle in running {
        assert!(handle.is_done());
    }
}

#[proc_pool::test]
fn more_files_than_the_socket_holds_reach_an_idle_worker() {
    let pool = pool(1);
    let parts: Vec<_> = (0..400).map(|x| Frozen::copy_of(&[x]).unwrap()).collect();
    let handle = pool.submit(total_of_all, parts);
    match handle.wait_timeout(Duration::from_secs(20)) {
        Ok(sum) => assert_eq!(sum.unwrap(), 400 * 399 / 2),
        Err(_) => panic!("the worker never got its files"),
    }
}

/// What a killed worker was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// It was starting, or had not been given its first task.
    New,
    /// The pool had nothing to do.
    Idle,
    /// It was taking, giving, or waiting for something, outside of its tasks.
    BetweenTasks,
    Running,
}

impl Victim {
    fn of(pid: u32, folder: &str, resting: bool) -> Victim {
        match std::fs::read(format!("{folder}/{pid}")).unwrap_or_default().first() {
            Some(b'r') => Victim::Running,
            Some(_) if resting => Victim::Idle,
            Some(_) => Victim::BetweenTasks,
            None => Victim::New,
        }
    }
}

/// Kills workers until it is told to stop. `phase` is odd while the pool rests.
fn storm(pool: &Pool, folder: &str, phase: &AtomicU32, stop: &AtomicBool) -> BTreeMap<u32, Victim> {
    let mut random = u64::from(std::process::id());
    let mut victims = BTreeMap::new();
    // Relaxed, here and below: flags, no data hangs on them.
    while !stop.load(Ordering::Relaxed) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 33) % 30_000));
        let pids = pool.worker_pids();
        let Some(&pid) = pids.get((random >> 40) as usize % pids.len().max(1)) else { continue };
        // Relaxed: as above. Only a rest that lasts until the victim is dead makes it an idle one.
        let before = phase.load(Ordering::Relaxed);
        kill(pid, Signal::KILL);
        assert!(becomes(Duration::from_secs(10), || !runs(pid)), "SIGKILL does not end {pid}");
        // Relaxed: as above.
        let resting = before % 2 == 1 && phase.load(Ordering::Relaxed) == before;
        victims.entry(pid).or_insert_with(|| Victim::of(pid, folder, resting));
    }
    victims
}
/// What this process has mapped or open in the folder of named shared memory.
fn named_memory(pid: u32) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    let files = files.map(|path| path.to_string_lossy().into_owned());
    maps.lines().map(str::to_owned).chain(files).filter(|name| name.contains("/dev/shm/")).collect()
}

/// Work and rest in turn, each result checked. Gives what the victims were doing.
fn work_in_a_storm(pool: &Pool, folder: &str) -> BTreeMap<u32, Victim> {
    let (stop, phase, start) = (AtomicBool::new(false), AtomicU32::new(0), Instant::now());
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| storm(pool, folder, &phase, &stop));
        while start.elapsed() < Duration::from_secs(4) {
            let results = pool.map(work, 0..500).expect("results");
            assert!(results.iter().zip(0u64..).all(|(&y, x)| y == x * x));
            // Relaxed, here and below: flags, no data hangs on them.
            phase.fetch_add(1, Ordering::Relaxed);
            for pid in pool.worker_pids().into_iter().chain([std::process::id()]) {
                assert_eq!(named_memory(pid), [""; 0], "nothing of a pool has a name");
            }
            std::thread::sleep(Duration::from_millis(50));
            // Relaxed: as above.
            phase.fetch_add(1, Ordering::Relaxed);
        }
        // Relaxed: as above.
        stop.store(true, Ordering::Relaxed);
        storm.join().expect("the storm")
    })
}

#[proc_pool::test]
fn a_storm_of_kills_loses_no_result_and_leaves_nothing() {
    let Some(folder) = parent::folder() else {
        let folder = tempfile::tempdir().unwrap();
        return Parent::start("a_storm_of_kills_loses_no_result_and_leaves_nothing", folder.path())
            .succeed();
    };
    let files = open_files();
    let attempts = NonZero::new(1000).unwrap();
    let pool =
        Pool::builder().workers(2).attempts(attempts).env(PROGRESS, &folder).build().unwrap();
    let victims = work_in_a_storm(&pool, &folder);
    let last = pool.worker_pids();
    pool.close().unwrap();
    let all: Vec<u32> = victims.keys().copied().chain(last).collect();
    assert!(!all.into_iter().any(runs), "a worker outlived its pool");
    assert_eq!(open_files(), files, "the pool left files open");
    let mut doing = BTreeMap::new();
    victims.values().for_each(|&victim| *doing.entry(victim).or_insert(0) += 1);
    parent::say(&format!("{} workers killed: {doing:?}", victims.len()));
    assert!(victims.len() > 20, "only {} kills in the storm", victims.len());
    for victim in [Victim::Idle, Victim::Running] {
        assert!(doing.contains_key(&victim), "no such victim: {victim:?} in {doing:?}");
    }
}
