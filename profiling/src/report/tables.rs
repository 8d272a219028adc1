//! The tables of a report.

use std::fmt::Write;
use std::time::Duration;

use super::series::Stack;
use super::{Summary, amount, escape::Escaped};
use crate::process::ProcessMemory;
use crate::segment::SegmentMemory;
use crate::timeline::{Peak, ProcessRecord, Timeline};
use crate::units;

/// Names of so many processes are written out; of more, only the number.
const NAMED: usize = 12;
/// So many processes, and so many segments, have a row of their own.
const ROWS: usize = 60;

/// A table that scrolls sideways by itself where the page is narrow.
pub(super) fn table(label: &str, head: &[&str], rows: &str) -> String {
    let names: String =
        head.iter().map(|name| format!("<th scope=\"col\">{}</th>", Escaped(name))).collect();
    let head =
        if head.is_empty() { String::new() } else { format!("<thead><tr>{names}</tr></thead>\n") };
    format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\">\n<table>\n\
         {head}<tbody>\n{rows}</tbody>\n</table>\n</div>\n",
        Escaped(label)
    )
}

/// The program's own results.
pub(super) fn summary(summary: &Summary) -> String {
    format!("<section class=\"summary\">\n{}</section>\n", supplied("Results", summary))
}

/// A table that the program supplies, under a heading.
pub(super) fn named(name: &str, summary: &Summary) -> String {
    format!("<section>\n<h2>{}</h2>\n{}</section>\n", Escaped(name), supplied(name, summary))
}

fn supplied(name: &str, summary: &Summary) -> String {
    let mut head = vec![""];
    head.extend(summary.columns.iter().map(String::as_str));
    let mut rows = String::new();
    for (label, values) in &summary.rows {
        let _ = write!(rows, "<tr><th scope=\"row\">{}</th>", Escaped(label));
        let empty = String::new();
        let padded = values.iter().chain(std::iter::repeat(&empty));
        for value in padded.take(summary.columns.len()) {
            let _ = write!(rows, "<td>{}</td>", Escaped(value));
        }
        rows.push_str("</tr>\n");
    }
    table(name, &head, &rows)
}

/// Everything about one timeline that the chart does not say.
pub(super) fn details(name: &str, timeline: &Timeline, stack: &Stack) -> String {
    let Some(peak) = &timeline.peak else { return String::new() };
    format!(
        "<section>\n<h2>{name}</h2>\n<div class=\"columns\">\n<div>\n<h3>At the combined peak</h3>\n\
         {composition}</div>\n<div>\n<h3>In figures</h3>\n{figures}</div>\n</div>\n\
         <h3>Processes</h3>\n{processes}{denied}{segments}{forks}</section>\n",
        name = Escaped(name),
        composition = composition(timeline, stack, peak),
        figures = figures(timeline, peak),
        processes = processes(timeline, stack),
        denied = denied(timeline),
        segments = segments(timeline, stack),
        forks = forks(timeline, stack),
    )
}

/// One line of the composition: bytes, class of the band, what it is.
type Part<'a> = (u64, &'a str, String);

/// Who had how much at the combined peak. What shares a band in the chart shares a row here.
fn composition(timeline: &Timeline, stack: &Stack, peak: &Peak) -> String {
    let segments = parts_of_segments(timeline, stack, peak);
    let processes = parts_of_processes(timeline, stack, peak);
    let mut parts = with_small_together(segments, "small segments");
    parts.extend(with_small_together(processes, "small processes"));
    parts.sort_by_key(|part| std::cmp::Reverse(part.0));
    let mut rows = String::new();
    for (bytes, class, title) in parts {
        let share = 100.0 * bytes as f64 / peak.total.max(1) as f64;
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\"><i class=\"{class}\"></i>{}</th><td>{}</td><td>{share:.1} %</td></tr>",
            Escaped(&title),
            amount(bytes)
        );
    }
    let _ = writeln!(
        rows,
        "<tr class=\"total\"><th scope=\"row\">together</th><td>{}</td><td>at {}</td></tr>",
        amount(peak.total),
        units::time(peak.at)
    );
    table("At the combined peak", &["", "bytes", "share"], &rows)
}

fn parts_of_segments<'a>(timeline: &Timeline, stack: &'a Stack, peak: &Peak) -> Vec<Part<'a>> {
    let part = |segment: &SegmentMemory| {
        let record = timeline.segments.iter().position(|record| record.last.id == segment.id);
        let class = record.map_or("rest", |record| stack.segment_class(record));
        let users = segment.mapped_by.len();
        (segment.resident, class, format!("{} (once, mapped by {users})", segment.title()))
    };
    peak.state.segments.iter().map(part).collect()
}

