//! A place where a number of parties wait for each other.

use std::time::Duration;

use super::deadline::Deadline;
use super::error::LockError;
use super::raw::RawLock;
use super::wait::{Sleep, Wait, wait};
use crate::futex::Futex;
use crate::group::{MAX_MEMBERS, Owner, Peers};
use crate::primitive::{AtomicU32, AtomicU64, Ordering};

/// A barrier for a fixed number of parties, threads and processes alike, to be used again and
/// again.
///
/// An arrival whose process is killed does not count any more: the others go on waiting for a
/// replacement, until their time is over or somebody calls [`abort`](Barrier::abort) (for example
/// from [`Group::on_death`](crate::Group::on_death)).
///
/// ```
/// use shm_core::lock::Barrier;
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let barrier = Shared::new(Barrier::new(2))?;
/// std::thread::scope(|threads| {
///     let other = threads.spawn(|| barrier.wait(&group));
///     let leads = barrier.wait(&group).unwrap();
///     assert_ne!(leads, other.join().unwrap().unwrap(), "one of the two leads");
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Barrier {
    parties: AtomicU32,
    /// Held while arrivals are counted. What it guards is whole at every instruction.
    lock: RawLock,
    /// Counts the rounds; every change is one store, which completes a round or breaks it.
    round: Futex,
    _unused: u32,
    /// How the last 64 rounds ended: bit `round % 64` is set for one that was aborted. A party that
    /// sleeps through 64 further rounds may be told of another's end.
    aborted: AtomicU64,
    /// `owner << 32 | round << 16 | arrivals`: those of another round count nothing.
    arrivals: [AtomicU64; MAX_MEMBERS],
}

/// Why a wait at a barrier did not end with everybody there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Somebody called [`Barrier::abort`].
    #[error("the barrier was aborted: one of the parties will not come")]
    Aborted,
    /// The time was over; this arrival was taken back.
    #[error("not all parties came in time")]
    TimedOut,
    /// The group handle was inherited by `fork`.
    #[error("this process inherited its group by fork and is no member: join it in the child")]
    NotAMember,
}

impl From<LockError<()>> for Broken {
    fn from(error: LockError<()>) -> Broken {
        match error {
            LockError::NotAMember => Broken::NotAMember,
            _ => Broken::TimedOut,
        }
    }
}

fn pack(owner: Owner, round: u32, count: u16) -> u64 {
    u64::from(owner.to_bits()) << 32 | u64::from(round & 0xffff) << 16 | u64::from(count)
}

fn is_of_round(word: u64, round: u32) -> bool {
    (word >> 16) as u16 == round as u16
}

impl Barrier {
    /// A barrier for `parties` parties; 0 counts as 1.
    #[must_use]
    pub fn new(parties: u32) -> Barrier {
        Barrier {
            parties: AtomicU32::new(parties.max(1)),
            lock: RawLock::new(),
            round: Futex::new(0),
            _unused: 0,
            aborted: AtomicU64::new(0),
            arrivals: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Waits until all parties have come; `true` for one of them, which leads.
    ///
    /// What each party did before is seen by all of them afterwards.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn wait<P: Peers>(&self, peers: &P) -> Result<bool, Broken> {
        self.wait_until(peers, Deadline::Never)
    }

    /// Waits for at most `timeout`; if not all came, this arrival is taken back.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn wait_timeout<P: Peers>(&self, peers: &P, timeout: Duration) -> Result<bool, Broken> {
        self.wait_until(peers, Deadline::after(timeout))
    }

    /// Waits until all parties have come, as a future: for any executor, see the module.
    ///
    /// The party arrives when the future is first polled. Dropped before it is ready, the arrival is
    /// taken back.
    ///
    /// # Errors
    /// [`Broken`].
    #[cfg(feature = "async")]
    pub async fn wait_async<P: Peers>(&self, peers: &P) -> Result<bool, Broken> {
        let (round, leads) = self.locked(peers, |me| self.arrive(peers, me))?;
        if leads {
            return Ok(true);
        }
        let arrival = Arrival { barrier: self, peers, round };
        crate::asynchronous::wait(peers, Attending { barrier: self, round }).await;
        std::mem::forget(arrival);
        self.outcome(round)
    }

    /// Ends the round for all who wait: they get [`Broken::Aborted`]. The next round is a new one.
    ///
    /// # Errors
    /// [`Broken::NotAMember`].
    pub fn abort<P: Peers>(&self, peers: &P) -> Result<(), Broken> {
        self.locked(peers, |_| {
            // Relaxed: changed under the lock only.
            let round = self.round.word().load(Ordering::Relaxed);
            self.end_round(round, true);
        })
    }

