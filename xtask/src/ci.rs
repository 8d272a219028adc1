//! `ci`: everything that `.ci/run` checks once the machine has what it needs.

use crate::command::Command;
use crate::error::Result;
use crate::workspace::Workspace;
use crate::{test, tidy};

/// Runs every step, also after one has failed, and ends with a summary.
pub fn command(workspace: &Workspace, _options: &[&str]) -> Result<bool> {
    println!("$ cargo xtask test");
    let tally = test::run(workspace)?;
    println!("$ cargo xtask tidy");
    let mut steps = vec![("tests", tally.is_green()), ("tidy", tidy::command(workspace, &[])?)];
    for (name, command) in [
        (
            "clippy",
            Command::cargo(&workspace.root, "clippy --workspace --all-targets -- -D warnings"),
        ),
        ("formatting", Command::cargo(&workspace.root, "fmt --all --check")),
        (
            "docs",
            Command::cargo(&workspace.root, "doc --workspace --no-deps")
                .environment("RUSTDOCFLAGS", "-D warnings"),
        ),
    ] {
        steps.push((name, command.run()?));
    }
    println!();
    for (name, passed) in &steps {
        println!("{name}: {}", if *passed { "ok" } else { "FAILED" });
    }
    tally.print();
    Ok(steps.iter().all(|(_, passed)| *passed))
}
