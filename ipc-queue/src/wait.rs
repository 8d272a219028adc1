//! Waiting for a peer: look again for a while, then sleep on a bell.
//!
//! A waiter looks again for at most about as long as a sleep and a wake-up take, and learns: where
//! looking helped, the next wait may look twice as long; where a sleep followed, much shorter.
//! Judging by the looking alone would be a trap, since two sides that sleep wake each other too
//! late for short looks to meet; so after some short sleeps one wait looks for the whole time, and
//! if that helps, both sides find back. With a single processor online nobody looks again: the
//! peer cannot move while we do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use shm_core::Peers;
use shm_core::futex::Waited;
pub(crate) use shm_core::lock::Deadline;
use shm_core::primitive::{SPIN_LIMIT, one_processor, spin_loop, yield_now};

use crate::bell::Bell;
use crate::ring::Stop;

/// What the waits of one side, or of one handle, cost. Lives in the lines of those who write it.
///
/// Relaxed everywhere: counts to show, each by itself, and none in a fast path. Not part of the protocol, so
/// these are plain atomics and no model's business.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    spins: AtomicU64,
    parks: AtomicU64,
    wakes: AtomicU64,
    full: AtomicU64,
    empty: AtomicU64,
}

/// What the waits of one side of a queue, or of one handle, have cost since the queue was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideStats {
    /// Waits that ended while looking again, without a sleep.
    pub spins: u64,
    /// Sleeps (each at least two system calls: membarrier and futex).
    pub parks: u64,
    /// Wakes of the peer (a system call each): it slept, or was about to.
    pub wakes: u64,
    /// Sends that found the queue full, whether they then waited or gave up; 0 for a receiving side. One
    /// with a timeout that waits counts its first try, too, one that is a future each poll.
    pub full: u64,
    /// Receives that found the queue empty, whether they then waited or gave up; 0 for a sending side. One
    /// with a timeout that waits counts its first try, too, one that is a future each poll.
    pub empty: u64,
}

impl Counters {
    pub(crate) fn read(&self) -> SideStats {
        SideStats {
            // Relaxed: see the type.
            spins: self.spins.load(Relaxed),
            parks: self.parks.load(Relaxed),
            wakes: self.wakes.load(Relaxed),
            // Relaxed: see the type.
            full: self.full.load(Relaxed),
            empty: self.empty.load(Relaxed),
        }
    }

    pub(crate) fn count_spin(&self) {
        add_one(&self.spins);
    }

    pub(crate) fn count_park(&self) {
        add_one(&self.parks);
    }

    #[cold]
    pub(crate) fn count_wake(&self) {
        add_one(&self.wakes);
    }

    /// A send found the queue full.
    pub(crate) fn count_full(&self) {
        add_one(&self.full);
    }

    /// A receive found it empty.
    pub(crate) fn count_empty(&self) {
        add_one(&self.empty);
    }
}

fn add_one(counter: &AtomicU64) {
    // Relaxed: see `Counters`.
    counter.fetch_add(1, Relaxed);
}

/// The least number of looks that an adaptive waiter makes before it sleeps.
const FEWEST_LOOKS: u32 = 16;
/// The most pauses before the first look. Nothing comes from another processor within one pause;
/// and if a peer streams, a side that looks at once fetches what it does unit by unit, at a cache
/// miss each, which the peer pays, too. So a side that found several units at its first look pauses
/// longer the next time, up to a few microseconds, and one that found a single one or none, or so
/// many that the peer may have had to wait, pauses shorter.
const MOST_PAUSES: u32 = 64;
/// After that, so many looks come without a pause: a pause can take as long as the message of a
/// peer that is about to answer.
const TIGHT_LOOKS: u32 = 100;
/// A sleep shorter than this might have been better spent looking,
const SHORT_SLEEP: Duration = Duration::from_micros(200);
/// and after so many of them one wait tries.
const SHORT_SLEEPS: u32 = 32;
/// Looks made after giving the processor away, before sleeping: where more runnable threads than
/// processors exist, the peer often only needs its turn.
const YIELDS: u32 = 2;

/// What a look finds: units to work on, or the end.
pub(crate) type Found = Result<u64, Stop>;

/// What ends a sleep.
#[derive(Clone, Copy)]
pub(crate) struct Sleep<'a> {
    pub(crate) bell: &'a Bell,
    /// And a death among these.
    pub(crate) peers: Option<&'a dyn Peers>,
}

/// How one handle waits: private to it, learnt from its own waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Looks before a sleep.
    looks: u32,
    short_sleeps: u32,
    gather: Gather,
    /// Units found at once from which on it is not worth waiting longer for more; 0: looks find one.
    plenty: u64,
    most: u32,
}

/// Pauses that let a burst gather, as long as bursts come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather(u32);

impl Default for Gather {
    fn default() -> Self {
        Gather(1)
    }
}

