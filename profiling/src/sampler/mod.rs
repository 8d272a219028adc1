//! A thread that samples a process tree at an interval.

mod pace;
mod recorder;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::proc_files::children;
use crate::processor_time;
use crate::snapshot::Snapshot;
use crate::timeline::{Mark, Timeline};
use pace::Pace;
use recorder::Recorder;

/// Settings of a [`Sampler`].
#[derive(Debug)]
pub struct SamplerBuilder {
    root: u32,
    interval: Duration,
    full_interval: Duration,
    excluded: Vec<u32>,
    history_bytes: usize,
    observer: Option<Observer>,
}

impl SamplerBuilder {
    /// The time between two quick samples; 5 ms by default.
    ///
    /// Where a sample costs more processor time than a tenth of it (hundreds of processes), the
    /// interval is stretched, so that this takes no more than about a tenth of one processor.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The least time between two full samples, which walk page tables; 250 ms by default.
    ///
    /// It is stretched where they cost more than a fiftieth of one processor. The first and the
    /// last sample are always full ones.
    pub fn full_interval(mut self, interval: Duration) -> Self {
        self.full_interval = interval;
        self
    }

    /// Leaves one process out of all figures; its descendants stay in. See [`Ledger::exclude`].
    pub fn exclude(mut self, pid: u32) -> Self {
        self.excluded.push(pid);
        self
    }

    /// How many bytes the samples may take in memory; 1 MiB by default. Beyond that every second
    /// sample is let go, and from then on half as many are kept.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.history_bytes = bytes;
        self
    }

    /// Has each sample shown to `observer`, on the sampling thread and before the next one is
    /// taken: what it does should be short. [`Seen::is_peak`] tells the greatest total so far, the
    /// moment to look at what else is known of the processes.
    pub fn observer(mut self, observer: impl FnMut(&Seen<'_>) + Send + 'static) -> Self {
        self.observer = Some(Observer(Box::new(observer)));
        self
    }

    /// Takes the first sample and starts the thread.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProcess`], [`Error::ProcUnreadable`], [`Error::ZeroInterval`], or
    /// [`Error::Thread`] when the operating system refuses another thread.
    pub fn start(self) -> Result<Sampler> {
        if self.interval.is_zero() {
            return Err(Error::ZeroInterval);
        }
        let mut ledger = Ledger::of(self.root)?;
        self.excluded.iter().for_each(|pid| ledger.exclude(*pid));
        let shared = Arc::new(Shared {
            inbox: Mutex::new(Inbox::default()),
            changed: Condvar::new(),
            recorder: Mutex::new(Recorder::new(self.history_bytes)),
        });
        let started_before = children::ever_started();
        let mut watch = Watch {
            ledger,
            shared: Arc::clone(&shared),
            started: Instant::now(),
            pace: Pace::new(self.interval, self.full_interval),
            observer: self.observer,
        };
        watch.sample(true);
        let started = watch.started;
        let thread = std::thread::Builder::new()
            .name("memory-sampler".into())
            .spawn(move || watch.run())
            .map_err(|source| Error::Thread { source })?;
        Ok(Sampler {
            shared,
            started,
            started_before,
            owner: std::process::id(),
            thread: Some(thread),
        })
    }
}

/// A sample as the [observer](SamplerBuilder::observer) sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Seen<'a> {
    /// When it was begun, since the start of sampling.
    pub at: Duration,
    /// Every process and segment.
    pub snapshot: &'a Snapshot,
    /// Whether the total is the greatest so far.
    pub is_peak: bool,
}

