//! Tasks that are cancelled, too slow, too large, or lost: what becomes of them and of the others.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod parent;

use std::num::NonZero;
use std::time::{Duration, Instant};

use proc_pool::{Death, Pool, TaskError, TaskHandle, TaskOptions, task};
use rustix::process::Signal;

use parent::becomes;

const LONG: Duration = Duration::from_secs(20);

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

/// Leaves a mark at each start, then never ends.
#[task(pure)]
fn for_ever(folder: String) {
    mark(&folder);
    loop {
        std::thread::park();
    }
}

#[task]
fn mark_once(folder: String) {
    mark(&folder);
}

fn mark(folder: &str) {
    let name = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let pid = std::process::id();
    std::fs::write(format!("{folder}/{}-{pid}", name.as_nanos()), "").expect("a file");
}

fn marks(folder: &tempfile::TempDir) -> usize {
    std::fs::read_dir(folder.path()).expect("the folder").count()
}

fn text(folder: &tempfile::TempDir) -> String {
    folder.path().to_str().expect("UTF-8").to_owned()
}

/// Ends when the file `go` is there.
#[task]
fn wait_for(go: String) -> u32 {
    while !std::fs::exists(&go).expect("the folder") {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::id()
}

#[task]
fn sleep_for(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

/// Takes this much memory, and touches it.
#[task(pure)]
fn allocate(bytes: usize) -> usize {
    let memory = std::hint::black_box(vec![1_u8; bytes]);
    memory.iter().step_by(4096).map(|byte| usize::from(*byte)).sum()
}

#[task(pure)]
fn allocate_counted(bytes: usize, folder: String) -> usize {
    mark(&folder);
    allocate(bytes)
}

/// A panic that would cross into C ends the process.
#[task]
fn last_words() {
    extern "C" fn cannot_unwind() {
        panic!("good bye");
    }
    cannot_unwind();
}

#[task]
fn survive_a_panic_and_die() {
    let _ = std::panic::catch_unwind(|| panic!("not the last words"));
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
}

#[task]
fn grow_and_die(bytes: usize) {
    std::hint::black_box(allocate(bytes));
    std::process::abort();
}

#[task(pure)]
fn die_until(folder: String, starts: usize) -> usize {
    mark(&folder);
    let count = std::fs::read_dir(&folder).expect("the folder").count();
    if count < starts {
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    }
    count
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool")
}

/// A task that runs for ever, and has begun.
fn running(pool: &Pool, folder: &tempfile::TempDir) -> TaskHandle<for_ever> {
    let before = marks(folder);
    let handle = pool.submit(for_ever, text(folder));
    assert!(becomes(LONG, || marks(folder) > before), "the task does not start");
    handle
}

#[proc_pool::test]
fn a_cancelled_task_that_was_not_started_never_runs() {
    let (folder, never) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pool = pool(1);
    // Short tasks first, so that the worker is sent several at once.
    pool.map(square, 0..1000).unwrap();
    let first = running(&pool, &folder);
    let sent: Vec<_> = (0..50).map(|_| pool.submit(mark_once, text(&never))).collect();
    let after = pool.submit(square, 7);
    for handle in &sent {
        assert!(handle.cancel());
        assert!(!handle.cancel(), "cancelled twice");
    }
    assert!(first.cancel());
    assert_eq!(after.wait().unwrap(), 49);
    for handle in sent {
        assert!(matches!(handle.wait(), Err(TaskError::Cancelled { .. })));
    }
    pool.close().unwrap();
    assert_eq!(marks(&never), 0, "a cancelled task ran");
}

/// The worker lives on, and comes to what was taken back from it.
#[proc_pool::test]
fn a_worker_passes_over_what_was_cancelled() {
    let (folder, never) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let go = folder.path().join("go").to_str().unwrap().to_owned();
    let pool = pool(1);
    pool.map(square, 0..1000).unwrap();
    let first = pool.submit(wait_for, go.clone());
    let sent: Vec<_> = (0..20).map(|_| pool.submit(mark_once, text(&never))).collect();
    let after: Vec<_> = (0..20).map(|x| pool.submit(square, x)).collect();
    assert!(sent.iter().all(TaskHandle::cancel));
    std::fs::write(go, "").unwrap();
    let worker = first.wait().unwrap();
    for (x, handle) in (0..).zip(after) {
        assert_eq!(handle.wait().unwrap(), x * x);
    }
    assert_eq!(pool.worker_pids(), [worker], "the worker was replaced");
    pool.close().unwrap();
    assert_eq!(marks(&never), 0, "a cancelled task ran");
}

#[proc_pool::test]
fn a_cancelled_running_task_costs_its_worker_and_nobody_s_task() {
    let folder = tempfile::tempdir().unwrap();
    let pool = pool(2);
    pool.map(square, 0..1000).unwrap();
    let victim = running(&pool, &folder);
    let before = pool.worker_pids();
    let others: Vec<_> = (0..200).map(|x| pool.submit(square, x)).collect();
    assert!(victim.cancel());
    assert!(matches!(victim.wait(), Err(TaskError::Cancelled { .. })));
    for (x, other) in (0..).zip(others) {
        assert_eq!(other.wait().unwrap(), x * x);
    }
    assert!(becomes(LONG, || {
        let now = pool.worker_pids();
        now.len() == 2 && now.iter().filter(|pid| before.contains(pid)).count() == 1
    }));
    assert_eq!(marks(&folder), 1, "a cancelled task ran again");
}

#[proc_pool::test]
fn a_task_that_is_done_cannot_be_cancelled() {
    let pool = pool(1);
    let done = pool.submit(square, 3);
    pool.submit(square, 4).wait().unwrap();
    assert!(!done.cancel());
    assert_eq!(done.wait().unwrap(), 9);
}

/// Cancels at every moment of a task's life, and checks that nobody else notices.
#[proc_pool::test]
fn cancelling_in_a_race_with_the_end_of_tasks_loses_nothing() {
    let pool = pool(2);
    let start = Instant::now();
    let mut cancelled = 0;
    for round in 0_u64.. {
        let handles: Vec<_> = (0..40).map(|x| pool.submit(square, x)).collect();
        for pause in 0..round % 400 {
            std::hint::black_box(pause);
        }
        let victim = (round * 7 % 40) as usize;
        let stopped = handles[victim].cancel();
        cancelled += u32::from(stopped);
        for (x, handle) in handles.into_iter().enumerate() {
            match handle.wait() {
                Ok(result) => assert!(result == (x * x) as u64 && !(stopped && x == victim)),
                Err(TaskError::Cancelled { .. }) => assert!(stopped && x == victim),
                Err(other) => panic!("task {x} of round {round}: {other}"),
            }
        }
        if start.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    assert!(cancelled > 0, "nothing was ever cancelled in time");
}

#[proc_pool::test]
fn a_task_over_its_time_limit_is_ended_and_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let pool = pool(1);
    let limit = Duration::from_millis(100);
    let slow = pool.submit_with(for_ever, text(&folder), TaskOptions::new().time_limit(limit));
    let next = pool.submit_with(sleep_for, 5, TaskOptions::new().time_limit(LONG));
    match slow.wait() {
        Err(TaskError::TimeLimit { limit: reported, .. }) => assert_eq!(reported, limit),
        other => panic!("{other:?}"),
    }
    assert_eq!(next.wait().unwrap(), 5);
    assert_eq!(marks(&folder), 1);
}

#[proc_pool::test]
fn the_time_limit_counts_from_the_start_of_the_task() {
    let pool = pool(1);
    let options = TaskOptions::new().time_limit(Duration::from_secs(2));
    let handles: Vec<_> = (0..8).map(|_| pool.submit_with(sleep_for, 300, options)).collect();
    for handle in handles {
        assert_eq!(handle.wait().unwrap(), 300);
    }
}

#[proc_pool::test]
fn a_deadline_counts_from_the_submission() {
    let (folder, never) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pool = pool(1);
    let options = TaskOptions::new().deadline(Duration::from_millis(150));
    let first = pool.submit_with(for_ever, text(&folder), options);
    let waiting = pool.submit_with(mark_once, text(&never), options);
    assert!(matches!(waiting.wait(), Err(TaskError::Deadline { .. })));
    assert!(matches!(first.wait(), Err(TaskError::Deadline { .. })));
    assert_eq!(pool.submit(square, 5).wait().unwrap(), 25);
    pool.close().unwrap();
    assert_eq!(marks(&never), 0, "it ran after its deadline");
    assert!(marks(&folder) <= 1);
}

#[proc_pool::test]
fn a_task_over_its_memory_limit_fails_and_says_so() {
    let pool = pool(1);
    let options = TaskOptions::new().memory(64 << 20).attempts(NonZero::new(1).unwrap());
    assert_eq!(pool.submit_with(allocate, 16 << 20, options).wait().unwrap(), 4096);
    match pool.submit_with(allocate, 256 << 20, options).wait() {
        Err(TaskError::MemoryLimit { limit, attempts: 1, .. }) => assert_eq!(limit, 64 << 20),
        other => panic!("{other:?}"),
    }
    // The limit is the task's, not the worker's.
    assert_eq!(pool.submit(allocate, 256 << 20).wait().unwrap(), 65536);
    assert_eq!(pool.submit_with(allocate, 16 << 20, options).wait().unwrap(), 4096);
    assert_eq!(pool.submit(allocate, 256 << 20).wait().unwrap(), 65536);
}

#[proc_pool::test]
fn a_pure_task_runs_again_with_more_memory() {
    let folder = tempfile::tempdir().unwrap();
    let pool = pool(1);
    let options = TaskOptions::new().memory(32 << 20).more_memory(4);
    let handle = pool.submit_with(allocate_counted, (200 << 20, text(&folder)), options);
    assert_eq!(handle.wait().unwrap(), 51200);
    assert_eq!(marks(&folder), 3, "32, 128 and 512 MiB");
}

#[proc_pool::test]
fn an_abort_of_another_kind_is_not_taken_for_a_lack_of_memory() {
    let options = TaskOptions::new().memory(64 << 20);
    match pool(1).submit_with(last_words, (), options).wait() {
        Err(TaskError::WorkerDied { death: Death::Signal(6), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[proc_pool::test]
fn a_death_notice_carries_the_last_words_and_the_peak_memory() {
    let pool = pool(1);
    let pid = pool.worker_pids()[0];
    match pool.submit(last_words, ()).wait() {
        Err(error @ TaskError::WorkerDied { .. }) => {
            assert!(error.to_string().contains("good bye"), "{error}");
            let TaskError::WorkerDied { notice, .. } = error else { return };
            assert_eq!(notice.pid, pid);
            assert!(!notice.out_of_memory);
        }
        other => panic!("{other:?}"),
    }
    match pool.submit(survive_a_panic_and_die, ()).wait() {
        Err(TaskError::WorkerDied { notice, .. }) => assert_eq!(notice.death, Death::Signal(9)),
        other => panic!("{other:?}"),
    }
    match pool.submit(grow_and_die, 100 << 20).wait() {
        Err(TaskError::WorkerDied { notice, .. }) => {
            assert_eq!((notice.death, notice.last_words.as_deref()), (Death::Signal(6), None));
            assert!((100 << 20..200 << 20).contains(&notice.peak_memory), "{}", notice.peak_memory);
        }
        other => panic!("{other:?}"),
    }
}

#[proc_pool::test]
fn a_lost_task_waits_longer_each_time_before_it_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let pause = Duration::from_millis(40);
    let pool = Pool::builder().workers(1).backoff(pause).build().unwrap();
    let start = Instant::now();
    assert_eq!(pool.submit(die_until, (text(&folder), 3)).wait().unwrap(), 3);
    // At least: 40 ms, then 80 ms.
    assert!(start.elapsed() >= 3 * pause, "only {:?}", start.elapsed());
    let folder = tempfile::tempdir().unwrap();
    let twice = TaskOptions::new().attempts(NonZero::new(2).unwrap()).backoff(Duration::ZERO);
    match pool.submit_with(die_until, (text(&folder), 3), twice).wait() {
        Err(TaskError::WorkerDied { attempts, .. }) => assert_eq!(attempts, 2),
        other => panic!("{other:?}"),
    }
}

#[task(pure)]
fn ends_at(x: u64) -> u64 {
    if x == 13 {
        std::process::abort();
    }
    x
}

/// Ends its worker unless the file is there.
#[task]
fn needs(file: String) -> bool {
    if !std::fs::exists(&file).unwrap_or(false) {
        std::process::abort();
    }
    true
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, TaskError>) -> bool {
    match result {
        Err(TaskError::Quarantined { deaths: 3, .. }) => true,
        Err(TaskError::WorkerDied { .. }) => false,
        other => panic!("{other:?}"),
    }
}

#[proc_pool::test]
fn what_ended_three_workers_is_refused_until_it_is_let_in_again() {
    let pool = pool(2);
    assert!(!is_refused(pool.submit(ends_at, 13).wait()));
    let deaths = pool.stats().deaths;
    // Alone, in a chunk among others, and in a stream.
    assert!(is_refused(pool.submit(ends_at, 13).wait()));
    assert!(is_refused(pool.map(ends_at, 0..100)));
    let results: Vec<_> = pool.imap(ends_at, 10..16).chunk(6).collect();
    for (x, result) in (10..16).zip(results) {
        match result {
            Ok(same) => assert_eq!(same, x),
            failure => assert!(x == 13 && is_refused(failure)),
        }
    }
    assert_eq!(pool.stats().deaths, deaths, "a worker was spent on it");
    let list = pool.quarantined();
    assert_eq!((list.len(), list[0].deaths, list[0].refused), (1, 3, 3));
    assert!(list[0].task.ends_with("ends_at"));
    assert!(!pool.lift_quarantine(ends_at, 12).unwrap());
    assert!(pool.lift_quarantine(ends_at, 13).unwrap());
    assert!(!is_refused(pool.submit(ends_at, 13).wait()));
    assert_eq!((pool.lift_all_quarantines(), pool.quarantined().len()), (1, 0));
}

#[proc_pool::test]
fn deaths_with_an_argument_count_across_submissions_until_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file").to_str().unwrap().to_owned();
    let pool = pool(1);
    let try_it = || pool.submit(needs, file.clone()).wait();
    assert!(!is_refused(try_it()) && !is_refused(try_it()));
    std::fs::write(&file, "").unwrap();
    assert!(try_it().unwrap(), "two deaths do not condemn it");
    std::fs::remove_file(&file).unwrap();
    for _ in 0..3 {
        assert!(!is_refused(try_it()));
    }
    std::fs::write(&file, "").unwrap();
    assert!(is_refused(try_it()));
    assert!(pool.lift_quarantine(needs, file.clone()).unwrap());
    assert!(try_it().unwrap());
}
