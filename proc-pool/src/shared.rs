//! What a pool's threads share inside the parent, and how a thread that waits moves things along.
//!
//! There is no dispatcher that everybody waits for: **whoever waits for a result drives the pool**
//! itself, taking answers and handing out tasks, so that a result needs one wake-up and not two.
//! A thread of the pool's own drives only while nobody else does.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ipc_queue::bell::Doorbell;
use shm_core::Segment;

use crate::callbacks::Callbacks;
use crate::locked::Locked;
use crate::nested;
use crate::state::{Job, State};
use crate::stats::{self, PoolStats};

/// Shared by the pool, its handles, its keeper and its driver.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Holds the bell; every worker maps it.
    pub segment: Segment,
    /// Rung by workers whenever they took or gave something.
    pub bell: Doorbell,
    /// Looks before a waiting thread or worker sleeps; 0 where there are too few processors.
    pub spin: u32,
    state: Mutex<State>,
    ending: AtomicBool,
    /// Limit of the grace that workers get, in milliseconds.
    grace: AtomicU64,
    /// Threads that wait for results, and so drive.
    drivers: AtomicUsize,
    driver: OnceLock<Thread>,
    /// How often anybody came for results.
    visits: AtomicU64,
    /// Whether an executor or a callback waits for a result, which drives nothing itself.
    awaited: AtomicBool,
    /// Wakes the keeper.
    call: OwnedFd,
    /// Where `on_done` functions run.
    pub callbacks: Callbacks,
}

/// Looking again and again before sleeping, for some tens of microseconds.
struct Spin {
    looks: u32,
    until: Option<Instant>,
}

/// How long a thread looks again before it sleeps: about what a sleep and a wake-up cost.
const SPIN_TIME: Duration = Duration::from_micros(60);
/// The clock is asked once in so many looks.
const LOOKS: u32 = 8;

impl Spin {
    /// `looks` at most; none where there are too few processors.
    fn new(looks: u32) -> Spin {
        Spin { looks, until: None }
    }

    /// Whether it is too early to sleep.
    fn look_again(&mut self) -> bool {
        let Some(left) = self.looks.checked_sub(1) else { return false };
        self.looks = left;
        if left.is_multiple_of(LOOKS) {
            let now = Instant::now();
            if now >= *self.until.get_or_insert(now + SPIN_TIME) {
                self.looks = 0;
            }
        }
        std::hint::spin_loop();
        true
    }
}

impl Shared {
    pub fn new(segment: Segment, bell: Doorbell, state: State, spin: u32, call: OwnedFd) -> Shared {
        Shared {
            segment,
            bell,
            spin,
            state: Mutex::new(state),
            ending: AtomicBool::new(false),
            grace: AtomicU64::new(u64::MAX),
            drivers: AtomicUsize::new(0),
            driver: OnceLock::new(),
            visits: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            call,
            callbacks: Callbacks::default(),
        }
    }

