//! The programs of the book's chapters "From Python's multiprocessing" and "Programs to start from"
//! run and print what they should.

use std::path::Path;
use std::process::{Command, Stdio};

/// The lines that an example prints; it must end well and be silent on standard error.
fn lines(example: &str) -> Vec<String> {
    lines_with(example, &[])
}

fn lines_with(example: &str, arguments: &[&str]) -> Vec<String> {
    let test = std::env::current_exe().expect("this test's path");
    // `cargo test` builds examples beside the tests.
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(example);
    assert!(program.exists(), "run `cargo build -p proc-pool --examples` first: {program:?}");
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("the example starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}{errors}", output.status);
    text.lines().map(str::to_owned).collect()
}

/// The number on the one line that begins so.
fn number(lines: &[String], label: &str) -> u64 {
    let mut values = lines.iter().filter_map(|line| line.strip_prefix(label));
    let value = values.next().unwrap_or_else(|| panic!("no line {label:?} in {lines:#?}"));
    let digits = value.split_whitespace().next().expect("a number");
    digits.parse().expect("a number")
}

#[test]
fn map_submit_and_as_completed_do_what_their_python_twins_do() {
    let lines = lines("guide_map");
    assert_eq!(
        lines,
        [
            "map: [1, 4, 9, 16, 25]",
            "starmap: [6, 20]",
            "imap: 140",
            "submit: 9 and 6",
            "limit: 20ms",
            "limit: cancelled",
            "as_completed: 55",
            "panic: there is no reciprocal of zero",
            "died: the worker of input 3 was killed by signal 9 (SIGKILL)",
            "died: the other 4 tasks have their results",
            "killed: 100 times 3245",
        ]
    );
}

#[test]
fn a_shared_column_moves_handles_and_a_copied_one_moves_the_data() {
    const DATA: u64 = 500_000 * 24;
    let lines = lines("guide_shared");
    assert!(lines.contains(&"shared: [250000.0, 250000.0, 250000.0, 250000.0]".to_owned()));
    assert!(lines.contains(&"copied: [250000.0, 250000.0, 250000.0, 250000.0]".to_owned()));
    assert!(lines.contains(&"divided: 250000".to_owned()));
    let shared = number(&lines, "shared bytes moved: ");
    assert!(shared < 4096, "{shared} bytes for eight small messages");
    assert!(number(&lines, "copied bytes moved: ") >= 4 * DATA);
    let peak = number(&lines, "shared peak of the tree: ");
    assert!((DATA..2 * DATA + (16 << 20)).contains(&peak), "{peak}");
}

#[test]
fn parts_lose_no_increment_and_a_lost_part_is_reported() {
    let lines = lines("guide_parts");
    assert_eq!(lines[0], "parts: [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]");
    let expected = [10_000; 10];
    assert_eq!(lines[1], format!("counts: {expected:?}"));
    assert!(lines[2].contains("was killed by signal 9 (SIGKILL)"), "{}", lines[2]);
    assert_eq!(lines[3], "lost: they end at 8 of 10");
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_queue_and_a_pipe_end_with_their_producer() {
    assert_eq!(lines("guide_queue"), ["queue: 500500", "pipe: hello from the other side"]);
}

#[test]
fn state_a_process_and_actors_do_what_their_python_twins_do() {
    assert_eq!(
        lines("guide_state"),
        [
            "initializer: [Some(2), Some(3)]",
            "process: 23, Some(Exit(0))",
            "actor: 11 13",
            "group: Some(303)",
        ]
    );
}

#[test]
fn a_simulation_comes_to_the_same_value_each_time() {
    let first = lines_with("monte_carlo", &["10"]);
    assert_eq!(first[1], "right: true");
    assert_eq!(lines_with("monte_carlo", &["10"]), first);
}

#[test]
fn words_are_counted_where_the_text_lies() {
    // It compares the counts itself.
    let lines = lines_with("word_count", &["8"]);
    assert!(number(&lines, "bytes of text: ") > 8_000_000);
    assert!(number(&lines, "bytes moved: ") < 10_000, "{lines:#?}");
}

#[test]
fn actors_find_the_solution_that_is_known() {
    let lines = lines_with("jacobi", &["24", "3"]);
    assert!(number(&lines, "steps: ") > 100);
    assert!(lines[1].starts_with("error: "), "{lines:#?}");
}

#[test]
fn values_and_locks_lose_no_increment_and_a_queue_takes_many_producers() {
    assert_eq!(
        lines("guide_locks"),
        [
            "value: 400000",
            "lock: [0, 400000]",
            "died: true",
            "repaired: [0, 400000]",
            "queue: 499500",
        ]
    );
}
