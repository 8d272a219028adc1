//! One area of the workspace `peers/`: built, run, stored, shown.

use std::fmt::Write;

use serde_json::{Value, json};

use super::rivals::Rivals;
use super::{Options, machine, nansum, targets};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// Builds and runs the program of an area, and keeps what it found; `false` when it failed.
pub fn measure(
    workspace: &Workspace,
    area: &str,
    rivals: &Rivals,
    options: &Options,
) -> Result<bool> {
    let build = build(workspace, area).echo(options.echo());
    // Whose memory the area measures beside Python's.
    let nansum = Command::cargo(&workspace.root, nansum::BUILD).echo(options.echo());
    if !build.run()? || (area == "profiler" && !nansum.run()?) {
        eprintln!("peers: the area `{area}` does not build; nothing was measured");
        return Ok(false);
    }
    let program = program(workspace, area, rivals, options);
    let mut rows = Vec::new();
    let passed = program.clone().echo(crate::command::Echo::Error).run_reading(|line| {
        if let Ok(row) = serde_json::from_str::<Value>(line) {
            if options.json {
                println!("{row}");
            }
            rows.push(row);
        }
    })?;
    let run = json!({
        "machine": machine::describe(workspace),
        "commands": [build.line(), program.line()],
        "missing": rivals.missing,
        "rows": rows,
    });
    store(workspace, area, &run)?;
    if !options.json {
        print!("{}", table(&rows));
    }
    if !passed {
        eprintln!("peers: the program of `{area}` failed: see above");
    }
    Ok(targets::complain(area, &rows) && passed)
}

/// What both commands say of the package.
const MANIFEST: &str = "--release --locked --manifest-path peers/Cargo.toml";

/// Profilers walk stacks by frame pointers; everything is built with them, on both sides.
const FRAMES: &str = "-C force-frame-pointers=yes";

fn build(workspace: &Workspace, area: &str) -> Command {
    let line = format!("build {MANIFEST} -p peers-{area} --bins");
    Command::cargo(&workspace.root, &line).environment("RUSTFLAGS", FRAMES)
}

fn program(workspace: &Workspace, area: &str, rivals: &Rivals, options: &Options) -> Command {
    let mut line = format!("run --quiet {MANIFEST} -p peers-{area} --bin peers-{area} --");
    if options.quick {
        line.push_str(" --quick");
    }
    if let Some(rounds) = options.rounds {
        let _ = write!(line, " --rounds {rounds}");
    }
    let program = Command::cargo(&workspace.root, &line);
    // Backtraces that some environments ask for would be measured where a task panics.
    let mut program = program.environment("RUSTFLAGS", FRAMES).environment("RUST_BACKTRACE", "0");
    let shown = |path: &std::path::Path| workspace.relative(path).display().to_string();
    if let Some(python) = &rivals.python {
        program = program.environment("PYTHONPATH", shown(python));
    }
    if area == "profiler" {
        let nansum = workspace.target.join(nansum::PROGRAM);
        program = program.environment("PEERS_NANSUM", shown(&nansum));
    }
    if let Some(boost) = &rivals.boost {
        program = program.environment("PEERS_BOOST", shown(boost));
    }
    program
}

/// Where the last run of an area is kept.
pub fn stored(workspace: &Workspace, area: &str) -> std::path::PathBuf {
    workspace.root.join(format!("target/peers/{area}.json"))
}

fn store(workspace: &Workspace, area: &str, run: &Value) -> Result<()> {
    let path = stored(workspace, area);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::file(folder, error))?;
    }
    std::fs::write(&path, format!("{run:#}\n")).map_err(|error| Error::file(&path, error))
}

/// The rows in columns.
pub fn table(rows: &[Value]) -> String {
    let mut text = String::new();
    let mut case = "";
    for row in rows {
        let name = row["case"].as_str().unwrap_or_default();
        if name != case {
            case = name;
            let _ = writeln!(text, "\n{case}, {}", row["unit"].as_str().unwrap_or_default());
        }
        let rival = row["rival"].as_str().unwrap_or_default();
        if let Some(missing) = row["missing"].as_str() {
            let _ = writeln!(text, "  {rival:<44} {missing}");
            continue;
        }
        let [ours, value, ratio] = ["ours", "value", "ratio"].map(|key| number(&row[key]));
        let spread = percent(&row["spread"]);
        let (target, verdict) = (target(row), verdict(row));
        let _ = writeln!(
            text,
            "  {rival:<44} {ours:>10} {value:>10} {ratio:>8} {spread:>7}  {target:<14} {verdict}"
        );
    }
    text
}

/// A figure with three digits that count, or a dash.
pub fn number(value: &Value) -> String {
    let Some(value) = value.as_f64() else { return "–".into() };
    match value.abs() {
        1000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A spread as people read it.
pub fn percent(value: &Value) -> String {
    value.as_f64().map_or("–".into(), |share| format!("±{:.0} %", share * 100.0))
}

/// A target with what it is counted in.
pub fn target(row: &Value) -> String {
    let Some(target) = row["target"].as_f64() else { return String::new() };
    let is = row["target_is"].as_str().unwrap_or_default();
    let sign = if row["more_is_better"] == true { "≥" } else { "≤" };
    format!("{sign} {target} {is}")
}

/// Met or missed, stable or not.
pub fn verdict(row: &Value) -> String {
    let met = row["met"].as_bool().map(|met| if met { "met" } else { "missed" });
    let unstable = (row["unstable"] == true).then_some("unstable");
    met.into_iter().chain(unstable).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_and_an_absent_rival_are_rows() {
        let rows = [
            json!({"case": "a", "unit": "ns", "rival": "r", "ours": 2.0, "value": 1.0,
                   "ratio": 0.5, "spread": 0.01, "target": 1.0, "target_is": "× rival",
                   "more_is_better": false, "met": false, "unstable": false}),
            json!({"case": "a", "unit": "ns", "rival": "s", "missing": "not installed"}),
        ];
        let table = table(&rows);
        for part in ["a, ns", "≤ 1 × rival", "missed", "not installed", "±1 %"] {
            assert!(table.contains(part), "{part} is missing in {table}");
        }
        assert!(!table.contains("unstable"));
    }

    #[test]
    fn figures_keep_three_digits_that_count() {
        let written = |value: f64| number(&json!(value));
        assert_eq!([written(0.5), written(5.0), written(55.0)], ["0.500", "5.00", "55.0"]);
        assert_eq!([written(555.4), written(12345.6)], ["555", "12346"]);
        assert_eq!(number(&Value::Null), "–");
    }
}
