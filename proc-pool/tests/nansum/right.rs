//! The results are right, and the report stands alone.

use crate::{json, run};

#[test]
fn generated_records_sum_to_what_they_must_in_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let object = json(folder.path(), &["--rows", "100000", "--workers", "3"]);
    // Every second value is there: 0, 2, … 998, again and again.
    let expected: f64 = (0..100_000).step_by(2).map(|i| f64::from(i % 1000)).sum();
    for way in ["shared", "copied"] {
        assert_eq!(object[way]["sum"].as_f64(), Some(expected), "{object}");
        assert!(object[way]["seconds"].as_f64().unwrap() > 0.0);
        assert!(object[way]["peak_tree_bytes"].as_u64().unwrap() >= 2_400_000);
    }
    assert_eq!(object["rows"], 100_000);
    assert_eq!(object["bytes"], 2_400_000);
    assert_eq!(object["workers"], 3);
    assert!(object["copied"]["bytes_moved"].as_u64().unwrap() >= 3 * 2_400_000);
    assert!(object["shared"]["bytes_moved"].as_u64().unwrap() < 3000);
}

#[test]
fn a_divided_column_gives_the_same_sum() {
    let folder = tempfile::tempdir().unwrap();
    let whole = json(folder.path(), &["--rows", "12345"]);
    let split = json(folder.path(), &["--rows", "12345", "--split", "--workers", "5"]);
    assert_eq!(whole["shared"]["sum"], split["shared"]["sum"]);
    assert_eq!(whole["shared"]["sum"], split["copied"]["sum"]);
    // Each worker got its part only.
    assert!(split["copied"]["bytes_moved"].as_u64().unwrap() < 2 * 12_345 * 24);
}

#[test]
fn more_workers_than_rows_is_no_problem() {
    let folder = tempfile::tempdir().unwrap();
    let object = json(folder.path(), &["--rows", "3", "--split", "--workers", "5"]);
    assert_eq!(object["shared"]["sum"].as_f64(), Some(2.0));
}

#[test]
fn named_sharing_gives_the_same_and_leaves_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("nansum-right-{}", std::process::id());
    let object = json(folder.path(), &["--rows", "1000", "--named", &name]);
    assert_eq!(object["shared"]["sum"], object["copied"]["sum"]);
    assert!(crate::left_in_shm(&name).is_empty());
}

#[test]
fn the_report_is_one_file_that_needs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["--rows", "1000"]).status.success());
    let html = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    for text in ["<!doctype html>", "shared view", "a copy each", "<svg"] {
        assert!(html.to_lowercase().contains(text), "no {text:?} in the report");
    }
    let outside = html.replace("http://www.w3.org/2000/svg", "");
    for reference in ["http://", "https://", "src=", "@import"] {
        assert!(!outside.contains(reference), "the report refers to {reference:?}");
    }
}

#[test]
fn the_scopes_for_comparison_agree_with_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let sums: Vec<_> = ["own", "shared", "generated", "copied"]
        .map(|scope| json(folder.path(), &["--rows", "4000", "--scope", scope])["sum"].as_f64())
        .into();
    assert!(sums.iter().all(|sum| sum.is_some() && *sum == sums[0]), "{sums:?}");
}
