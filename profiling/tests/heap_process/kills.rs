//! Profiles that outlive their process.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use profiling::heap::{Mode, Profile};
use profiling::{Error, heap};

use super::live_in;
use super::roles::{start, wait_ready};

#[test]
fn a_running_process_is_read_and_a_killed_one_too() {
    let mut child = start("holds a megabyte", None, "exact");
    let _output = wait_ready(&mut child);
    let profile = Profile::of_process(child.id()).unwrap();
    let running = profile.snapshot().unwrap();
    assert_eq!(running.process.pid, child.id());
    assert_eq!(running.process.parent, std::process::id());
    assert_eq!(running.process.program, std::env::current_exe().unwrap());
    assert_eq!(live_in(&running, "held"), f64::from(1 << 20));
    assert!(running.modules.iter().any(|module| module.path == running.process.program));
    // It does not stand still while it is read.
    let later = || profile.snapshot().unwrap().totals.allocated_blocks;
    while later() == running.totals.allocated_blocks {}
    child.kill().unwrap();
    child.wait().unwrap();
    profile.validate().unwrap();
    let dead = profile.snapshot().unwrap();
    assert_eq!(live_in(&dead, "held"), f64::from(1 << 20));
    assert_eq!(dead, profile.snapshot().unwrap(), "the dead still move");
    assert!(matches!(Profile::of_process(child.id()), Err(Error::NoSuchProcess { .. })));
}

#[test]
fn a_process_that_dies_unseen_leaves_its_profile_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("holds a megabyte", Some(folder.path()), "exact");
    let _output = wait_ready(&mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let profiles = Profile::in_directory(folder.path()).unwrap();
    let (path, profile) = profiles.into_iter().next().unwrap();
    let profile = profile.unwrap();
    profile.validate().unwrap();
    let snapshot = profile.snapshot().unwrap();
    assert!(path.to_string_lossy().contains(&format!("heap-{}-", child.id())));
    assert_eq!(snapshot.process.pid, child.id());
    assert_eq!(live_in(&snapshot, "held"), f64::from(1 << 20));
    assert!(snapshot.own_bytes < 4 << 20, "{} bytes of its own", snapshot.own_bytes);
}

#[test]
fn a_storm_of_kills_leaves_profiles_that_read_and_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let mut inside: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..40 {
        let mut child = start("churns in two threads", Some(folder.path()), "exact");
        let _output = wait_ready(&mut child);
        // Some work of our own, of another length each time, so that the kill falls anywhere.
        (0..round * 2000).map(std::hint::black_box).for_each(|_| ());
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
    let profiles = Profile::in_directory(folder.path()).unwrap();
    assert_eq!(profiles.len(), 40);
    for (path, profile) in profiles {
        let profile = profile.unwrap();
        profile.validate().unwrap();
        let snapshot = profile.snapshot().unwrap();
        let by_sites: u64 = snapshot.sites.iter().map(|site| site.live.samples).sum();
        let counted = snapshot.totals.live_blocks();
        // Each thread may have died between its count and its record, or the other way round.
        let dead = snapshot.threads.len() as u64 + snapshot.quality.in_flight;
        assert!(by_sites.abs_diff(counted) <= dead, "{path:?}: {by_sites}, {counted}, {dead}");
        for thread in &snapshot.threads {
            *inside.entry(format!("{:?}", thread.inside)).or_default() += 1;
        }
    }
    println!("where the threads were killed: {inside:?}");
    assert!(inside.len() > 1, "no kill fell into the profiler: {inside:?}");
}

#[test]
fn a_stack_overflow_leaves_a_profile() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("overflows its stack", Some(folder.path()), "exact");
    let _output = wait_ready(&mut child);
    assert!(!child.wait().unwrap().success());
    let (_, profile) = Profile::in_directory(folder.path()).unwrap().remove(0);
    let profile = profile.unwrap();
    profile.validate().unwrap();
    let snapshot = profile.snapshot().unwrap();
    assert!(live_in(&snapshot, "recursion") > 100_000.0);
}

#[test]
fn an_exec_begins_a_profile_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("execs", Some(folder.path()), "exact");
    let _output = wait_ready(&mut child);
    let now = Profile::of_process(child.id()).unwrap().snapshot().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let profiles = Profile::in_directory(folder.path()).unwrap();
    let read = |nth: usize| profiles[nth].1.as_ref().unwrap().snapshot().unwrap();
    let (before, after) = (read(0), read(1));
    assert_eq!(before.process.pid, after.process.pid);
    assert!(before.totals.live_bytes() >= 3 << 20, "what was live at the exec");
    assert!(after.totals.inherited_bytes == 0 && live_in(&after, "held") >= f64::from(1 << 20));
    assert!(now.process.created_ns == after.process.created_ns);
}

#[test]
fn the_environment_chooses_the_mode() {
    for (named, mode) in [
        ("counters", Mode::Counters),
        ("sampled:4096", Mode::Sampled { mean_bytes: 4096 }),
        ("nonsense", Mode::Exact),
    ] {
        let mut child = start("holds a megabyte", None, named);
        let _output = wait_ready(&mut child);
        let snapshot = Profile::of_process(child.id()).unwrap().snapshot().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(snapshot.mode, mode);
        assert!(snapshot.totals.live_bytes() >= 1 << 20);
        let sampled = live_in(&snapshot, "held");
        assert_eq!(sampled > 0.0, mode != Mode::Counters);
    }
    let mut child = start("holds a megabyte", None, "off");
    let _output = wait_ready(&mut child);
    let profile = Profile::of_process(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(profile, Err(Error::NoHeapProfile { .. })));
}

#[test]
fn a_process_without_a_profiler_is_named_in_the_error() {
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let error = Profile::of_process(sleeper.id()).unwrap_err();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(error.to_string().contains(&sleeper.id().to_string()), "{error}");
    assert!(heap::Profile::open("/nowhere/at/all").unwrap_err().to_string().contains("/nowhere"));
}
