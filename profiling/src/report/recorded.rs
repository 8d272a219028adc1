//! Reports of recordings.

use std::time::Duration;

use super::{Report, Summary};
use crate::recording::{Ending, HeapCapture, Recording};
use crate::stacks::{Stacks, Symbols};
use crate::units;

impl Report {
    /// A report on recordings: timelines side by side, flamegraphs at the combined peak, and what
    /// was left behind.
    pub fn of_recordings(recordings: &[Recording]) -> Self {
        let title = match recordings {
            [one] => one.title(),
            _ => "Memory of process trees".to_owned(),
        };
        let mut report = Self::new(title).subtitle(subtitle(recordings));
        let symbols = Symbols::new();
        for recording in recordings {
            let name = if recordings.len() == 1 {
                "the process tree".to_owned()
            } else {
                recording.title()
            };
            let stacks = Stacks::at_peak(&recording.timeline);
            report = report
                .stacks(format!("{name}, at the combined peak"), stacks)
                .timeline(name.clone(), recording.timeline.clone());
            report = heaps(report, &name, recording, &symbols);
        }
        match left(recordings) {
            Some(table) => report.table("Left behind", table),
            None => report,
        }
    }
}

/// What heap profiles tell, where there are any.
fn heaps(mut report: Report, name: &str, recording: &Recording, symbols: &Symbols) -> Report {
    let timeline = &recording.timeline;
    if let Some(capture) = &recording.heap_at_peak {
        let stacks = capture.stacks(timeline, symbols);
        let (at, total) = (units::time(capture.at), units::bytes(capture.total));
        let tags = tags(&stacks);
        report = report.stacks(format!("{name}, live heap at {at} (tree: {total})"), stacks);
        report = with_table(report, format!("{name}: tasks at {at}"), tags);
    }
    if let Some(capture) = &recording.heap_at_end {
        let stacks = capture.stacks(timeline, symbols);
        let tags = tags(&stacks);
        report = report.stacks(format!("{name}, live heap at the end of each process"), stacks);
        report = with_table(report, format!("{name}: tasks at the end"), tags);
        report = report.table(format!("{name}: heap profiles"), profiles(capture));
    }
    report
}

fn with_table(report: Report, name: String, table: Option<Summary>) -> Report {
    match table {
        Some(table) => report.table(name, table),
        None => report,
    }
}

/// Live bytes by task, where any was named.
fn tags(stacks: &Stacks) -> Option<Summary> {
    let tags = stacks.by_tag();
    if tags.iter().all(|(tag, _, _)| tag.is_none()) {
        return None;
    }
    let table = Summary::new(["live bytes", "blocks"]);
    Some(tags.into_iter().fold(table, |table, (tag, bytes, blocks)| {
        let row = [units::bytes(bytes), units::grouped(blocks)];
        table.row(tag.unwrap_or("outside of any task"), row)
    }))
}

/// The exact counts of each profile, and what it could not record.
fn profiles(capture: &HeapCapture) -> Summary {
    let head =
        ["live", "most ever live", "allocated in all", "profiler\u{2019}s own", "not recorded"];
    let mut table = Summary::new(head);
    for profile in &capture.profiles {
        let (totals, quality) = (&profile.totals, &profile.quality);
        let program = profile.process.program.file_name().unwrap_or_default().to_string_lossy();
        let lost = quality.dropped_blocks + quality.dropped_stacks + quality.reentrant;
        table = table.row(
            format!("{program} {}", profile.process.pid),
            [
                units::bytes(totals.live_bytes()),
                units::bytes(totals.peak_bytes),
                units::bytes(totals.allocated_bytes),
                units::bytes(profile.own_bytes),
                format!("{lost} samples"),
            ],
        );
    }
    capture.unreadable.iter().fold(table, |table, why| table.row(why, ["unreadable"]))
}

/// How each ended, and after how long.
fn subtitle(recordings: &[Recording]) -> String {
    let ending = |recording: &Recording| {
        let duration = units::time(recording.timeline.duration);
        match recording.ending {
            Some(Ending::Exited(code)) => format!("exit status {code} after {duration}"),
            Some(Ending::Killed(signal)) => format!("killed by signal {signal} after {duration}"),
            Some(Ending::Running) => format!("still running after {duration}"),
            Some(Ending::Gone) => format!("ended after {duration}"),
            None => format!("cut off after {duration}"),
        }
    };
    let dates = recordings.iter().map(|recording| recording.began).min().map(date);
    let endings: Vec<String> = recordings.iter().map(ending).collect();
    format!("{}; {}", dates.unwrap_or_default(), endings.join("; "))
}

/// Seconds since 1970 as a date and time of day (days to civil date as by Howard Hinnant).
fn date(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, over) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + over;
    let time = Duration::from_secs(of_day).as_secs();
    let (hour, minute) = (time / 3600, time / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// What outlived the trees.
fn left(recordings: &[Recording]) -> Option<Summary> {
    let mut table = Summary::new(["bytes", "what"]);
    let mut any = false;
    for recording in recordings {
        for segment in &recording.left_segments {
            any = true;
            let bytes = units::bytes(segment.resident);
            table = table.row(&segment.name, [bytes, "named segment, still there".to_owned()]);
        }
        let over = recording.ending.is_some_and(|ending| ending != Ending::Running);
        for record in recording.timeline.processes.iter().filter(|record| over && !record.ended) {
            any = true;
            let bytes = units::bytes(record.last.charged());
            table = table.row(record.title(), [bytes, "process, still running".to_owned()]);
        }
    }
    any.then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::two_halves;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_826_200), "2000-02-29 12:10 UTC");
        assert_eq!(date(1_767_225_599), "2025-12-31 23:59 UTC");
    }

    #[test]
    fn a_report_says_how_the_tree_ended_and_what_it_left() {
        let mut recording = Recording::new(vec!["a".into(), "<b>".into()], 10, 0, two_halves());
        recording.finish(Ending::Killed(9));
        recording.left_segments.push(crate::recording::LeftSegment {
            name: "/dev/shm/left".to_owned(),
            resident: 4096,
        });
        let html = Report::of_recordings(&[recording]).to_html();
        assert!(html.contains("<h1>a &lt;b&gt;</h1>"));
        assert!(html.contains("killed by signal 9 after 1.00 s"));
        assert!(html.contains("/dev/shm/left") && html.contains("4.0 KiB"));
        assert!(html.contains("still running"), "the workers of the example never ended");
    }
}
