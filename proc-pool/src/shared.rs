//! What a pool's threads share inside the parent.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipc_queue::bell::Doorbell;
use shm_core::Segment;

use crate::callbacks::Callbacks;
use crate::drive::Driving;
use crate::locked::Locked;
use crate::state::{Job, State};
use crate::stats::{self, PoolStats};

/// Shared by the pool, its handles, its keeper and its driver.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Holds the bell; every worker maps it.
    pub segment: Segment,
    /// Rung by workers whenever they took or gave something.
    pub bell: Doorbell,
    /// Processors for this process and its workers.
    pub processors: usize,
    state: Mutex<State>,
    ending: AtomicBool,
    /// Limit of the grace that workers get, in milliseconds.
    grace: AtomicU64,
    /// Who takes answers and hands out tasks.
    pub driving: Driving,
    /// Wakes the keeper.
    call: OwnedFd,
    /// Where `on_done` functions run.
    pub callbacks: Callbacks,
}

impl Shared {
    pub fn new(
        segment: Segment,
        bell: Doorbell,
        state: State,
        processors: usize,
        call: OwnedFd,
    ) -> Shared {
        Shared {
            segment,
            bell,
            processors,
            state: Mutex::new(state),
            ending: AtomicBool::new(false),
            grace: AtomicU64::new(u64::MAX),
            driving: Driving::default(),
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

    /// Ends the pool's threads; workers that have not ended after `grace` are killed.
    pub fn end_threads(&self, grace: Duration) {
        // Relaxed: read by the keeper after it saw `ending`.
        let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.grace.store(millis, Ordering::Relaxed);
        // Release: pairs with the Acquire load in `is_ending`, so that the grace is seen.
        self.ending.store(true, Ordering::Release);
        self.call_keeper();
        self.driving.wake_stand_in();
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
        self.lock().submit(job);
        self.driving.wake_if_asleep();
    }

    pub fn call_keeper(&self) {
        // A full pipe wakes as well.
        let _ = rustix::io::write(&self.call, &[1]);
    }

    /// Wakes whoever drives.
    pub fn ring(&self) {
        self.bell.ring();
    }
}
