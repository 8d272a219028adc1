//! What a view of a running tree says, line by line.

use std::time::Instant;

use profiling::{ProcessMemory, SegmentMemory, Snapshot, units};

use super::heaps::Heaps;
use crate::table::{Table, cut};

/// The views of one tree, one after another.
#[derive(Debug, Default)]
pub struct View {
    last: Option<(Instant, Snapshot)>,
    peak: u64,
}

/// One view.
#[derive(Debug)]
pub struct Drawn {
    head: Vec<String>,
    processes: Table,
    segments: Option<Table>,
    notes: Vec<String>,
}

impl View {
    /// The next view: what there is, and how it changed since the last.
    pub fn next(&mut self, now: Snapshot, heaps: &Heaps, at: Instant) -> Drawn {
        self.peak = self.peak.max(now.total());
        let last = self.last.take();
        let past = last.as_ref().map(|(then, snapshot)| Past {
            seconds: at.saturating_duration_since(*then).as_secs_f64().max(1e-3),
            snapshot,
        });
        let drawn = Drawn {
            head: head(&now, past.as_ref(), self.peak),
            processes: processes(&now, heaps, past.as_ref()),
            segments: segments(&now, past.as_ref()),
            notes: denied(&now),
        };
        self.last = Some((at, now));
        drawn
    }
}

/// The view before.
struct Past<'a> {
    seconds: f64,
    snapshot: &'a Snapshot,
}

impl Past<'_> {
    fn rate(&self, then: u64, now: u64) -> String {
        let sign = if now < then { "-" } else { "+" };
        let each_second = now.abs_diff(then) as f64 / self.seconds;
        match each_second as u64 {
            0 => String::new(),
            bytes => format!("{sign}{}/s", units::bytes(bytes)),
        }
    }

    fn process(&self, process: &ProcessMemory) -> Option<u64> {
        let same = |other: &&ProcessMemory| {
            (other.pid, other.start_ticks) == (process.pid, process.start_ticks)
        };
        self.snapshot.processes.iter().find(same).map(ProcessMemory::charged)
    }

    fn segment(&self, segment: &SegmentMemory) -> Option<u64> {
        let mut others = self.snapshot.segments.iter();
        others.find(|other| other.id == segment.id).map(|other| other.resident)
    }
}

fn head(now: &Snapshot, past: Option<&Past<'_>>, peak: u64) -> Vec<String> {
    let total = now.total();
    let rate = past.map_or_else(String::new, |past| past.rate(past.snapshot.total(), total));
    let shared: u64 = now.segments.iter().map(|segment| segment.resident).sum();
    let copied: u64 = now.processes.iter().map(|process| process.fork.copied).sum();
    vec![
        format!(
            "total {}  {rate}  peak {}  in {} processes",
            units::bytes(total),
            units::bytes(peak),
            now.processes.len()
        ),
        format!(
            "segments {} once  copied by fork {}  swap {}  (RSS added up: {})",
            units::bytes(shared),
            units::bytes(copied),
            units::bytes(now.swap()),
            units::bytes(now.resident_sum())
        ),
        String::new(),
    ]
}

fn processes(now: &Snapshot, heaps: &Heaps, past: Option<&Past<'_>>) -> Table {
    let head = ["process", "pid", "own", "rate", "private", "proportional", "copied", "resident"];
    let of_heap = ["heap", "task"].into_iter().filter(|_| !heaps.is_empty());
    let mut table = Table::new(head.into_iter().chain(of_heap));
    let mut processes: Vec<&ProcessMemory> = now.processes.iter().collect();
    processes.sort_by_key(|process| std::cmp::Reverse(process.charged()));
    for process in processes {
        let own = process.charged();
        let then = past.and_then(|past| Some(past.rate(past.process(process)?, own)));
        let walked = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), units::bytes);
        let heap = heaps.of(process.pid);
        let live = heap.map_or_else(String::new, |heap| units::bytes(heap.live));
        let tasks = heap.map_or_else(String::new, |heap| heap.tasks.clone());
        let cells = [
            process.name.clone(),
            process.pid.to_string(),
            units::bytes(own),
            then.unwrap_or_default(),
            walked(process.detail.map(|detail| detail.private)),
            walked(process.detail.map(|detail| detail.proportional)),
            units::bytes(process.fork.copied),
            units::bytes(process.resident()),
        ];
        table.row(cells.into_iter().chain([live, tasks]));
    }
    table
}

fn segments(now: &Snapshot, past: Option<&Past<'_>>) -> Option<Table> {
    let mut segments: Vec<&SegmentMemory> = now.segments.iter().collect();
    segments.sort_by_key(|segment| std::cmp::Reverse(segment.resident));
    let mut table = Table::new(["segment", "resident", "rate", "size", "mapped by", "touched by"]);
    for segment in &segments {
        let then = past.and_then(|past| Some(past.rate(past.segment(segment)?, segment.resident)));
        table.row([
            segment.title(),
            units::bytes(segment.resident),
            then.unwrap_or_default(),
            units::bytes(segment.size),
            segment.mapped_by.len().to_string(),
            segment.touched_by.len().to_string(),
        ]);
    }
    (!segments.is_empty()).then_some(table)
}

/// Whose figures are incomplete for want of permission.
fn denied(now: &Snapshot) -> Vec<String> {
    let denied = now.processes.iter().filter(|process| !process.denied.files().is_empty());
    denied
        .map(|process| {
            let files = process.denied.files().join(", ");
            format!("not permitted to read {files} of process {}", process.pid)
        })
        .collect()
}

impl Drawn {
    /// At most `rows` lines of at most `columns` characters. Segments and notes keep a third of
    /// the room; what does not fit is counted.
    pub fn lines(&self, columns: usize, rows: usize) -> Vec<String> {
        let mut lines: Vec<String> = self.head.iter().map(|line| cut(line, columns)).collect();
        let mut below = Vec::new();
        if let Some(segments) = &self.segments {
            below.push(String::new());
            below.extend(segments.lines(columns));
        }
        below.extend(self.notes.iter().map(|note| cut(note, columns)));
        let room = rows.saturating_sub(lines.len());
        let below = shortened(below, room / 3 + 1);
        let processes = self.processes.lines(columns);
        lines.extend(shortened(processes, room.saturating_sub(below.len())));
        lines.extend(below);
        lines.truncate(rows);
        lines
    }
}

/// The first so many lines; the last of them says how many are missing.
fn shortened(mut lines: Vec<String>, room: usize) -> Vec<String> {
    if lines.len() > room {
        let missing = lines.len() - room.saturating_sub(1);
        lines.truncate(room.saturating_sub(1));
        lines.push(format!("and {missing} more"));
    }
    lines
}
