//! `run` and `attach`: what they see, and how they end.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{Watched, folder, memtree, output, printed, read_json};

const MIB: u64 = 1 << 20;

/// A pool of three forked workers, a shared segment that all of them read, and a list of numbers
/// whose reference counts they write: nothing in it knows of us.
const POOL: &str = r#"
import multiprocessing as mp
from multiprocessing import shared_memory

def work(name):
    barrier.wait()
    barrier.wait()
    segment = shared_memory.SharedMemory(name)
    total = sum(segment.buf[::4096]) + sum(len(text) for text in texts)
    barrier.wait()
    barrier.wait()
    segment.close()
    return total

if __name__ == "__main__":
    context = mp.get_context("fork")
    texts = [str(number) * 20 for number in range(100000)]
    barrier = context.Barrier(4)
    segment = shared_memory.SharedMemory(create=True, size=8 << 20)
    segment.buf[:] = bytes(8 << 20)
    with context.Pool(3) as pool:
        sums = pool.map_async(work, [segment.name] * 3, chunksize=1)
        for step in ["ready", "read"]:
            barrier.wait()
            print(step, flush=True)
            input()
            barrier.wait()
        sums.get()
    segment.close()
    segment.unlink()
"#;

/// Whether Python is there; says so if not.
fn has_python() -> bool {
    let found = Command::new("python3").arg("-c").arg("import multiprocessing").status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        println!("skipped: no python3 here");
    }
    found
}

fn pids(recording: &Value) -> Vec<u64> {
    let processes = recording["timeline"]["processes"].as_array().unwrap();
    processes.iter().map(|record| record["last"]["pid"].as_u64().unwrap()).collect()
}

#[test]
fn a_python_pool_is_seen_with_its_workers_its_segment_and_what_fork_copied() {
    if !has_python() {
        return;
    }
    let folder = folder();
    std::fs::write(folder.path().join("pool.py"), POOL).unwrap();
    let mut watched = Watched::run(&folder, &["python3", "pool.py"]);
    watched.save(); // the workers are looked at before they write
    watched.go_on();
    watched.expect("read");
    let recording = watched.save();
    let segments = recording["timeline"]["segments"].as_array().unwrap();
    let segment = segments
        .iter()
        .find(|record| record["last"]["size"].as_u64() == Some(8 * MIB))
        .unwrap_or_else(|| panic!("{segments:?}"));
    assert_eq!(segment["peak_resident"].as_u64(), Some(8 * MIB));
    // Everybody who ever mapped it: perhaps a helper of Python's too, between fork and exec.
    let who = |kind: &str| segment["last"][kind].as_array().unwrap().len();
    assert!((4..=5).contains(&who("mapped_by")), "{segment}");
    assert!((4..=5).contains(&who("touched_by")), "{segment}");
    assert!(pids(&recording).len() >= 4);
    // Each of the three workers wrote to every text's reference count.
    let processes = recording["timeline"]["processes"].as_array().unwrap();
    let copied = |record: &Value| record["last"]["fork"]["copied"].as_u64().unwrap();
    let copied: u64 = processes.iter().map(copied).sum();
    assert!(copied > 3 * 10 * MIB, "{copied}");
    let ended = watched.end();
    let all_ended = ended["timeline"]["processes"].as_array().unwrap();
    assert!(all_ended.iter().all(|record| record["ended"] == true));
    assert_eq!(ended["ending"]["Exited"], 0);
}

#[test]
fn the_exit_status_is_the_commands() {
    let folder = folder();
    let status = |script: &str| {
        output(&folder, &["run", "-q", "--", "sh", "-c", script]).status.code().unwrap()
    };
    assert_eq!(status("exit 0"), 0);
    assert_eq!(status("exit 7"), 7);
    assert_eq!(status("kill -KILL $$"), 128 + 9);
    assert_eq!(status("kill -TERM $$"), 128 + 15);
    let recording = read_json(&folder.path().join("memtree.json"));
    assert_eq!(recording["ending"]["Killed"], 15);
}

#[test]
fn a_signal_to_memtree_alone_reaches_the_command_and_the_recording_is_whole() {
    let folder = folder();
    let script = "trap 'exit 3' TERM; echo ready; read line; exit 4";
    let mut watched = Watched::run(&folder, &["sh", "-c", script]);
    let pid = Pid::from_child(&watched.memtree);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(watched.status().code(), Some(3));
    assert_eq!(read_json(&watched.recording)["ending"]["Exited"], 3);
}

#[test]
fn a_killed_memtree_leaves_what_it_saved_and_the_next_takes_its_folder_away() {
    let folder = folder();
    let script = "echo $HEAP_PROFILE_DIR; read line";
    let mut command =
        memtree(&folder, &["run", "-q", "-o", "recording.json", "--", "sh", "-c", script]);
    let mut killed = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = killed.stdout.take().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let profiles = std::path::PathBuf::from(line.trim());
    assert!(profiles.is_dir());
    let saved = crate::program::save_of(&killed, &folder.path().join("recording.json"));
    assert_eq!(saved["ending"], Value::Null);
    killed.kill().unwrap();
    killed.wait().unwrap();
    printed(&folder, &["report", "recording.json"]);
    assert!(profiles.is_dir());
    printed(&folder, &["run", "-q", "--", "true"]);
    assert!(!profiles.exists(), "{profiles:?} is still there");
}

#[test]
fn a_running_process_is_attached_to_and_let_go_after_a_while() {
    let folder = folder();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    printed(&folder, &["attach", "-q", "--for", "0.05", &pid.to_string()]);
    let recording = read_json(&folder.path().join("memtree.json"));
    assert_eq!(recording["ending"], "Running");
    assert_eq!(pids(&recording), [u64::from(pid)]);
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_segment_and_a_process_that_outlive_the_command_are_leaks() {
    if !has_python() {
        return;
    }
    let folder = folder();
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.as_file().set_len(MIB).unwrap();
    let path = file.path().to_str().unwrap();
    let script = r#"
import mmap, os, sys
memory = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
memory[:] = b"x" * len(memory)
print("ready", flush=True)
input()
"#;
    let watched = Watched::run(&folder, &["python3", "-c", script, path]);
    watched.save();
    watched.end();
    let leaks = output(&folder, &["leaks", "recording.json"]);
    let text = String::from_utf8(leaks.stdout).unwrap();
    assert_eq!(leaks.status.code(), Some(1), "{text}");
    assert!(text.contains(path) && text.contains("1.0 MiB"), "{text}");
    printed(&folder, &["run", "-q", "--", "true"]);
    assert_eq!(printed(&folder, &["leaks", "memtree.json"]), "nothing was left behind\n");
}
