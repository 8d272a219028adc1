//! What is made of a recording: the report, the comparison, the exports.

use std::fs;
use std::io::Read;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{folder, output, printed, read_json};

/// A folder with a recording of a small tree, and that recording.
fn recorded() -> (TempDir, Value) {
    let folder = folder();
    printed(&folder, &["run", "-q", "--", "sh", "-c", "true; sleep 0.02 & wait"]);
    let recording = read_json(&folder.path().join("memtree.json"));
    (folder, recording)
}

fn peak_of(recording: &Value) -> u64 {
    recording["timeline"]["peak"]["total"].as_u64().unwrap()
}

/// A number as the report writes it out: `1,234 bytes`.
fn exact(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    format!("title=\"{} bytes\"", groups.join(","))
}

#[test]
fn the_figures_of_the_report_are_those_of_the_recording() {
    let (folder, recording) = recorded();
    printed(&folder, &["report", "-o", "a.html", "memtree.json"]);
    let html = fs::read_to_string(folder.path().join("a.html")).unwrap();
    assert!(html.contains(&exact(peak_of(&recording))), "the combined peak");
    for record in recording["timeline"]["processes"].as_array().unwrap() {
        let most = record["peak_charged"].as_u64().unwrap();
        assert!(html.contains(&exact(most)) || most < 1024, "{record}");
        let pid = record["last"]["pid"].as_u64().unwrap();
        assert!(html.contains(&format!("<td>{pid}</td>")), "{record}");
    }
}

#[test]
fn the_report_asks_for_nothing_from_anywhere() {
    let (folder, _) = recorded();
    printed(&folder, &["report", "-o", "a.html", "memtree.json", "memtree.json"]);
    let html = fs::read_to_string(folder.path().join("a.html")).unwrap();
    for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "<link", "<iframe"] {
        assert!(!html.contains(reference), "{reference}");
    }
    assert_eq!(html.matches("class=\"peak-line\"").count(), 2);
}

#[test]
fn folded_stacks_add_up_to_the_combined_peak() {
    let (folder, recording) = recorded();
    let text = printed(&folder, &["export", "--folded", "memtree.json"]);
    let bytes = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(text.lines().map(bytes).sum::<u64>(), peak_of(&recording));
}

#[test]
fn a_pprof_profile_is_gzipped_and_names_the_processes() {
    let (folder, _) = recorded();
    printed(&folder, &["export", "--pprof", "-o", "a.pb.gz", "memtree.json"]);
    let file = fs::File::open(folder.path().join("a.pb.gz")).unwrap();
    let mut profile = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut profile).unwrap();
    let text = String::from_utf8_lossy(&profile);
    assert!(text.contains("inuse_space") && text.contains("anonymous memory"));
}

#[test]
fn a_difference_is_shown_with_its_sign() {
    let (folder, mut recording) = recorded();
    let peak = peak_of(&recording);
    let total = &mut recording["timeline"]["peak"]["total"];
    *total = (peak + (5 << 20)).into();
    fs::write(folder.path().join("more.json"), recording.to_string()).unwrap();
    let text = printed(&folder, &["diff", "memtree.json", "more.json"]);
    let line = text.lines().find(|line| line.starts_with("combined peak")).unwrap();
    assert!(line.ends_with("+5.0 MiB"), "{text}");
    let text = printed(&folder, &["diff", "more.json", "memtree.json"]);
    let line = text.lines().find(|line| line.starts_with("combined peak")).unwrap();
    assert!(line.ends_with("-5.0 MiB"), "{text}");
}

#[test]
fn every_command_explains_itself() {
    let folder = folder();
    for command in ["run", "attach", "live", "report", "diff", "leaks", "export"] {
        let output = output(&folder, &[command, "--help"]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{command}");
    }
}
