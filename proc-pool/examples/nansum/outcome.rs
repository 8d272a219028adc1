//! What the user sees: a table, a JSON object, an HTML report.

use profiling::{Report, Summary};
use serde_json::json;

use crate::Error;
use crate::options::{Options, Way};
use crate::source::Source;
use crate::ways::Outcome;

type Results = [(Way, Outcome)];

pub fn print(options: &Options, source: &Source, results: &Results) -> Result<(), Error> {
    let each = if options.split { "a part of" } else { "all of" };
    println!(
        "{} records, {}; {} workers each sum {each} column {:?}",
        source.rows,
        mebibytes(source.bytes() as u64),
        options.workers,
        source.column,
    );
    let line = |label: &str, values: Vec<String>| {
        let values: String = values.iter().map(|value| format!("{value:>20}")).collect();
        println!("{label:<18}{values}");
    };
    line("", results.iter().map(|(way, _)| way.title().to_owned()).collect());
    for (label, values) in rows(results) {
        line(label, values);
    }
    println!("report: {}", options.report.display());
    if options.json {
        println!("{}", to_json(options, source, results));
    }
    Ok(())
}

fn rows(results: &Results) -> Vec<(&'static str, Vec<String>)> {
    let row = |show: fn(&Outcome) -> String| results.iter().map(|(_, way)| show(way)).collect();
    vec![
        ("result", row(|way| way.sum.to_string())),
        ("time", row(|way| format!("{:.3} s", way.seconds))),
        ("moved by queues", row(|way| bytes(way.bytes_moved))),
        ("peak of the tree", row(|way| bytes(way.timeline.peak_bytes()))),
    ]
}

pub fn write_report(options: &Options, source: &Source, results: &Results) -> Result<(), Error> {
    let mut summary = Summary::new(results.iter().map(|(way, _)| way.title()));
    for (label, values) in rows(results) {
        summary = summary.row(label, values);
    }
    let size = mebibytes(source.bytes() as u64);
    let mut report = Report::new(format!("Summing {size} in {} processes", options.workers))
        .subtitle(format!("{} records, column {:?}", source.rows, source.column))
        .summary(summary);
    for (way, outcome) in results {
        report = report.timeline(way.title(), outcome.timeline.clone());
    }
    Ok(report.write(&options.report)?)
}

fn to_json(options: &Options, source: &Source, results: &Results) -> serde_json::Value {
    let mut object = json!({
        "rows": source.rows,
        "bytes": source.bytes(),
        "workers": options.workers,
        "column": source.column,
        "split": options.split,
        "report": options.report,
    });
    for (way, outcome) in results {
        object[way.name()] = json!({
            "sum": outcome.sum.as_f64(),
            "seconds": outcome.seconds,
            "peak_tree_bytes": outcome.timeline.peak_bytes(),
            "bytes_moved": outcome.bytes_moved,
        });
    }
    object
}

fn bytes(count: u64) -> String {
    if count < 1 << 20 { format!("{count} B") } else { mebibytes(count) }
}

fn mebibytes(count: u64) -> String {
    format!("{:.1} MiB", count as f64 / (1 << 20) as f64)
}
