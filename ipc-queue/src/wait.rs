//! Waiting for a peer: look again for a while, then sleep on a bell.
//!
//! A waiter looks again as long as that costs less than a sleep would (some twenty microseconds),
//! and learns: where looking again was in vain, the next wait looks half as long, where it helped,
//! twice. On a single processor nobody looks again: the peer cannot move while we do.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use shm_core::futex::Waited;
use shm_core::primitive::{SPIN_LIMIT, spin_loop, yield_now};

use crate::bell::Bell;

/// How long an operation may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    /// Not at all.
    Now,
    /// Until this instant.
    At(Instant),
    /// For ever.
    Never,
}

impl Deadline {
    /// So long from now; for ever if the clock cannot show that instant.
    pub(crate) fn after(timeout: Duration) -> Self {
        Instant::now().checked_add(timeout).map_or(Deadline::Never, Deadline::At)
    }

    /// The time left: `Err` if it is over, `Ok(None)` if there is no end.
    fn left(self) -> Result<Option<Duration>, ()> {
        match self {
            Deadline::Now => Err(()),
            Deadline::Never => Ok(None),
            Deadline::At(end) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() { Err(()) } else { Ok(Some(left)) }
            }
        }
    }
}

/// What one side's waits cost. Lives in that side's line of the shared header.
///
/// Relaxed everywhere: each counter has one writer (the holder of the side), and it guards
/// nothing. Not part of the protocol, so these are plain atomics and no model's business.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    spins: AtomicU64,
    parks: AtomicU64,
    wakes: AtomicU64,
}

/// What the waits of one side of a ring have cost since the ring was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideStats {
    /// Waits that ended while looking again, without a sleep.
    pub spins: u64,
    /// Sleeps (each at least two system calls: membarrier and futex).
    pub parks: u64,
    /// Wakes of the peer (a system call each): it slept, or was about to.
    pub wakes: u64,
}

impl Counters {
    pub(crate) fn read(&self) -> SideStats {
        SideStats {
            spins: self.spins.load(Relaxed),
            parks: self.parks.load(Relaxed),
            wakes: self.wakes.load(Relaxed),
        }
    }

    #[cold]
    pub(crate) fn count_wake(&self) {
        add_one(&self.wakes);
    }
}

fn add_one(counter: &AtomicU64) {
    // Relaxed, and a plain store: one writer.
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

/// The least number of looks that an adaptive waiter makes before it sleeps.
const FEWEST_LOOKS: u32 = 16;
/// Looks made after giving the processor away, before sleeping: where more runnable threads than
/// processors exist, the peer often only needs its turn.
const YIELDS: u32 = 2;

/// How one handle waits: private to it, learnt from its own waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    looks: u32,
    most: u32,
}

impl Default for Patience {
    fn default() -> Self {
        let most = if one_processor() { 0 } else { SPIN_LIMIT };
        Patience { looks: most, most }
    }
}

impl Patience {
    /// At most `looks` looks before a sleep; 0: sleep at once.
    pub(crate) fn limit(&mut self, looks: u32) {
        self.most = looks.min(SPIN_LIMIT);
        self.looks = self.most;
    }

    /// Calls `check` until it gives something, sleeping on `bell` in between, or `None` when the
    /// time is over. The caller is the bell's only listener.
    #[cold]
    pub(crate) fn wait<R>(
        &mut self,
        bell: &Bell,
        counters: &Counters,
        deadline: Deadline,
        mut check: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if deadline.left().is_err() {
            return None;
        }
        if let Some(found) = self.look_again(&mut check) {
            add_one(&counters.spins);
            return Some(found);
        }
        loop {
            let ticket = bell.listen();
            if let Some(found) = check() {
                bell.cancel(ticket);
                return Some(found);
            }
            let Ok(left) = deadline.left() else {
                bell.cancel(ticket);
                return None;
            };
            add_one(&counters.parks);
            let waited = bell.wait(ticket, left);
            if let Some(found) = check() {
                return Some(found);
            }
            if waited == Waited::TimedOut && deadline.left().is_err() {
                return None;
            }
        }
    }

    fn look_again<R>(&mut self, check: &mut impl FnMut() -> Option<R>) -> Option<R> {
        for _ in 0..self.looks {
            spin_loop();
            if let Some(found) = check() {
                self.looks = (self.looks * 2).min(self.most);
                return Some(found);
            }
        }
        self.looks = (self.looks / 2).max(FEWEST_LOOKS.min(self.most));
        for _ in 0..YIELDS.min(self.most) {
            yield_now();
            if let Some(found) = check() {
                return Some(found);
            }
        }
        None
    }
}

fn one_processor() -> bool {
    static ONE: OnceLock<bool> = OnceLock::new();
    *ONE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1))
}
