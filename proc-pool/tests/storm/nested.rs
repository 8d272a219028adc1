//! Pools inside of workers: the tree has no more processes than it may have, whoever is killed.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use proc_pool::{Copied, Pool, PoolError, Process, TaskError, TaskOptions, task, worker_state};
use rustix::process::{Pid, Signal, kill_process};

use super::parent::{becomes, runs};

const LONG: Duration = Duration::from_secs(20);
const STORM: Duration = Duration::from_millis(1500);

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task(pure)]
fn who(_number: u32) -> u32 {
    std::process::id()
}

/// Runs tasks in a pool of its own, and says how many processes that had.
#[task(pure)]
fn wide(n: u64) -> usize {
    let pool = Pool::builder().workers(4).build().expect("a pool");
    let processes = pool.worker_pids().len();
    let squares = pool.map(square, 0..n).expect("squares");
    assert!(squares.into_iter().eq((0..n).map(|x| x * x)), "wrong squares");
    processes
}

/// The processes below these, they included.
fn tree(pids: Vec<u32>) -> Vec<u32> {
    let mut all = pids;
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        at += 1;
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            all.extend(children.split(' ').filter_map(|pid| pid.trim().parse::<u32>().ok()));
        }
    }
    all.retain(|&pid| runs(pid));
    all
}

#[proc_pool::test]
fn a_tree_of_pools_has_no_more_processes_than_its_budget() {
    let pool = Pool::builder().workers(2).nested_processes(3).build().unwrap();
    let start = Instant::now();
    let (mut most, mut nested) = (0, 0);
    while start.elapsed() < Duration::from_millis(700) {
        let handles: Vec<_> = (0..4).map(|n| pool.submit(wide, 500 + n)).collect();
        while handles.iter().any(|handle| !handle.is_done()) {
            most = most.max(tree(pool.worker_pids()).len());
        }
        nested = handles.into_iter().map(|h| h.wait().unwrap()).max().unwrap_or(0).max(nested);
    }
    assert!(most <= 5, "{most} processes");
    assert_eq!(nested, 3, "the budget was not used");
}

#[proc_pool::test]
fn processes_of_the_killed_return_to_the_budget() {
    let attempts = std::num::NonZero::new(1000).unwrap();
    let pool = Pool::builder().workers(2).attempts(attempts).nested_processes(2).build().unwrap();
    let (start, mut random, mut kills) = (Instant::now(), 11_u64, 0);
    while start.elapsed() < STORM {
        let handles: Vec<_> = (0..4).map(|n| pool.submit(wide, 300 + n)).collect();
        while handles.iter().any(|handle| !handle.is_done()) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            std::thread::sleep(Duration::from_micros((random >> 33) % 8000));
            if start.elapsed() > STORM {
                // On a busy machine no task would ever live to its end.
                continue;
            }
            let all = tree(pool.worker_pids());
            if let Some(&pid) = all.get((random >> 40) as usize % all.len().max(1)) {
                // Fails only when the process is gone already.
                let victim = Pid::from_raw(pid as i32).expect("a process id");
                kills += u32::from(kill_process(victim, Signal::KILL).is_ok());
            }
        }
        for handle in handles {
            assert!(handle.wait().unwrap() <= 2);
        }
    }
    assert!(kills > 5, "only {kills} kills");
    assert!(becomes(LONG, || pool.submit(wide, 3).wait().unwrap() == 2), "tokens are lost");
    assert!(becomes(LONG, || tree(pool.worker_pids()).len() == 2), "a process is left");
}

#[task]
fn keep(text: String) -> Result<(), String> {
    if text.is_empty() {
        return Err("nothing to keep".to_owned());
    }
    worker_state::set(text);
    Ok(())
}

#[task]
fn kept() -> String {
    worker_state::with(|text: &mut String| text.clone())
}

#[task]
fn fails(_number: u32) -> u32 {
    panic!("as it should")
}

