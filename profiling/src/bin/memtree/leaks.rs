//! `memtree leaks`: what a tree left behind.

use std::path::Path;
use std::process::ExitCode;

use profiling::recording::{Ending, Recording};
use profiling::units;

use crate::failure::Result;
use crate::table::Table;

/// Prints what outlived the root of the tree; status 1 if there is anything.
pub fn leaks(recording: &Path) -> Result<ExitCode> {
    let recording = Recording::read(recording)?;
    let mut table = Table::new(["left behind", "bytes", ""]);
    let mut found = false;
    for segment in &recording.left_segments {
        found = true;
        let what = "named segment: unlink it, or say who keeps it";
        table.row([segment.name.clone(), units::bytes(segment.resident), what.to_owned()]);
    }
    let over =
        matches!(recording.ending, Some(Ending::Exited(_) | Ending::Killed(_) | Ending::Gone));
    for record in recording.timeline.processes.iter().filter(|record| over && !record.ended) {
        found = true;
        let what = "process: it outlived the root of the tree";
        table.row([record.title(), units::bytes(record.last.charged()), what.to_owned()]);
    }
    if !found {
        println!("nothing was left behind");
        return Ok(ExitCode::SUCCESS);
    }
    table.lines(usize::MAX).iter().for_each(|line| println!("{line}"));
    Ok(ExitCode::FAILURE)
}
