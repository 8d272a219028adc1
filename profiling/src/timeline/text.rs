//! A timeline as text, for a terminal.

use std::fmt::{self, Display, Formatter};

use super::Timeline;
use crate::units;

/// The columns of the curve.
const WIDTH: usize = 60;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Display for Timeline {
    /// The curve of the total, and the state of everybody at the combined peak.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(peak) = &self.peak else { return writeln!(f, "nothing was sampled") };
        writeln!(f, "{}  {}", self.curve(), units::time(self.duration))?;
        writeln!(f, "peak {} at {}", units::bytes(peak.total), units::time(peak.at))?;
        for segment in peak.state.segments.iter().filter(|segment| segment.resident > 0) {
            let users = segment.mapped_by.len();
            let bytes = units::bytes(segment.resident);
            writeln!(f, "{bytes:>12}  {} (mapped by {users}, counted once)", segment.title())?;
        }
        for process in &peak.state.processes {
            let record = self.processes.iter().find(|record| {
                (record.last.pid, record.last.start_ticks) == (process.pid, process.start_ticks)
            });
            let title = record.map_or_else(|| process.name.clone(), |record| record.title());
            writeln!(f, "{:>12}  {title}", units::bytes(process.charged()))?;
        }
        let sum = units::bytes(peak.state.resident_sum());
        writeln!(f, "{sum:>12}  is what the resident sizes (RSS) added up to at that instant")
    }
}

impl Timeline {
    /// The total over time as a line of block characters, scaled to its peak.
    fn curve(&self) -> String {
        let mut columns = [0u64; WIDTH];
        let whole = self.duration.as_nanos().max(1);
        for sample in &self.samples {
            let column = sample.at.as_nanos() * WIDTH as u128 / whole;
            let column = usize::try_from(column).map_or(WIDTH - 1, |column| column.min(WIDTH - 1));
            columns[column] = columns[column].max(sample.total);
        }
        let greatest = u128::from(self.peak_bytes().max(1));
        let mut last = 0;
        let level = |total: u64| {
            last = if total == 0 { last } else { total }; // nobody looked: as it was
            let level = (u128::from(last) * 8).div_ceil(greatest).clamp(1, 8) - 1;
            usize::try_from(level).map_or(' ', |level| LEVELS[level])
        };
        columns.into_iter().map(level).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::two_halves;

    #[test]
    fn the_text_shows_the_curve_and_the_state_at_the_peak() {
        let text = two_halves().to_string();
        assert!(text.contains("▃▃") && text.contains("██"), "{text}");
        assert!(text.contains("peak 48.0 MiB at 750 ms"), "{text}");
        assert!(text.contains("32.0 MiB  memfd:column (mapped by 2, counted once)"), "{text}");
        assert!(text.contains("worker <1>"), "{text}");
    }

    #[test]
    fn a_timeline_without_samples_says_so() {
        assert_eq!(Timeline::default().to_string(), "nothing was sampled\n");
    }
}
