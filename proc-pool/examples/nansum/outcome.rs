//! What the user sees: a table, a JSON object, an HTML report.

use profiling::{Report, Summary};
use serde_json::json;

use crate::Error;
use crate::options::Options;
use crate::source::Source;
use crate::ways::Outcome;

pub fn print(
    options: &Options,
    source: &Source,
    shared: &Outcome,
    copied: &Outcome,
) -> Result<(), Error> {
    let each = if options.split { "a part of" } else { "all of" };
    println!(
        "{} records, {}; {} workers each sum {each} column {:?}",
        source.rows,
        mebibytes(source.bytes() as u64),
        options.workers,
        source.column,
    );
    println!("{:<22}{:>20}{:>20}", "", "shared view", "a copy each");
    for (label, values) in rows(shared, copied) {
        println!("{label:<22}{:>20}{:>20}", values[0], values[1]);
    }
    println!("report: {}", options.report.display());
    if options.json {
        println!("{}", to_json(options, source, shared, copied));
    }
    Ok(())
}

fn rows(shared: &Outcome, copied: &Outcome) -> Vec<(&'static str, [String; 2])> {
    let row = |show: fn(&Outcome) -> String| [show(shared), show(copied)];
    vec![
        ("result", row(|way| way.sum.to_string())),
        ("time", row(|way| format!("{:.3} s", way.seconds))),
        ("moved by queues", row(|way| bytes(way.bytes_moved))),
        ("peak of the tree", row(|way| bytes(way.timeline.peak_bytes()))),
    ]
}

pub fn write_report(
    options: &Options,
    source: &Source,
    shared: &Outcome,
    copied: &Outcome,
) -> Result<(), Error> {
    let mut summary = Summary::new(["shared view", "a copy each"]);
    for (label, values) in rows(shared, copied) {
        summary = summary.row(label, values);
    }
    let title =
        format!("Summing {} in {} processes", mebibytes(source.bytes() as u64), options.workers);
    Report::new(title)
        .subtitle(format!("{} records, column {:?}", source.rows, source.column))
        .timeline("shared view", shared.timeline.clone())
        .timeline("a copy each", copied.timeline.clone())
        .summary(summary)
        .write(&options.report)?;
    Ok(())
}

fn to_json(
    options: &Options,
    source: &Source,
    shared: &Outcome,
    copied: &Outcome,
) -> serde_json::Value {
    let way = |way: &Outcome| {
        json!({
            "sum": way.sum.as_f64(),
            "seconds": way.seconds,
            "peak_tree_bytes": way.timeline.peak_bytes(),
            "bytes_moved": way.bytes_moved,
        })
    };
    json!({
        "rows": source.rows,
        "bytes": source.bytes(),
        "workers": options.workers,
        "column": source.column,
        "split": options.split,
        "report": options.report,
        "shared": way(shared),
        "copied": way(copied),
    })
}

fn bytes(count: u64) -> String {
    if count < 1 << 20 { format!("{count} B") } else { mebibytes(count) }
}

fn mebibytes(count: u64) -> String {
    format!("{:.1} MiB", count as f64 / (1 << 20) as f64)
}
