//! However a parent ends, and whatever tasks do to their workers: no process is left, nobody hangs.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod parent;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use proc_pool::{Death, Pool, StartMethod, TaskError, task};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use shm_core::Frozen;

use parent::{Parent, all_end, becomes, folder, open_files, runs, say, wait_for_death};

const LONG: Duration = Duration::from_secs(20);

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task]
fn sum(values: Frozen<u64>) -> u64 {
    values.iter().sum()
}

#[task]
fn spin(marker: String) {
    std::fs::write(marker, "").expect("a file");
    loop {
        std::hint::spin_loop();
    }
}

#[task]
fn close_every_file() {
    for file in 3..1024 {
        // SAFETY: closes numbers, whoever they belong to: that is what is tested. This process
        // uses none of them by a Rust owner afterwards.
        unsafe { libc::close(file) };
    }
}

/// Starts a program and leaves it behind.
#[task]
fn leave_a_child() -> u32 {
    let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn();
    child.expect("a child").id()
}

#[task]
fn leave_a_child_and_die() -> u32 {
    let child = leave_a_child();
    std::fs::write(std::env::var("CHILD_FILE").expect("the file"), child.to_string()).expect("it");
    std::process::abort()
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool")
}

/// A pool with a busy worker and an idle one; says who they are.
fn half_busy(folder: &str) -> Pool {
    let pool = pool(2);
    let marker = format!("{folder}/busy");
    drop(pool.submit(spin, marker.clone()));
    assert!(becomes(LONG, || std::fs::exists(&marker).unwrap_or(false)), "the task does not start");
    let pids: Vec<String> = pool.worker_pids().iter().map(u32::to_string).collect();
    say(&pids.join(" "));
    pool
}

/// Runs this test again as a parent that ends by itself; no worker of it may be left.
fn ends_with_its_workers(test: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let errors = std::fs::File::create(folder.path().join("errors")).expect("a file");
    let mut parent = Parent::start_with(test, folder.path(), errors.into());
    let workers = parent.workers();
    assert_eq!(workers.len(), 2);
    parent.end();
    assert!(all_end(&workers), "a worker outlived its parent");
}

#[proc_pool::test]
fn workers_end_with_a_parent_that_returns() {
    match folder() {
        Some(folder) => drop(half_busy(&folder)),
        None => ends_with_its_workers("workers_end_with_a_parent_that_returns"),
    }
}

#[proc_pool::test]
fn workers_end_with_a_parent_that_forgets_its_pool() {
    match folder() {
        Some(folder) => std::mem::forget(half_busy(&folder)),
        None => ends_with_its_workers("workers_end_with_a_parent_that_forgets_its_pool"),
    }
}

#[proc_pool::test]
fn workers_end_with_a_parent_that_panics() {
    match folder() {
        Some(folder) => {
            let _pool = half_busy(&folder);
            panic!("the parent, on purpose");
        }
        None => ends_with_its_workers("workers_end_with_a_parent_that_panics"),
    }
}

#[proc_pool::test]
fn workers_end_with_a_parent_that_exits() {
    match folder() {
        Some(folder) => {
            let _pool = half_busy(&folder);
            std::process::exit(0);
        }
        None => ends_with_its_workers("workers_end_with_a_parent_that_exits"),
    }
}

#[proc_pool::test]
fn workers_end_with_a_parent_that_aborts() {
    match folder() {
        Some(folder) => {
            let _pool = half_busy(&folder);
            std::process::abort();
        }
        None => ends_with_its_workers("workers_end_with_a_parent_that_aborts"),
    }
}

extern "C" fn ignore(_signal: i32) {}

