//! The pool's keeper: one thread that starts workers, notices their death, and reaps them.
//!
//! It lives as long as the pool, because the kernel ends a worker with the *thread* that started
//! it. Death is noticed through a pidfd, which becomes readable when the whole process is gone.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::PoolError;
use crate::child::{Child, Launch};
use crate::death::{Death, DeathNotice};
use crate::link;
use crate::oom::OomWatch;
use crate::output::{self, Collector};
use crate::shared::Shared;
use crate::starter::Starter;
use crate::state::Ended;

/// How long workers may take to end by themselves once the pool is closed.
const GRACE: Duration = Duration::from_secs(5);

/// When a worker that could not be started is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// What the keeper owns.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    launch: Launch,
    children: Vec<Option<Child>>,
    /// Which of the missing children are to be started.
    wanted: Vec<bool>,
    oom: Option<OomWatch>,
    starter: Starter,
    /// Reads the workers' output where somebody wants it.
    collector: Option<Collector>,
    /// Readable when somebody wants the keeper's attention.
    calls: OwnedFd,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, launch: Launch, calls: OwnedFd) -> Keeper {
        let (children, wanted) = (Vec::new(), Vec::new());
        let starter = Starter::new(launch.method);
        Keeper { shared, launch, children, wanted, oom: None, starter, collector: None, calls }
    }

    /// Starts all workers; the first failure is the pool's.
    pub fn start_all(&mut self) -> Result<(), PoolError> {
        self.adjust();
        self.collector = self.launch.output.clone().map(Collector::start).transpose()?;
        self.starter.wait_until_ready(&self.launch)?;
        (0..self.children.len()).try_for_each(|number| self.start(number))?;
        self.starter.guard(&self.launch, self.children.iter().flatten());
        Ok(())
    }

    /// As many places as the pool wants; new ones are to be filled.
    fn adjust(&mut self) {
        let state = self.shared.lock();
        let target = state.target();
        if state.ended().is_some() {
            return;
        }
        drop(state);
        for number in 0..target {
            if number == self.children.len() {
                self.children.push(None);
                self.wanted.push(true);
            }
            // A place that was given up before and is wanted again.
            self.wanted[number] |= self.children[number].is_none() && self.launch.replace;
        }
        for wanted in self.wanted.iter_mut().skip(target) {
            *wanted = false;
        }
    }

    /// Starts worker `number`; it stays wanted when it must be tried again.
    fn start(&mut self, number: usize) -> Result<(), PoolError> {
        if !self.starter.is_ready(&self.launch)? {
            return Ok(());
        }
        let settings = self.launch.settings_of(number);
        let (link, socket) = link::connect(&self.shared.segment, &settings)?;
        let give_up = || self.shared.is_ending();
        let (read, write) = self.collector.as_ref().map(|_| output::pipes()).transpose()?.unzip();
        let Some(child) = self.starter.start(&self.launch, socket, write, give_up)? else {
            return Ok(());
        };
        let pid = child.pid();
        if let Some((collector, pipes)) = self.collector.as_ref().zip(read) {
            collector.add(number, pid, pipes);
        }
        self.children[number] = Some(child);
        self.wanted[number] = false;
        self.shared.lock().worker_started(number, pid, link);
        Ok(())
    }

    /// Watches until the pool ends; leaves no process behind.
    pub fn run(mut self) {
        // Later than the workers' start, which somebody waits for.
        self.oom = Some(OomWatch::new());
        while !self.shared.is_ending() {
            self.wait(self.next_look());
            self.send_signals();
            self.shared.lock().tick();
            self.adjust();
            self.bury(true);
        }
        self.finish();
    }

    /// Waits until a worker is gone, somebody calls, or the time is over.
    fn wait(&self, limit: Option<Duration>) {
        let living: Vec<&Child> = self.children.iter().flatten().collect();
        let mut fds: Vec<PollFd<'_>> = living
            .iter()
            .map(|child| PollFd::from_borrowed_fd(child.as_fd(), PollFlags::IN))
            .collect();
        fds.push(PollFd::new(&self.calls, PollFlags::IN));
        fds.extend(self.starter.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        // Interrupted or failed: the caller looks at everything anyway.
        let _ = poll(&mut fds, limit.as_ref());
        let mut calls = [0; 64];
        let _ = rustix::io::read(&self.calls, &mut calls);
    }

    /// Reaps the dead, gives their tasks back, and starts others in their place.
    fn bury(&mut self, replace: bool) {
        self.starter.look();
        for number in 0..self.children.len() {
            let gone = self.children[number].as_ref().is_some_and(Child::is_gone);
            if !gone {
                continue;
            }
            let Some(child) = self.children[number].take() else { continue };
            child.kill_group();
            let (death, peak_memory) = child.reap();
            let killed = death == Death::Signal(libc::SIGKILL);
            let notice = DeathNotice::new(
                child.pid(),
                death,
                peak_memory,
                killed && self.oom.as_mut().is_some_and(OomWatch::struck),
            );
            let again = self.shared.lock().worker_died(number, notice);
            self.wanted[number] = replace && again;
            self.shared.bell.ring();
        }
        self.start_wanted();
    }

    /// Starts workers in the place of those that died; one that cannot be started now is tried
    /// again later, since files and processes may run out for a while only.
    fn start_wanted(&mut self) {
        for number in 0..self.children.len() {
            if self.wanted[number] && !self.shared.is_ending() {
                match self.start(number) {
                    Ok(()) => {}
                    Err(error) => self.cannot_start(&error),
                }
            }
        }
        if !self.shared.is_ending() {
            self.starter.guard(&self.launch, self.children.iter().flatten());
        }
    }

    /// When to look again though nothing happened.
    fn next_look(&self) -> Option<Duration> {
        let next = self.shared.lock().next_tick();
        let next = next.map(|at| at.saturating_duration_since(Instant::now()));
        // Rather a little late than once too early.
        let next = next.map(|left| left + Duration::from_micros(50));
        let retry = self.wanted.contains(&true).then_some(RETRY);
        next.into_iter().chain(retry).min()
    }

    /// The pool goes on with the workers it has; without any it ends.
    fn cannot_start(&mut self, error: &PoolError) {
        if self.children.iter().all(Option::is_none) {
            self.wanted.fill(false);
            let reason = format!("no worker is left, and none can be started: {error}");
            let ended = match error {
                PoolError::InitializerFailed { .. } => Ended::Initializer(reason),
                _ => Ended::NoWorkers(reason),
            };
            self.shared.lock().end(ended);
        }
    }

    fn send_signals(&self) {
        let signals = self.shared.lock().take_signals();
        for (number, signal) in signals {
            if let Some(Some(child)) = self.children.get(number) {
                // In vain for one that is dead and not buried yet; never to another.
                child.signal(signal);
            }
        }
    }

    /// Every worker was told to end: waits a while, then kills.
    fn finish(&mut self) {
        self.starter.end();
        let deadline = Instant::now() + self.shared.grace(GRACE);
        while self.children.iter().any(Option::is_some) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.children.iter().flatten().for_each(Child::kill);
                self.wait(None);
            } else {
                self.wait(Some(left));
            }
            self.bury(false);
        }
        self.shared.lock().give_tokens_back();
        self.collector = None;
    }
}
