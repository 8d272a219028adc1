//! Storms and random programs: whatever happens to workers, every task has the outcome that its
//! policy allows, once.

#[path = "../parent/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod parent;

mod board;
mod memory;
mod nested;
mod parents;
mod program;
mod random;
mod signals;

use std::path::Path;
use std::process::{Command, Stdio};

/// What an example prints, line by line; it must end well.
fn lines_of(example: &str, arguments: &[&str]) -> Vec<String> {
    let test = std::env::current_exe().expect("this test's path");
    // `cargo test` builds examples beside the tests.
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(example);
    assert!(program.exists(), "run `cargo build -p proc-pool --examples` first: {program:?}");
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}{errors}", output.status);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn hundreds_of_kills_lose_nothing_and_hit_every_step() {
    let lines = lines_of("storm", &["300"]);
    println!("{}", lines.join("\n"));
    assert_eq!(lines[0], "killed: 300");
    let steps = ["waiting", "taking a task", "running a task", "giving a result"];
    let hit = |step: &&&str| lines.iter().any(|line| line.starts_with(&format!("died {step}: ")));
    assert!(steps.iter().filter(hit).count() >= 3, "the kills hit too little: {lines:#?}");
    for nothing in ["processes left: 0", "files left open: 0"] {
        assert!(lines.iter().any(|line| line == nothing), "not {nothing:?}: {lines:#?}");
    }
}
