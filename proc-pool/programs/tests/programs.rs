//! The programs run in short, and print what they should.

use std::process::{Command, Stdio};

/// The lines that a program prints; it must end well and be silent on standard error.
fn lines(program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}{errors}", output.status);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn images_are_resized_and_a_damaged_one_stops_nobody() {
    let lines = lines(env!("CARGO_BIN_EXE_resize_images"), &["100"]);
    assert_eq!(lines, ["resized: 99", "damaged: 1"]);
}

#[test]
fn a_service_answers_while_its_pool_computes() {
    let lines = lines(env!("CARGO_BIN_EXE_http_service"), &["check", "4"]);
    assert_eq!(lines[0], "primes: 4 right answers");
    let asked = lines.iter().find_map(|line| line.strip_prefix("health: asked "));
    let asked = asked.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    assert!(asked.is_some_and(|asked: u64| asked >= 3), "{lines:#?}");
}
