//! `memtree attach`: a process that runs already.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use profiling::recording::Ending;

use crate::RecordingOptions;
use crate::failure::{Failure, Result};
use crate::heaps::{Found, Source};
use crate::signals::{self, Signals};
use crate::watch::{Watch, Woken, check_places};

/// Records the tree of `pid` until it ends, a signal comes or the time is up.
pub fn attach(options: &RecordingOptions, seconds: Option<f64>, pid: u32) -> Result<ExitCode> {
    check_places(options)?;
    let signals = Signals::catch(signals::OF_A_RECORDING)?;
    let until = seconds.map(end_after).transpose()?;
    let command = vec![format!("process {pid}")];
    let profiles = Source::Processes(Found::default());
    let mut watch = Watch::start(options, command, pid, signals, profiles)?;
    let ending = match watch.wait(until)? {
        Woken::RootEnded => Ending::Gone,
        Woken::Signal(_) | Woken::TimeUp => Ending::Running,
    };
    watch.finish(|| Ok(ending))?;
    Ok(ExitCode::SUCCESS)
}

fn end_after(seconds: f64) -> Result<Instant> {
    let duration = Duration::try_from_secs_f64(seconds);
    let end = duration.ok().and_then(|duration| Instant::now().checked_add(duration));
    end.ok_or(Failure::Duration { seconds })
}
