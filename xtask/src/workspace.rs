//! What the workspace holds, as `cargo metadata` tells it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::Command;
use crate::error::{Error, Result};

/// The workspace: its folders and its packages.
#[derive(Debug)]
pub struct Workspace {
    /// The folder of the root manifest.
    pub root: PathBuf,
    /// Where cargo builds (`CARGO_TARGET_DIR`, or `target`).
    pub target: PathBuf,
    /// The packages, by name.
    pub packages: Vec<Package>,
}

/// One package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// The folder of its manifest.
    pub folder: PathBuf,
    /// The names of its features.
    pub features: Vec<String>,
    /// What it is built into.
    pub targets: Vec<Target>,
    /// What it depends on, of any kind.
    pub dependencies: Vec<Dependency>,
}

/// One library, program, test, bench or example of a package.
#[derive(Debug)]
pub struct Target {
    /// `lib`, `proc-macro`, `bin`, `test`, `bench`, `example`.
    pub kind: String,
    /// The target's name.
    pub name: String,
}

/// One line of a package's dependency tables.
#[derive(Debug)]
pub struct Dependency {
    /// The package that it names.
    pub name: String,
    /// `normal`, `dev` or `build`.
    pub kind: String,
    /// The version asked for; `*` when none was written.
    pub version: String,
    /// Whether its default features are on.
    pub default_features: bool,
    /// Whether a feature has to ask for it.
    pub optional: bool,
    /// The `cfg(...)` that it stands under, if any.
    pub platform: Option<String>,
}

impl Workspace {
    /// Asks cargo about the workspace that this program was started in.
    pub fn load() -> Result<Self> {
        // Set by `cargo run`. Not the folder of the build: a build folder that several clones
        // share holds one program for all of them.
        let started_in = std::env::var_os("CARGO_MANIFEST_DIR").map_or(".".into(), PathBuf::from);
        let root = started_in.as_path();
        let command = Command::cargo(root, "metadata --format-version 1 --no-deps");
        let output = command.output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::Output(format!("`{}` failed: {why}", command.line())));
        }
        Self::parse(&output.stdout)
    }

    /// Reads the JSON that `cargo metadata --format-version 1 --no-deps` prints.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let json: Value = serde_json::from_slice(json)
            .map_err(|error| Error::Output(format!("cargo metadata printed no JSON: {error}")))?;
        let mut packages: Vec<Package> = list(&json, "packages").iter().map(package).collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            root: text(&json, "workspace_root").into(),
            target: text(&json, "target_directory").into(),
            packages,
        })
    }

    /// The packages that are libraries: all but the automation.
    pub fn libraries(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| {
            package.targets.iter().any(|target| ["lib", "proc-macro"].contains(&&*target.kind))
        })
    }

    /// The path as seen from the root, if it lies inside.
    pub fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

impl Package {
    /// Its Rust sources under `folder` (`src`, `tests`), without those of a package inside it.
    pub fn sources(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        walk(&self.folder.join(folder), &mut files)?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
        Ok(files)
    }

    /// The names of its targets of this kind.
    pub fn targets(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(move |target| target.kind == kind).map(|target| &*target.name)
    }
}

/// Adds every file under `folder`, sorted, leaving out what is built or hidden by git.
pub fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    const SKIPPED: [&str; 4] = ["target", ".git", "__pycache__", "book"];
    if !folder.is_dir() {
        return Ok(());
    }
    let read = |error| Error::file(folder, error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        entries.push(entry.map_err(read)?.path());
    }
    entries.sort();
    for entry in entries {
        let skipped = entry.file_name().is_some_and(|name| SKIPPED.iter().any(|s| name == *s));
        if entry.is_dir() && !entry.is_symlink() {
            if !skipped {
                walk(&entry, files)?;
            }
        } else if entry.is_file() {
            files.push(entry);
        }
    }
    Ok(())
}

fn package(json: &Value) -> Package {
    let manifest = PathBuf::from(text(json, "manifest_path"));
    let features = json.get("features").and_then(Value::as_object);
    Package {
        name: text(json, "name").into(),
        folder: manifest.parent().map(Path::to_path_buf).unwrap_or_default(),
        features: features.map(|all| all.keys().cloned().collect()).unwrap_or_default(),
        targets: list(json, "targets").iter().map(target).collect(),
        dependencies: list(json, "dependencies").iter().map(dependency).collect(),
    }
}

fn target(json: &Value) -> Target {
    let kind = list(json, "kind").first().and_then(Value::as_str).unwrap_or_default();
    Target { kind: kind.into(), name: text(json, "name").into() }
}

fn dependency(json: &Value) -> Dependency {
    let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(false);
    Dependency {
        name: text(json, "name").into(),
        kind: json.get("kind").and_then(Value::as_str).unwrap_or("normal").into(),
        version: text(json, "req").into(),
        default_features: flag("uses_default_features"),
        optional: flag("optional"),
        platform: json.get("target").and_then(Value::as_str).map(String::from),
    }
}

fn text<'a>(json: &'a Value, key: &str) -> &'a str {
    json.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_of_this_workspace_is_understood() {
        let workspace = Workspace::load().unwrap();
        let names: Vec<&str> = workspace.packages.iter().map(|p| &*p.name).collect();
        for name in ["shm-core", "ipc-queue", "proc-pool", "profiling", "crash-check", "xtask"] {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
        assert!(workspace.root.join("Cargo.toml").is_file());
        let libraries: Vec<&str> = workspace.libraries().map(|p| &*p.name).collect();
        assert!(libraries.contains(&"proc-pool-macros") && !libraries.contains(&"xtask"));
    }

    #[test]
    fn a_dependency_is_read_with_kind_version_and_platform() {
        let json = br#"{"workspace_root": "/w", "target_directory": "/w/t", "packages": [
            {"name": "a", "manifest_path": "/w/a/Cargo.toml", "features": {"death": []},
             "targets": [{"kind": ["lib"], "name": "a"}],
             "dependencies": [{"name": "b", "req": "*", "kind": "dev", "optional": false,
                               "target": "cfg(loom)"}]}]}"#;
        let workspace = Workspace::parse(json).unwrap();
        let package = &workspace.packages[0];
        assert_eq!(package.folder, Path::new("/w/a"));
        assert_eq!(package.features, ["death"]);
        let dependency = &package.dependencies[0];
        assert_eq!((&*dependency.kind, &*dependency.version), ("dev", "*"));
        assert_eq!(dependency.platform.as_deref(), Some("cfg(loom)"));
    }
}
