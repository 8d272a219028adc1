//! The book's pages of the areas, each from a stored run with its raw data beside it.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::targets::{self, TARGETS, Target};
use super::{NAMES, area};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::workspace::Workspace;

const FOLDER: &str = "docs/src/benchmarks";

/// What a page says before and after its figures.
struct Words {
    title: &'static str,
    about: &'static str,
    /// What the figures do not show, and why rows that are behind are behind.
    limits: &'static str,
}

fn words(area: &str) -> Words {
    match area {
        "queue" => Words {
            title: "Queues and pipes",
            about: include_str!("words/queue.md"),
            limits: include_str!("words/queue-limits.md"),
        },
        "pool" => Words {
            title: "Process pools",
            about: include_str!("words/pool.md"),
            limits: include_str!("words/pool-limits.md"),
        },
        "shm" => Words {
            title: "Segments, death and locks",
            about: include_str!("words/shm.md"),
            limits: include_str!("words/shm-limits.md"),
        },
        "heap" => Words {
            title: "The shared heap",
            about: include_str!("words/heap.md"),
            limits: include_str!("words/heap-limits.md"),
        },
        _ => Words {
            title: "The profiler",
            about: include_str!("words/profiler.md"),
            limits: include_str!("words/profiler-limits.md"),
        },
    }
}

/// Writes an area's page and its raw data; `false` when there is no stored run.
pub fn write(workspace: &Workspace, area: &str) -> Result<bool> {
    let stored = area::stored(workspace, area);
    let Ok(text) = std::fs::read_to_string(&stored) else {
        println!("no stored run of `{area}`: `cargo xtask peers {area}` makes one");
        return Ok(false);
    };
    let run: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Output(format!("the stored run of `{area}`: {error}")))?;
    let folder = workspace.root.join(FOLDER);
    write_file(&folder.join(format!("{area}.json")), &text)?;
    write_file(&folder.join(format!("{area}.md")), &page(area, &run))?;
    println!("wrote {FOLDER}/{area}.md and {area}.json");
    Ok(true)
}

/// Draws the charts of the areas that have a stored run.
pub fn charts(workspace: &Workspace, names: &[&str]) -> Result<()> {
    for area in names.iter().filter(|name| **name != "nansum") {
        let raw = format!("{FOLDER}/{area}.json");
        if !workspace.root.join(&raw).is_file() {
            continue;
        }
        let line = format!(
            "run --quiet --release --locked --manifest-path peers/Cargo.toml \
             -p peers-charts -- {raw} {FOLDER}"
        );
        if !Command::cargo(&workspace.root, &line).run()? {
            return Err(Error::Output(format!("the charts of `{area}` could not be drawn")));
        }
    }
    Ok(())
}