    fn locked<P: Peers, R>(&self, peers: &P, f: impl FnOnce(Owner) -> R) -> Result<R, Broken> {
        let me = peers.me().ok_or(Broken::NotAMember)?;
        // Held for some hundred instructions, by the dead never.
        if self.lock.lock(peers, me, Deadline::Never).is_err() {
            return Err(Broken::TimedOut);
        }
        let result = f(me);
        self.lock.unlock(me);
        Ok(result)
    }

    fn end_round(&self, round: u32, aborted: bool) {
        let bit = 1 << (round % 64);
        // Relaxed: changed under the lock only, and published by the end of the round.
        let others = self.aborted.load(Ordering::Relaxed) & !bit;
        self.aborted.store(others | if aborted { bit } else { 0 }, Ordering::Relaxed);
        // Release: what all parties did is seen by whoever sees the new round. Killed before the
        // wake: the death wakes them.
        self.round.word().store(round.wrapping_add(1), Ordering::Release);
        self.round.wake_all();
    }

    fn wait_until<P: Peers>(&self, peers: &P, deadline: Deadline) -> Result<bool, Broken> {
        let (round, leads) = self.locked(peers, |me| self.arrive(peers, me))?;
        if leads {
            return Ok(true);
        }
        match wait(peers, deadline, Attending { barrier: self, round }) {
            Ok(()) => self.outcome(round),
            Err(_) => self.leave(peers, round),
        }
    }

    // Orderings: Relaxed. All of this is read and changed under the lock.
    /// Under the lock: counts this party, and ends the round if it is the last.
    fn arrive<P: Peers>(&self, peers: &P, me: Owner) -> (u32, bool) {
        let round = self.round.word().load(Ordering::Relaxed);
        let word = &self.arrivals[me.index() % MAX_MEMBERS];
        let seen = word.load(Ordering::Relaxed);
        let ours = (seen >> 32) as u32 == me.to_bits() && is_of_round(seen, round);
        let before = if ours { seen as u16 } else { 0 };
        word.store(pack(me, round, before.saturating_add(1)), Ordering::Relaxed);
        let there: u64 = self.arrivals.iter().map(|word| arrived(word, round, peers)).sum();
        let complete = there >= self.parties.load(Ordering::Relaxed).into();
        if complete {
            self.end_round(round, false);
        }
        (round, complete)
    }

    fn outcome(&self, round: u32) -> Result<bool, Broken> {
        // Relaxed: the round's end was acquired.
        if self.aborted.load(Ordering::Relaxed) >> (round % 64) & 1 == 1 {
            return Err(Broken::Aborted);
        }
        Ok(false)
    }

    /// The time is over: takes the arrival back, unless the round has ended meanwhile.
    fn leave<P: Peers>(&self, peers: &P, round: u32) -> Result<bool, Broken> {
        let ended = self.locked(peers, |me| {
            // Relaxed, here and below: under the lock.
            let ended = self.round.word().load(Ordering::Relaxed) != round;
            if !ended {
                self.arrivals[me.index() % MAX_MEMBERS].fetch_sub(1, Ordering::Relaxed);
            }
            ended
        })?;
        if ended { self.outcome(round) } else { Err(Broken::TimedOut) }
    }
}

/// Taken back when dropped, unless the round has ended.
#[cfg(feature = "async")]
struct Arrival<'a, P: Peers> {
    barrier: &'a Barrier,
    peers: &'a P,
    round: u32,
}

#[cfg(feature = "async")]
impl<P: Peers> Drop for Arrival<'_, P> {
    fn drop(&mut self) {
        let _ = self.barrier.leave(self.peers, self.round);
    }
}

/// A wait for the end of a round.
#[derive(Debug)]
struct Attending<'a> {
    barrier: &'a Barrier,
    round: u32,
}

impl<'a> Wait<'a> for Attending<'a> {
    type Output = ();

    fn look<P: Peers>(&mut self, _peers: &P, _may_sleep: bool) -> Option<()> {
        // Acquire: pairs with the Release in `end_round`.
        (self.barrier.round.word().load(Ordering::Acquire) != self.round).then_some(())
    }

    fn announce(&mut self) -> Option<Sleep<'a>> {
        Some(Sleep::on(&self.barrier.round, self.round))
    }
}

fn arrived<P: Peers>(word: &AtomicU64, round: u32, peers: &P) -> u64 {
    // Relaxed, here and below: changed under the lock only.
    let seen = word.load(Ordering::Relaxed);
    if !is_of_round(seen, round) {
        // Cleared in the very next round, so that a round's number may be used again.
        word.store(0, Ordering::Relaxed);
        return 0;
    }
    let living = Owner::from_bits((seen >> 32) as u32).is_some_and(|owner| !peers.is_gone(owner));
    if living { u64::from(seen as u16) } else { 0 }
}
