//! One word that one process at a time holds: what the locks are built on.
//!
//! | word | means |
//! |---|---|
//! | 0 | free |
//! | `owner` | held; nobody sleeps |
//! | `owner`, `WAITERS` | held; somebody may sleep, so that the release must wake |
//! | `HANDOFF` beside either | somebody who slept woke in vain: newcomers stand back |
//! | `HANDOFF`, `WAITERS`, no owner | free, for those who have slept |
//!
//! A word whose owner is gone is taken by a compare-and-swap of exactly that word, so by one. Each
//! transition is a single exchange of the word; the wake after a release is the only other step.
//! Killed before the exchange: nothing happened. Killed between the release and its wake, or woken
//! and then killed: the death itself wakes everybody who parks in the group.

use std::time::Duration;

use super::deadline::Deadline;
use crate::futex::{Futex, Waited};
use crate::group::{Owner, Peers};
use crate::primitive::{Ordering, SPIN_LIMIT, one_processor, spin_loop};

const WAITERS: u32 = 1 << 31;
const HANDOFF: u32 = 1 << 30;

/// How long a newcomer leaves a free lock to those who have slept. Somebody always comes for it or
/// frees it (the models have no clock); this bounds what one costs that is stopped on the way.
const COURTESY: Duration = Duration::from_millis(1);
/// Looks at a held lock before the first sleep: about as long as a short critical section.
const SPINS: u32 = 100;

/// The word. Any value is a valid one.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct RawLock {
    word: Futex,
}

/// How the lock was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// From nobody.
    Free,
    /// From a process that died while it held it.
    FromTheDead,
}

/// The lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    WouldBlock,
    TimedOut,
}

impl Stop {
    /// The end of the patience that `deadline` gave.
    pub fn at(deadline: Deadline) -> Stop {
        match deadline {
            Deadline::Now => Stop::WouldBlock,
            _ => Stop::TimedOut,
        }
    }
}

/// What a waiter has been through.
#[derive(Debug, Default)]
struct Sleeper {
    slept: bool,
    /// Has woken, and found the lock held.
    in_vain: bool,
    spins: u32,
}

impl RawLock {
    pub fn new() -> RawLock {
        RawLock { word: Futex::new(0) }
    }

