//! `memtree` over a program with the heap profiler: this test program, run again.

// The steps around the tests may fail as loudly as the tests themselves.
#![allow(clippy::unwrap_used)]

#[path = "memtree/program.rs"]
mod program;

use std::alloc::System;
use std::io::{BufRead, Write};
use std::process::{Command, Stdio};

use profiling::heap::{Mode, Profiler, scope};
use program::{Watched, folder, printed};
use serde_json::Value;

#[global_allocator]
static HEAP: Profiler<System> = Profiler::new(System, Mode::SAMPLED);

const MIB: u64 = 1 << 20;

const IS_CHILD: &str = "PROFILING_TEST_CHILD";

/// Not a test of its own: what the other tests run. It holds 24 MiB in a task of a name, says so,
/// and waits for a line.
#[test]
fn child_process() {
    let Some(behaviour) = std::env::var_os(IS_CHILD) else { return };
    let _task = scope("load <table>");
    let mut kept: Vec<Vec<u8>> = (0..24).map(|_| vec![1; 1 << 20]).collect();
    // On a line of its own, which the test harness may have begun.
    println!("\nready");
    std::io::stdout().flush().unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    if behaviour == "killed" {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
    }
    kept.clear();
}

/// This program as a child that behaves so, under `memtree run`.
fn watched(folder: &tempfile::TempDir, behaviour: &str) -> Watched {
    let variable = format!("{IS_CHILD}={behaviour}");
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let test = ["child_process", "--exact", "--nocapture", "--test-threads=1"];
    let command = [&["env", &variable, program][..], &test].concat();
    Watched::run(folder, &command)
}

/// Live bytes of the one profile of a capture: as counted, and as its sites add up to.
fn live(capture: &Value) -> (u64, f64) {
    let [profile] = capture["profiles"].as_array().unwrap().as_slice() else {
        panic!("{capture}");
    };
    let totals = &profile["totals"];
    let total = |name: &str| totals[name].as_u64().unwrap();
    let sites = profile["sites"].as_array().unwrap();
    let sampled = sites.iter().map(|site| site["live"]["bytes"].as_f64().unwrap()).sum();
    (total("allocated_bytes") - total("freed_bytes"), sampled)
}

#[test]
fn the_heap_of_a_killed_process_is_in_the_recording_and_the_report() {
    let folder = folder();
    let mut watched = watched(&folder, "killed");
    watched.save();
    watched.go_on();
    assert_eq!(watched.status().code(), Some(128 + 9));
    let recording = program::read_json(&watched.recording);
    for capture in [&recording["heap_at_peak"], &recording["heap_at_end"]] {
        let (counted, sampled) = live(capture);
        assert!((24 * MIB..26 * MIB).contains(&counted), "{counted}");
        // Blocks of a mebibyte are all but always in the sample.
        assert!((sampled - counted as f64).abs() < 2.0 * MIB as f64, "{sampled} {counted}");
    }
    printed(&folder, &["report", "-o", "a.html", "recording.json"]);
    let html = std::fs::read_to_string(folder.path().join("a.html")).unwrap();
    assert!(html.contains("load &lt;table&gt;"), "the task");
    assert!(html.contains("live heap at the end of each process"));
    let leaks = printed(&folder, &["leaks", "recording.json"]);
    assert!(leaks.contains("live at the end of its process"), "{leaks}");
    let pprof =
        printed(&folder, &["export", "--folded", "--what", "heap-at-end", "recording.json"]);
    let bytes: u64 =
        pprof.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    assert!(bytes.abs_diff(24 * MIB) < 4 * MIB, "{bytes}");
}

#[test]
fn a_process_that_freed_all_has_an_empty_heap_at_its_end() {
    let folder = folder();
    let watched = watched(&folder, "ends");
    watched.save();
    let recording = watched.end();
    assert!(live(&recording["heap_at_peak"]).0 >= 24 * MIB);
    let (counted, _) = live(&recording["heap_at_end"]);
    assert!(counted < 2 * MIB, "{counted}");
}

#[test]
fn a_heap_is_seen_in_a_process_that_memtree_did_not_start() {
    let folder = folder();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(IS_CHILD, "ends")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    answers.by_ref().map(Result::unwrap).find(|line| line == "ready").unwrap();
    let pid = child.id().to_string();
    printed(&folder, &["attach", "-q", "--for", "0.05", &pid]);
    let view = printed(&folder, &["live", "--count", "1", &pid]);
    drop(child.stdin.take());
    answers.for_each(drop); // to its end
    child.wait().unwrap();
    let recording = program::read_json(&folder.path().join("memtree.json"));
    assert!(live(&recording["heap_at_end"]).0 >= 24 * MIB);
    assert!(view.contains("heap") && view.contains("load <table>"), "{view}");
}
