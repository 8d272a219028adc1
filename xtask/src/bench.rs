//! `bench`: the benchmarks of our own crates; rivals stand beside ours in `peers`.

use crate::command::Command;
use crate::error::Result;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Runs every bench target, and every example whose name starts with `bench`.
pub fn command(workspace: &Workspace, _options: &[&str]) -> Result<bool> {
    let mut tally = Tally::default();
    let mut found = false;
    for package in &workspace.packages {
        let name = &package.name;
        for bench in package.targets("bench") {
            found = true;
            let line = format!("bench -p {name} --bench {bench}");
            tally.run_check(&Command::cargo(&workspace.root, &line))?;
        }
        for example in package.targets("example").filter(|name| name.starts_with("bench")) {
            found = true;
            let line = format!("run --release -p {name} --example {example}");
            tally.run_check(&Command::cargo(&workspace.root, &line))?;
        }
    }
    if !found {
        println!("no crate has a bench target, nor an example named `bench…`");
    }
    tally.broken().iter().for_each(|line| println!("failed: {line}"));
    Ok(tally.is_green())
}
