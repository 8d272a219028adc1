//! The picture of a history: one column a process, one row an event, time downward.

use super::Process;
use super::condition::{Interval, NEVER_TOO_LATE};
use super::history::Death;
use std::fmt::Debug;

/// What is drawn, whatever the format.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub columns: Vec<Process>,
    pub rows: Vec<Row>,
}

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its index in the history.
    pub event: usize,
    pub column: usize,
    pub mark: Mark,
    pub label: String,
    /// Whether it is the return that no order explains.
    pub blocked: bool,
}

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Begin,
    End,
    /// A death; `pending` if an operation was open and may still take effect.
    Kill {
        pending: bool,
    },
    Recovered,
    /// From here on a pending operation can not take effect any more.
    TooLate,
}

/// The line that runs down a column between two events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    None,
    /// An operation is open.
    Solid,
    /// It is pending: its process is dead, and it may still take effect.
    Dotted,
}

impl Mark {
    /// The line below the event.
    pub fn line_after(self) -> Line {
        match self {
            Self::Begin => Line::Solid,
            Self::Kill { pending: true } => Line::Dotted,
            Self::End | Self::Kill { pending: false } | Self::Recovered | Self::TooLate => {
                Line::None
            }
        }
    }
}

impl Chart {
    pub fn new<Op: Debug, Ret: Debug>(
        deaths: &[Death],
        all: &[Interval<Op, Ret>],
        drawn: &[usize],
        positions: &[Option<usize>],
        blocked: Option<usize>,
    ) -> Self {
        let mut columns: Vec<Process> = drawn.iter().map(|&index| all[index].process).collect();
        columns.sort_unstable();
        columns.dedup();
        let mut chart = Self { columns, rows: Vec::new() };
        for &index in drawn {
            chart.add(&all[index], positions[index], blocked == Some(index));
        }
        for death in deaths {
            let of_drawn = |&&index: &&usize| {
                let interval = &all[index];
                interval.process == death.process && interval.crashed == Some(death.crashed)
            };
            let pending = drawn.iter().find(of_drawn);
            let pending = pending.is_some_and(|&index| all[index].until > death.crashed);
            chart.row(death.process, death.crashed, Mark::Kill { pending }, "killed".to_owned());
            if let Some(recovered) = death.recovered {
                chart.row(death.process, recovered, Mark::Recovered, "recovered".to_owned());
            }
        }
        chart.rows.sort_by_key(|row| (row.event, row.mark != Mark::TooLate));
        chart
    }

    fn add<Op: Debug, Ret: Debug>(
        &mut self,
        interval: &Interval<Op, Ret>,
        position: Option<usize>,
        blocked: bool,
    ) {
        let Interval { process, op, ret, .. } = interval;
        if interval.of_death {
            return;
        }
        let place = position.map_or(String::new(), |position| format!("  ({position})"));
        self.row(*process, interval.invoked, Mark::Begin, format!("{op:?}{place}"));
        match (interval.returned, ret) {
            (Some(returned), Some(ret)) => {
                self.row(*process, returned, Mark::End, format!("{ret:?}"));
                if let Some(row) = self.rows.last_mut() {
                    row.blocked = blocked;
                }
            }
            _ if interval.until != NEVER_TOO_LATE && Some(interval.until) != interval.crashed => {
                self.row(*process, interval.until, Mark::TooLate, "too late from here".to_owned());
            }
            _ => {}
        }
    }

    fn row(&mut self, process: Process, event: usize, mark: Mark, label: String) {
        if let Ok(column) = self.columns.binary_search(&process) {
            self.rows.push(Row { event, column, mark, label, blocked: false });
        }
    }

    /// The lines of all columns, as they run below each row.
    pub fn lines(&self) -> Vec<Vec<Line>> {
        let mut lines = vec![Line::None; self.columns.len()];
        let below = |row: &Row| {
            // A recovery does not end what is pending.
            if row.mark != Mark::Recovered {
                lines[row.column] = row.mark.line_after();
            }
            lines.clone()
        };
        self.rows.iter().map(below).collect()
    }
}
