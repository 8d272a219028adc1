//! Processes of the job are killed at instants that nobody chose.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{last_line, left_in_shm, nansum};

/// Children of a process, as the kernel lists them.
fn children(pid: u32) -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    nansum(folder, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the job")
}

/// Looks at the job until `found` gives something or the job is over.
fn while_it_runs<R>(job: &mut Child, mut found: impl FnMut(u32) -> Option<R>) -> Option<R> {
    while job.try_wait().expect("the job's state").is_none() {
        if let Some(result) = found(job.id()) {
            return Some(result);
        }
        std::thread::yield_now();
    }
    None
}

/// Whether the process still runs: one that waits to be reaped by its parent does not.
fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // The state follows the name, which is in parentheses and may hold anything.
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// Waits until none of these processes runs.
fn all_gone(pids: &[Pid], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while pids.iter().any(|&pid| runs(pid)) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// A small generator of numbers; the seed is printed with every failure.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn any_worker_killed_at_any_instant_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let seed = u64::from(std::process::id());
    let mut random = Random(seed);
    let expected: f64 = (0..200_000).step_by(2).map(|i| f64::from(i % 1000)).sum();
    let mut killed = 0;
    for round in 0..20 {
        let mut job = start(folder.path(), &["--rows", "200000", "--json"]);
        let after = Duration::from_micros(random.below(40_000));
        let victim = while_it_runs(&mut job, |pid| children(pid).first().map(|_| Instant::now()))
            .and_then(|first| {
                while_it_runs(&mut job, |pid| {
                    let workers = children(pid);
                    let ripe = first.elapsed() >= after && !workers.is_empty();
                    ripe.then(|| workers[random.below(workers.len() as u64) as usize])
                })
            });
        if let Some(victim) = victim {
            killed += u32::from(kill_process(victim, Signal::KILL).is_ok());
        }
        let output = job.wait_with_output().unwrap();
        let object = last_line(&output);
        for way in ["shared", "copied"] {
            let sum = object[way]["sum"].as_f64();
            assert_eq!(sum, Some(expected), "seed {seed}, round {round}, after {after:?}");
        }
        if let Some(victim) = victim {
            assert!(all_gone(&[victim], Duration::from_secs(1)), "a worker outlived the job");
        }
    }
    assert!(killed >= 10, "only {killed} of 20 kills found a living worker");
}

#[test]
fn no_worker_outlives_a_killed_parent() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(u64::from(std::process::id()) ^ 0x5eed);
    for _ in 0..10 {
        let mut job = start(folder.path(), &["--rows", "200000"]);
        let after = Duration::from_micros(random.below(20_000));
        let started = Instant::now();
        let workers = while_it_runs(&mut job, |pid| {
            let workers = children(pid);
            (workers.len() == 4 && started.elapsed() >= after).then_some(workers)
        });
        job.kill().unwrap();
        job.wait().unwrap();
        let workers = workers.unwrap_or_default();
        assert!(all_gone(&workers, Duration::from_secs(1)), "a worker outlived its parent");
    }
}

#[test]
fn a_name_whose_owner_was_killed_is_gone_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("nansum-kill-{}", std::process::id());
    let mut job = start(folder.path(), &["--rows", "400000", "--named", &name]);
    let seen = while_it_runs(&mut job, |_| (!left_in_shm(&name).is_empty()).then_some(()));
    job.kill().unwrap();
    job.wait().unwrap();
    assert!(seen.is_some(), "the name was never published");
    let next = format!("{name}-next");
    let output =
        nansum(folder.path(), &["--rows", "10", "--named", &next, "--json"]).output().unwrap();
    last_line(&output);
    assert!(left_in_shm(&name).is_empty(), "{:?}", left_in_shm(&name));
}