/// Survives the first Ctrl-C, and only that.
fn survive_once() {
    // SAFETY: all-zero is a value of this plain C structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = ignore as extern "C" fn(i32) as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
    // SAFETY: the handler does nothing.
    let result = unsafe { libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

#[proc_pool::test]
fn a_second_ctrl_c_ends_a_parent_that_waits_after_the_first() {
    if let Some(folder) = folder() {
        survive_once();
        let pool = half_busy(&folder);
        // Waits for a task that never ends.
        let _ = pool.close();
        wait_for_death(&[]);
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "a_second_ctrl_c_ends_a_parent_that_waits_after_the_first";
    let mut parent = Parent::start(test, folder.path());
    let workers = parent.workers();
    parent.signal_group(Signal::INT);
    std::thread::sleep(Duration::from_millis(50));
    assert!(workers.iter().all(|&pid| runs(pid)), "the first Ctrl-C reached a worker");
    parent.signal_group(Signal::INT);
    parent.end();
    assert!(all_end(&workers), "a worker outlived its parent");
}

#[proc_pool::test]
fn a_worker_without_files_hurts_nobody() {
    let pool = pool(1);
    for _ in 0..3 {
        pool.submit(close_every_file, ()).wait().unwrap();
        assert_eq!(pool.submit(square, 3).wait().unwrap(), 9);
        let values = Frozen::copy_of(&[1, 2, 3]).unwrap();
        assert_eq!(pool.submit(sum, values).wait().unwrap(), 6, "not pure, and not begun");
    }
    pool.close().unwrap();
}

#[proc_pool::test]
fn what_a_task_left_running_ends_with_its_worker() {
    let pool_ = pool(1);
    let child = pool_.submit(leave_a_child, ()).wait().unwrap();
    assert!(runs(child));
    pool_.close().unwrap();
    assert!(all_end(&[child]), "a task's child outlived the pool");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let pool = Pool::builder().workers(1).env("CHILD_FILE", &file).build().unwrap();
    match pool.submit(leave_a_child_and_die, ()).wait() {
        Err(TaskError::WorkerDied { death, .. }) => assert_eq!(death, Death::Signal(6)),
        other => panic!("{other:?}"),
    }
    let child: u32 = std::fs::read_to_string(file).unwrap().parse().unwrap();
    assert!(all_end(&[child]), "a task's child outlived its worker");
}

/// Children of this process that were not waited for, alive or not.
fn has_children() -> bool {
    // SAFETY: asks whether any child is there, without waiting for or changing one.
    let found = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::WNOWAIT) };
    found >= 0
}

#[proc_pool::test]
fn no_zombie_is_left() {
    if folder().is_none() {
        let folder = tempfile::tempdir().unwrap();
        return Parent::start("no_zombie_is_left", folder.path()).succeed();
    }
    let pool = pool(2);
    for _ in 0..5 {
        assert_eq!(pool.submit(square, 3).wait().unwrap(), 9);
        for pid in pool.worker_pids() {
            let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
        }
    }
    pool.resize(1).unwrap();
    pool.map(square, 0..100).unwrap();
    pool.close().unwrap();
    assert!(!has_children(), "a worker was not reaped");
}

#[proc_pool::test]
fn stopped_workers_end_with_a_killed_parent() {
    if let Some(folder) = folder() {
        let _pool = half_busy(&folder);
        wait_for_death(&[]);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Parent::start("stopped_workers_end_with_a_killed_parent", folder.path());
    let workers = parent.workers();
    for &pid in &workers {
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::STOP).unwrap();
    }
    parent.signal(Signal::KILL);
    parent.end();
    assert!(all_end(&workers), "a stopped worker outlived its parent");
}

/// Runs the rest of the test in a process of its own; whether this is that process.
fn alone(test: &str) -> bool {
    if folder().is_some() {
        return true;
    }
    let folder = tempfile::tempdir().expect("a folder");
    Parent::start(test, folder.path()).succeed();
    false
}

fn allow_files(most: u64) {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Nofile, limit).expect("a lower limit");
}

#[proc_pool::test]
fn five_hundred_workers_work() {
    if alone("five_hundred_workers_work") {
        many_workers(500, 2048);
    }
}

#[proc_pool::test]
fn three_hundred_workers_work_with_a_thousand_files() {
    if alone("three_hundred_workers_work_with_a_thousand_files") {
        many_workers(300, 1024);
    }
}

fn many_workers(workers: usize, files: u64) {
    allow_files(files);
    let builder = Pool::builder().workers(workers).start_method(StartMethod::Server);
    let pool = builder.build().expect("a pool");
    assert_eq!(pool.worker_pids().len(), workers);
    let expected: Vec<u64> = (0..2000).map(|x| x * x).collect();
    assert_eq!(pool.map(square, 0..2000).expect("squares"), expected);
    pool.close().expect("an orderly end");
    assert!(!has_children(), "a worker was not reaped");
}

