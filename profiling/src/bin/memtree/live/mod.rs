//! `memtree live`: a running tree, anew every second.

mod heaps;
mod screen;
mod view;

use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use profiling::Ledger;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::failure::{Failure, Result};
use crate::signals::{self, Signals};
use crate::watch::{has_ended, open_end};
use heaps::Heaps;
use screen::Screen;
use view::View;

/// A walk over page tables takes milliseconds: no more often than this, and at most a fiftieth of
/// the time.
const FULL_EVERY: Duration = Duration::from_secs(2);

/// Shows the tree of `pid` until it ends, `q` is pressed, a signal comes or `count` views were
/// shown.
pub fn live(interval: u64, count: Option<u64>, pid: u32) -> Result<ExitCode> {
    let mut signals = Signals::catch(signals::ENDING)?;
    let end = open_end(pid)?;
    let mut ledger = Ledger::of(pid)?;
    ledger.exclude(std::process::id());
    let screen = std::io::stdout().is_terminal().then(Screen::open).transpose()?;
    let mut view = View::default();
    let mut heaps = Heaps::default();
    let mut next_full = Instant::now();
    let mut shown = 0;
    loop {
        let began = Instant::now();
        let snapshot = if began >= next_full {
            let snapshot = ledger.full();
            next_full = began + FULL_EVERY.max(began.elapsed() * 50);
            snapshot
        } else {
            ledger.quick()
        };
        if snapshot.processes.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        heaps.look(&snapshot);
        show(screen.as_ref(), &view.next(snapshot, &heaps, began))?;
        shown += 1;
        if count == Some(shown) || has_ended(&end) {
            return Ok(ExitCode::SUCCESS);
        }
        let until = began + Duration::from_millis(interval);
        if is_stopped(screen.as_ref(), &mut signals, &end, until)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Draws over the last view, or below it where there is no terminal.
fn show(screen: Option<&Screen>, view: &view::Drawn) -> Result<()> {
    let text = match screen {
        Some(screen) => screen.drawn(view),
        None => view.lines(120, usize::MAX).join("\n") + "\n\n",
    };
    let mut output = std::io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(|source| Failure::Output { source })
}

/// Waits for the next view to be due; true when somebody wants to stop.
fn is_stopped(
    screen: Option<&Screen>,
    signals: &mut Signals,
    end: &OwnedFd,
    until: Instant,
) -> Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let mut waited: Vec<PollFd<'_>> = signals
            .descriptors()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        waited.push(PollFd::new(end, PollFlags::IN));
        let stdin = std::io::stdin();
        if screen.is_some_and(Screen::reads_keys) {
            waited.push(PollFd::new(&stdin, PollFlags::IN));
        }
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut waited, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Failure::Terminal { source: errno.into() }),
        }
        if !signals.taken().is_empty() || screen.is_some_and(Screen::quit_was_pressed) {
            return Ok(true);
        }
        if has_ended(end) {
            return Ok(false); // the next view is the last
        }
    }
}
