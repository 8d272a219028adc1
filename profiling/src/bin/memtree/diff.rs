//! `memtree diff`: two recordings at their combined peaks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use profiling::recording::Recording;
use profiling::{Symbols, Timeline, is_own_source, units};

use crate::failure::Result;
use crate::table::Table;

/// What is compared, with its bytes in each of the two.
type Pairs = BTreeMap<String, (u64, u64)>;

/// Prints what changed, the greatest change first.
pub fn diff(before: &Path, after: &Path) -> Result<ExitCode> {
    let (before, after) = (Recording::read(before)?, Recording::read(after)?);
    for line in compared(&before, &after) {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn compared(before: &Recording, after: &Recording) -> Vec<String> {
    let mut pairs = Pairs::new();
    let symbols = Symbols::new();
    parts(before, &symbols).for_each(|(name, bytes)| pairs.entry(name).or_default().0 += bytes);
    parts(after, &symbols).for_each(|(name, bytes)| pairs.entry(name).or_default().1 += bytes);
    let (before, after) = (&before.timeline, &after.timeline);
    let mut table = Table::new(["", "before", "after", "change"]);
    row(&mut table, "combined peak", before.peak_bytes(), after.peak_bytes());
    let (sum_before, sum_after) = (before.sum_of_peaks(), after.sum_of_peaks());
    row(&mut table, "everyone's own peak, added up", sum_before, sum_after);
    let copied = |timeline: &Timeline| -> u64 {
        timeline.processes.iter().map(|record| record.peak_fork_copied).sum()
    };
    row(&mut table, "copied by fork", copied(before), copied(after));
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(_, (before, after))| std::cmp::Reverse(before.abs_diff(*after)));
    for (name, (before, after)) in pairs {
        row(&mut table, &name, before, after);
    }
    table.lines(usize::MAX)
}

/// Who had what at the combined peak: processes by name, for pids differ from run to run, segments,
/// and the source lines that the live heap comes from.
fn parts(recording: &Recording, symbols: &Symbols) -> impl Iterator<Item = (String, u64)> {
    let timeline = &recording.timeline;
    let state = timeline.peak.iter().map(|peak| &peak.state);
    let processes = state.clone().flat_map(|state| &state.processes);
    let processes =
        processes.map(|process| (format!("at the peak: {}", process.name), process.charged()));
    let segments = state.flat_map(|state| &state.segments);
    let segments = segments
        .map(|segment| (format!("at the peak: {} (shared)", segment.title()), segment.resident));
    let heap = recording.heap_at_peak.as_ref();
    let lines = heap.map(|heap| heap.stacks(timeline, symbols).by_line(is_own_source));
    let lines = lines.into_iter().flatten();
    let lines = lines.map(|line| (format!("live heap: {}:{}", line.file, line.line), line.bytes));
    processes.chain(segments).chain(lines).collect::<Vec<_>>().into_iter()
}

fn row(table: &mut Table, name: &str, before: u64, after: u64) {
    let sign = if after < before { "-" } else { "+" };
    let change = format!("{sign}{}", units::bytes(before.abs_diff(after)));
    table.row([name.to_owned(), units::bytes(before), units::bytes(after), change]);
}
