//! The life of a pool, and its death: what it needs, what it leaves, and who ends with whom.

mod parent;

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use proc_pool::{Pool, TaskError, TaskHandle, as_completed, task};
use rustix::process::{Pid, Resource, Rlimit, Signal, getpgid, kill_process, setrlimit};
use shm_core::Frozen;

use parent::{Parent, all_end, becomes, folder, open_files, runs, say, wait_for_death};

const LONG: Duration = Duration::from_secs(20);

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

/// A worker's process id, open files, and resident bytes.
type Census = (u32, usize, u64);

/// Ends when as many workers are in it at once; each leaves a file.
#[task]
fn meet(folder: String, workers: usize) -> Census {
    let pid = std::process::id();
    std::fs::write(format!("{folder}/{pid}"), "").expect("a file");
    assert!(
        becomes(LONG, || std::fs::read_dir(&folder).expect("the folder").count() >= workers),
        "the others do not come"
    );
    (pid, open_files(), resident_bytes())
}

/// Runs until it is killed.
#[task]
fn spin(marker: String) {
    std::fs::write(marker, "").expect("a file");
    loop {
        std::hint::spin_loop();
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool")
}

/// Asks every worker; afterwards all have started and none has anything to do.
fn census(pool: &Pool, workers: usize) -> BTreeMap<u32, (usize, u64)> {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("UTF-8").to_owned();
    let met = pool.map(meet, vec![(folder, workers); workers]).expect("all meet");
    met.into_iter().map(|(pid, files, bytes)| (pid, (files, bytes))).collect()
}

fn spin_in(pool: &Pool, marker: &str) -> TaskHandle<spin> {
    let handle = pool.submit(spin, marker.to_owned());
    assert!(becomes(LONG, || std::fs::exists(marker).unwrap_or(false)), "the task does not start");
    handle
}

/// Does it, but fails when it takes long.
fn in_time<R: Send + 'static>(what: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(what()));
    receiver.recv_timeout(LONG).expect("it takes too long, or panicked")
}

/// A pool of four, two busy and two idle, until it is killed.
fn half_busy_parent(folder: &str) -> ! {
    let pool = pool(4);
    assert_eq!(census(&pool, 4).len(), 4);
    let _busy = [spin_in(&pool, &format!("{folder}/1")), spin_in(&pool, &format!("{folder}/2"))];
    wait_for_death(&pool.worker_pids())
}

/// The workers of a parent that got this signal, or its whole process group did.
fn no_worker_outlives(test: &str, end: impl FnOnce(&Parent)) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut parent = Parent::start(test, folder.path());
    let workers = parent.workers();
    assert!(workers.len() == 4 && workers.iter().all(|&pid| runs(pid)), "{workers:?}");
    end(&parent);
    parent.end();
    assert!(all_end(&workers), "a worker outlived its parent");
}

#[proc_pool::test]
fn busy_and_idle_workers_end_with_a_killed_parent() {
    match folder() {
        Some(folder) => half_busy_parent(&folder),
        None => no_worker_outlives("busy_and_idle_workers_end_with_a_killed_parent", |parent| {
            parent.signal(Signal::KILL);
        }),
    }
}

#[proc_pool::test]
fn busy_and_idle_workers_end_with_a_terminated_parent() {
    match folder() {
        Some(folder) => half_busy_parent(&folder),
        None => {
            no_worker_outlives("busy_and_idle_workers_end_with_a_terminated_parent", |parent| {
                parent.signal(Signal::TERM);
            });
        }
    }
}

#[proc_pool::test]
fn busy_and_idle_workers_end_with_an_interrupted_parent() {
    match folder() {
        Some(folder) => half_busy_parent(&folder),
        None => {
            no_worker_outlives("busy_and_idle_workers_end_with_an_interrupted_parent", |parent| {
                parent.signal_group(Signal::INT);
            });
        }
    }
}

#[proc_pool::test]
fn workers_that_are_still_starting_end_with_a_killed_parent() {
    if folder().is_some() {
        wait_for_death(&pool(4).worker_pids());
    }
    for _ in 0..5 {
        no_worker_outlives("workers_that_are_still_starting_end_with_a_killed_parent", |parent| {
            parent.signal(Signal::KILL);
        });
    }
}

extern "C" fn ignore(_signal: i32) {}