fn parts_of_processes<'a>(timeline: &Timeline, stack: &'a Stack, peak: &Peak) -> Vec<Part<'a>> {
    let part = |process: &ProcessMemory| {
        let record = timeline.processes.iter().position(|record| {
            (record.last.pid, record.last.start_ticks) == (process.pid, process.start_ticks)
        });
        let class = record.map_or("rest", |record| stack.process_class(record));
        let title = record.and_then(|record| timeline.processes.get(record));
        (process.charged(), class, title.map_or_else(|| process.name.clone(), ProcessRecord::title))
    };
    peak.state.processes.iter().map(part).collect()
}

/// Puts the parts without a band of their own into one.
fn with_small_together<'a>(parts: Vec<Part<'a>>, name: &str) -> Vec<Part<'a>> {
    let (small, mut shown): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.1 == "rest");
    if !small.is_empty() {
        let bytes = small.iter().map(|part| part.0).sum();
        shown.push((bytes, "rest", format!("{} {name}", small.len())));
    }
    shown
}

/// The places of the records to show, the greatest first, and a line about those left out.
fn shown_rows(sizes: &[u64], what: &str) -> (Vec<usize>, String) {
    let mut places: Vec<usize> = (0..sizes.len()).collect();
    places.sort_by_key(|place| std::cmp::Reverse(sizes[*place]));
    let rest = places.len().saturating_sub(ROWS);
    places.truncate(ROWS);
    let note = if rest == 0 {
        String::new()
    } else {
        format!("<p class=\"lead\">and {rest} {what} that had less</p>\n")
    };
    (places, note)
}

/// From when to when something was seen.
fn seen(first: Duration, last: Duration, ended: Option<&str>) -> String {
    let (first, last) = (first.as_secs_f64(), last.as_secs_f64());
    let ended = ended.map_or_else(String::new, |ended| format!(", {ended}"));
    format!("{first:.2} \u{2013} {last:.2} s{ended}")
}

/// The peak beside what other ways of counting would say, and what the watching cost.
fn figures(timeline: &Timeline, peak: &Peak) -> String {
    let mut rows = String::new();
    let mut row = |label: &str, value: String| {
        let _ = writeln!(rows, "<tr><th scope=\"row\">{label}</th><td>{value}</td></tr>");
    };
    row("combined peak", amount(peak.total));
    row("resident sizes (RSS) added up then", amount(peak.state.resident_sum()));
    row("everyone\u{2019}s own peak added up", amount(timeline.sum_of_peaks()));
    row("bound by high-water marks", amount(timeline.high_water_bound()));
    if let Some(file) = peak.state.file_once() {
        row("mapped file pages then, not counted", amount(file));
    }
    if peak.state.swap() > 0 {
        row("private memory in swap then, not counted", amount(peak.state.swap()));
    }
    let overhead = &timeline.overhead;
    let taken = overhead.quick_samples + overhead.full_samples;
    row("sampled for", units::time(timeline.duration));
    row("samples taken / kept", format!("{taken} / {}", timeline.samples.len()));
    row("processes seen", units::grouped(timeline.processes.len() as u64));
    if let Some(unseen) = timeline.unseen_at_most() {
        row("at most so many came and went unseen", units::grouped(unseen));
    }
    row("processor time of quick samples", units::time(overhead.quick_time));
    row("processor time of full samples", units::time(overhead.full_time));
    row("memory of the record", amount(overhead.record_bytes));
    table("In figures", &[], &rows)
}

fn processes(timeline: &Timeline, stack: &Stack) -> String {
    let mut rows = String::new();
    let sizes: Vec<u64> = timeline.processes.iter().map(|record| record.peak_charged).collect();
    let (places, note) = shown_rows(&sizes, "processes");
    for index in places {
        let record = &timeline.processes[index];
        let last = &record.last;
        let detail = |bytes: Option<u64>| bytes.map_or_else(|| "\u{2013}".to_owned(), amount);
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\"><i class=\"{}\"></i>{}</th><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            stack.process_class(index),
            Escaped(&record.title()),
            last.pid,
            amount(record.peak_charged),
            amount(last.high_water),
            detail(last.detail.map(|detail| detail.private)),
            detail(last.detail.map(|detail| detail.shared)),
            detail(last.detail.map(|detail| detail.proportional)),
            amount(last.page_tables),
            amount(last.swap),
            seen(record.first_seen, record.last_seen, record.ended.then_some("ended")),
        );
    }
    let head = [
        "",
        "pid",
        "own, peak",
        "resident, peak (VmHWM)",
        "private, last",
        "shared, last",
        "proportional, last",
        "page tables",
        "swap",
        "seen",
    ];
    table("Processes", &head, &rows) + &note
}

