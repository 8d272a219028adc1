//! The memory that the job says it takes, against a second witness.

use std::path::PathBuf;
use std::process::Command;

use crate::{json, last_line, nansum};

const ROWS: u64 = 2_000_000;
const DATA: u64 = ROWS * 24;
const ALLOWANCE: u64 = 16 << 20;

#[test]
fn sharing_takes_the_data_once_and_copying_once_for_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let object = json(folder.path(), &["--rows", &ROWS.to_string()]);
    let shared = object["shared"]["peak_tree_bytes"].as_u64().unwrap();
    let copied = object["copied"]["peak_tree_bytes"].as_u64().unwrap();
    assert!((DATA..=DATA + ALLOWANCE).contains(&shared), "{shared} bytes for {DATA}");
    assert!(copied >= 3 * DATA, "{copied} bytes for copies of {DATA}");
}

/// A memory cgroup (version 1 or 2) for one run, if this user may make one.
struct Cgroup {
    folder: PathBuf,
    peak: &'static str,
}

impl Cgroup {
    fn new() -> Option<Cgroup> {
        let name = format!("nansum-test-{}", std::process::id());
        for (root, peak) in [
            ("/sys/fs/cgroup/memory", "memory.max_usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.peak"),
        ] {
            let folder = PathBuf::from(root).join(&name);
            if std::fs::create_dir(&folder).is_ok() {
                let group = Cgroup { folder, peak };
                if group.folder.join(peak).exists() {
                    return Some(group);
                }
            }
        }
        println!("skipped: no memory cgroup that this user may make");
        None
    }

    fn peak(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.join(self.peak)).expect("the peak");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

#[test]
fn the_kernels_own_count_agrees_with_the_reported_peak() {
    let Some(group) = Cgroup::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let job = nansum(folder.path(), &["--only", "shared", "--json", "--rows", &ROWS.to_string()]);
    // The shell joins the group, then becomes the job.
    let join = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.folder.display());
    let output = Command::new("sh")
        .args(["-c", &join, "sh"])
        .arg(job.get_program())
        .args(job.get_args())
        .output()
        .expect("a shell");
    let reported = last_line(&output)["shared"]["peak_tree_bytes"].as_u64().unwrap();
    let witness = group.peak();
    assert!(witness <= DATA + ALLOWANCE, "the kernel counted {witness} for {DATA}");
    // The kernel counts its own memory besides (stacks, sockets, files): some megabytes.
    assert!(reported.abs_diff(witness) <= 8 << 20, "{reported} reported, {witness} counted");
}
