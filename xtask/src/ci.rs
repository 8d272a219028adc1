//! `ci`: everything that `.ci/run` checks once the machine has what it needs.

use crate::command::Command;
use crate::error::Result;
use crate::workspace::Workspace;
use crate::{test, tidy};

/// What runs after the tests, each under the name that the summary gives it.
const CHECKS: [(&str, &str); 4] = [
    ("clippy", "clippy --workspace --all-targets -- -D warnings"),
    ("clippy, all features", "clippy --workspace --all-targets --all-features -- -D warnings"),
    ("formatting", "fmt --all --check"),
    ("docs", "doc --workspace --no-deps --all-features"),
];

/// Runs every step, also after one has failed, and ends with a summary.
pub fn command(workspace: &Workspace, _options: &[&str]) -> Result<bool> {
    println!("$ cargo xtask test");
    let tally = test::run(workspace)?;
    println!("$ cargo xtask tidy");
    let mut steps = vec![("tests", tally.is_green()), ("tidy", tidy::command(workspace, &[])?)];
    for (name, arguments) in CHECKS {
        let mut command = Command::cargo(&workspace.root, arguments);
        if name == "docs" {
            command = command.environment("RUSTDOCFLAGS", "-D warnings");
        }
        steps.push((name, command.run()?));
    }
    println!();
    for (name, passed) in &steps {
        println!("{name}: {}", if *passed { "ok" } else { "FAILED" });
    }
    tally.print();
    Ok(steps.iter().all(|(_, passed)| *passed))
}
