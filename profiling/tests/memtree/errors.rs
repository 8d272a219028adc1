//! What it says when something is wrong, and its status then.

use std::fs;

use crate::program::{folder, output, printed};

/// The status and the one line on standard error.
fn failure(arguments: &[&str]) -> (i32, String) {
    let folder = folder();
    fs::write(folder.path().join("text"), "no recording").unwrap();
    fs::write(folder.path().join("later"), r#"{"format":"memtree","version":99}"#).unwrap();
    let output = output(&folder, arguments);
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_failure_is_named_with_what_to_do() {
    let cases: [(&[&str], i32, &str); 10] = [
        (&["attach", "4194305"], 125, "no process 4194305: pass the id"),
        (&["live", "4194305"], 125, "no process 4194305: pass the id"),
        (&["run", "--", "./missing"], 127, "no command \"./missing\": check its spelling"),
        (&["run", "--", "./text"], 126, "cannot run \"./text\" (Permission denied"),
        (&["report", "missing"], 125, "cannot read the recording missing: name a file"),
        (&["report", "text"], 125, "text is no recording (expected"),
        (&["diff", "later", "later"], 125, "later is a recording of version 99"),
        (&["attach", "--for", "-1", "1"], 2, "unexpected argument"),
        (&["run", "-o", "/missing/x", "--", "echo"], 125, "recording to /missing/x: choose"),
        (&["run", "--report", "/missing/x", "--", "echo"], 125, "report to /missing/x: choose"),
    ];
    for (arguments, status, message) in cases {
        let (found, text) = failure(arguments);
        assert_eq!(found, status, "{arguments:?}: {text}");
        assert!(text.contains(message), "{arguments:?}: {text}");
    }
}

#[test]
fn a_recording_without_heap_profiles_says_how_to_get_them() {
    let folder = folder();
    printed(&folder, &["run", "-q", "--", "true"]);
    let wanted = ["export", "--folded", "--what", "heap-at-end", "memtree.json"];
    let output = output(&folder, &wanted);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no heap profile in this recording: wrap"), "{text}");
}
