//! Vocabulary for the end of a process, which is not one event.
//!
//! After a kill, three things happen, each at a time of its own: the thread that holds the life
//! word (the keeper) ends and the kernel stamps its word; the other threads end, and until then go
//! on making any step; the record locks are released and the pidfd becomes readable. Stamp and
//! threads come in either order; the locks come last.

/// How far one process has come with its end.
///
/// ```
/// use crash_check::explore::{Exit, Process};
///
/// let mut process = Process::running();
/// process.kill();
/// // Stamped already, and still able to store:
/// process.happen(Exit::KeeperEnds);
/// assert!(process.is_killed() && process.threads_run() && !process.is_gone());
/// assert_eq!(process.possible_exits().collect::<Vec<_>>(), [Exit::ThreadsEnd]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Process {
    killed: bool,
    keeper: bool,
    threads: bool,
    locks: bool,
}

/// One of the kernel's events in the end of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Exit {
    /// The keeper thread is gone: the kernel stamps the life word it armed.
    KeeperEnds,
    /// The other threads are gone: no store of the process comes after this.
    ThreadsEnd,
    /// Record locks are free and the pidfd is readable: the proof of death.
    LocksFree,
}

impl Process {
    /// A process with a keeper and at least one other thread.
    #[must_use]
    pub fn running() -> Self {
        Self { killed: false, keeper: true, threads: true, locks: true }
    }

    /// A process that never was.
    #[must_use]
    pub fn absent() -> Self {
        Self { killed: true, keeper: false, threads: false, locks: false }
    }

    /// SIGKILL: from here on the kernel's events may happen.
    pub fn kill(&mut self) {
        self.killed = true;
    }

    /// SIGKILL was sent, or the process never was.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// The keeper thread still exists.
    #[must_use]
    pub fn has_keeper(&self) -> bool {
        self.keeper
    }

    /// Threads other than the keeper still exist and may take steps.
    #[must_use]
    pub fn threads_run(&self) -> bool {
        self.threads
    }

    /// Wholly gone, and provably so.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        !self.locks
    }

    /// What the kernel may do next. Nothing before a kill: a keeper that ends alone is an event of
    /// the model's own, followed by [`happen`](Self::happen).
    pub fn possible_exits(&self) -> impl Iterator<Item = Exit> + use<> {
        let own = *self;
        [Exit::KeeperEnds, Exit::ThreadsEnd, Exit::LocksFree].into_iter().filter(move |exit| {
            own.killed
                && match exit {
                    Exit::KeeperEnds => own.keeper,
                    Exit::ThreadsEnd => own.threads,
                    Exit::LocksFree => own.locks && !own.keeper && !own.threads,
                }
        })
    }

    /// Records `exit`. What it does to shared words (the stamp, the locks) is the model's to say.
    pub fn happen(&mut self, exit: Exit) {
        match exit {
            Exit::KeeperEnds => self.keeper = false,
            Exit::ThreadsEnd => self.threads = false,
            Exit::LocksFree => self.locks = false,
        }
    }
}
