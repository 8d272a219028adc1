//! `kill`: the checks that kill a process at every instruction, and the rows they print.

pub mod coverage;
mod exempt;
mod module;
mod still;
mod surface;

use serde_json::Value;

use crate::command::{Command, Echo};
use crate::error::{Error, Result};
use crate::tally::Tally;
use crate::workspace::{Package, Workspace};

/// The mark before a row in a test's output.
const MARK: &str = "kill-row: ";

/// The columns of the table, and the keys of a row.
const COLUMNS: [&str; 6] =
    ["operation", "state", "instructions", "images", "recoveries", "verdict"];

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What the test command takes time for.
    Short,
    /// Everything: the tests see `KILL_LONG=1`.
    Long,
}

/// Runs the checks; the rows as a table, or one JSON object a line.
pub fn command(workspace: &Workspace, options: &[&str]) -> Result<bool> {
    let json = options.contains(&"--json");
    let depth = if options.contains(&"--long") { Depth::Long } else { Depth::Short };
    let echo = if json { Echo::Error } else { Echo::Output };
    let mut tally = Tally::default();
    let coverage = coverage::check(workspace)?;
    let rows = run(workspace, depth, echo, &mut tally)?;
    if json {
        rows.iter().for_each(|row| println!("{row}"));
        tally.broken().iter().for_each(|line| eprintln!("failed: {line}"));
        eprintln!("{tally}");
    } else {
        print!("{}", table(&rows));
        tally.print();
    }
    Ok(is_covered(&coverage, &rows) && tally.is_green())
}

/// Says what lacks a row: in the sources, or among those that were printed.
fn is_covered(coverage: &coverage::Coverage, rows: &[Value]) -> bool {
    eprint!("{coverage}");
    let printed: Vec<&str> = rows.iter().filter_map(|row| row["operation"].as_str()).collect();
    if printed.is_empty() {
        eprintln!("failed: no kill check printed a row; is ptrace permitted here?");
        return false;
    }
    let missing = coverage::missing(coverage, &printed);
    missing.iter().for_each(|row| eprintln!("failed: `{row}` stands in a test, printed by none"));
    coverage.gaps.iter().for_each(|gap| eprintln!("failed: {}", gap.text()));
    missing.is_empty() && coverage.gaps.is_empty()
}

/// Runs the checks of every package that has some, optimised as they are used; gives the rows.
pub fn run(
    workspace: &Workspace,
    depth: Depth,
    echo: Echo,
    tally: &mut Tally,
) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for selection in selections(workspace)? {
        let arguments = format!("test --release --no-fail-fast {selection} -- --show-output");
        let mut command = Command::cargo(&workspace.root, &arguments).echo(echo);
        if depth == Depth::Long {
            command = command.environment("KILL_LONG", "1");
        }
        tally.run_tests_reading(&command, |line| rows.extend(row(line)))?;
    }
    Ok(rows)
}

/// Which tests these are, as arguments of `cargo test`: the test files `kill_*` of all packages,
/// which so are built once for all, and functions `kill_…` elsewhere.
fn selections(workspace: &Workspace) -> Result<Vec<String>> {
    let mut files = String::new();
    let mut found = Vec::new();
    for package in &workspace.packages {
        let name = &package.name;
        if package.targets("test").any(|test| test.starts_with("kill_")) {
            files.push_str(&format!("-p {name} "));
        }
        if declares(package, "src", None)? {
            found.push(format!("-p {name} --lib kill_"));
        }
        for test in package.targets("test").filter(|test| !test.starts_with("kill_")) {
            if declares(package, "tests", Some(test))? {
                found.push(format!("-p {name} --test {test} kill_"));
            }
        }
    }
    if !files.is_empty() {
        found.insert(0, format!("{files}--test kill_*"));
    }
    Ok(found)
}

/// Whether a test function `kill_…` stands under the folder (in the test program `program`).
fn declares(package: &Package, folder: &str, program: Option<&str>) -> Result<bool> {
    let root = package.folder.join(folder);
    for file in package.sources(folder)? {
        let inside = file.strip_prefix(&root).unwrap_or(&file);
        let first = inside.components().next().map(|first| first.as_os_str().to_string_lossy());
        let first = first.as_deref().unwrap_or_default();
        if program.is_some_and(|name| first.trim_end_matches(".rs") != name) {
            continue;
        }
        let source = std::fs::read_to_string(&file).map_err(|error| Error::file(&file, error))?;
        if is_check(&source) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the source has a test function whose name starts with `kill_`.
fn is_check(source: &str) -> bool {
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("test(");
        } else if !line.is_empty() && !line.starts_with("//") {
            if is_test && line.starts_with("fn kill_") {
                return true;
            }
            is_test = false;
        }
    }
    false
}

/// The row that a line of a test's output carries, if it does.
fn row(line: &str) -> Option<Value> {
    let (_, json) = line.split_once(MARK)?;
    match serde_json::from_str(json) {
        Ok(row @ Value::Object(_)) => Some(row),
        _ => {
            eprintln!("xtask: not a row: {line}");
            None
        }
    }
}

/// The rows in columns, each as wide as its widest cell.
fn table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no kill check printed a row\n".into();
    }
    let mut lines: Vec<[String; 6]> = vec![COLUMNS.map(String::from)];
    lines.extend(rows.iter().map(|row| COLUMNS.map(|column| cell(row.get(column)))));
    let width = |index: usize| lines.iter().map(|line| line[index].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|index| width(index).unwrap_or(0));
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"kill-row: {"operation":"push","state":"empty","instructions":412,"images":19,"recoveries":38,"verdict":"ok"}"#;

    #[test]
    fn a_row_is_read_wherever_it_stands_in_the_line() {
        assert_eq!(row(LINE).unwrap()["instructions"], 412);
        assert_eq!(row(&format!("test push ... {LINE}")).unwrap()["state"], "empty");
        assert_eq!(row("no row at all"), None);
        assert_eq!(row("kill-row: {broken"), None);
    }

    #[test]
    fn the_table_has_a_column_a_key_and_a_line_a_row() {
        let rows = [row(LINE).unwrap()];
        let table = table(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(COLUMNS.iter().all(|column| lines[0].contains(column)), "{table}");
        assert!(lines[1].starts_with("push ") && lines[1].ends_with("ok"), "{table}");
        assert_eq!(lines[0].find("state"), lines[1].find("empty"));
    }

    #[test]
    fn a_check_is_a_test_function_by_its_name() {
        assert!(is_check("#[test]\nfn kill_at_every_store_of_push() {}"));
        assert!(is_check("#[proc_pool::test]\n// why\nfn kill_a_worker() {}"));
        assert!(!is_check("fn kill_process(pid: i32) {}"));
        assert!(!is_check("#[test]\nfn other() {}\nfn kill_process() {}"));
    }
}
