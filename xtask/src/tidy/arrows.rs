//! Dependencies between our crates point down only.

use std::path::Path;

use super::Finding;
use crate::workspace::{Dependency, Package};

/// Which crates of ours a crate may be built on.
const DOWN: [(&str, &[&str]); 9] = [
    ("crash-check", &[]),
    ("ipc-queue", &["shm-core"]),
    ("proc-pool", &["shm-core", "ipc-queue", "proc-pool-macros"]),
    ("proc-pool-macros", &[]),
    ("profiling", &["shm-core"]),
    ("programs", &["proc-pool"]),
    ("shm-core", &["shm-core-macros"]),
    ("shm-core-macros", &[]),
    ("xtask", &[]),
];

/// Which crates of ours a crate may tie itself to where a feature asks for it.
const OPTIONAL: [(&str, &[&str]); 1] = [("proc-pool", &["profiling"])];

/// Checks what every package depends on.
pub fn check(packages: &[Package], root: &Path) -> Vec<Finding> {
    let ours = |dependency: &&Dependency| packages.iter().any(|p| p.name == dependency.name);
    let mut findings = Vec::new();
    for package in packages {
        for dependency in package.dependencies.iter().filter(ours) {
            if let Some(what) = objection(&package.name, dependency) {
                let manifest = package.folder.join("Cargo.toml");
                let manifest = manifest.strip_prefix(root).unwrap_or(&manifest);
                let text = std::fs::read_to_string(root.join(manifest)).unwrap_or_default();
                let line = text.lines().position(|line| line.starts_with(&*dependency.name));
                findings.push(Finding::new(manifest, line.unwrap_or(0) + 1, what));
            }
        }
    }
    findings
}

/// What is wrong with this dependency on one of our crates, if anything is.
fn objection(package: &str, dependency: &Dependency) -> Option<String> {
    let name = &dependency.name;
    let only_loom = dependency.platform.as_deref() == Some("cfg(loom)");
    if dependency.kind == "dev" || (only_loom && name == "crash-check") {
        return (dependency.version != "*").then(|| {
            format!("a test-only use of `{name}` has a version: give the path alone, so that no cycle is published")
        });
    }
    let is_down = listed(&DOWN, package).contains(&&**name)
        || (dependency.optional && listed(&OPTIONAL, package).contains(&&**name));
    let is_macros = name.ends_with("-macros");
    if is_down && dependency.version == "*" {
        return Some(format!("`{name}` is given by path alone: add the version"));
    }
    if is_down && dependency.default_features && !is_macros {
        return Some(format!("`{name}` with its default features: turn them off, name those used"));
    }
    if is_down {
        return None;
    }
    Some(format!(
        "`{package}` must not depend on `{name}`: arrows point down only, \
         and a tie to a crate beside it is an optional feature or a path-only dev-dependency"
    ))
}

fn listed<'a>(table: &[(&str, &'a [&'a str])], package: &str) -> &'a [&'a str] {
    table.iter().find(|(name, _)| *name == package).map(|(_, list)| *list).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(name: &str, kind: &str, version: &str) -> Dependency {
        Dependency {
            name: name.into(),
            kind: kind.into(),
            version: version.into(),
            default_features: false,
            optional: false,
            platform: None,
        }
    }

    #[test]
    fn an_arrow_that_points_down_is_fine() {
        assert_eq!(objection("ipc-queue", &on("shm-core", "normal", "^0.1.0")), None);
        assert_eq!(objection("proc-pool", &on("ipc-queue", "normal", "^0.1.0")), None);
        let optional = Dependency { optional: true, ..on("profiling", "normal", "^0.1.0") };
        assert_eq!(objection("proc-pool", &optional), None);
    }

    #[test]
    fn an_arrow_up_or_aside_is_found() {
        assert!(objection("shm-core", &on("ipc-queue", "normal", "^0.1.0")).is_some());
        assert!(objection("crash-check", &on("shm-core", "normal", "^0.1.0")).is_some());
        assert!(objection("proc-pool", &on("profiling", "normal", "^0.1.0")).is_some());
        assert!(objection("profiling", &on("shm-core", "build", "^0.1.0")).is_none());
    }

    #[test]
    fn an_arrow_down_has_a_version_and_no_default_features() {
        assert!(objection("ipc-queue", &on("shm-core", "normal", "*")).is_some());
        let full = Dependency { default_features: true, ..on("shm-core", "normal", "^0.1.0") };
        assert!(objection("ipc-queue", &full).is_some());
        let macros =
            Dependency { default_features: true, ..on("shm-core-macros", "normal", "^0.1.0") };
        assert_eq!(objection("shm-core", &macros), None);
    }

    #[test]
    fn a_test_only_arrow_may_point_up_by_path_alone() {
        assert_eq!(objection("shm-core", &on("crash-check", "dev", "*")), None);
        assert!(objection("shm-core", &on("crash-check", "dev", "^0.1.0")).is_some());
        let loom =
            Dependency { platform: Some("cfg(loom)".into()), ..on("crash-check", "normal", "*") };
        assert_eq!(objection("ipc-queue", &loom), None);
        assert!(objection("ipc-queue", &on("crash-check", "normal", "*")).is_some());
        let aside = Dependency { name: "profiling".into(), ..loom };
        assert!(objection("ipc-queue", &aside).is_some());
    }
}