#[task(pure)]
fn reversed(bytes: Copied<u8>) -> Copied<u8> {
    let mut bytes = bytes.into_vec();
    bytes.reverse();
    Copied::from(bytes)
}

/// What a pool does that has no process; an error where that is wrong.
#[task]
fn without_processes() -> Result<(), String> {
    let text = |error: TaskError| error.to_string();
    let check = |right: bool, what: &str| if right { Ok(()) } else { Err(what.to_owned()) };
    worker_state::set("the outer worker's".to_owned());
    let builder = Pool::builder().workers(3).initializer(keep, "the pool's".to_owned());
    let pool = builder.build().map_err(|error| error.to_string())?;
    check(pool.worker_pids().is_empty(), "it has processes")?;
    let own = std::process::id();
    check(pool.map(who, 0..100).map_err(text)?.iter().all(|&pid| pid == own), "elsewhere")?;
    let squares: Result<Vec<u64>, _> = pool.imap(square, 0..5000).collect();
    check(squares.map_err(text)?.into_iter().eq((0..5000).map(|x| x * x)), "wrong squares")?;
    check(pool.submit(kept, ()).wait().map_err(text)? == "the pool's", "another's state")?;
    let failures: Vec<_> = pool.imap_unordered(fails, 0..3).map(|(_, result)| result).collect();
    let panicked = |result: &Result<u32, TaskError>| matches!(result, Err(TaskError::Panicked { message, .. }) if message == "as it should");
    check(failures.len() == 3 && failures.iter().all(panicked), "a panic is lost")?;
    for size in [1000, 400 << 10] {
        let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let back = pool.submit(reversed, Copied::from(bytes.clone())).wait().map_err(text)?;
        check(back.iter().rev().eq(bytes.iter()), "a copy is torn")?;
    }
    let stats = pool.stats();
    let squares = stats.tasks.iter().find(|task| task.name.ends_with("square"));
    check(squares.is_some_and(|task| (task.done, task.failed) == (5000, 0)), "miscounted")?;
    let never = TaskOptions::new().deadline(Duration::ZERO);
    let late = pool.submit_with(square, 1, never).wait();
    check(matches!(late, Ok(_) | Err(TaskError::Deadline { .. })), "a deadline")?;
    pool.resize(2).map_err(|error| error.to_string())?;
    pool.close().map_err(|error| error.to_string())?;
    check(worker_state::with(|text: &mut String| text == "the outer worker's"), "state is mixed")?;
    let failure = Pool::builder().initializer(keep, String::new()).build();
    let failure = failure.map_err(|error| error.to_string()).err().unwrap_or_default();
    check(failure.contains("nothing to keep"), &failure)?;
    match Process::spawn(square, 3) {
        Err(PoolError::NoProcessLeft { wanted: 1, left: 0 }) => Ok(()),
        other => Err(format!("a process: {other:?}")),
    }
}

static OWN_POOL: OnceLock<Pool> = OnceLock::new();

/// Waits for a task of the pool that it runs in itself, deeper and deeper.
#[task(pure)]
fn sum_up_to(n: u64) -> u64 {
    if n == 0 {
        return 0;
    }
    let pool = OWN_POOL.get_or_init(|| Pool::new().expect("a pool"));
    n + pool.submit(sum_up_to, n - 1).wait().expect("a sum")
}

#[proc_pool::test]
fn a_nested_task_may_wait_for_another_of_its_own_pool() {
    let pool = Pool::builder().workers(2).build().unwrap();
    assert_eq!(pool.map(sum_up_to, [20, 10, 30]).unwrap(), [210, 55, 465]);
}

#[proc_pool::test]
fn without_a_budget_the_tasks_of_a_nested_pool_run_in_its_worker() {
    let pool = Pool::builder().workers(2).build().unwrap();
    for _ in 0..3 {
        assert_eq!(pool.submit(without_processes, ()).wait().unwrap(), Ok(()));
    }
    assert_eq!(tree(pool.worker_pids()).len(), 2);
}