/// Writes the chapter's first page: how figures are made, and every target with its verdict.
pub fn write_index(workspace: &Workspace) -> Result<()> {
    let mut targets = String::new();
    for name in NAMES {
        let path = workspace.root.join(format!("{FOLDER}/{name}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            let _ = writeln!(targets, "| {name} | no stored run yet | | | | |");
            continue;
        };
        let run: Value = serde_json::from_str(&text).unwrap_or_default();
        for target in TARGETS.iter().filter(|target| target.area == name) {
            let _ = writeln!(targets, "{}", target_line(*target, target.row(rows(&run))));
        }
    }
    let text = format!(
        "{}{targets}\n{}",
        include_str!("words/index.md"),
        include_str!("words/index-limits.md")
    );
    write_file(&workspace.root.join(FOLDER).join("index.md"), &text)
}

fn target_line(target: Target, row: Option<&Value>) -> String {
    let (area, verdict) = (target.area, targets::verdict(row));
    let Some(row) = row else {
        return format!(
            "| [{area}]({area}.md) | {} | – | {} | {} | {verdict} |",
            target.case, target.beside, target.number
        );
    };
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let (case, rival, unit) = (text("case"), text("rival"), text("unit"));
    let is = if area == "nansum" {
        format!("ratio ≥ {}", area::number(&row["target"]))
    } else {
        area::target(row)
    };
    let (ours, value) = (area::number(&row["ours"]), area::number(&row["value"]));
    format!(
        "| [{area}]({area}.md) | {case} | {ours} {unit} | {rival}: {value} | {is} | {verdict} |"
    )
}

fn page(area: &str, run: &Value) -> String {
    let words = words(area);
    let mut text = format!(
        "# {}\n\nWritten by `cargo xtask peers {area} --write` from a stored run; the raw data is in \
         [{area}.json]({area}.json).\n\n{}\n",
        words.title,
        words.about.trim_end()
    );
    text.push_str(READING);
    let mut case = String::new();
    for row in rows(run) {
        let name = row["case"].as_str().unwrap_or_default();
        if name != case {
            case = name.into();
            text.push_str(&head(row));
        }
        text.push_str(&line(row));
    }
    text.push_str(&pictures(area, run));
    text.push_str(&where_it_ran(run));
    let _ = writeln!(text, "\n## What this does not show\n\n{}", words.limits.trim_end());
    text
}

const READING: &str = "\nA ratio above 1 says that ours is ahead; it is the median of the rounds' \
    own ratios, and the spread is how far the quartiles of those lie from it. † marks a rival that \
    may lose data of the living, or let them hang, when a process is killed.\n";

fn head(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_string();
    let (case, inside, unit) = (text("case"), text("inside"), text("unit"));
    let floor = match row["calibration_value"].as_f64() {
        Some(_) => {
            let (name, unit) = (text("calibration"), text("calibration_unit"));
            format!(" Calibration ({name}): {} {unit}.", area::number(&row["calibration_value"]))
        }
        None => String::new(),
    };
    format!(
        "\n## {case}\n\n{inside}.{floor}\n\n\
         | beside | ours, {unit} | theirs, {unit} | ratio | spread | target | |\n\
         |---|---|---|---|---|---|---|\n"
    )
}

fn line(row: &Value) -> String {
    let mark = if row["rival_may_lose_when_killed"] == true { " †" } else { "" };
    let rival = row["rival"].as_str().unwrap_or_default();
    if let Some(missing) = row["missing"].as_str() {
        let verdict = if row["met"] == false { "missed" } else { "" };
        return format!(
            "| {rival}{mark} | – | – | – | – | {} | {verdict}: {missing} |\n",
            area::target(row)
        );
    }
    let [ours, value, ratio] = ["ours", "value", "ratio"].map(|key| area::number(&row[key]));
    let (spread, target) = (area::percent(&row["spread"]), area::target(row));
    let verdict = area::verdict(row);
    format!("| {rival}{mark} | {ours} | {value} | {ratio} | {spread} | {target} | {verdict} |\n")
}

/// The charts that this run has points for.
fn pictures(area: &str, run: &Value) -> String {
    // A row without any figure is no point of its chart.
    let drawn = rows(run).iter().filter(|row| row["ours"].is_number() || row["value"].is_number());
    let mut charts: Vec<&str> = drawn.filter_map(|row| row["axis"]["chart"].as_str()).collect();
    charts.dedup();
    let mut seen = Vec::new();
    let mut text = String::new();
    for chart in charts {
        if seen.contains(&chart) {
            continue;
        }
        seen.push(chart);
        if text.is_empty() {
            text.push_str("\n## How the cost grows\n");
        }
        let _ = writeln!(text, "\n![{chart}: how the cost grows, {area}]({chart}.svg)");
    }
    text
}

fn where_it_ran(run: &Value) -> String {
    let mut text = String::from("\n## Where it ran\n\n| | |\n|---|---|\n");
    for name in ["cpu", "cores", "memory", "kernel", "rustc", "commit"] {
        let value = &run["machine"][name];
        let value = value.as_str().map_or_else(|| value.to_string(), String::from);
        let _ = writeln!(text, "| {name} | {value} |");
    }
    for missing in list(&run["missing"]) {
        let _ = writeln!(text, "| not here | {} |", missing.as_str().unwrap_or_default());
    }
    text.push_str(
        "\nThe commands; versions of crates are those of `peers/Cargo.lock`:\n\n```text\n",
    );
    for command in list(&run["commands"]) {
        let _ = writeln!(text, "{}", command.as_str().unwrap_or_default());
    }
    text.push_str("```\n");
    text
}

fn rows(run: &Value) -> &[Value] {
    list(&run["rows"])
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| Error::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run() -> Value {
        json!({
            "machine": {"cpu": "a cpu", "cores": 2},
            "commands": ["./peers-queue"],
            "missing": ["Boost: install it"],
            "rows": [
                {"case": "round trip", "unit": "ns", "inside": "there and back", "rival": "r",
                 "ours": 2.0, "value": 1.0, "ratio": 0.5, "spread": 0.2, "target": 1.0,
                 "target_is": "× rival", "more_is_better": false, "met": false, "unstable": true,
                 "rival_may_lose_when_killed": true, "axis": {"chart": "queue-size"}},
                {"case": "round trip", "rival": "absent", "missing": "not installed",
                 "met": null, "axis": null},
            ],
        })
    }

    #[test]
    fn a_page_shows_what_was_missed_what_is_absent_and_what_may_lose() {
        let page = page("queue", &run());
        for part in [
            "# Queues",
            "missed, unstable",
            "r †",
            "not installed",
            "queue-size.svg",
            "a cpu",
            "./peers-queue",
            "Boost: install it",
            "What this does not show",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }

    #[test]
    fn a_target_that_is_missed_is_listed_with_its_figures() {
        let target = Target { area: "queue", case: "round trip", beside: "r", number: 1.0 };
        let line = target_line(target, target.row(rows(&run())));
        assert!(line.contains("round trip") && line.contains("missed"), "{line}");
        let none = target_line(target, None);
        assert!(none.contains("round trip") && none.contains("no row"), "{none}");
    }
}