#[proc_pool::test]
fn a_pool_for_which_there_are_too_few_files_is_refused_and_leaves_nothing() {
    if !alone("a_pool_for_which_there_are_too_few_files_is_refused_and_leaves_nothing") {
        return;
    }
    allow_files(64);
    let before = open_files();
    for method in [StartMethod::Spawn, StartMethod::Server] {
        let built = Pool::builder().workers(100).start_method(method).build();
        let error = built.expect_err("a hundred workers need more files").to_string();
        assert!(error.contains("os error 24") || error.contains("open files"), "{error}");
        assert!(!has_children(), "a process is left");
        assert_eq!(open_files(), before, "a file is left open");
        let pool = Pool::builder().workers(2).start_method(method).build().unwrap();
        assert_eq!(pool.submit(square, 3).wait().unwrap(), 9);
    }
}

#[proc_pool::test]
fn a_pool_that_finds_no_file_for_a_successor_waits_until_there_is_one() {
    if !alone("a_pool_that_finds_no_file_for_a_successor_waits_until_there_is_one") {
        return;
    }
    allow_files(64);
    let pool = pool(2);
    pool.map(square, 0..10).unwrap();
    let mut all = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        all.push(file);
    }
    let killed = pool.worker_pids()[0];
    kill_process(Pid::from_raw(killed as i32).unwrap(), Signal::KILL).unwrap();
    // The files of the dead one may do for the next; then there is one that cannot be started.
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
    drop(all);
    assert!(becomes(LONG, || pool.worker_pids().len() == 2), "no successor");
}

/// A `/dev/shm` of this process's own, one page in size and full. `false` where that is forbidden.
fn fill_dev_shm() -> bool {
    // SAFETY: leaves the mount namespace that is shared with others; no memory is concerned.
    let left = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    let none = std::ptr::null();
    let (shm, size) = (c"/dev/shm".as_ptr(), c"size=4096".as_ptr().cast());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: changes this process's own mount namespace; the strings end with a zero.
    if left != 0 || unsafe { libc::mount(none, c"/".as_ptr(), none, private, none.cast()) } != 0 {
        return false;
    }
    let tmpfs = c"tmpfs".as_ptr();
    // SAFETY: as above.
    if unsafe { libc::mount(tmpfs, shm, tmpfs, 0, size) } != 0 {
        return false;
    }
    std::fs::write("/dev/shm/full", [1; 4096]).is_ok()
        && std::fs::write("/dev/shm/more", [1; 4096]).is_err()
}

#[proc_pool::test]
fn a_full_dev_shm_does_not_matter() {
    if !alone("a_full_dev_shm_does_not_matter") {
        return;
    }
    if !fill_dev_shm() {
        say("not tested: no mount namespace is to be had");
        return;
    }
    for method in [StartMethod::Spawn, StartMethod::Server] {
        let pool = Pool::builder().workers(2).start_method(method).build().unwrap();
        assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
        let values = Frozen::copy_of(&vec![1; 1 << 20]).unwrap();
        assert_eq!(pool.submit(sum, values).wait().unwrap(), 1 << 20);
        pool.close().unwrap();
    }
}

#[proc_pool::test]
fn a_program_whose_file_was_replaced_goes_on() {
    if let Some(folder) = folder() {
        let pool = pool(1);
        assert_eq!(pool.submit(square, 3).wait().unwrap(), 9);
        std::fs::write(format!("{folder}/other"), "no program at all").unwrap();
        std::fs::rename(format!("{folder}/other"), format!("{folder}/program")).unwrap();
        let _ = kill_process(Pid::from_raw(pool.worker_pids()[0] as i32).unwrap(), Signal::KILL);
        assert_eq!(pool.submit(square, 4).wait().unwrap(), 16, "the new worker is the old program");
        say("both results are right");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    let mut child = Command::new(&program)
        .args(["--exact", "a_program_whose_file_was_replaced_goes_on", "--nocapture"])
        .env("PROC_POOL_TEST_PARENT", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "{said:#?}");
    assert!(said.iter().any(|line| line == "parent: both results are right"), "{said:#?}");
}
