//! The parent is SIGKILLed at random moments of whatever it does with pools: nothing is left.

use std::path::Path;
use std::time::Duration;

use proc_pool::{ActorOptions, Copied, Pool, Restart, StartMethod, task};
use rustix::process::Signal;

use super::parent::{Parent, becomes, folder, runs};

const KILLS: u64 = 25;

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task(pure)]
fn length(bytes: Copied<u8>) -> usize {
    bytes.len()
}

#[task(pure)]
fn nested(n: u64) -> u64 {
    let pool = Pool::builder().workers(1).build().expect("a pool");
    pool.map(square, 0..n).expect("squares").into_iter().sum()
}

struct Echo;

#[proc_pool::actor]
impl Echo {
    fn new() -> Self {
        Echo
    }

    pub fn echo(&self, x: u64) -> u64 {
        x
    }
}

/// Pools come and go, with work of all kinds, until somebody ends this process.
fn busy_for_ever() -> ! {
    let mut round = 0;
    loop {
        round += 1;
        let method = [StartMethod::Spawn, StartMethod::Server][round % 2];
        let builder = Pool::builder().workers(2).start_method(method).nested_processes(1);
        let pool = builder.build().expect("a pool");
        let sums = pool.submit(nested, 100);
        pool.map(square, 0..2000).expect("squares");
        let large = pool.submit(length, Copied::from(vec![1; 400 << 10]));
        let options = ActorOptions::new().restart(Restart::Always);
        let echo = Echo::spawn_with(options).expect("an actor");
        assert_eq!(echo.echo(7).wait().expect("an echo"), 7);
        let _ = pool.worker_pids().first().map(|_| pool.resize(1 + round % 3));
        assert_eq!(large.wait().expect("its length"), 400 << 10);
        sums.wait().expect("a sum");
        if round % 2 == 0 {
            pool.close().expect("an orderly end");
        }
    }
}

/// Processes that a parent of this folder has started, it included: they have it in their
/// environment.
fn family(folder: &Path) -> Vec<u32> {
    let name = folder.to_str().expect("UTF-8").as_bytes();
    let has_it = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(name.len()).any(|part| part == name) && runs(*pid)
    };
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(has_it).collect()
}

/// Whether any of them has something mapped that has a name in /dev/shm, which could be left there.
fn uses_names(pids: &[u32]) -> bool {
    let maps = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    pids.iter().any(|pid| maps(pid).contains(" /dev/shm/"))
}

#[proc_pool::test]
fn parents_killed_at_any_moment_leave_no_process_and_no_name() {
    if folder().is_some() {
        busy_for_ever();
    }
    let test = "parents::parents_killed_at_any_moment_leave_no_process_and_no_name";
    let (mut random, mut most) = (3_u64, 0);
    for _ in 0..KILLS {
        let folder = tempfile::tempdir().expect("a folder");
        let errors = std::fs::File::create(folder.path().join("errors")).expect("a file");
        let parent = Parent::start_with(test, folder.path(), errors.into());
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 33) % 80_000));
        let before = family(folder.path());
        assert!(!uses_names(&before), "something that could be left");
        most = most.max(before.len());
        parent.signal(Signal::KILL);
        parent.end();
        let all_gone = becomes(Duration::from_secs(5), || family(folder.path()).is_empty());
        assert!(all_gone, "left: {:?} of {before:?}", family(folder.path()));
        let errors = std::fs::read_to_string(folder.path().join("errors")).expect("text");
        assert!(!errors.contains("panicked"), "the parent failed before: {errors}");
    }
    assert!(most >= 4, "the kills came before anything had happened: {most} processes at most");
}
