//! Watches a tree until its root ends, and keeps a recording of it on the disk.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use profiling::recording::{Ending, Recording};
use profiling::{Report, Sampler, Timeline, units};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use signal_hook::consts::SIGUSR1;

use crate::RecordingOptions;
use crate::failure::{Failure, Result};
use crate::heaps::{Heaps, Source};
use crate::signals::Signals;

/// A recording under way is written so often.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// A process that lives on so long after the root is left behind.
const AFTERLIFE: Duration = Duration::from_millis(500);

/// A tree being watched.
#[derive(Debug)]
pub struct Watch<'a> {
    options: &'a RecordingOptions,
    command: Vec<String>,
    root: u32,
    began: u64,
    sampler: Sampler,
    heaps: Heaps,
    root_end: OwnedFd,
    signals: Signals,
}

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The root of the tree ended.
    RootEnded,
    /// This signal came.
    Signal(i32),
    /// The time is up.
    TimeUp,
}

/// Whether there will be a place for the results: better known before a long run than after it.
pub fn check_places(options: &RecordingOptions) -> Result<()> {
    let is_there = |path: &Path| match path.parent() {
        Some(folder) if folder != Path::new("") => std::fs::metadata(folder).map(drop),
        _ => Ok(()),
    };
    is_there(&options.output).map_err(|source| profiling::Error::WriteRecording {
        path: options.output.clone(),
        source,
    })?;
    let Some(path) = &options.report else { return Ok(()) };
    is_there(path)
        .map_err(|source| profiling::Error::WriteReport { path: path.clone(), source })?;
    Ok(())
}

impl<'a> Watch<'a> {
    /// Starts to watch the tree of `root`. The signals were caught before the tree was started, so
    /// that none is missed.
    pub fn start(
        options: &'a RecordingOptions,
        command: Vec<String>,
        root: u32,
        signals: Signals,
        profiles: Source,
    ) -> Result<Self> {
        let root_end = open_end(root)?;
        let interval = Duration::from_millis(options.interval);
        let sampler = Sampler::builder(root).interval(interval).exclude(std::process::id());
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let heaps = Heaps::new(profiles);
        let observer = heaps.clone();
        let sampler = sampler.observer(move |seen| observer.observe(seen)).start()?;
        Ok(Self { options, command, root, began, sampler, heaps, root_end, signals })
    }

    /// Waits until the root ends, a signal comes or the time is up, and saves now and then.
    pub fn wait(&mut self, until: Option<Instant>) -> Result<Woken> {
        loop {
            for signal in self.signals.taken() {
                if signal != SIGUSR1 {
                    return Ok(Woken::Signal(signal));
                }
                self.sampler.sample_now();
                self.save()?;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Woken::TimeUp);
            }
            if self.wait_once(left.unwrap_or(SAVE_EVERY).min(SAVE_EVERY))? {
                return Ok(Woken::RootEnded);
            }
        }
    }

    /// Waits for at most this long; true when the root has ended.
    fn wait_once(&self, at_most: Duration) -> Result<bool> {
        let mut waited = vec![PollFd::new(&self.root_end, PollFlags::IN)];
        let signals = self.signals.descriptors();
        waited.extend(signals.map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN)));
        let timeout = Timespec::try_from(at_most).ok();
        match poll(&mut waited, timeout.as_ref()) {
            Ok(0) => self.save()?,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Failure::Wait { pid: self.root, source: errno.into() }),
        }
        Ok(waited.first().is_some_and(|root| root.revents().contains(PollFlags::IN)))
    }

    /// Writes what was seen so far.
    fn save(&self) -> Result<()> {
        let timeline = self.sampler.timeline();
        let mut recording = Recording::new(self.command.clone(), self.root, self.began, timeline);
        recording.heap_at_peak = self.heaps.at_peak();
        Ok(recording.write(&self.options.output)?)
    }

    /// Ends the watching: takes a last sample, then asks how the root ended.
    pub fn finish(self, ending: impl FnOnce() -> Result<Ending>) -> Result<()> {
        let Self { options, command, root, began, sampler, heaps, .. } = self;
        let mut timeline = sampler.stop();
        let ending = ending()?;
        if ending != Ending::Running {
            wait_for_the_last(&mut timeline);
        }
        let mut recording = Recording::new(command, root, began, timeline);
        recording.heap_at_peak = heaps.at_peak();
        let total = recording.timeline.samples.last().map_or(0, |sample| sample.total);
        recording.heap_at_end = heaps.at_end(recording.timeline.duration, total);
        drop(heaps); // with the folder of profiles, which is nothing that the tree left
        recording.finish(ending);
        recording.write(&options.output)?;
        if let Some(path) = &options.report {
            Report::of_recordings(std::slice::from_ref(&recording)).write(path)?;
        }
        if !options.quiet {
            eprint!("{}{}", recording.timeline, leftovers(&recording));
            eprintln!("recording: {}", options.output.display());
            if let Some(path) = &options.report {
                eprintln!("report: {}", path.display());
            }
        }
        Ok(())
    }
}

/// Gives those that were still there with the root's end a moment to follow it.
fn wait_for_the_last(timeline: &mut Timeline) {
    let until = Instant::now() + AFTERLIFE;
    for record in timeline.processes.iter_mut().filter(|record| !record.ended) {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now()));
        record.ended = open_end(record.last.pid).map_or(true, |end| {
            let mut waited = [PollFd::new(&end, PollFlags::IN)];
            poll(&mut waited, left.ok().as_ref()).is_ok_and(|ready| ready > 0)
        });
    }
}

/// A descriptor that is readable once the process has ended.
pub fn open_end(pid: u32) -> Result<OwnedFd> {
    let no_such = Failure::Profiling(profiling::Error::NoSuchProcess { pid });
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Err(no_such) };
    match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(end) => Ok(end),
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Err(no_such),
        Err(errno) => Err(Failure::Wait { pid, source: errno.into() }),
    }
}

/// Whether a descriptor of [`open_end`] says that the process has ended.
pub fn has_ended(end: &OwnedFd) -> bool {
    let mut waited = [PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN)];
    poll(&mut waited, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// What is still there after the root, one line each.
fn leftovers(recording: &Recording) -> String {
    let mut text = String::new();
    for segment in &recording.left_segments {
        let bytes = units::bytes(segment.resident);
        text += &format!("{bytes:>12}  {} is still there\n", segment.name);
    }
    let running = recording.timeline.processes.iter().filter(|record| !record.ended);
    for record in running {
        let bytes = units::bytes(record.last.charged());
        text += &format!("{bytes:>12}  {} is still running\n", record.title());
    }
    text
}
