//! `test`: everything that must pass before a change is handed in.

use crate::command::{Command, Echo};
use crate::error::Result;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{kill, loom, python};

/// Runs all tests and ends with the summary line.
pub fn command(workspace: &Workspace, _options: &[&str]) -> Result<bool> {
    let tally = run(workspace)?;
    tally.print();
    Ok(tally.is_green())
}

/// Runs all tests; the caller prints the sum.
pub fn run(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    let numpy = python::numpy(workspace, Echo::Output)?;

    let mut whole = Command::cargo(&workspace.root, "test --workspace --no-fail-fast");
    if let Some(folder) = numpy {
        whole = whole.environment(python::NUMPY_PATH, folder.to_string_lossy());
    }
    tally.run_tests(&whole)?;
    alone(workspace, &mut tally)?;
    loom::run(workspace, loom::Depth::Short, &mut tally)?;
    kill::run(workspace, kill::Depth::Short, Echo::Output, &mut tally)?;
    Ok(tally)
}

/// Each library by itself: without its default features it builds and its unit tests pass, and
/// the examples in the docs of all of its features run.
fn alone(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    for package in workspace.libraries() {
        let name = &package.name;
        let check = format!("check -p {name} --no-default-features --all-targets");
        tally.run_check(&Command::cargo(&workspace.root, &check))?;
        let test = format!("test -p {name} --no-default-features --lib --no-fail-fast");
        tally.run_tests(&Command::cargo(&workspace.root, &test))?;
        if !package.features.is_empty() {
            let docs = format!("test -p {name} --all-features --doc --no-fail-fast");
            tally.run_tests(&Command::cargo(&workspace.root, &docs))?;
        }
    }
    Ok(())
}
