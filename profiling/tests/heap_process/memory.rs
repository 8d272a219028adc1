//! Programs that run out of memory: killed by the kernel, or by themselves when they get none.

use std::os::unix::process::ExitStatusExt;

use profiling::heap::{Profile, Snapshot};

use super::live_in;
use super::memory_group::MemoryGroup;
use super::roles::{start, wait_ready};

const MIB: u64 = 1 << 20;

/// What its program had when it died: all of it on record, whatever it was doing.
fn check(profile: &Profile, least: u64) -> Snapshot {
    profile.validate().unwrap();
    let snapshot = profile.snapshot().unwrap();
    assert!(live_in(&snapshot, "swallowed") >= least as f64, "{:?}", snapshot.totals);
    let by_sites: u64 = snapshot.sites.iter().map(|site| site.live.samples).sum();
    let dead = snapshot.threads.len() as u64 + snapshot.quality.in_flight;
    let counted = snapshot.totals.live_blocks();
    assert!(by_sites.abs_diff(counted) <= dead, "{by_sites}, {counted}, {dead}");
    snapshot
}

#[test]
fn a_storm_of_kills_for_want_of_memory_leaves_profiles_that_read() {
    const LIMIT: u64 = 24 * MIB;
    let group = MemoryGroup::new("profiling-heap-test");
    let Some(group) = group.filter(|group| group.limit(LIMIT).is_ok()) else {
        println!(
            "skipped: no writable memory cgroup here; the test with a limit of its own is run"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=8 {
        let in_folder = round % 2 == 0;
        let directory = in_folder.then(|| folder.path());
        let mut child = start("runs out of memory", directory, "exact");
        let _output = wait_ready(&mut child);
        group.add(child.id()).unwrap();
        let opened = (!in_folder).then(|| Profile::of_process(child.id()).unwrap());
        // Its input ends, and it begins to grow.
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(group.kills(), round);
        let profile = opened.unwrap_or_else(|| {
            let mut profiles = Profile::in_directory(folder.path()).unwrap();
            let (path, profile) = profiles.remove(0);
            std::fs::remove_file(path).unwrap();
            profile.unwrap()
        });
        let dead = check(&profile, LIMIT / 2);
        assert_eq!(dead.process.pid, child.id());
    }
    assert!(group.charged() <= LIMIT);
}

#[test]
fn a_program_that_gets_no_memory_leaves_a_profile() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("has a limit of its own", Some(folder.path()), "exact");
    let _output = wait_ready(&mut child);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGABRT));
    let (_, profile) = Profile::in_directory(folder.path()).unwrap().remove(0);
    check(&profile.unwrap(), 24 * MIB);
}
