//! `mutants`: the mutation matrices of our own algorithms, as text and as pages.

use std::path::Path;

use crate::command::Command;
use crate::error::{Error, Result};
use crate::tally::Tally;
use crate::workspace::{Package, Workspace};

/// Runs every matrix; each writes `NAME.txt` and `NAME.html` into the folder of `--html`
/// (`target/mutants` by default).
pub fn command(workspace: &Workspace, options: &[String]) -> Result<bool> {
    let pages = match options {
        [] => workspace.target.join("mutants"),
        [flag, folder] if flag == "--html" => workspace.root.join(folder),
        _ => return Err(Error::Usage("mutants takes `--html FOLDER` and nothing else".into())),
    };
    std::fs::create_dir_all(&pages).map_err(|error| Error::file(&pages, error))?;
    let mut tally = Tally::default();
    for package in &workspace.packages {
        if has_matrix(package)? {
            tally.run_tests(&matrix(workspace, package, &pages))?;
        }
    }
    tally.print();
    println!("pages: {}", workspace.relative(&pages).display());
    Ok(tally.is_green())
}

/// The command that runs the matrices of one package, in the build folder of `loom`.
fn matrix(workspace: &Workspace, package: &Package, pages: &Path) -> Command {
    let folder = workspace.target.join("loom");
    let arguments = format!("test --release -p {} --lib loom_matrix -- --nocapture", package.name);
    Command::cargo(&workspace.root, &arguments)
        .environment("RUSTFLAGS", "--cfg loom")
        .environment("MUTATION_PAGES", pages.display().to_string())
        .environment("CARGO_TARGET_DIR", workspace.relative(&folder).display().to_string())
}

/// Whether a source of the package declares a test `loom_matrix…`.
fn has_matrix(package: &Package) -> Result<bool> {
    for file in package.sources("src")? {
        let source = std::fs::read_to_string(&file).map_err(|error| Error::file(&file, error))?;
        if source.lines().any(|line| line.trim_start().starts_with("fn loom_matrix")) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_with_a_matrix_are_found() {
        let workspace = Workspace::load().unwrap();
        let found: Vec<&str> = workspace
            .packages
            .iter()
            .filter(|package| has_matrix(package).unwrap())
            .map(|package| &*package.name)
            .collect();
        assert_eq!(found, ["ipc-queue", "shm-core"]);
    }

    #[test]
    fn an_unknown_option_is_refused() {
        let workspace = Workspace::load().unwrap();
        let error = command(&workspace, &["--page".into()]).unwrap_err().to_string();
        assert!(error.contains("--html"), "{error}");
    }
}
