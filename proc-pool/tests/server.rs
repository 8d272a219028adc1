//! Pools whose workers a fork server makes: the same life and death, whatever becomes of the server.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod parent;

use std::time::Duration;

use proc_pool::{Pool, PoolError, StartMethod, TaskError, task, worker_state};
use rustix::process::{Pid, Signal, getppid, kill_process};

use parent::{Parent, all_end, becomes, folder, runs, wait_for_death};

const LONG: Duration = Duration::from_secs(20);

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task]
fn load(marks: String, size: u64) -> Result<(), String> {
    std::fs::write(format!("{marks}/{}", std::process::id()), "").map_err(|e| e.to_string())?;
    worker_state::set((0..size).collect::<Vec<u64>>());
    Ok(())
}

#[task(pure)]
fn look_up(index: usize) -> Option<u64> {
    worker_state::with(|table: &mut Vec<u64>| table.get(index).copied())
}

#[task]
fn refuse(why: String) -> Result<(), String> {
    Err(why)
}

#[task]
fn panics() {
    panic!("no table");
}

#[task]
fn parent_of_worker() -> Option<i32> {
    getppid().map(|pid| pid.as_raw_nonzero().get())
}

/// Whether the kernel knows this thread's robust locks, and whether the worker can have threads.
#[task]
fn robust_list_and_threads() -> (bool, u32) {
    let (mut head, mut length) = (std::ptr::null_mut::<libc::c_void>(), 0usize);
    // SAFETY: the kernel stores a pointer and a length; 0 is this thread.
    let result =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length) };
    let sum = std::thread::spawn(|| 1 + 2).join().expect("a thread");
    (result == 0 && !head.is_null(), sum)
}

#[task]
fn spin(marker: String) {
    std::fs::write(marker, "").expect("a file");
    loop {
        std::hint::spin_loop();
    }
}

fn pool(workers: usize) -> Pool {
    let builder = Pool::builder().workers(workers).start_method(StartMethod::Server);
    builder.build().expect("a pool")
}

/// Children of this process.
fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if parent == Some(own.as_str()) {
            found.push(pid);
        }
    }
    found
}

/// The child that is no worker. Only in a process of its own, where nobody else has children.
fn server(pool: &Pool) -> Option<u32> {
    let workers = pool.worker_pids();
    children().into_iter().find(|pid| !workers.contains(pid) && runs(*pid))
}

