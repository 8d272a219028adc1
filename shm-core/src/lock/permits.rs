//! A limited number of places, which the dead do not keep.

use std::time::Duration;

use super::deadline::Deadline;
use super::error::LockError;
use super::raw::RawLock;
use super::shares::Shares;
use super::signal::Signal;
use super::wait::{Sleep, Wait, wait};
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

    /// Takes `count` permits at once, as a future: for any executor, see the module.
    ///
    /// Dropped before it is ready, it has taken none.
    ///
    /// # Errors
    /// [`LockError::NotAMember`].
    #[cfg(feature = "async")]
    pub async fn acquire_async<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        count: u32,
    ) -> Result<Permit<'a, P>, LockError<()>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        crate::asynchronous::wait(peers, Taking::new(self, me, count)).await;
        Ok(Permit { permits: self, peers, me, count })
    }

    fn acquire_until<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        count: u32,
        deadline: Deadline,
    ) -> Result<Permit<'a, P>, LockError<()>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        wait(peers, deadline, Taking::new(self, me, count))?;
        Ok(Permit { permits: self, peers, me, count })
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

/// A wait for permits.
#[derive(Debug)]
struct Taking<'a> {
    permits: &'a Permits,
    me: Owner,
    count: u32,
    /// Announced: to be slept on after one more look.
    listening: Option<u32>,
}

impl<'a> Taking<'a> {
    fn new(permits: &'a Permits, me: Owner, count: u32) -> Taking<'a> {
        Taking { permits, me, count, listening: None }
    }
}

impl<'a> Wait<'a> for Taking<'a> {
    type Output = ();

    fn look<P: Peers>(&mut self, peers: &P, _may_sleep: bool) -> Option<()> {
        self.permits.try_take(peers, self.me, self.count).then_some(())
    }

    fn announce(&mut self) -> Option<Sleep<'a>> {
        self.permits.returned.announce(&mut self.listening)
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
