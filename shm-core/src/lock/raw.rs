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
use super::error::Stop;
use super::wait::{Sleep, Wait, wait};
#[cfg(feature = "async")]
use crate::asynchronous;
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

/// A wait for the lock.
#[derive(Debug)]
pub(crate) struct Locking<'a> {
    lock: &'a RawLock,
    me: Owner,
    /// What the last look found.
    seen: u32,
    slept: bool,
    /// Has woken, and found the lock held: from its next sleep on, newcomers stand back.
    pub in_vain: bool,
    /// Was woken, and has made nothing of it yet.
    woken: bool,
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
        wait(peers, deadline, Locking::new(self, me, SPINS))
    }

    /// The same for a future; without looking again and again before the first sleep.
    #[cfg(feature = "async")]
    pub async fn lock_async<'a, P: Peers>(&'a self, peers: &'a P, me: Owner) -> Acquired {
        if self.try_fast(me) {
            return Acquired::Free;
        }
        asynchronous::wait(peers, Locking::new(self, me, 0)).await
    }

    /// Takes a lock whose holder is gone, if that is so.
    pub fn try_take_over<P: Peers>(&self, peers: &P, me: Owner) -> bool {
        // Relaxed: taken by an exchange.
        let seen = self.word.word().load(Ordering::Relaxed);
        Owner::from_bits(seen).is_some_and(|owner| peers.is_gone(owner))
            && self.exchange(seen, me.to_bits() | WAITERS | seen & HANDOFF)
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

    /// Announces a sleep for as long as `holder` has it; `None` if it has not.
    pub fn announce(&self, holder: Owner) -> Option<Sleep<'_>> {
        // Relaxed: slept on by its value.
        let seen = self.word.word().load(Ordering::Relaxed);
        let marked = seen | WAITERS;
        (Owner::from_bits(seen) == Some(holder) && (seen == marked || self.exchange(seen, marked)))
            .then(|| Sleep::on(&self.word, marked))
    }

    /// Somebody who was woken goes without the lock: another sleeper is to have it, or to see to it
    /// that whoever holds it now wakes the next.
    #[cold]
    fn pass_on(&self) {
        // Relaxed: whoever takes it has the Release of the unlock.
        let seen = self.word.word().load(Ordering::Relaxed);
        if Owner::from_bits(seen).is_none() {
            self.wake_after_release(seen);
        } else {
            self.word.wake(1);
        }
    }
}

impl<'a> Locking<'a> {
    /// With so many looks before the first sleep.
    pub fn new(lock: &'a RawLock, me: Owner, spins: u32) -> Locking<'a> {
        let seen = 0;
        Locking { lock, me, seen, slept: false, in_vain: false, woken: false, spins }
    }

    /// Nobody holds it, and we are not to stand back.
    fn take_free(&self) -> bool {
        // Whoever slept cannot know whether others still do. The mark goes with the one who set it.
        let waiters = if self.slept { WAITERS } else { self.seen & WAITERS };
        let handoff = if self.in_vain { 0 } else { self.seen & HANDOFF };
        self.lock.exchange(self.seen, self.me.to_bits() | waiters | handoff)
    }

    fn is_free(&self) -> bool {
        Owner::from_bits(self.seen).is_none()
    }

    /// Whether to look at a held lock again before sleeping. On one processor, or in a model,
    /// nothing changes while we look.
    fn looks_again(&mut self) -> bool {
        let again = !self.slept && self.spins.min(SPIN_LIMIT) > 0 && !one_processor();
        self.spins = self.spins.saturating_sub(1);
        again
    }
}

impl<'a> Wait<'a> for Locking<'a> {
    type Output = Acquired;

    fn look<P: Peers>(&mut self, peers: &P, may_sleep: bool) -> Option<Acquired> {
        loop {
            // Relaxed: taken by an exchange, or slept on by its value.
            self.seen = self.lock.word.word().load(Ordering::Relaxed);
            match Owner::from_bits(self.seen) {
                // Left to those who have slept.
                None if self.seen & HANDOFF != 0 && !self.slept && may_sleep => return None,
                None if self.take_free() => return Some(Acquired::Free),
                Some(owner) if !peers.is_gone(owner) => return None,
                Some(_) if self.lock.try_take_over(peers, self.me) => {
                    return Some(Acquired::FromTheDead);
                }
                _ => {}
            }
        }
    }

    fn announce(&mut self) -> Option<Sleep<'a>> {
        let word = &self.lock.word;
        if self.is_free() {
            return Some(Sleep { word, expected: self.seen, at_most: Some(COURTESY) });
        }
        if self.looks_again() {
            spin_loop();
            return None;
        }
        self.in_vain |= self.slept;
        let marks = if self.in_vain { WAITERS | HANDOFF } else { WAITERS };
        let marked = self.seen | marks;
        if marked != self.seen && !self.lock.exchange(self.seen, marked) {
            return None;
        }
        self.woken = false;
        Some(Sleep::on(word, marked))
    }

    fn woke(&mut self, waited: Waited) {
        let stood_back = self.is_free();
        // Whoever stood back and did not even fall asleep is a newcomer still.
        self.slept |= !stood_back || waited != Waited::Changed;
        self.woken = waited == Waited::Woken;
        if stood_back && waited == Waited::TimedOut {
            // Nobody came for it.
            self.lock.exchange(self.seen, self.seen & !HANDOFF);
        }
    }

    fn give_up(&mut self) {
        if self.woken {
            self.lock.pass_on();
        }
    }
}
