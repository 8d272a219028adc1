//! Every crate that others build on comes with a README, a CHANGELOG and an example.

use std::path::Path;

use super::Finding;
use crate::workspace::Workspace;

/// Checks the folder of every crate (the automation and the macros inside a crate need no papers)
/// and the manifest of every package.
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let crates = workspace.libraries().map(|package| package.folder.as_path());
    let crates = crates.filter(|folder| folder.parent() == Some(workspace.root.as_path()));
    let papers = crates.flat_map(|folder| check_crate(folder, workspace.relative(folder)));
    let folders = workspace.packages.iter().map(|package| package.folder.as_path());
    let lints = folders.filter_map(|folder| check_lints(folder, workspace.relative(folder)));
    papers.chain(lints).chain(check_names(workspace)).collect()
}

/// Two examples of one name overwrite each other where cargo puts what it has built.
fn check_names(workspace: &Workspace) -> Vec<Finding> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut findings = Vec::new();
    for package in &workspace.packages {
        for example in package.targets("example") {
            if let Some((_, other)) = seen.iter().find(|(name, _)| *name == example) {
                let what = format!("`{other}` has an example `{example}` too: rename one");
                let folder = package.folder.join("examples");
                findings.push(Finding::new(workspace.relative(&folder), 1, what));
            }
            seen.push((example, &package.name));
        }
    }
    findings
}

/// The lints of the workspace reach only the packages that ask for them.
fn check_lints(folder: &Path, name: &Path) -> Option<Finding> {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let mut lines = manifest.lines().skip_while(|line| line.trim() != "[lints]");
    let asks = lines.nth(1).is_some_and(|line| line.replace(' ', "") == "workspace=true");
    let what = "the lints of the workspace are off: add `[lints]` with `workspace = true`";
    (!asks).then(|| Finding::new(&name.join("Cargo.toml"), 1, what))
}

fn check_crate(folder: &Path, name: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, what) in [
        ("README.md", "write what the crate is, what it promises and what it does not do"),
        ("CHANGELOG.md", "write what changed for those who use the crate"),
    ] {
        let filled = std::fs::read_to_string(folder.join(file)).is_ok_and(|text| !text.is_empty());
        if !filled {
            findings.push(Finding::new(&name.join(file), 1, format!("missing or empty: {what}")));
        }
    }
    let has_example = std::fs::read_dir(folder.join("examples")).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            entry.path().extension().is_some_and(|extension| extension == "rs")
                || entry.path().join("main.rs").is_file()
        })
    });
    if !has_example {
        let what = "missing: write one that a newcomer can run";
        findings.push(Finding::new(&name.join("examples"), 1, what));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_one_name_are_found() {
        let package = |name: &str| {
            let target = r#"{"kind": ["example"], "name": "first"}"#;
            format!(
                r#"{{"name": "{name}", "manifest_path": "/w/{name}/Cargo.toml", "targets": [{target}]}}"#
            )
        };
        let metadata = |packages: &str| {
            let json = format!(r#"{{"workspace_root": "/w", "packages": [{packages}]}}"#);
            Workspace::parse(json.as_bytes()).unwrap()
        };
        assert_eq!(check_names(&metadata(&package("a"))), []);
        let two = format!("{}, {}", package("a"), package("b"));
        assert_eq!(check_names(&metadata(&two)).len(), 1);
    }

    #[test]
    fn a_manifest_asks_for_the_lints() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        std::fs::write(&manifest, "[package]\nname = \"a\"\n").unwrap();
        assert!(check_lints(folder.path(), Path::new("a")).is_some());
        std::fs::write(&manifest, "[package]\n\n[lints]\nworkspace = true\n").unwrap();
        assert_eq!(check_lints(folder.path(), Path::new("a")), None);
    }

    #[test]
    fn a_crate_without_its_papers_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check_crate(folder.path(), Path::new("a")).len(), 3);
        std::fs::write(folder.path().join("README.md"), "# a\n").unwrap();
        std::fs::write(folder.path().join("CHANGELOG.md"), "").unwrap();
        assert_eq!(check_crate(folder.path(), Path::new("a")).len(), 2);
        std::fs::write(folder.path().join("CHANGELOG.md"), "# a\n").unwrap();
        std::fs::create_dir_all(folder.path().join("examples/first")).unwrap();
        std::fs::write(folder.path().join("examples/first/main.rs"), "").unwrap();
        assert_eq!(check_crate(folder.path(), Path::new("a")), []);
    }
}