fn segments(timeline: &Timeline, stack: &Stack) -> String {
    if timeline.segments.is_empty() {
        return "<p>No shared segments.</p>\n".to_owned();
    }
    let mut rows = String::new();
    let sizes: Vec<u64> = timeline.segments.iter().map(|record| record.peak_resident).collect();
    let (places, note) = shown_rows(&sizes, "segments");
    for index in places {
        let record = &timeline.segments[index];
        let last: &SegmentMemory = &record.last;
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\"><i class=\"{}\"></i>{}</th><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td></tr>",
            stack.segment_class(index),
            Escaped(&last.title()),
            amount(last.size),
            amount(record.peak_resident),
            who(timeline, &last.mapped_by),
            who(timeline, &last.touched_by),
            who(timeline, &last.held_by),
            seen(record.first_seen, record.last_seen, record.ended.then_some("gone")),
        );
    }
    let head = ["", "size", "resident, peak", "mapped by", "touched by", "held only", "seen"];
    format!("<h3>Shared segments</h3>\n{}{note}", table("Shared segments", &head, &rows))
}

/// How many processes, and which when the pointer rests there.
fn who(timeline: &Timeline, pids: &[u32]) -> String {
    if pids.is_empty() {
        return "\u{2013}".to_owned();
    }
    let title = |pid: &u32| {
        let record = timeline.processes.iter().find(|record| record.last.pid == *pid);
        record.map_or_else(|| pid.to_string(), ProcessRecord::title)
    };
    let mut names: Vec<String> = pids.iter().take(NAMED).map(title).collect();
    if pids.len() > NAMED {
        names.push(format!("{} more", pids.len() - NAMED));
    }
    format!("<span title=\"{}\">{}</span>", Escaped(&names.join(", ")), pids.len())
}

/// Whose figures are incomplete, and for want of which files.
fn denied(timeline: &Timeline) -> String {
    let records = timeline.processes.iter();
    let denied = records.filter(|record| !record.last.denied.files().is_empty());
    let items: String = denied
        .map(|record| {
            let files = record.last.denied.files().join(", ");
            format!("<li>{}: {files}</li>\n", Escaped(&record.title()))
        })
        .collect();
    if items.is_empty() {
        return String::new();
    }
    format!(
        "<p>Not permitted to read (run as the owner of the processes, or as root); the figures that \
         depend on it are missing:</p>\n<ul>\n{items}</ul>\n"
    )
}

/// What fork copied, for those that have copies.
fn forks(timeline: &Timeline, stack: &Stack) -> String {
    let records = timeline.processes.iter().enumerate();
    let mut forked: Vec<(usize, &ProcessRecord)> =
        records.filter(|(_, record)| record.peak_fork_copied > 0).collect();
    if forked.is_empty() {
        return String::new();
    }
    forked.sort_by_key(|(_, record)| std::cmp::Reverse(record.peak_fork_copied));
    let rest = forked.len().saturating_sub(ROWS);
    let mut rows = String::new();
    for (index, record) in forked.into_iter().take(ROWS) {
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\"><i class=\"{}\"></i>{}</th><td>{}</td><td>{}</td></tr>",
            stack.process_class(index),
            Escaped(&record.title()),
            amount(record.last.fork.inherited),
            amount(record.peak_fork_copied),
        );
    }
    let note = match rest {
        0 => String::new(),
        rest => format!("<p class=\"lead\">and {rest} processes that copied less</p>\n"),
    };
    let head = ["", "began shared", "copied, most"];
    format!(
        "<h3>What fork copied</h3>\n<p class=\"lead\">{FORKS}</p>\n{}{note}",
        table("What fork copied", &head, &rows)
    )
}

const FORKS: &str = "After a fork, parent and child have the same pages until one of them writes; \
    then there are two. Counted are the pages that were seen shared when the child was first looked \
    at, and of these the ones that a process has alone by now while a relative has another.";