impl Gather {
    /// Before a look, once looks find several units at a time. A side that follows the other at its heels
    /// takes from it, time and again, the line that it is writing.
    #[inline]
    pub(crate) fn before_looking(self, deadline: Deadline) {
        if let Deadline::Now = deadline {
            return;
        }
        for _ in 1..self.0 {
            spin_loop();
        }
    }

    /// So much was there, of which `plenty` would be enough.
    #[inline]
    pub(crate) fn has_found(&mut self, units: u64, plenty: u64) {
        let longer = units > 1 && units < plenty;
        self.0 = if longer { (self.0 * 2).min(MOST_PAUSES) } else { (self.0 / 2).max(1) };
    }
}

impl Default for Patience {
    fn default() -> Self {
        let most = if one_processor() { 0 } else { SPIN_LIMIT };
        Patience { looks: most, short_sleeps: 0, gather: Gather::default(), plenty: u64::MAX, most }
    }
}

impl Patience {
    /// For a ring of so many units.
    pub(crate) fn for_ring(capacity: u64) -> Self {
        Patience { plenty: (capacity / 8).max(2), ..Self::default() }
    }

    /// For a queue in which a look finds one unit at a time: how many come in a row is told by
    /// [`has_run`](Self::has_run).
    pub(crate) fn one_by_one() -> Self {
        Patience { plenty: 0, ..Self::default() }
    }

    /// So many units came, one after the other, since the wait before this one.
    pub(crate) fn has_run(&mut self, units: u64, plenty: u64) {
        self.gather.has_found(units, plenty);
    }

    /// At most `looks` looks before a sleep; 0: sleep at once.
    pub(crate) fn limit(&mut self, looks: u32) {
        self.most = looks.min(SPIN_LIMIT);
        self.looks = self.most;
    }

    /// Calls `check` until it gives something, sleeping in between, or `None` when the
    /// time is over. The caller is the bell's only listener.
    #[cold]
    pub(crate) fn wait(
        &mut self,
        Sleep { bell, peers }: Sleep<'_>,
        counters: &Counters,
        deadline: Deadline,
        mut check: impl FnMut() -> Option<Found>,
    ) -> Option<Found> {
        deadline.left()?;
        if let Some(found) = self.look_again(&mut check) {
            counters.count_spin();
            return Some(found);
        }
        loop {
            // Before the look, so that a death that the look did not see ends the sleep.
            let deaths = peers.map(|peers| (peers, peers.ticket()));
            let ticket = bell.listen();
            if let Some(found) = check() {
                bell.cancel();
                self.look_longer();
                return Some(found);
            }
            let Some(left) = deadline.left() else {
                bell.cancel();
                return None;
            };
            counters.count_park();
            let start = Instant::now();
            let waited = match deaths {
                Some((peers, deaths)) => bell.wait_in(ticket, &peers, deaths, left),
                None => bell.wait(ticket, left),
            };
            self.look_shorter(start.elapsed());
            if let Some(found) = check() {
                return Some(found);
            }
            if waited == Waited::TimedOut && deadline.left().is_none() {
                return None;
            }
        }
    }

    /// Looking has helped.
    pub(crate) fn look_longer(&mut self) {
        self.looks = (self.looks * 2).min(self.most);
    }

    /// It has not, and a sleep followed.
    pub(crate) fn look_shorter(&mut self, slept: Duration) {
        self.looks = (self.looks / 8).max(FEWEST_LOOKS).min(self.most);
        if slept < SHORT_SLEEP {
            self.short_sleeps += 1;
        }
        if self.short_sleeps >= SHORT_SLEEPS {
            self.short_sleeps = 0;
            self.looks = self.most;
        }
    }

    pub(crate) fn look_again(
        &mut self,
        check: &mut impl FnMut() -> Option<Found>,
    ) -> Option<Found> {
        if self.most == 0 {
            return None;
        }
        if let Some(found) = self.first_look(check) {
            return Some(found);
        }
        for look in 1..self.looks {
            if look >= TIGHT_LOOKS {
                spin_loop();
            }
            if let Some(found) = check() {
                self.look_longer();
                return Some(found);
            }
        }
        for _ in 0..YIELDS {
            yield_now();
            if let Some(found) = check() {
                return Some(found);
            }
        }
        None
    }

    /// Lets a burst gather, as long as bursts come.
    fn first_look(&mut self, check: &mut impl FnMut() -> Option<Found>) -> Option<Found> {
        spin_loop();
        self.before_looking(Deadline::Never);
        let found = check();
        self.has_found(found.as_ref().unwrap_or(&Ok(0)));
        found
    }

    /// See [`Gather`]; also before a look for more than is known of.
    #[inline]
    pub(crate) fn before_looking(&self, deadline: Deadline) {
        self.gather.before_looking(deadline);
    }

    /// What that look found.
    #[inline]
    pub(crate) fn has_found(&mut self, found: &Found) {
        if self.plenty == 0 {
            return;
        }
        self.gather.has_found(found.as_ref().copied().unwrap_or(0), self.plenty);
    }
}