    pub fn lock(&self) -> Locked<'_> {
        // A panic under this lock is a bug here; going on serves the other tasks best.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked::new(state, self)
    }

    /// What was done, with the workers' memory.
    pub fn stats(&self) -> PoolStats {
        let mut stats = self.lock().stats();
        for worker in &mut stats.workers {
            (worker.resident, worker.private) = stats::memory(worker.pid);
        }
        stats
    }

    pub fn set_driver(&self, thread: Thread) {
        let _ = self.driver.set(thread);
    }

    /// Ends the pool's threads; workers that have not ended after `grace` are killed.
    pub fn end_threads(&self, grace: Duration) {
        // Relaxed: read by the keeper after it saw `ending`.
        let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.grace.store(millis, Ordering::Relaxed);
        // Release: pairs with the Acquire load in `is_ending`, so that the grace is seen.
        self.ending.store(true, Ordering::Release);
        self.call_keeper();
        self.wake_driver();
    }

    pub fn is_ending(&self) -> bool {
        // Acquire: pairs with the Release store in `end_threads`.
        self.ending.load(Ordering::Acquire)
    }

    pub fn grace(&self, most: Duration) -> Duration {
        // Relaxed: ordered by `ending`.
        most.min(Duration::from_millis(self.grace.load(Ordering::Relaxed)))
    }

    /// Takes a job in, and makes sure that somebody drives.
    pub fn submit(&self, job: Job) {
        let mut state = self.lock();
        let idle = state.is_idle();
        state.submit(job);
        drop(state);
        if idle {
            self.wake_driver();
        }
    }

    pub fn call_keeper(&self) {
        // A full pipe wakes as well.
        let _ = rustix::io::write(&self.call, &[1]);
    }

    /// Wakes whoever waits for results.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Makes sure that somebody drives now that there is work.
    pub fn wake_driver(&self) {
        if let Some(thread) = self.driver.get() {
            thread.unpark();
        }
    }

    /// Takes answers and hands out tasks, without waiting. Whether there was anything.
    fn pump(&self) -> bool {
        let progress = self.lock().pump() || nested::help(self);
        // Relaxed: a hint. A driver that is about to sleep has announced itself to the bell and
        // looks at its result once more after that.
        if progress && self.drivers.load(Ordering::Relaxed) > 1 {
            self.bell.ring();
        }
        progress
    }

    /// Drives until `done`; `false` when `deadline` came first.
    pub fn drive(&self, deadline: Option<Instant>, mut done: impl FnMut() -> bool) -> bool {
        // Relaxed: a count of visits, compared for difference only.
        self.visits.fetch_add(1, Ordering::Relaxed);
        if done() {
            return true;
        }
        // Relaxed: see `pump`.
        self.drivers.fetch_add(1, Ordering::Relaxed);
        let in_time = self.drive_until(deadline, &mut done);
        // Relaxed: as above.
        let last = self.drivers.fetch_sub(1, Ordering::Relaxed) == 1;
        // Acquire: as in `drive_alone`. Without anybody who relies on the driver, it comes by
        // itself, soon.
        if last && self.awaited.load(Ordering::Acquire) {
            self.wake_driver();
        }
        in_time
    }

    fn drive_until(&self, deadline: Option<Instant>, done: &mut impl FnMut() -> bool) -> bool {
        let mut spin = Spin::new(self.spin);
        loop {
            if self.pump() {
                spin = Spin::new(self.spin);
            }
            if done() {
                return true;
            }
            if spin.look_again() {
                continue;
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            let ticket = self.bell.listen();
            // Whatever happened before `listen` is found by this look; what happens after it
            // rings.
            if !self.pump() && !done() {
                self.bell.wait(ticket, left);
            }
        }
    }

    /// Has the pool's own driver at work at once: somebody's executor or callback waits.
    pub fn drive_for_others(&self) {
        // Release: pairs with the Acquire swap in `drive_alone`.
        if !self.awaited.swap(true, Ordering::Release) {
            self.wake_driver();
        }
    }

    /// The pool's own driver: at work only while nobody waits for results.
    ///
    /// A thread that takes one result after another is away between two of them, for a moment; the
    /// driver lets such moments pass, since workers pay for everybody who listens. It starts at
    /// once when nobody else will come: for executors and callbacks.
    pub fn drive_alone(&self) {
        let mut patience = PATIENCE;
        while !self.is_ending() {
            // Relaxed: a hint; this thread looks again soon.
            let others = self.drivers.load(Ordering::Relaxed) > 0;
            if self.lock().is_idle() {
                // Acquire: pairs with the Release swap in `drive_for_others`. Looked at again
                // after this thread was unparked, so nobody is forgotten.
                if !self.awaited.swap(false, Ordering::Acquire) {
                    std::thread::park();
                }
                continue;
            }
            if others {
                // Nobody says when they go; see below for how soon somebody looks.
                std::thread::park_timeout(MOST_PATIENCE);
                continue;
            }
            // Relaxed, both: a count of visits, compared for difference only.
            let visits = self.visits.load(Ordering::Relaxed);
            // Acquire: as above; here it stays set until everything is done.
            if !self.awaited.load(Ordering::Acquire) {
                std::thread::park_timeout(patience);
                if self.visits.load(Ordering::Relaxed) != visits {
                    patience = (patience * 2).min(MOST_PATIENCE);
                    continue;
                }
            }
            patience = PATIENCE;
            self.drive_until_visited(visits);
        }
    }

    /// Drives until everything is done, or somebody else comes.
    fn drive_until_visited(&self, visits: u64) {
        loop {
            // Relaxed, both: as in `drive_alone`.
            let visited = self.visits.load(Ordering::Relaxed) != visits
                && !self.awaited.load(Ordering::Relaxed);
            if visited || self.is_ending() || self.lock().is_idle() {
                return;
            }
            if self.pump() {
                continue;
            }
            let ticket = self.bell.listen();
            if !self.pump() && !self.is_ending() {
                self.bell.wait(ticket, None);
            }
        }
    }
}

/// How long the pool's own driver leaves it to others, at first.
const PATIENCE: Duration = Duration::from_micros(200);
/// And at most, while others keep coming.
const MOST_PATIENCE: Duration = Duration::from_millis(2);
