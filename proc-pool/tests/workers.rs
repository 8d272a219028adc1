//! Workers: what they keep, when they are replaced, how many there are, how they are told to end.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod parent;

use std::collections::BTreeSet;
use std::num::NonZero;
use std::time::Duration;

use proc_pool::{Pool, PoolError, TaskError, task, worker_state};
use rustix::process::{Pid, Signal, kill_process};

use parent::{becomes, runs};

const LONG: Duration = Duration::from_secs(20);

struct Model {
    factor: u64,
    used: u32,
}

#[task]
fn load(factor: u64) {
    worker_state::set(Model { factor, used: 0 });
}

#[task]
fn apply(x: u64) -> (u64, u32) {
    worker_state::with(|model: &mut Model| {
        model.used += 1;
        (model.factor * x, model.used)
    })
}

#[task]
fn refuse(why: String) -> Result<(), String> {
    Err(why)
}

#[task]
fn panics() {
    panic!("no model today");
}

#[task]
fn dies() {
    std::process::exit(3);
}

#[task]
fn load_unless(refusal: String) -> Result<(), String> {
    if std::fs::exists(&refusal).expect("the folder") {
        Err("not again".to_owned())
    } else {
        Ok(())
    }
}

#[task]
fn leave_mark(folder: String) {
    std::fs::write(format!("{folder}/{}", std::process::id()), "").expect("a file");
}

#[task]
fn process_id() -> u32 {
    std::process::id()
}

#[task]
fn process_id_slowly() -> u32 {
    std::thread::sleep(Duration::from_millis(2));
    std::process::id()
}

#[task]
fn for_ever(marker: String) {
    std::fs::write(marker, "").expect("a file");
    loop {
        std::thread::park();
    }
}

