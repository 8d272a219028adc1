//! A run as a table for people, as raw data, and as a page of the book.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::nansum::{Row, Run};
use super::samples::{Samples, UNSTABLE};
use crate::error::{Error, Result};
use crate::workspace::Workspace;

const STORED: &str = "target/peers/nansum.json";
const PAGE: &str = "docs/src/benchmarks/nansum.md";
const RAW: &str = "docs/src/benchmarks/nansum.json";

/// Keeps the run with all of its measurements.
pub fn store(workspace: &Workspace, run: &Run) -> Result<()> {
    write(&workspace.root.join(STORED), &pretty(&to_json(run)))
}

/// Writes the book's page and its raw data from the stored run.
pub fn write_page(workspace: &Workspace) -> Result<bool> {
    let stored = workspace.root.join(STORED);
    let Ok(text) = std::fs::read_to_string(&stored) else {
        println!("no stored run: `cargo xtask peers nansum` makes one, then write the page");
        return Ok(false);
    };
    let json = serde_json::from_str(&text).ok();
    let run = json.as_ref().and_then(from_json);
    let run = run.ok_or_else(|| Error::Output(format!("{STORED} holds no run: measure again")))?;
    write(&workspace.root.join(RAW), &pretty(&to_json(&run)))?;
    write(&workspace.root.join(PAGE), &page(&run))?;
    println!("wrote {PAGE} and {RAW}");
    Ok(true)
}

/// The run in columns, with what it ran on and the exact commands.
pub fn table(run: &Run) -> String {
    let mut text = String::from("\n");
    for (name, value) in described(run) {
        let _ = writeln!(text, "{name}: {value}");
    }
    let line = |cells: [&str; 6]| {
        let [case, ours, theirs, ratio, target, verdict] = cells;
        format!("{case:<21} {ours:<23} {theirs:<23} {ratio:>6} {target:>6}  {verdict}\n")
    };
    text.push('\n');
    let sides = ["ours, s (min to max)", "rival, s (min to max)"];
    text.push_str(&line(["case", sides[0], sides[1], "ratio", "target", ""]));
    for row in &run.rows {
        let (ours, theirs) = (range(&row.ours), range(&row.theirs));
        let ratio = format!("{:.2}", row.ratio());
        text.push_str(&line([&row.case, &ours, &theirs, &ratio, &target(row), &verdict(row)]));
    }
    text
}

fn page(run: &Run) -> String {
    let rounds = &run.setting["rounds"];
    let mut text = format!(
        "# The sum of a column, beside Python's shared memory\n\n\
         Written by `cargo xtask peers nansum --write` from a stored run; the raw data is in \
         [nansum.json](nansum.json).\n\n\
         Four workers sum one column of 10,000,000 records (240 MB) with every second value \
         missing. Both sides work on the same bytes, their sums are compared, page faults lie \
         inside the time, and the sides take turns, {rounds} rounds each. A ratio is the \
         rival's median over ours: how many times faster ours is. The spread is half of the \
         range; above ±{:.0} % a row is marked unstable.\n\n\
         | case | ours, s (min to max) | Python, s (min to max) | ratio | spread | target | |\n\
         |---|---|---|---|---|---|---|\n",
        UNSTABLE * 100.0
    );
    for row in &run.rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} | ±{:.0} % | {} | {} |",
            row.case,
            range(&row.ours),
            range(&row.theirs),
            row.ratio(),
            row.spread() * 100.0,
            target(row),
            verdict(row)
        );
    }
    text.push_str("\nWhat lies inside the time:\n\n");
    for row in &run.rows {
        let _ = writeln!(text, "- {}: {}.", row.case, row.inside);
    }
    text.push_str("\n## Where it ran\n\n| | |\n|---|---|\n");
    for (name, value) in described(run) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push_str("\nThe commands:\n\n```text\n");
    for line in commands(run) {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(
        "```\n\n## What this does not show\n\n\
         One machine with few cores: nothing here speaks of many cores, of memory attached to \
         several sockets, or of other operating systems. Other work on the machine shows in the \
         spread. Python's own interpreter start is outside of its time, and so is the start of \
         our program.\n",
    );
    text
}

fn verdict(row: &Row) -> String {
    let met = row.is_met().map(|met| if met { "met" } else { "missed" });
    let unstable = row.is_unstable().then_some("unstable");
    met.into_iter().chain(unstable).collect::<Vec<_>>().join(", ")
}

fn target(row: &Row) -> String {
    row.target.map_or("none".into(), |target| target.to_string())
}

fn range(samples: &Samples) -> String {
    format!("{:.3} ({:.3} to {:.3})", samples.median(), samples.min(), samples.max())
}

fn described(run: &Run) -> Vec<(&'static str, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let machine = &run.machine;
    let rival = &machine["rival"];
    vec![
        ("cpu", text(&machine["cpu"])),
        ("cores", text(&machine["cores"])),
        ("memory", text(&machine["memory"])),
        ("kernel", text(&machine["kernel"])),
        ("rustc", text(&machine["rustc"])),
        ("commit", text(&machine["commit"])),
        ("python", text(&rival["python"])),
        ("numpy", text(&rival["numpy"])),
    ]
}

fn commands(run: &Run) -> Vec<&str> {
    let mut lines: Vec<&str> = run.setting["build"].as_str().into_iter().collect();
    for side in ["ours", "rival"] {
        let side = run.setting[side].as_array().map(Vec::as_slice).unwrap_or_default();
        lines.extend(side.iter().filter_map(Value::as_str));
    }
    lines.dedup();
    lines
}

fn to_json(run: &Run) -> Value {
    let rows: Vec<Value> = run.rows.iter().map(Row::to_json).collect();
    json!({"machine": run.machine, "setting": run.setting, "rows": rows})
}

fn from_json(json: &Value) -> Option<Run> {
    let rows = json.get("rows")?.as_array()?.iter().map(Row::from_json).collect::<Option<_>>()?;
    Some(Run { machine: json.get("machine")?.clone(), setting: json.get("setting")?.clone(), rows })
}

fn pretty(json: &Value) -> String {
    format!("{json:#}\n")
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::file(folder, error))?;
    }
    std::fs::write(path, text).map_err(|error| Error::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Run {
        let row = json!({
            "case": "own", "inside": "everything", "target": 1.8,
            "ours_samples": [0.5, 0.5, 0.6], "rival_samples": [0.6, 0.7, 0.8],
        });
        let machine = json!({"cpu": "a cpu", "cores": 2, "rival": {"python": "3", "numpy": "2"}});
        let setting =
            json!({"build": "cargo build", "ours": ["./nansum"], "rival": [], "rounds": 3});
        from_json(&json!({"machine": machine, "setting": setting, "rows": [row]})).unwrap()
    }

    #[test]
    fn a_missed_target_is_a_row_that_says_so() {
        let table = table(&stored());
        assert!(table.contains("own ") && table.contains("1.40"), "{table}");
        assert!(table.contains("missed"), "{table}");
    }

    #[test]
    fn the_page_names_the_machine_the_commands_and_what_it_does_not_show() {
        let page = page(&stored());
        for part in ["a cpu", "./nansum", "| own |", "What this does not show", "±"] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }

    #[test]
    fn a_run_survives_being_stored() {
        let run = stored();
        let again = from_json(&to_json(&run)).unwrap();
        assert_eq!(again.rows, run.rows);
        assert_eq!(again.machine, run.machine);
    }
}