fn on_signal(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: the handler is `SIG_IGN` or a function that does nothing.
    let before = unsafe { libc::signal(signal, handler) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Ends when the file `go` is there.
#[task]
fn wait_for(folder: String) -> u32 {
    std::fs::write(format!("{folder}/started"), "").expect("a file");
    let go = format!("{folder}/go");
    assert!(becomes(LONG, || std::fs::exists(&go).unwrap_or(false)), "nobody says go");
    std::process::id()
}

#[proc_pool::test]
fn a_parent_that_handles_ctrl_c_finds_its_workers_at_work() {
    if let Some(folder) = folder() {
        on_signal(libc::SIGINT, ignore as *const () as libc::sighandler_t);
        let pool = pool(1);
        let worker = pool.worker_pids()[0];
        let handle = pool.submit(wait_for, folder.clone());
        assert!(becomes(LONG, || std::fs::exists(format!("{folder}/started")).unwrap_or(false)));
        say(&worker.to_string());
        assert_eq!(handle.wait().unwrap(), worker);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "a_parent_that_handles_ctrl_c_finds_its_workers_at_work";
    let mut parent = Parent::start(test, folder.path());
    let worker = Pid::from_raw(parent.workers()[0] as i32);
    assert_eq!(getpgid(worker).ok(), worker, "the worker is in somebody else's group");
    parent.signal_group(Signal::INT);
    std::fs::write(folder.path().join("go"), "").unwrap();
    parent.succeed();
}

#[proc_pool::test]
fn a_pool_outlives_the_thread_that_made_it() {
    let pool = std::thread::spawn(|| pool(2)).join().unwrap();
    let workers = census(&pool, 2);
    assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
    assert!(workers.into_keys().eq(census(&pool, 2).into_keys()), "a worker was replaced");
}

#[task]
fn ignore_sigterm(marker: String) {
    on_signal(libc::SIGTERM, libc::SIG_IGN);
    std::fs::write(marker, "").expect("a file");
    loop {
        std::hint::spin_loop();
    }
}

#[proc_pool::test]
fn a_worker_that_ignores_sigterm_ends_with_its_pool() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("started");
    let pool = pool(1);
    let handle = pool.submit(ignore_sigterm, marker.to_str().unwrap().to_owned());
    assert!(becomes(LONG, || marker.exists()), "the task does not start");
    let worker = pool.worker_pids()[0];
    kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::TERM).unwrap();
    in_time(move || drop(pool));
    assert!(!runs(worker), "the worker outlived its pool");
    assert!(handle.is_done());
}

#[task]
fn doubled(values: Frozen<u64>) -> Frozen<u64> {
    let twice: Vec<u64> = values.iter().map(|x| 2 * x).collect();
    Frozen::copy_of(&twice).expect("memory")
}

/// Two thousand tasks, each with new shared memory for its input and for its result.
fn shared_both_ways(pool: &Pool) {
    let mut waiting: VecDeque<(u64, TaskHandle<doubled>)> = VecDeque::new();
    let mut check = |(x, handle): (u64, TaskHandle<doubled>)| {
        assert_eq!(handle.wait().expect("a result")[..], [2 * x, 2]);
    };
    for x in 0..2000 {
        let input = Frozen::copy_of(&[x, 1]).expect("a file is left");
        waiting.push_back((x, pool.submit(doubled, input)));
        if waiting.len() == 16 {
            waiting.pop_front().into_iter().for_each(&mut check);
        }
    }
    waiting.into_iter().for_each(check);
}

#[proc_pool::test]
fn files_are_closed_as_soon_as_nobody_needs_them() {
    if folder().is_none() {
        let folder = tempfile::tempdir().unwrap();
        return Parent::start("files_are_closed_as_soon_as_nobody_needs_them", folder.path())
            .succeed();
    }
    let limit = Rlimit { current: Some(256), maximum: Some(256) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let before = open_files();
    let pool = pool(2);
    let files = |pool: &Pool| -> (usize, BTreeMap<u32, usize>) {
        let workers = census(pool, 2).into_iter().map(|(pid, (files, _))| (pid, files)).collect();
        (open_files(), workers)
    };
    let started = files(&pool);
    shared_both_ways(&pool);
    // Workers close an input's file when they are told so, with one of the next tasks.
    becomes(Duration::from_secs(5), || files(&pool) == started);
    assert_eq!(files(&pool), started);
    pool.close().unwrap();
    assert_eq!(open_files(), before);
}

#[task]
fn reversed(text: String) -> String {
    text.chars().rev().collect()
}

/// Drops every result unseen, most of them before they are there.
fn unseen(pool: &Pool, tasks: usize) {
    for _ in 0..tasks / 500 {
        let mut handles: Vec<_> =
            (0..500).map(|_| pool.submit(reversed, "0123456789abcdef".repeat(64))).collect();
        let last = handles.pop();
        drop(handles);
        last.into_iter().for_each(|last| assert_eq!(last.wait().expect("a result").len(), 1024));
    }
}

#[proc_pool::test]
fn results_that_nobody_takes_take_no_memory() {
    if folder().is_none() {
        let folder = tempfile::tempdir().unwrap();
        return Parent::start("results_that_nobody_takes_take_no_memory", folder.path()).succeed();
    }
    let pool = pool(1);
    // Afterwards every page of the queues has been touched, and the allocators have grown.
    unseen(&pool, 4_000);
    let bytes = |pool: &Pool| -> [u64; 2] {
        let worker = census(pool, 1).into_values().map(|(_, bytes)| bytes).sum();
        [resident_bytes(), worker]
    };
    let before = bytes(&pool);
    unseen(&pool, 20_000);
    let after = bytes(&pool);
    // The inputs alone come to 20 MB, and so do the results.
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + (4 << 20), "from {before} to {after} bytes");
    }
}