/// Ends when the file `go` is there.
#[task]
fn wait_for(go: String) -> u32 {
    while !std::fs::exists(&go).expect("the folder") {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::id()
}

thread_local! {
    static HOARD: std::cell::RefCell<Vec<Vec<u8>>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[task]
fn leak(bytes: usize) -> u32 {
    HOARD.with_borrow_mut(|hoard| hoard.push(vec![1; bytes]));
    // The size is looked at every 5 ms.
    std::thread::sleep(Duration::from_millis(6));
    std::process::id()
}

#[task]
fn nice_and_processors() -> (i32, u32) {
    let set = rustix::thread::sched_getaffinity(None).expect("the affinity");
    (rustix::process::nice(0).expect("the nice value"), set.count())
}

#[task]
fn number() -> Option<usize> {
    worker_state::number()
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("UTF-8").to_owned()
}

fn entries(folder: &tempfile::TempDir) -> usize {
    std::fs::read_dir(folder.path()).expect("the folder").count()
}

#[proc_pool::test]
fn tasks_use_what_the_initializer_made() {
    let pool = Pool::builder().workers(1).initializer(load, 7).build().unwrap();
    assert_eq!(pool.submit(apply, 3).wait().unwrap(), (21, 1));
    assert_eq!(pool.submit(apply, 4).wait().unwrap(), (28, 2));
    kill_process(Pid::from_raw(pool.worker_pids()[0] as i32).unwrap(), Signal::KILL).unwrap();
    assert_eq!(pool.submit(apply, 5).wait().unwrap().0, 35, "the new worker has no model");
}

#[proc_pool::test]
fn a_task_without_its_state_says_what_is_missing() {
    match Pool::builder().workers(1).build().unwrap().submit(apply, 3).wait() {
        Err(TaskError::Panicked { message, .. }) => {
            assert!(message.contains("keeps no workers::Model"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[proc_pool::test]
fn an_initializer_that_fails_ends_the_pool_and_says_why() {
    let builder = || Pool::builder().workers(2);
    let failures = [
        builder().initializer(refuse, "there is no such file".to_owned()).build(),
        builder().initializer(panics, ()).build(),
        builder().initializer(dies, ()).build(),
    ];
    let words = ["there is no such file", "no model today", "exited with code 3"];
    for (failure, words) in failures.into_iter().zip(words) {
        match failure {
            Err(PoolError::InitializerFailed { reason }) => {
                assert!(reason.contains(words), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[proc_pool::test]
fn an_initializer_that_fails_later_does_not_respawn_workers_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = path(&folder, "refuse");
    let pool =
        Pool::builder().workers(1).initializer(load_unless, refusal.clone()).build().unwrap();
    std::fs::write(refusal, "").unwrap();
    match pool.submit(dies, ()).wait() {
        Err(TaskError::WorkerDied { .. }) => {}
        other => panic!("{other:?}"),
    }
    match pool.submit(process_id, ()).wait() {
        Err(TaskError::PoolEnded { reason, .. }) => {
            assert!(reason.contains("not again"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(pool.close(), Err(PoolError::InitializerFailed { .. })));
}

#[proc_pool::test]
fn the_exit_hook_runs_once_in_every_worker_that_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mark = || folder.path().to_str().unwrap().to_owned();
    let pool = Pool::builder().workers(3).exit_hook(leave_mark, mark()).build().unwrap();
    pool.map(process_id, vec![(); 100]).unwrap();
    pool.close().unwrap();
    assert_eq!(entries(&folder), 3);
    let pool = Pool::builder().workers(1).exit_hook(leave_mark, mark()).build().unwrap();
    pool.submit(process_id, ()).wait().unwrap();
    drop(pool);
    assert_eq!(entries(&folder), 4, "a dropped pool runs it too");
    let pool = Pool::builder().workers(1).exit_hook(leave_mark, mark()).build().unwrap();
    pool.submit(process_id, ()).wait().unwrap();
    pool.terminate();
    assert_eq!(entries(&folder), 4, "a terminated pool does not");
}

#[proc_pool::test]
fn a_worker_is_replaced_after_its_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().to_str().unwrap().to_owned();
    let pool = Pool::builder()
        .workers(2)
        .recycle_after_tasks(NonZero::new(10).unwrap())
        .exit_hook(leave_mark, mark)
        .build()
        .unwrap();
    let ids = pool.imap(process_id, vec![(); 200]).chunk(1);
    let ids: Vec<u32> = ids.map(|id| id.unwrap()).collect();
    let workers: BTreeSet<u32> = ids.iter().copied().collect();
    for worker in &workers {
        let tasks = ids.iter().filter(|id| *id == worker).count();
        assert!(tasks <= 10, "{tasks} tasks in one worker");
    }
    assert!(workers.len() >= 20, "{} workers for 200 tasks", workers.len());
    pool.close().unwrap();
    assert!(entries(&folder) >= workers.len());
    assert!(!workers.into_iter().any(runs));
}

#[proc_pool::test]
fn a_worker_that_has_grown_is_replaced() {
    let limit = NonZero::new(64 << 20).unwrap();
    let pool = Pool::builder().workers(1).recycle_above(limit).build().unwrap();
    let ids: BTreeSet<u32> = (0..8).map(|_| pool.submit(leak, 20 << 20).wait().unwrap()).collect();
    assert!((2..=4).contains(&ids.len()), "{} workers for 160 MiB", ids.len());
}

#[proc_pool::test]
fn a_pool_grows_and_shrinks_without_losing_a_task() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let mut ids = BTreeSet::new();
    for workers in [4, 2, 3, 1] {
        pool.resize(workers).unwrap();
        assert!(becomes(LONG, || pool.worker_pids().len() == workers), "{workers} are wanted");
        let now: Vec<_> = pool.imap(process_id_slowly, vec![(); 60]).chunk(1).collect();
        let now: BTreeSet<u32> = now.into_iter().map(|id| id.unwrap()).collect();
        assert!(now.len() <= workers, "{} of {workers} workers at work", now.len());
        ids.extend(now);
    }
    assert!(ids.len() >= 4);
    assert!(matches!(pool.resize(0), Err(PoolError::NoWorkers)));
    pool.close().unwrap();
}

#[proc_pool::test]
fn what_a_worker_that_is_too_many_has_not_begun_runs_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let go = path(&folder, "go");
    let pool = Pool::builder().workers(2).build().unwrap();
    let handles: Vec<_> = (0..10).map(|_| pool.submit(wait_for, go.clone())).collect();
    pool.resize(1).unwrap();
    std::fs::write(&go, "").unwrap();
    let last = handles.into_iter().map(|handle| handle.wait().unwrap()).last().unwrap();
    assert!(becomes(LONG, || pool.worker_pids() == [last]), "{:?}", pool.worker_pids());
}

#[proc_pool::test]
fn a_terminated_pool_ends_at_once_with_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let marker = path(&folder, "started");
    let pool = Pool::builder().workers(1).build().unwrap();
    let running = pool.submit(for_ever, marker.clone());
    assert!(becomes(LONG, || std::fs::exists(&marker).unwrap()));
    let waiting = pool.submit(process_id, ());
    let workers = pool.worker_pids();
    pool.terminate();
    assert!(!workers.into_iter().any(runs));
    assert!(matches!(running.wait(), Err(TaskError::WorkerDied { .. })));
    assert!(matches!(waiting.wait(), Err(TaskError::PoolEnded { .. })));
}

#[proc_pool::test]
fn a_scope_ends_after_its_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::builder().workers(2).build().unwrap();
    let mark = || folder.path().to_str().unwrap().to_owned();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.scope(|scope| {
            drop(scope.submit(process_id_slowly, ()));
            drop(scope.submit(leave_mark, mark()));
            drop(scope.submit(leave_mark, mark()));
            panic!("out of the scope, on purpose");
        })
    }));
    assert!(result.is_err());
    assert!((1..=2).contains(&entries(&folder)), "the scope did not wait");
    assert_eq!(
        pool.scope(|scope| scope.submit(number, ())).wait().unwrap().map(|n| n < 2),
        Some(true)
    );
}

#[proc_pool::test]
fn workers_have_the_priority_and_the_processor_they_were_given() {
    let pool = Pool::builder().workers(2).nice(5).pin_workers().build().unwrap();
    let before = rustix::process::nice(0).unwrap();
    for (nice, processors) in pool.map(nice_and_processors, [(); 8]).unwrap() {
        assert_eq!((nice, processors), ((before + 5).min(19), 1));
    }
}

#[proc_pool::test]
fn tuning_proposes_what_can_be_used() {
    let tuning = Pool::tune(wait_for, &["/".to_owned()]).unwrap();
    assert!(tuning.workers >= 1 && (1..=1024).contains(&tuning.chunk));
    assert!(tuning.measured.iter().any(|(workers, _)| *workers == tuning.workers));
    assert!(matches!(Pool::tune(wait_for, &[]), Err(TaskError::Encode { .. })));
}
