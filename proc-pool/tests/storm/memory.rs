//! Workers that the kernel's out-of-memory killer takes, in a memory cgroup around the pool.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proc_pool::{Death, Pool, TaskError, task};

use super::parent::{Parent, becomes, folder, say};

const LIMIT: usize = 128 << 20;
const HOGS: usize = 10;

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

/// The killer looks at workers first, not at the parent.
#[task]
fn be_a_victim() -> Result<(), String> {
    std::fs::write("/proc/self/oom_score_adj", "500").map_err(|error| error.to_string())
}

/// Takes so much memory, page by page.
#[task]
fn take(bytes: usize) -> usize {
    let mut memory = vec![0_u8; bytes];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = std::hint::black_box(1));
    memory.len()
}

/// A memory cgroup for this process and its workers; where one can be made.
fn group(name: &str) -> Option<PathBuf> {
    let versions =
        [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    versions.into_iter().find_map(|(mount, limit)| {
        let group = Path::new(mount).join(name);
        std::fs::create_dir(&group).ok()?;
        let done = std::fs::write(group.join(limit), LIMIT.to_string()).and_then(|()| {
            std::fs::write(group.join("cgroup.procs"), std::process::id().to_string())
        });
        if done.is_err() {
            let _ = std::fs::remove_dir(&group);
        }
        done.ok().map(|()| group)
    })
}

/// The pool in its group: the hogs fail, and their notices say of what; nobody else's tasks do.
fn storm() {
    let pool = Pool::builder().workers(2).initializer(be_a_victim, ()).build().expect("a pool");
    let hogs: Vec<_> = (0..HOGS).map(|_| pool.submit(take, 4 * LIMIT)).collect();
    for round in 0..20 {
        let squares = pool.map(square, round..round + 500).expect("squares");
        assert!(squares.into_iter().eq((round..round + 500).map(|x| x * x)));
    }
    for hog in hogs {
        match hog.wait() {
            Err(TaskError::WorkerDied { death: Death::Signal(9), notice, .. }) => {
                assert!(notice.out_of_memory, "{notice:?}");
                assert!(notice.peak_memory > LIMIT as u64 / 16, "{notice:?}");
            }
            // After three in a row.
            Err(TaskError::Quarantined { deaths: 3, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pool.submit(take, 1 << 20).wait().expect("room"), 1 << 20);
    assert!(pool.stats().deaths >= 3);
    pool.close().expect("an orderly end");
}

#[proc_pool::test]
fn what_the_out_of_memory_killer_takes_is_said_and_the_pool_goes_on() {
    if folder().is_some() {
        let name = format!("proc-pool-{}", std::process::id());
        let Some(group) = group(&name) else {
            return say("not tested: no memory cgroup can be made here");
        };
        say(group.to_str().expect("UTF-8"));
        // Refused without privilege; then the killer's own choice must do.
        let _ = std::fs::write("/proc/self/oom_score_adj", "-500");
        storm();
        say("tested");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let test = "memory::what_the_out_of_memory_killer_takes_is_said_and_the_pool_goes_on";
    let mut parent = Parent::start(test, folder.path());
    let said = parent.hear();
    if said.starts_with('/') {
        let _group = Group(said);
        assert_eq!(parent.hear(), "tested");
        parent.end();
    } else {
        println!("{said}");
        parent.end();
    }
}

/// The group, which goes when nobody is in it.
struct Group(String);

impl Drop for Group {
    fn drop(&mut self) {
        let gone = || std::fs::remove_dir(&self.0).is_ok() || !Path::new(&self.0).exists();
        if !becomes(Duration::from_secs(5), gone) {
            eprintln!("{} cannot be removed", self.0);
        }
    }
}