#[proc_pool::test]
fn results_outlive_a_pool_that_was_closed() {
    let pool = pool(2);
    let handles: Vec<_> = (0..500).map(|x| pool.submit(square, x)).collect();
    let shared = pool.submit(doubled, Frozen::copy_of(&[3, 4]).unwrap());
    pool.close().unwrap();
    in_time(move || {
        for (x, handle) in (0..).zip(handles) {
            assert!(handle.is_done());
            assert_eq!(handle.wait().unwrap(), x * x);
        }
        assert_eq!(shared.wait().unwrap()[..], [6, 8]);
    });
}

#[proc_pool::test]
fn handles_to_a_dropped_pool_fail_and_do_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let pool = pool(1);
    let done = pool.submit(square, 12);
    census(&pool, 1);
    let running = spin_in(&pool, folder.path().join("started").to_str().unwrap());
    let waiting: Vec<_> = (0..500).map(|x| pool.submit(square, x)).collect();
    in_time(move || drop(pool));
    in_time(move || {
        assert_eq!(done.wait().unwrap(), 144);
        assert!(matches!(running.wait(), Err(TaskError::WorkerDied { .. })));
        for (_, result) in as_completed(waiting) {
            assert!(matches!(result, Err(TaskError::PoolEnded { .. })), "{result:?}");
        }
    });
}

#[proc_pool::test]
fn a_thread_that_waits_hears_that_the_pool_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let pool = pool(1);
    let running = spin_in(&pool, folder.path().join("started").to_str().unwrap());
    let waiting = pool.submit(square, 3);
    in_time(move || {
        std::thread::scope(|scope| {
            let running = scope.spawn(|| running.wait());
            let waiting = scope.spawn(|| waiting.wait());
            drop(pool);
            assert!(matches!(running.join().unwrap(), Err(TaskError::WorkerDied { .. })));
            assert!(matches!(waiting.join().unwrap(), Err(TaskError::PoolEnded { .. })));
        });
    });
}

#[proc_pool::test]
fn threads_that_share_a_pool_get_each_their_own_results() {
    let pool = pool(2);
    in_time(move || {
        std::thread::scope(|scope| {
            for thread in 0..6u64 {
                let pool = &pool;
                scope.spawn(move || {
                    let inputs = thread * 1000..thread * 1000 + 300;
                    let expected: Vec<u64> = inputs.clone().map(|x| x * x).collect();
                    for _ in 0..5 {
                        assert_eq!(pool.map(square, inputs.clone()).unwrap(), expected);
                        let handles = inputs.clone().map(|x| pool.submit(square, x));
                        for (index, result) in as_completed(handles) {
                            assert_eq!(result.unwrap(), expected[index]);
                        }
                        let one = pool.submit(square, thread).wait();
                        assert_eq!(one.unwrap(), thread * thread);
                    }
                });
            }
        });
        pool.close().unwrap();
    });
}

#[task]
fn sum(values: Frozen<u64>) -> u64 {
    values.iter().sum()
}

#[task]
fn sum_by_others(values: Frozen<u64>) -> u64 {
    let pool = pool(2);
    pool.map(sum, values.split(4)).expect("four sums").into_iter().sum()
}

#[proc_pool::test]
fn a_task_may_have_a_pool_of_its_own() {
    let values: Vec<u64> = (0..10_000).collect();
    let values = Frozen::copy_of(&values).unwrap();
    let pool = pool(2);
    let sums = in_time(move || pool.map(sum_by_others, [values.clone(), values]).unwrap());
    assert_eq!(sums, [49_995_000; 2]);
}

/// Writes down the workers of its own pool, busy and idle, and waits to be killed.
#[task]
fn pool_in_worker(folder: String) {
    let pool = pool(2);
    census(&pool, 2);
    let _busy = spin_in(&pool, &format!("{folder}/busy"));
    let pids: Vec<String> = pool.worker_pids().iter().map(u32::to_string).collect();
    std::fs::write(format!("{folder}/new"), pids.join(" ")).expect("a file");
    std::fs::rename(format!("{folder}/new"), format!("{folder}/workers")).expect("the file");
    loop {
        std::thread::park();
    }
}

