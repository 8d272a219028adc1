//! `fuzz`: the fuzz targets, where the toolchain that they need is there.
//!
//! What they call is run by the stable tests too, so nothing is unchecked where it is not.

use std::path::{Path, PathBuf};

use crate::command::Command;
use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// cargo-fuzz, under the toolchain that its sanitizers need.
const CARGO_FUZZ: &str = "run nightly cargo fuzz";

/// Runs every target of every package; skipped, and no failure, where it cannot.
pub fn command(workspace: &Workspace, options: &[&str]) -> Result<bool> {
    if !is_there(&workspace.root) {
        println!("{}", skipped());
        return Ok(true);
    }
    let seconds = if options.contains(&"--long") { 600 } else { 30 };
    let mut green = true;
    for package in &workspace.packages {
        for target in targets(&package.folder)? {
            let arguments = format!("{CARGO_FUZZ} run {target} -- -max_total_time={seconds}");
            green &= Command::new(&package.folder, "rustup", &arguments).run()?;
        }
    }
    Ok(green)
}

fn is_there(root: &Path) -> bool {
    let version = Command::new(root, "rustup", &format!("{CARGO_FUZZ} --version"));
    version.output().is_ok_and(|output| output.status.success())
}

fn skipped() -> String {
    "fuzz: skipped; it needs the nightly toolchain and cargo-fuzz (`rustup toolchain install \
     nightly`, `cargo install cargo-fuzz`). The targets' functions run in the stable tests all the \
     same"
        .into()
}

/// The names of a package's targets, in order.
fn targets(package: &Path) -> Result<Vec<String>> {
    let folder = package.join("fuzz/fuzz_targets");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&folder).map_err(|error| Error::file(&folder, error))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let sources = paths.filter(|path: &PathBuf| path.extension().is_some_and(|end| end == "rs"));
    let stem = |path: PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned());
    let mut names: Vec<String> = sources.filter_map(stem).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_found_by_their_files() {
        let shm_core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shm-core");
        assert_eq!(targets(&shm_core).unwrap(), ["attach"]);
        assert!(targets(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap().is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(skipped().contains("skipped") && skipped().contains("cargo-fuzz"));
    }
}
