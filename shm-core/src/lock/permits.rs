//! A limited number of places, which the dead do not keep.

use std::time::Duration;

use super::deadline::Deadline;
use super::error::LockError;
use super::raw::{RawLock, Stop};
use super::shares::Shares;
use super::signal::Signal;
use crate::group::{Group, Owner, Peers};
use crate::primitive::{AtomicU32, Ordering};

/// Some number of permits, shared out to processes; those of a process that dies are free again.
///
/// Python's `BoundedSemaphore`, and what a semaphore is mostly used for. The truth is how many each
/// process holds: taking and giving back are one store each, and none is lost or doubled by a death
/// at any instruction.
///
/// ```
/// use shm_core::lock::Permits;
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let seats = Shared::new(Permits::new(2))?;
/// let one = seats.acquire(&group, 1)?;
/// let two = seats.acquire(&group, 1)?;
/// assert!(seats.try_acquire(&group, 1).is_err());
/// drop(one);
/// assert!(seats.try_acquire(&group, 1).is_ok());
/// # drop(two);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Permits {
    total: AtomicU32,
    /// Held while the shares are added up. Its holder's death changes nothing: the share is taken
    /// by one store.
    lock: RawLock,
    returned: Signal,
    _unused: u32,
    shares: Shares,
}

impl Permits {
    /// `total` permits, all free.
    #[must_use]
    pub fn new(total: u32) -> Permits {
        Permits {
            total: AtomicU32::new(total),
            lock: RawLock::new(),
            returned: Signal::new(),
            _unused: 0,
            shares: Shares::new(),
        }
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> u32 {
        // Relaxed: never changes.
        self.total.load(Ordering::Relaxed)
    }

    /// How many are free now; old news at once.
    #[must_use]
    pub fn available<P: Peers>(&self, peers: &P) -> u32 {
        let held = u32::try_from(self.shares.living(peers)).unwrap_or(u32::MAX);
        self.total().saturating_sub(held)
    }

    /// Takes `count` permits at once, waiting until so many are free.
    ///
    /// More than there are in all is waited for in vain: see [`total`](Permits::total).
    ///
    /// # Errors
    /// [`LockError::NotAMember`].
    pub fn acquire<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        count: u32,
    ) -> Result<Permit<'a, P>, LockError<()>> {
        self.acquire_until(peers, count, Deadline::Never)
    }

    /// Takes `count` permits if so many are free.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], [`LockError::NotAMember`].
    pub fn try_acquire<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        count: u32,
    ) -> Result<Permit<'a, P>, LockError<()>> {
        self.acquire_until(peers, count, Deadline::Now)
    }

    /// Takes `count` permits, waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], [`LockError::NotAMember`].
    pub fn acquire_timeout<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        count: u32,
        timeout: Duration,
    ) -> Result<Permit<'a, P>, LockError<()>> {
        self.acquire_until(peers, count, Deadline::after(timeout))
    }

    fn acquire_until<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        count: u32,
        deadline: Deadline,
    ) -> Result<Permit<'a, P>, LockError<()>> {
        let Some(me) = peers.me() else { return Err(LockError::NotAMember) };
        match self.take(peers, me, count, deadline) {
            Ok(()) => Ok(Permit { permits: self, peers, me, count }),
            Err(Stop::WouldBlock) => Err(LockError::WouldBlock),
            Err(Stop::TimedOut) => Err(LockError::TimedOut),
        }
    }

    fn take<P: Peers>(
        &self,
        peers: &P,
        me: Owner,
        count: u32,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        if self.try_take(peers, me, count) {
            return Ok(());
        }
        loop {
            let left = deadline.left().ok_or(Stop::at(deadline))?;
            let ticket = peers.ticket();
            let listening = self.returned.listen();
            if self.try_take(peers, me, count) {
                return Ok(());
            }
            peers.park(self.returned.futex(), listening, ticket, left);
        }
    }

    fn try_take<P: Peers>(&self, peers: &P, me: Owner, count: u32) -> bool {
        // Held for some hundred instructions by anybody: waiting for it is no waiting for permits.
        // From the dead or not: what it guards is whole at every instruction.
        if self.lock.lock(peers, me, Deadline::Never).is_err() {
            return false;
        }
        let room = u64::from(self.total()).saturating_sub(self.shares.take_stock(peers));
        let taken = u64::from(count) <= room;
        if taken {
            self.shares.add(me, count);
        }
        self.lock.unlock(me);
        taken
    }
}

/// Permits that are held; given back when dropped, or when the process dies.
#[must_use = "the permits are given back at once"]
#[derive(Debug)]
pub struct Permit<'a, P: Peers = Group> {
    permits: &'a Permits,
    peers: &'a P,
    me: Owner,
    count: u32,
}

impl<P: Peers> Permit<'_, P> {
    /// How many permits this is.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl<P: Peers> Drop for Permit<'_, P> {
    fn drop(&mut self) {
        if self.peers.me() != Some(self.me) {
            return;
        }
        self.permits.shares.sub(self.me, self.count);
        // All: who is woken may ask for more than came back, and another for less.
        self.permits.returned.notify_all();
    }
}
