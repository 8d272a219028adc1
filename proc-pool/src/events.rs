//! `tracing` events of a pool (feature `tracing`), and its workers' events on their way here.
//!
//! What happens under the pool's lock is noted there and told once the lock is released: a
//! subscriber is somebody else's code. Targets: `proc_pool` for the pool's own events,
//! `proc_pool::worker` for what workers say.

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::{Level, debug, event, trace, warn};

use crate::death::DeathNotice;
use crate::output::{OutputLine, OutputStream};
use crate::slot::Notice;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    Given { task: &'static str, items: u32 },
    Answered { task: &'static str, items: u32, nanos: u64 },
    Failed { task: &'static str, items: u32 },
    Retry { task: &'static str, attempt: u32, notice: Arc<DeathNotice> },
    Started { worker: usize, pid: u32 },
    Died { worker: usize, pid: u32, asked: bool, how: String },
}

impl Event {
    fn level(&self) -> Level {
        match self {
            Event::Given { .. } | Event::Answered { .. } => Level::TRACE,
            Event::Failed { .. } | Event::Started { .. } | Event::Died { asked: true, .. } => {
                Level::DEBUG
            }
            Event::Retry { .. } | Event::Died { .. } => Level::WARN,
        }
    }

    /// Told once the pool's lock is released, if anybody may want it: one load otherwise.
    pub fn note(self, notices: &mut Vec<Notice>) {
        if self.level() <= LevelFilter::current() {
            notices.push(Notice::Event(self));
        }
    }

    pub fn tell(self) {
        match self {
            Event::Given { task, items } => {
                trace!(target: "proc_pool", task, items, "given to a worker");
            }
            Event::Answered { task, items, nanos } => {
                trace!(target: "proc_pool", task, items, nanos, "answered");
            }
            Event::Failed { task, items } => debug!(target: "proc_pool", task, items, "failed"),
            Event::Retry { task, attempt, notice } => {
                warn!(target: "proc_pool", task, attempt, pid = notice.pid, "runs again: the worker {notice}");
            }
            Event::Started { worker, pid } => {
                debug!(target: "proc_pool", worker, pid, "worker started");
            }
            Event::Died { worker, pid, asked: true, how } => {
                debug!(target: "proc_pool", worker, pid, "worker ended: it {how}");
            }
            Event::Died { worker, pid, how, .. } => {
                warn!(target: "proc_pool", worker, pid, "worker lost: it {how}");
            }
        }
    }
}

/// Begins a line of standard error that is an event of a worker's, and parts its fields.
const MARK: char = '\u{2}';

/// A worker's event as a line: level, target and text.
pub(crate) fn as_line(level: Level, target: &str, text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    format!("{MARK}{level}{MARK}{target}{MARK}{text}\n")
}

/// Level, target and text of a line that is an event.
fn from_line(line: &str) -> Option<(Level, &str, String)> {
    let mut fields = line.strip_prefix(MARK)?.splitn(3, MARK);
    let (level, target) = (fields.next()?.parse().ok()?, fields.next()?);
    let mut text = String::new();
    let mut escaped = false;
    for letter in fields.next()?.chars() {
        match (escaped, letter) {
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (true, 'n') => text.push('\n'),
            (_, letter) => text.push(letter),
        }
        escaped = false;
    }
    Some((level, target, text))
}

/// Tells what a worker wrote or reported.
pub(crate) fn tell_line(line: &OutputLine) {
    let (worker, pid) = (line.worker, line.pid);
    let stream = if line.stream == OutputStream::Out { "stdout" } else { "stderr" };
    let Some((level, from, text)) = from_line(&line.text) else {
        event!(target: "proc_pool::worker", Level::INFO, worker, pid, stream, "{}", line.text);
        return;
    };
    macro_rules! tell {
        ($level:expr) => {
            event!(target: "proc_pool::worker", $level, worker, pid, from, "{text}")
        };
    }
    match level {
        Level::ERROR => tell!(Level::ERROR),
        Level::WARN => tell!(Level::WARN),
        Level::INFO => tell!(Level::INFO),
        Level::DEBUG => tell!(Level::DEBUG),
        Level::TRACE => tell!(Level::TRACE),
    }
}

/// The level that somebody listens to here, as a number for a worker; 0 for none.
pub(crate) fn level_number() -> u32 {
    let level = LevelFilter::current().into_level();
    let known = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    level
        .and_then(|level| known.iter().position(|known| *known == level))
        .map_or(0, |n| n as u32 + 1)
}

/// The filter that this number stands for.
pub(crate) fn filter_of(number: u32) -> LevelFilter {
    match number {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_its_journey_as_one_line() {
        let text = "two\nlines, a \\ and \\n";
        let line = as_line(Level::WARN, "some::where", text);
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let (level, target, found) = from_line(line.trim_end_matches('\n')).unwrap();
        assert_eq!((level, target, found.as_str()), (Level::WARN, "some::where", text));
        assert!(from_line("an ordinary line").is_none());
    }
}