fn workers_of_a_worker(pool: &Pool) -> (Vec<u32>, TaskHandle<pool_in_worker>) {
    let folder = tempfile::tempdir().expect("a folder");
    let handle = pool.submit(pool_in_worker, folder.path().to_str().expect("UTF-8").to_owned());
    let list = folder.path().join("workers");
    assert!(becomes(LONG, || list.exists()), "the worker's pool does not start");
    let list = std::fs::read_to_string(list).expect("the list");
    let pids: Vec<u32> = list.split(' ').map(|pid| pid.parse().expect("a process id")).collect();
    assert!(pids.len() == 2 && pids.iter().all(|&pid| runs(pid)), "{pids:?}");
    (pids, handle)
}

#[proc_pool::test]
fn the_pool_of_a_killed_worker_ends_with_it() {
    let pool = Pool::builder().workers(1).nested_processes(2).build().unwrap();
    let (inner, handle) = workers_of_a_worker(&pool);
    kill_process(Pid::from_raw(pool.worker_pids()[0] as i32).unwrap(), Signal::KILL).unwrap();
    assert!(matches!(handle.wait(), Err(TaskError::WorkerDied { .. })));
    assert!(all_end(&inner), "a worker's worker outlived it");
    assert_eq!(pool.submit(square, 5).wait().unwrap(), 25);
}

#[proc_pool::test]
fn the_pools_of_workers_end_with_a_dropped_pool() {
    let pool = Pool::builder().workers(1).nested_processes(2).build().unwrap();
    let (inner, _handle) = workers_of_a_worker(&pool);
    in_time(move || drop(pool));
    assert!(all_end(&inner), "a worker's worker outlived the pool");
}

#[task]
fn read_standard_input() -> (usize, bool) {
    let mut text = Vec::new();
    let read = std::io::stdin().read_to_end(&mut text);
    (text.len(), read.is_ok())
}

#[proc_pool::test]
fn standard_input_of_a_task_is_at_its_end() {
    let pool = pool(2);
    let read = in_time(move || pool.map(read_standard_input, [(); 10]).unwrap());
    assert_eq!(read, [(0, true); 10]);
}

const LINES: usize = 50;

/// Prints whole lines, to both outputs.
#[task]
fn print(task: u32) -> u32 {
    for line in 0..LINES {
        let line = format!("task {task} prints line {line}{}\n", " and more".repeat(20));
        std::io::stdout().write_all(line.as_bytes()).expect("standard output");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error");
    }
    task
}

#[proc_pool::test]
fn what_tasks_print_comes_in_whole_lines_and_disturbs_nobody() {
    if folder().is_some() {
        assert!(pool(2).map(print, 0..40).unwrap().into_iter().eq(0..40));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let errors = folder.path().join("errors");
    let test = "what_tasks_print_comes_in_whole_lines_and_disturbs_nobody";
    let file = std::fs::File::create(&errors).unwrap();
    Parent::start_with(test, folder.path(), file.into()).succeed();
    let printed = std::fs::read_to_string(errors).unwrap();
    let whole = |line: &&str| line.starts_with("task ") && line.ends_with(" and more");
    assert_eq!(printed.lines().filter(whole).count(), 40 * LINES);
    assert_eq!(printed.lines().filter(|line| !whole(line)).collect::<Vec<_>>(), [""; 0]);
}

/// Leaves a mark at its end.
#[task]
fn sleep_and_mark(millis: u64, marker: String) {
    std::thread::sleep(Duration::from_millis(millis));
    std::fs::write(marker, "").expect("a file");
}

/// Whether the quick pool's result was heard before the slow one's was there.
fn quick_result_is_heard_first(slow: &Pool, quick: &Pool) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let marker = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let handles = [
        slow.submit(sleep_and_mark, (500, marker("slow"))),
        quick.submit(sleep_and_mark, (50, marker("quick"))),
    ];
    let mut results = as_completed(handles);
    let first = results.next();
    let alone = !std::fs::exists(marker("slow")).expect("the folder");
    assert!(matches!(results.next(), Some((_, Ok(())))));
    matches!(first, Some((1, Ok(())))) && alone
}

#[proc_pool::test]
fn a_result_of_one_pool_is_heard_while_another_pool_is_at_work() {
    let (slow, quick) = (pool(1), pool(1));
    census(&slow, 1);
    census(&quick, 1);
    // A busy machine may be late once. A bell that is not rung is late each time: nobody looks
    // again sooner than after a second.
    assert!((0..5).any(|_| quick_result_is_heard_first(&slow, &quick)), "nobody rings");
}