    /// Takes a lock that is free and that nobody waits for.
    #[inline(always)]
    pub fn try_fast(&self, me: Owner) -> bool {
        // Acquire: pairs with the Release in `unlock`. Relaxed on failure: the slow path looks.
        self.word
            .word()
            .compare_exchange(0, me.to_bits(), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    pub fn lock<P: Peers>(
        &self,
        peers: &P,
        me: Owner,
        deadline: Deadline,
    ) -> Result<Acquired, Stop> {
        if self.try_fast(me) {
            return Ok(Acquired::Free);
        }
        self.lock_slow(peers, me, deadline)
    }

    #[cold]
    fn lock_slow<P: Peers>(
        &self,
        peers: &P,
        me: Owner,
        deadline: Deadline,
    ) -> Result<Acquired, Stop> {
        let mut sleeper = Sleeper::default();
        loop {
            // Before the look at the owner: a death that comes after it ends the sleep.
            let ticket = peers.ticket();
            // Relaxed: taken by an exchange, or slept on by its value.
            let seen = self.word.word().load(Ordering::Relaxed);
            let Some(owner) = Owner::from_bits(seen) else {
                if let Some(acquired) = self.take_free(peers, me, seen, &mut sleeper, deadline) {
                    return Ok(acquired);
                }
                continue;
            };
            if peers.is_gone(owner) {
                if self.exchange(seen, me.to_bits() | WAITERS | seen & HANDOFF) {
                    return Ok(Acquired::FromTheDead);
                }
                continue;
            }
            let left = deadline.left().ok_or(Stop::at(deadline))?;
            if sleeper.looks_again() {
                spin_loop();
                continue;
            }
            sleeper.in_vain |= sleeper.slept;
            let marks = if sleeper.in_vain { WAITERS | HANDOFF } else { WAITERS };
            if seen | marks != seen && !self.exchange(seen, seen | marks) {
                continue;
            }
            peers.park(&self.word, seen | marks, ticket, left);
            sleeper.slept = true;
        }
    }

    /// Nobody holds it. `None`: look again.
    fn take_free<P: Peers>(
        &self,
        peers: &P,
        me: Owner,
        seen: u32,
        sleeper: &mut Sleeper,
        deadline: Deadline,
    ) -> Option<Acquired> {
        let stands_back = seen & HANDOFF != 0 && !sleeper.slept;
        if stands_back && let Some(left) = deadline.left() {
            let courtesy = left.map_or(COURTESY, |left| left.min(COURTESY));
            let waited = peers.park(&self.word, seen, peers.ticket(), Some(courtesy));
            sleeper.slept = true;
            if waited == Waited::TimedOut {
                // Nobody came for it.
                self.exchange(seen, seen & !HANDOFF);
            }
            return None;
        }
        // Whoever slept cannot know whether others still do. The mark goes with the one who set it.
        let waiters = if sleeper.slept { WAITERS } else { seen & WAITERS };
        let handoff = if sleeper.in_vain { 0 } else { seen & HANDOFF };
        self.exchange(seen, me.to_bits() | waiters | handoff).then_some(Acquired::Free)
    }

    fn exchange(&self, from: u32, to: u32) -> bool {
        // Acquire: taking pairs with the Release in `unlock`; after a death the proof was acquired.
        // Relaxed on failure: the caller looks again.
        self.word.word().compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub fn unlock(&self, me: Owner) {
        // Release: what was done under the lock; pairs with the Acquire of the next holder. Relaxed on
        // failure: others have set their marks.
        let free = self.word.word().compare_exchange(
            me.to_bits(),
            0,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if let Err(seen) = free {
            self.unlock_slow(me, seen);
        }
    }

    #[cold]
    fn unlock_slow(&self, me: Owner, mut seen: u32) {
        // The word of another: corrupted memory, which is not ours to change.
        while Owner::from_bits(seen) == Some(me) {
            let free = if seen & HANDOFF == 0 { 0 } else { HANDOFF | WAITERS };
            // Release, and Relaxed on failure: as above.
            match self.word.word().compare_exchange(
                seen,
                free,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return self.wake_after_release(free),
                Err(now) => seen = now,
            }
        }
    }

    /// Wakes the one who has slept longest. A lock that is left to those who have slept, when none
    /// has, is simply free.
    fn wake_after_release(&self, free: u32) {
        let woken = self.word.wake(1);
        // Relaxed: no data are published by it; whoever takes it has the Release before.
        if woken == 0
            && free != 0
            && self
                .word
                .word()
                .compare_exchange(free, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            // Newcomers may have stood back meanwhile.
            self.word.wake_all();
        }
    }

    /// Wakes the one who has slept longest.
    pub fn wake_one(&self) {
        self.word.wake(1);
    }

    /// Who holds it, if anybody.
    pub fn holder(&self) -> Option<Owner> {
        // Acquire: whoever finds it free sees what the last holder did.
        Owner::from_bits(self.word.word().load(Ordering::Acquire))
    }

    /// Sleeps while `holder` has it.
    pub fn wait_for<P: Peers>(&self, peers: &P, holder: Owner, left: Option<Duration>) {
        let ticket = peers.ticket();
        // Relaxed: slept on by its value.
        let seen = self.word.word().load(Ordering::Relaxed);
        if Owner::from_bits(seen) != Some(holder) || peers.is_gone(holder) {
            return;
        }
        if seen & WAITERS != 0 || self.exchange(seen, seen | WAITERS) {
            peers.park(&self.word, seen | WAITERS, ticket, left);
        }
    }
}

impl Sleeper {
    /// Whether to look at a held lock again before sleeping. On one processor, or in a model,
    /// nothing changes while we look.
    fn looks_again(&mut self) -> bool {
        let most = SPINS.min(SPIN_LIMIT);
        self.spins += 1;
        !self.slept && self.spins <= most && !one_processor()
    }
}