/// What is called with each sample.
struct Observer(Box<dyn FnMut(&Seen<'_>) + Send>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// Samples the memory of a process tree in a thread of its own, until stopped or dropped.
///
/// When a process of the tree is killed the sampler goes on; the process's last sample stays in
/// the record. When the sampling process itself is killed, what it saw is lost.
///
/// In a child that was forked while a sampler ran, the inherited value does nothing: the thread
/// belongs to the parent.
///
/// ```
/// use std::time::Duration;
/// use profiling::Sampler;
///
/// let sampler = Sampler::builder(std::process::id()).interval(Duration::from_millis(2)).start()?;
/// let data = vec![1u8; 8 << 20];
/// sampler.mark("data made");
/// sampler.sample_now();
/// drop(data);
/// let timeline = sampler.stop();
/// assert!(timeline.peak_bytes() >= 8 << 20);
/// # Ok::<(), profiling::Error>(())
/// ```
#[derive(Debug)]
pub struct Sampler {
    shared: Arc<Shared>,
    started: Instant,
    /// What the machine had started before us.
    started_before: Option<u64>,
    /// The process that the thread runs in.
    owner: u32,
    thread: Option<JoinHandle<Snapshot>>,
}

impl Sampler {
    /// Settings for sampling the tree that starts at `pid`, which may be the caller's own.
    pub fn builder(pid: u32) -> SamplerBuilder {
        SamplerBuilder {
            root: pid,
            interval: Duration::from_millis(5),
            full_interval: Duration::from_millis(250),
            excluded: Vec::new(),
            history_bytes: 1 << 20,
            observer: None,
        }
    }

    /// Gives this instant a name; the report draws a line there.
    pub fn mark(&self, name: impl Into<String>) {
        let at = self.started.elapsed();
        if self.is_ours() {
            lock(&self.shared.inbox).marks.push(Mark { at, name: name.into() });
        }
    }

    /// Names a process in the record, for instance `worker 3`.
    pub fn label(&self, pid: u32, label: impl Into<String>) {
        if self.is_ours() {
            lock(&self.shared.inbox).labels.push((pid, label.into()));
        }
    }

    /// Takes a full sample now, and returns when it is in the record. See [`Ledger`] for what it
    /// costs: between two steps of a job, not inside one.
    pub fn sample_now(&self) {
        if !self.is_ours() {
            return;
        }
        let mut inbox = lock(&self.shared.inbox);
        inbox.requested += 1;
        let ticket = inbox.requested;
        self.shared.changed.notify_all();
        while inbox.served < ticket && !inbox.ended {
            inbox = self.shared.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was seen so far, copied; sampling goes on. It costs a copy of the record (1 MiB, see
    /// [`SamplerBuilder::history_bytes`]), during which no sample is taken.
    ///
    /// In a child forked while the sampler ran, the timeline is empty.
    pub fn timeline(&self) -> Timeline {
        if !self.is_ours() {
            return Timeline::default();
        }
        let mut timeline = lock(&self.shared.recorder).so_far();
        timeline.started_on_machine = self.started_since();
        let inbox = lock(&self.shared.inbox);
        with_names(timeline, inbox.marks.clone(), &inbox.labels)
    }

    /// Takes a last full sample and hands over what was seen.
    ///
    /// In a child forked while the sampler ran, the timeline is empty.
    pub fn stop(mut self) -> Timeline {
        let Some(last) = self.end() else { return Timeline::default() };
        let duration = self.started.elapsed();
        let inbox = std::mem::take(&mut *lock(&self.shared.inbox));
        let mut timeline = lock(&self.shared.recorder).finish(duration, &last);
        timeline.started_on_machine = self.started_since();
        with_names(timeline, inbox.marks, &inbox.labels)
    }

    /// How many processes and threads the machine has started meanwhile.
    fn started_since(&self) -> Option<u64> {
        Some(children::ever_started()?.saturating_sub(self.started_before?))
    }

    /// Whether the thread runs in this process, and not in the one we were forked from.
    fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Ends the thread, and returns the last snapshot that it took.
    fn end(&mut self) -> Option<Snapshot> {
        let thread = self.thread.take()?;
        if !self.is_ours() {
            std::mem::forget(thread); // there is no such thread in a forked child
            return None;
        }
        lock(&self.shared.inbox).stop = true;
        self.shared.changed.notify_all();
        thread.join().ok()
    }
}

/// The timeline with what its owner called instants and processes.
fn with_names(mut timeline: Timeline, marks: Vec<Mark>, labels: &[(u32, String)]) -> Timeline {
    timeline.marks = marks;
    for record in &mut timeline.processes {
        let mut of_this = labels.iter().rev().filter(|(pid, _)| *pid == record.last.pid);
        record.label = of_this.next().map(|(_, label)| label.clone());
    }
    timeline
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the sampler's owner and its thread share.
#[derive(Debug)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// Rung when the inbox changes: to the thread for `stop` and `requested`, from it for `served`.
    changed: Condvar,
    recorder: Mutex<Recorder>,
}

#[derive(Debug, Default)]
struct Inbox {
    stop: bool,
    ended: bool,
    requested: u64,
    served: u64,
    marks: Vec<Mark>,
    labels: Vec<(u32, String)>,
}

/// Locks; a thread that panicked while it held the lock leaves nothing half done in there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's side.
#[derive(Debug)]
struct Watch {
    ledger: Ledger,
    shared: Arc<Shared>,
    started: Instant,
    pace: Pace,
    observer: Option<Observer>,
}

impl Watch {
    fn run(mut self) -> Snapshot {
        let _end = EndGuard(Arc::clone(&self.shared));
        loop {
            let (stop, requested) = self.wait();
            let full = stop || requested.is_some() || self.pace.full_is_due(Instant::now());
            let snapshot = self.sample(full);
            if let Some(ticket) = requested {
                lock(&self.shared.inbox).served = ticket;
                self.shared.changed.notify_all();
            }
            if stop {
                return snapshot;
            }
        }
    }

    /// Waits for the next sample to be due or asked for: whether to stop, and which request to
    /// serve.
    fn wait(&self) -> (bool, Option<u64>) {
        let mut inbox = lock(&self.shared.inbox);
        loop {
            let requested = (inbox.requested > inbox.served).then_some(inbox.requested);
            let left = self.pace.next().saturating_duration_since(Instant::now());
            if inbox.stop || requested.is_some() || left.is_zero() {
                return (inbox.stop, requested);
            }
            let waited = self.shared.changed.wait_timeout(inbox, left);
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn sample(&mut self, full: bool) -> Snapshot {
        let began = Instant::now();
        let before = processor_time::of_this_thread();
        let snapshot = if full { self.ledger.full() } else { self.ledger.quick() };
        let cost = processor_time::of_this_thread().saturating_sub(before);
        self.pace.sampled(began, cost, full);
        let at = began.saturating_duration_since(self.started);
        let mut recorder = lock(&self.shared.recorder);
        let is_peak = recorder.record(at, snapshot.clone());
        let overhead = &mut recorder.timeline().overhead;
        let (samples, time) = if full {
            (&mut overhead.full_samples, &mut overhead.full_time)
        } else {
            (&mut overhead.quick_samples, &mut overhead.quick_time)
        };
        *samples += 1;
        *time += cost;
        drop(recorder);
        if let Some(Observer(observe)) = &mut self.observer {
            observe(&Seen { at, snapshot: &snapshot, is_peak });
        }
        snapshot
    }
}

/// Tells those who wait for a sample that none will come, even when the thread panics.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        lock(&self.0.inbox).ended = true;
        self.0.changed.notify_all();
    }
}
