//! What can be seen of a pool: its numbers, its events, its workers' output.

use std::time::Duration;

use proc_pool::{Pool, TaskError, TaskStats, task};

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task]
fn odd_ones_fail(x: u64) -> u64 {
    assert!(x % 2 == 0, "odd");
    x
}

#[task]
fn sleep_for(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[task(pure)]
fn survive_second_time(marker: String) -> u32 {
    if std::fs::exists(&marker).expect("a folder") {
        return 2;
    }
    std::fs::write(marker, "").expect("a file");
    std::process::abort()
}

#[task]
fn die() {
    std::process::abort()
}

fn of(pool: &Pool, name: &str) -> TaskStats {
    let task = pool.stats().tasks.into_iter().find(|task| task.name.ends_with(name));
    task.unwrap_or_else(|| panic!("no {name} in {:?}", pool.stats()))
}

#[proc_pool::test]
fn every_task_is_counted_once_whatever_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker").to_str().unwrap().to_owned();
    let pool = Pool::builder().workers(2).build().unwrap();
    pool.map(square, 0..5000).unwrap();
    assert_eq!(pool.submit(square, 3).wait().unwrap(), 9);
    let failed = pool.imap(odd_ones_fail, 0..1000).filter(Result::is_err).count();
    assert!(matches!(pool.submit(odd_ones_fail, 1).wait(), Err(TaskError::Panicked { .. })));
    assert_eq!(pool.submit(survive_second_time, marker).wait().unwrap(), 2);
    assert!(matches!(pool.submit(die, ()).wait(), Err(TaskError::WorkerDied { .. })));
    let counts = |name| {
        let task = of(&pool, name);
        (task.done, task.failed, task.retries)
    };
    assert_eq!(counts("::square"), (5001, 0, 0));
    assert_eq!((failed, counts("::odd_ones_fail")), (500, (1001, 501, 0)));
    assert_eq!(counts("::survive_second_time"), (1, 0, 1));
    assert_eq!(counts("::die"), (1, 1, 0));
    let stats = pool.stats();
    assert_eq!((stats.deaths, stats.queued, stats.under_way), (2, 0, 0));
    assert!(stats.bytes_moved > 5000 * 8, "{stats:?}");
}

#[proc_pool::test]
fn timings_tell_what_tasks_took_and_waited() {
    let pool = Pool::builder().workers(1).timings().build().unwrap();
    let handles: Vec<_> = (0..4).map(|_| pool.submit(sleep_for, 20)).collect();
    assert!(pool.stats().under_way + pool.stats().queued > 0);
    handles.into_iter().for_each(|handle| handle.wait().unwrap());
    let task = of(&pool, "::sleep_for");
    assert_eq!((task.work.count(), task.wait.count()), (4, 4));
    assert!(task.work.quantile(0.01) >= Duration::from_millis(20), "{task:?}");
    // The last one waited for the other three.
    assert!(task.wait.longest() >= Duration::from_millis(60), "{task:?}");
    let stats = pool.stats();
    assert_eq!((stats.started, stats.starts.count(), stats.workers.len()), (1, 1, 1));
    let worker = &stats.workers[0];
    assert_eq!((worker.pid, worker.done, worker.ready), (pool.worker_pids()[0], 4, true));
    assert!(worker.resident > worker.private && worker.private > 0, "{worker:?}");
}

#[proc_pool::test]
fn without_timings_only_streams_are_timed() {
    let pool = Pool::builder().workers(1).build().unwrap();
    pool.submit(square, 3).wait().unwrap();
    assert_eq!(of(&pool, "::square").work.count(), 0);
    pool.map(square, 0..3000).unwrap();
    assert!(of(&pool, "::square").work.count() > 0);
}
