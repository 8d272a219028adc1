//! Workers are killed: what is promised, holds.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proc_pool::{Death, Pool, TaskError, task};
use rustix::process::{Pid, Signal, kill_process};
use shm_core::Frozen;

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task(pure)]
fn work(x: u64) -> u64 {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(200) {
        std::hint::spin_loop();
    }
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

/// Whether the process still runs: one that waits to be reaped does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
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

#[proc_pool::test]
fn a_storm_of_kills_loses_no_result_and_leaves_no_process() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let pool = Pool::builder().workers(2).attempts(NonZero::new(1000).unwrap()).build().unwrap();
    pool.map(work, 0..10).unwrap();
    let (stop, start) = (AtomicBool::new(false), Instant::now());
    let victims = std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let (mut random, mut victims) = (seed, std::collections::BTreeSet::new());
            // Relaxed: a flag, no data hangs on it.
            while !stop.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(10) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                std::thread::sleep(Duration::from_micros((random >> 33) % 20_000));
                let pids = pool.worker_pids();
                if let Some(&pid) = pids.get((random >> 40) as usize % pids.len().max(1)) {
                    kill(pid, Signal::KILL);
                    victims.insert(pid);
                }
            }
            victims
        });
        while start.elapsed() < Duration::from_secs(4) {
            let results = pool.map(work, 0..2000).unwrap();
            assert!(results.iter().zip(0u64..).all(|(&y, x)| y == x * x), "seed {seed}");
        }
        // Relaxed: as above.
        stop.store(true, Ordering::Relaxed);
        storm.join().unwrap()
    });
    println!("{} workers killed", victims.len());
    assert!(victims.len() > 20, "only {} kills in the storm", victims.len());
    let last = pool.worker_pids();
    pool.close().unwrap();
    assert!(!victims.into_iter().chain(last).any(runs), "a worker outlived its pool");
}
