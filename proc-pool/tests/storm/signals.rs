//! Workers that are stopped, and workers that run out of memory, in a pool that goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proc_pool::{Copied, Pool, TaskError, TaskOptions, task};
use rustix::process::{Pid, Signal, kill_process};

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task]
fn allocate(bytes: usize) -> usize {
    let memory = std::hint::black_box(vec![1_u8; bytes]);
    memory.iter().step_by(4096).map(|byte| usize::from(*byte)).sum()
}

#[task(pure)]
fn reversed(bytes: Copied<u8>) -> Copied<u8> {
    let mut bytes = bytes.into_vec();
    bytes.reverse();
    Copied::from(bytes)
}

fn signal(pid: u32, signal: Signal) {
    // Fails only when the process is gone already.
    let _ = kill_process(Pid::from_raw(pid as i32).expect("a process id"), signal);
}

/// Does it to a random worker, again and again, until it is told to stop; gives how often.
fn repeat(pool: &Pool, stop: &AtomicBool, what: impl Fn(u32)) -> u32 {
    let (mut random, mut times) = (7_u64, 0);
    // Relaxed: a flag, no data hangs on it.
    while !stop.load(Ordering::Relaxed) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 33) % 10_000));
        let pids = pool.worker_pids();
        if let Some(&pid) = pids.get((random >> 40) as usize % pids.len().max(1)) {
            what(pid);
            times += 1;
        }
    }
    times
}

/// Maps for a while beside a storm; gives how often the storm struck.
fn map_beside(pool: &Pool, what: impl Fn(u32) + Send) -> u32 {
    let (stop, start) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| repeat(pool, &stop, what));
        let mut right = true;
        while right && start.elapsed() < Duration::from_millis(1500) {
            right = pool
                .map(square, 0..2000)
                .is_ok_and(|all| all.into_iter().eq((0..2000).map(|x| x * x)));
        }
        // Relaxed: a flag, no data hangs on it.
        stop.store(true, Ordering::Relaxed);
        assert!(right, "wrong results, or an error");
        storm.join().expect("the storm")
    })
}

#[proc_pool::test]
fn workers_that_are_stopped_for_a_while_delay_and_lose_nothing() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let stops = map_beside(&pool, |pid| {
        signal(pid, Signal::STOP);
        std::thread::sleep(Duration::from_millis(2));
        signal(pid, Signal::CONT);
    });
    assert!(stops > 20, "only {stops} stops");
    assert_eq!(pool.worker_pids().len(), 2);
    pool.close().unwrap();
}

#[proc_pool::test]
fn tasks_that_run_out_of_memory_fail_and_nobody_else_s_do() {
    const LIMIT: u64 = 32 << 20;
    let pool = Pool::builder().workers(2).build().unwrap();
    let limited = TaskOptions::new().memory(LIMIT);
    let sizes = (0..40).map(|n| if n % 4 == 0 { 256 << 20 } else { 1 << 20 });
    let handles: Vec<_> =
        sizes.map(|bytes| (bytes, pool.submit_with(allocate, bytes, limited))).collect();
    let squares = pool.map(square, 0..1000).unwrap();
    assert!(squares.into_iter().eq((0..1000).map(|x| x * x)));
    for (bytes, handle) in handles {
        match handle.wait() {
            Ok(pages) => assert_eq!(pages, bytes / 4096),
            Err(TaskError::MemoryLimit { limit: LIMIT, .. }) if bytes as u64 > LIMIT => {}
            other => panic!("{bytes} bytes: {other:?}"),
        }
    }
}

/// Large values lie in buffers that are used again and again; a worker may die with any of them.
#[proc_pool::test]
fn large_copies_stay_whole_while_their_workers_are_killed() {
    let attempts = std::num::NonZero::new(1000).unwrap();
    let pool = Pool::builder().workers(2).attempts(attempts).build().unwrap();
    let (stop, start) = (AtomicBool::new(false), Instant::now());
    let (kills, whole) = std::thread::scope(|scope| {
        let storm = scope.spawn(|| repeat(&pool, &stop, |pid| signal(pid, Signal::KILL)));
        let (mut round, mut whole) = (0_u8, true);
        while whole && start.elapsed() < Duration::from_secs(2) {
            let send = |first: u8| {
                let size = (300 << 10) + usize::from(first) * 8192;
                let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8 ^ first).collect();
                (bytes.clone(), pool.submit(reversed, Copied::from(bytes)))
            };
            let sent: Vec<_> =
                (0..4).map(|n| send(round.wrapping_mul(4).wrapping_add(n))).collect();
            round = round.wrapping_add(1);
            for (mut bytes, handle) in sent {
                bytes.reverse();
                whole &= handle.wait().is_ok_and(|back| back[..] == bytes[..]);
            }
        }
        // Relaxed: a flag, no data hangs on it.
        stop.store(true, Ordering::Relaxed);
        (storm.join().expect("the storm"), whole)
    });
    assert!(whole, "a value was lost, torn, or mixed up with another");
    assert!(kills > 20, "only {kills} kills");
}
