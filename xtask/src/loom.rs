//! `loom`: the models that explore all interleavings, found by their names in the sources.

use crate::command::Command;
use crate::error::{Error, Result};
use crate::tally::Tally;
use crate::workspace::{Package, Workspace};

/// How many preemptions a schedule may hold: the bound that decides how long this takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Two: part of the test command.
    Short,
    /// Three.
    Usual,
    /// Four.
    Long,
}

impl Depth {
    fn preemptions(self) -> &'static str {
        match self {
            Self::Short => "2",
            Self::Usual => "3",
            Self::Long => "4",
        }
    }
}

/// Runs the models and ends with the summary line.
pub fn command(workspace: &Workspace, options: &[&str]) -> Result<bool> {
    let depth = match options {
        [] => Depth::Usual,
        ["--short"] => Depth::Short,
        ["--long"] => Depth::Long,
        _ => return Err(Error::Usage("give --short or --long, not both".into())),
    };
    let mut tally = Tally::default();
    run(workspace, depth, &mut tally)?;
    tally.print();
    Ok(tally.is_green())
}

/// Runs the models of every package that has some.
pub fn run(workspace: &Workspace, depth: Depth, tally: &mut Tally) -> Result<()> {
    let folder = workspace.target.join("loom");
    let folder = workspace.relative(&folder).display().to_string();
    for package in &workspace.packages {
        for selection in selections(package)? {
            let arguments =
                format!("test --release --no-fail-fast -p {} {selection}", package.name);
            let command = Command::cargo(&workspace.root, &arguments)
                .environment("RUSTFLAGS", "--cfg loom")
                .environment("LOOM_MAX_PREEMPTIONS", depth.preemptions())
                .environment("CARGO_TARGET_DIR", &folder);
            tally.run_tests(&command)?;
        }
    }
    Ok(())
}

/// Which of the package's tests are models, as arguments of `cargo test`:
/// unit tests in a module or function `loom…`, test files `loom_*` and `death_*`, and the
/// module `death` of a library or test program.
fn selections(package: &Package) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if has_unit_models(package)? {
        found.push("--lib loom".to_string());
    }
    let features = death_features(package);
    if !features.is_empty() && package.folder.join("src/death").is_dir() {
        found.push(format!("{features}--lib death::"));
    }
    for prefix in ["loom_", "death_"] {
        if package.targets("test").any(|name| name.starts_with(prefix)) {
            found.push(format!("{features}--test {prefix}*"));
        }
    }
    for name in package.targets("test") {
        if package.folder.join("tests").join(name).join("death.rs").is_file() {
            found.push(format!("{features}--test {name} death::"));
        }
    }
    Ok(found)
}

/// The features that deaths inside loom need, where the package has them.
fn death_features(package: &Package) -> String {
    let wanted = ["death", "mutate"];
    let has = |name: &&str| package.features.iter().any(|feature| feature == name);
    let features: Vec<&str> = wanted.into_iter().filter(has).collect();
    if features.is_empty() { String::new() } else { format!("--features {} ", features.join(",")) }
}

fn has_unit_models(package: &Package) -> Result<bool> {
    for file in package.sources("src")? {
        let source = std::fs::read_to_string(&file).map_err(|error| Error::file(&file, error))?;
        if is_model(&source) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the source declares a test module or test function whose name starts with `loom`.
fn is_model(source: &str) -> bool {
    source.lines().map(str::trim_start).any(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.starts_with("fn loom_") || line.starts_with("mod loom_")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Target;

    #[test]
    fn a_model_is_known_by_its_name() {
        assert!(is_model("#[cfg(all(test, loom))]\nmod loom_ring;\n"));
        assert!(is_model("    #[test]\n    fn loom_a_sleeper_is_woken() {}\n"));
        assert!(!is_model("// a word about fn loom_x\nfn bloom_filter() {}\n"));
    }

    #[test]
    fn test_files_are_found_with_the_features_they_need() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("tests/zoo")).unwrap();
        std::fs::create_dir_all(folder.path().join("src/death")).unwrap();
        std::fs::write(folder.path().join("tests/zoo/death.rs"), "").unwrap();
        let test = |name: &str| Target { kind: "test".into(), name: name.into() };
        let package = Package {
            name: "crash-check".into(),
            folder: folder.path().into(),
            features: vec!["death".into(), "step".into()],
            targets: vec![test("death_shim"), test("zoo")],
            dependencies: Vec::new(),
        };
        let expected = [
            "--features death --lib death::",
            "--features death --test death_*",
            "--features death --test zoo death::",
        ];
        assert_eq!(selections(&package).unwrap(), expected);
    }
}
