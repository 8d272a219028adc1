//! `memtree diff`: two recordings at their combined peaks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use profiling::recording::Recording;
use profiling::{Timeline, units};

use crate::failure::Result;
use crate::table::Table;

/// What is compared, with its bytes in each of the two.
type Pairs = BTreeMap<String, (u64, u64)>;

/// Prints what changed, the greatest change first.
pub fn diff(before: &Path, after: &Path) -> Result<ExitCode> {
    let (before, after) = (Recording::read(before)?, Recording::read(after)?);
    for line in compared(&before.timeline, &after.timeline) {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn compared(before: &Timeline, after: &Timeline) -> Vec<String> {
    let mut table = Table::new(["", "before", "after", "change"]);
    row(&mut table, "combined peak", before.peak_bytes(), after.peak_bytes());
    let (sum_before, sum_after) = (before.sum_of_peaks(), after.sum_of_peaks());
    row(&mut table, "everyone's own peak, added up", sum_before, sum_after);
    let copied = |timeline: &Timeline| -> u64 {
        timeline.processes.iter().map(|record| record.peak_fork_copied).sum()
    };
    row(&mut table, "copied by fork", copied(before), copied(after));
    let mut pairs = Pairs::new();
    parts(before).for_each(|(name, bytes)| pairs.entry(name).or_default().0 += bytes);
    parts(after).for_each(|(name, bytes)| pairs.entry(name).or_default().1 += bytes);
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(_, (before, after))| std::cmp::Reverse(before.abs_diff(*after)));
    for (name, (before, after)) in pairs {
        row(&mut table, &name, before, after);
    }
    table.lines(usize::MAX)
}

/// Who had what at the combined peak: processes by name, for pids differ from run to run, and
/// segments.
fn parts(timeline: &Timeline) -> impl Iterator<Item = (String, u64)> {
    let state = timeline.peak.iter().map(|peak| &peak.state);
    let processes = state.clone().flat_map(|state| &state.processes);
    let processes =
        processes.map(|process| (format!("at the peak: {}", process.name), process.charged()));
    let segments = state.flat_map(|state| &state.segments);
    let segments = segments
        .map(|segment| (format!("at the peak: {} (shared)", segment.name), segment.resident));
    processes.chain(segments)
}

fn row(table: &mut Table, name: &str, before: u64, after: u64) {
    let sign = if after < before { "-" } else { "+" };
    let change = format!("{sign}{}", units::bytes(before.abs_diff(after)));
    table.row([name.to_owned(), units::bytes(before), units::bytes(after), change]);
}
