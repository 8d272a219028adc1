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

    // Some tests run the examples' programs; a run of chosen tests does not build them.
    let examples = Command::cargo(&workspace.root, "build --workspace --all-features --examples");
    tally.run_check(&examples)?;
    let mut whole = Command::cargo(&workspace.root, &whole(workspace));
    if let Some(folder) = numpy {
        whole = whole.environment(python::NUMPY_PATH, folder.to_string_lossy());
    }
    tally.run_tests(&whole)?;
    let docs = "test --workspace --all-features --no-fail-fast --doc";
    tally.run_tests(&Command::cargo(&workspace.root, docs))?;
    alone(workspace, &mut tally)?;
    loom::run(workspace, loom::Depth::Short, &mut tally)?;
    kill::run(workspace, kill::Depth::Short, Echo::Output, &mut tally)?;
    Ok(tally)
}

/// The arguments of the run of all tests but the kill checks, which run optimised, as they are
/// used, in a run of their own. Cargo knows no "all but these", only patterns.
fn whole(workspace: &Workspace) -> String {
    let mut arguments =
        "test --workspace --all-features --no-fail-fast --lib --bins --test [!k]*".to_string();
    let programs = workspace.packages.iter().flat_map(|package| package.targets("test"));
    for name in programs.filter(|name| name.starts_with('k') && !name.starts_with("kill_")) {
        arguments.push_str(" --test ");
        arguments.push_str(name);
    }
    arguments
}

/// Each library by itself: without its default features it builds and its unit tests pass.
fn alone(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    for package in workspace.libraries() {
        let name = &package.name;
        let check = format!("check -p {name} --no-default-features --all-targets");
        tally.run_check(&Command::cargo(&workspace.root, &check))?;
        let test = format!("test -p {name} --no-default-features --lib --no-fail-fast");
        tally.run_tests(&Command::cargo(&workspace.root, &test))?;
    }
    Ok(())
}
