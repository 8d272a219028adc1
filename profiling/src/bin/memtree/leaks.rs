//! `memtree leaks`: what a tree left behind.

use std::path::Path;
use std::process::ExitCode;

use profiling::recording::{Ending, Recording};
use profiling::{Symbols, units};

use crate::failure::Result;
use crate::table::Table;

/// So many source lines are printed.
const LINES: usize = 30;

/// Prints what outlived the root of the tree, status 1 if there is anything; and what was live in
/// the heaps at the end, which may be meant so.
pub fn leaks(recording: &Path) -> Result<ExitCode> {
    let recording = Recording::read(recording)?;
    let left = left_behind(&recording);
    match &left {
        Some(table) => print(table),
        None => println!("nothing was left behind"),
    }
    if let Some(table) = live_heap(&recording) {
        println!();
        print(&table);
    }
    Ok(if left.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(table: &Table) {
    table.lines(usize::MAX).iter().for_each(|line| println!("{line}"));
}

/// What the heap profiles say was not freed when their process ended, by source line.
fn live_heap(recording: &Recording) -> Option<Table> {
    let capture = recording.heap_at_end.as_ref()?;
    let stacks = capture.stacks(&recording.timeline, &Symbols::new());
    let mut table = Table::new(["live at the end of its process", "bytes", "blocks"]);
    for line in stacks.by_line(profiling::is_own_source).into_iter().take(LINES) {
        let place = format!("{} ({}:{})", line.function, line.file, line.line);
        table.row([place, units::bytes(line.bytes), line.blocks.to_string()]);
    }
    let all = stacks.stacks.iter().map(|stack| stack.blocks).sum::<u64>();
    table.row(["together".to_owned(), units::bytes(stacks.bytes()), all.to_string()]);
    Some(table)
}

fn left_behind(recording: &Recording) -> Option<Table> {
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
    found.then_some(table)
}
