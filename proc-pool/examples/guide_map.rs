//! From the book's chapter "From Python's multiprocessing": tasks, results, and workers that die.

use std::time::Duration;

// ANCHOR: task
use proc_pool::{Pool, TaskError, TaskOptions, as_completed, task};

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}
// ANCHOR_END: task

// ANCHOR: starmap_task
#[task(pure)]
fn area(width: u32, height: u32) -> u32 {
    width * height
}
// ANCHOR_END: starmap_task

// ANCHOR: panic_task
#[task]
fn reciprocal(x: f64) -> f64 {
    assert!(x != 0.0, "there is no reciprocal of zero");
    1.0 / x
}
// ANCHOR_END: panic_task

// ANCHOR: dead_task
#[task]
fn kills_its_worker_at(bad: u32, x: u32) -> u32 {
    if x == bad {
        let this = rustix::process::getpid();
        let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    }
    x
}
// ANCHOR_END: dead_task

// ANCHOR: limit_task
#[task]
fn never_ends() {
    loop {
        std::thread::park();
    }
}
// ANCHOR_END: limit_task

// ANCHOR: killed_task
#[task(pure)]
fn primes_below(limit: u32) -> usize {
    let is_prime = |n: &u32| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (2..limit).filter(is_prime).count()
}
// ANCHOR_END: killed_task

// ANCHOR: main
#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::builder().workers(4).build()?;
    // ANCHOR_END: main
    map(&pool)?;
    imap(&pool)?;
    submit(&pool)?;
    limits(&pool);
    completed(&pool)?;
    panicked(&pool);
    died(&pool);
    killed_from_outside(&pool)?;
    // ANCHOR: end
    pool.close()?;
    Ok(())
}
// ANCHOR_END: end

fn map(pool: &Pool) -> Result<(), TaskError> {
    // ANCHOR: map
    let squares = pool.map(square, 1..=5)?;
    println!("map: {squares:?}");
    // ANCHOR_END: map
    // ANCHOR: starmap
    let areas = pool.map(area, [(2, 3), (4, 5)])?;
    println!("starmap: {areas:?}");
    // ANCHOR_END: starmap
    Ok(())
}

fn imap(pool: &Pool) -> Result<(), TaskError> {
    // ANCHOR: imap
    let mut sum = 0;
    for result in pool.imap(square, 1..) {
        sum += result?; // endless inputs: some thousand are under way
        if sum > 100 {
            break;
        }
    }
    println!("imap: {sum}");
    // ANCHOR_END: imap
    Ok(())
}

fn limits(pool: &Pool) {
    // ANCHOR: limit
    let limit = TaskOptions::new().time_limit(Duration::from_millis(20));
    let slow = pool.submit_with(never_ends, (), limit);
    let given_up = pool.submit(never_ends, ());
    given_up.cancel();
    for handle in [slow, given_up] {
        match handle.wait() {
            Err(TaskError::TimeLimit { limit, .. }) => println!("limit: {limit:?}"),
            Err(TaskError::Cancelled { .. }) => println!("limit: cancelled"),
            other => println!("unexpected: {other:?}"),
        }
    }
    // ANCHOR_END: limit
}

fn submit(pool: &Pool) -> Result<(), TaskError> {
    // ANCHOR: submit
    let nine = pool.submit(square, 3); // goes on at once
    let six = pool.submit(area, (2, 3));
    println!("submit: {} and {}", nine.wait()?, six.wait()?);
    // ANCHOR_END: submit
    Ok(())
}

fn completed(pool: &Pool) -> Result<(), TaskError> {
    // ANCHOR: as_completed
    let numbers = [1, 2, 3, 4, 5];
    let handles = numbers.map(|x| pool.submit(square, x));
    let mut sum = 0;
    for (index, result) in as_completed(handles) {
        sum += result?; // in the order in which they come; `index` says whose it is
        assert!(index < numbers.len());
    }
    println!("as_completed: {sum}");
    // ANCHOR_END: as_completed
    Ok(())
}

fn panicked(pool: &Pool) {
    // ANCHOR: panic
    match pool.submit(reciprocal, 0.0).wait() {
        Err(TaskError::Panicked { message, .. }) => println!("panic: {message}"),
        other => println!("unexpected: {other:?}"),
    }
    // ANCHOR_END: panic
}

fn died(pool: &Pool) {
    // ANCHOR: died
    let handles = (1..=5).map(|x| pool.submit(kills_its_worker_at, (3, x)));
    let mut good = 0;
    for (index, result) in as_completed(handles) {
        match result {
            Ok(_) => good += 1,
            Err(TaskError::WorkerDied { death, .. }) => {
                println!("died: the worker of input {} {death}", index + 1);
            }
            Err(other) => println!("unexpected: {other}"),
        }
    }
    println!("died: the other {good} tasks have their results");
    // ANCHOR_END: died
}

fn killed_from_outside(pool: &Pool) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: killed
    let handles: Vec<_> = (0..100).map(|_| pool.submit(primes_below, 30_000)).collect();
    let victim = pool.worker_pids().first().copied().ok_or("no worker")?;
    std::process::Command::new("kill").args(["-9", &victim.to_string()]).status()?;
    let mut results = Vec::new();
    for handle in handles {
        results.push(handle.wait()?); // pure: what the victim was running ran again elsewhere
    }
    println!("killed: {} times {}", results.len(), results[0]);
    // ANCHOR_END: killed
    Ok(())
}