fn signal(pid: u32, signal: Signal) {
    // In vain when it is gone already.
    let _ = kill_process(Pid::from_raw(pid as i32).expect("a pid"), signal);
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

#[proc_pool::test]
fn forked_workers_work_and_are_children_of_the_pool_s_process() {
    let pool = pool(3);
    let expected: Vec<u64> = (0..1000).map(|x| x * x).collect();
    assert_eq!(pool.map(square, 0..1000).unwrap(), expected);
    let parent = pool.submit(parent_of_worker, ()).wait().unwrap();
    assert_eq!(parent, Some(std::process::id() as i32));
    assert_eq!(pool.submit(robust_list_and_threads, ()).wait().unwrap(), (true, 3));
    pool.close().unwrap();
}

#[proc_pool::test]
fn a_preload_runs_once_and_every_worker_has_what_it_left() {
    let folder = tempfile::tempdir().unwrap();
    let marks = folder.path().to_str().unwrap().to_owned();
    let pool = Pool::builder().workers(3).preload(load, (marks, 50_000)).build().unwrap();
    for _ in 0..3 {
        pool.worker_pids().into_iter().for_each(|pid| signal(pid, Signal::KILL));
        assert_eq!(pool.map(look_up, [7, 49_999, 50_000]).unwrap(), [Some(7), Some(49_999), None]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "preloaded more than once");
}

#[proc_pool::test]
fn a_preload_that_fails_is_an_error_of_build_and_says_why() {
    let failure = |result: Result<Pool, PoolError>| match result {
        Err(PoolError::InitializerFailed { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let reason = failure(Pool::builder().workers(1).preload(refuse, "no disk".to_owned()).build());
    assert!(reason.contains("refuse") && reason.ends_with("no disk"), "{reason}");
    let reason = failure(Pool::builder().workers(1).preload(panics, ()).build());
    assert!(reason.contains("no table"), "{reason}");
}

/// Fails once there is a file `stop`.
#[task]
fn load_until_stopped(folder: String) -> Result<(), String> {
    let mark = format!("{folder}/{}", std::process::id());
    std::fs::write(mark, "").map_err(|error| error.to_string())?;
    match std::fs::exists(format!("{folder}/stop")) {
        Ok(false) => Ok(()),
        _ => Err("stopped".to_owned()),
    }
}

#[proc_pool::test]
fn a_later_preload_that_fails_is_tried_three_times_and_ends_the_pool_with_its_last_worker() {
    if !alone(
        "a_later_preload_that_fails_is_tried_three_times_and_ends_the_pool_with_its_last_worker",
    ) {
        return;
    }
    let marks = tempfile::tempdir().unwrap();
    let path = marks.path().to_str().unwrap().to_owned();
    let pool =
        Pool::builder().workers(2).preload(load_until_stopped, path.clone()).build().unwrap();
    pool.map(square, 0..10).unwrap();
    std::fs::write(format!("{path}/stop"), "").unwrap();
    let (first, workers) = (server(&pool).expect("a server"), pool.worker_pids());
    signal(first, Signal::KILL);
    signal(workers[0], Signal::KILL);
    // The first one, three that fail, and the file.
    let preloads = || std::fs::read_dir(marks.path()).unwrap().count() - 1;
    assert!(becomes(LONG, || preloads() == 4), "{} preloads", preloads());
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4], "one worker is left");
    signal(workers[1], Signal::KILL);
    let failure = pool.submit(square, 3).wait();
    assert!(matches!(failure, Err(TaskError::PoolEnded { .. })), "{failure:?}");
    match pool.close() {
        Err(PoolError::InitializerFailed { reason }) => {
            assert!(reason.contains("stopped") && reason.contains("in a row: 3"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(preloads(), 4, "it was tried again");
}

#[proc_pool::test]
fn a_killed_server_costs_no_worker_and_another_makes_the_next() {
    if !alone("a_killed_server_costs_no_worker_and_another_makes_the_next") {
        return;
    }
    let pool = pool(2);
    pool.map(square, 0..10).unwrap();
    let workers = pool.worker_pids();
    let first = server(&pool).expect("a server");
    signal(first, Signal::KILL);
    assert!(becomes(LONG, || !children().contains(&first)), "the server is not reaped");
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
    assert_eq!(pool.worker_pids(), workers, "a worker went with the server");
    workers.iter().for_each(|&pid| signal(pid, Signal::KILL));
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
    pool.close().unwrap();
    assert_eq!(children(), [0; 0], "a process is left");
}

#[proc_pool::test]
fn servers_killed_at_any_moment_lose_no_child() {
    if !alone("servers_killed_at_any_moment_lose_no_child") {
        return;
    }
    let pool = pool(2);
    for round in 0..40u64 {
        pool.worker_pids().into_iter().for_each(|pid| signal(pid, Signal::KILL));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_micros(50 + 37 * round));
            server(&pool).into_iter().for_each(|pid| signal(pid, Signal::KILL));
        }
        assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
    }
    // At rest there is nobody but the workers and one server: no child that the pool lost.
    assert!(becomes(LONG, || children().len() <= 3), "{:?}", children());
    pool.close().unwrap();
    assert_eq!(children(), [0; 0], "a process is left");
}

#[proc_pool::test]
fn a_stopped_server_is_replaced() {
    if !alone("a_stopped_server_is_replaced") {
        return;
    }
    let pool = pool(1);
    assert_eq!(pool.submit(square, 2).wait().unwrap(), 4);
    signal(server(&pool).expect("a server"), Signal::STOP);
    pool.worker_pids().into_iter().for_each(|pid| signal(pid, Signal::KILL));
    assert_eq!(pool.submit(square, 3).wait().unwrap(), 9);
    pool.close().unwrap();
    assert_eq!(children(), [0; 0], "a process is left");
}

/// Has one busy worker, one idle worker, and a server; all of them must end with it.
fn none_outlives(test: &str, end: impl FnOnce(&Parent)) {
    if let Some(folder) = folder() {
        let pool = pool(2);
        let marker = format!("{folder}/busy");
        drop(pool.submit(spin, marker.clone()));
        assert!(becomes(LONG, || std::fs::exists(&marker).unwrap_or(false)), "no start");
        assert!(becomes(LONG, || children().len() == 3), "a server and two workers");
        wait_for_death(&children());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut parent = Parent::start(test, folder.path());
    let all = parent.workers();
    assert!(all.len() == 3 && all.iter().all(|&pid| runs(pid)), "{all:?}");
    end(&parent);
    parent.end();
    assert!(all_end(&all), "a process outlived its parent");
}

#[proc_pool::test]
fn workers_and_server_end_with_a_killed_parent() {
    none_outlives("workers_and_server_end_with_a_killed_parent", |parent| {
        parent.signal(Signal::KILL);
    });
}

#[proc_pool::test]
fn workers_and_server_end_with_an_interrupted_parent() {
    none_outlives("workers_and_server_end_with_an_interrupted_parent", |parent| {
        parent.signal_group(Signal::INT);
    });
}

#[proc_pool::test]
fn a_dropped_pool_leaves_neither_worker_nor_server() {
    if !alone("a_dropped_pool_leaves_neither_worker_nor_server") {
        return;
    }
    let pool = pool(2);
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("busy");
    let handle = pool.submit(spin, marker.to_str().unwrap().to_owned());
    assert!(becomes(LONG, || marker.exists()), "the task does not start");
    drop(pool);
    assert!(matches!(handle.wait(), Err(TaskError::WorkerDied { .. })));
    assert_eq!(children(), [0; 0], "a process is left");
}

/// Starts a program in the worker's process group and leaves it behind.
#[task]
fn leave_a_child() -> u32 {
    let mut sleep = std::process::Command::new("sleep");
    sleep.arg("1000").stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    sleep.spawn().expect("a child").id()
}

/// Whether the kernel can send a signal to a process group by pidfd: since 6.9.
fn can_signal_groups() -> bool {
    let own = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    );
    let own = own.expect("a pidfd of this process");
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: signal 0 only asks whether it could be sent.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            std::os::fd::AsRawFd::as_raw_fd(&own),
            0,
            none,
            4,
        )
    };
    let errno = std::io::Error::last_os_error().raw_os_error();
    result == 0 || errno != Some(libc::EINVAL)
}

/// A pool of spawned workers, and the process that waits for their parent's end.
fn guarded(workers: usize) -> Pool {
    Pool::builder().workers(workers).guard_groups().build().expect("a pool")
}

/// What tasks left running ends too, when the parent and perhaps the server could do nothing.
fn grandchildren_end(test: &str, pool: fn(usize) -> Pool, end: impl FnOnce(&Parent, u32)) {
    if folder().is_some() {
        let pool = pool(2);
        let left = pool.submit(leave_a_child, ()).wait().expect("a child");
        wait_for_death(&[server(&pool).expect("a server"), left]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut parent = Parent::start(test, folder.path());
    let [server, left] = parent.workers()[..] else { panic!("two processes") };
    assert!(runs(server) && runs(left));
    end(&parent, server);
    parent.end();
    assert!(all_end(&[server]), "the server outlived its parent");
    if can_signal_groups() {
        assert!(all_end(&[left]), "a task's child outlived the pool");
    } else {
        signal(left, Signal::KILL);
    }
}

#[proc_pool::test]
fn what_tasks_left_running_ends_with_a_killed_parent() {
    grandchildren_end("what_tasks_left_running_ends_with_a_killed_parent", pool, |parent, _| {
        parent.signal(Signal::KILL);
    });
}

#[proc_pool::test]
fn what_tasks_of_guarded_spawned_workers_left_running_ends_with_a_killed_parent() {
    let test = "what_tasks_of_guarded_spawned_workers_left_running_ends_with_a_killed_parent";
    grandchildren_end(test, guarded, |parent, _| parent.signal(Signal::KILL));
}

#[proc_pool::test]
fn a_guard_that_is_killed_is_replaced_and_nobody_is_left_with_the_pool() {
    if !alone("a_guard_that_is_killed_is_replaced_and_nobody_is_left_with_the_pool") {
        return;
    }
    let pool = guarded(2);
    let first = server(&pool).expect("a guard");
    signal(first, Signal::KILL);
    let replaced = || server(&pool).is_some_and(|second| second != first);
    assert!(becomes(LONG, replaced), "nobody took its place");
    pool.worker_pids().into_iter().for_each(|pid| signal(pid, Signal::KILL));
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
    pool.close().unwrap();
    assert_eq!(children(), [0; 0], "a process is left");
}

#[proc_pool::test]
fn a_stopped_server_goes_on_to_end_what_tasks_left_running() {
    grandchildren_end(
        "a_stopped_server_goes_on_to_end_what_tasks_left_running",
        pool,
        |parent, server| {
            signal(server, Signal::STOP);
            parent.signal(Signal::KILL);
        },
    );
}
