//! Many readers or one writer.
//!
//! A writer takes the write word and then waits until every reader's share is back; a reader takes
//! its share and then looks whether there is a writer. Both announce themselves first and look
//! then, with a full barrier between, so that one of them sees the other.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::deadline::Deadline;
use super::error::{Cause, LockError};
use super::mutex::{LockResult, Poison};
use super::raw::{Acquired, RawLock};
use super::shares::Shares;
use super::signal::Signal;
use super::wait::{Sleep, Wait, wait};
use crate::futex::Waited;
use crate::group::{Group, Owner, Peers};
use crate::primitive::{Ordering, UnsafeCell, fence, fence_after_rmw};

/// Data that many may read or one may write: [`std::sync::RwLock`] between processes.
///
/// Zeroed memory is an unlocked one. Who holds it for reading is written process by process, so the
/// share of a reader that is killed is found and given back; a writer that is killed leaves the data
/// as they are, [`LockError::Poisoned`] for whoever comes next. A waiting writer keeps new readers
/// out.
///
/// ```
/// use shm_core::lock::RwLock;
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let settings = Shared::new(RwLock::new([0_u32; 4]))?;
/// settings.write(&group).map_err(|_| "poisoned")?[0] = 7;
/// let (one, two) = (settings.read(&group), settings.read(&group));
/// assert_eq!(one.map_err(|_| "poisoned")?[0] + two.map_err(|_| "poisoned")?[0], 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(C)]
pub struct RwLock<T> {
    write: RawLock,
    poison: Poison,
    drained: Signal,
    _unused: u32,
    shares: Shares,
    data: UnsafeCell<T>,
}

// SAFETY: the lock lends the data to one writer or to readers.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    /// An unlocked one holding `value`.
    pub fn new(value: T) -> RwLock<T> {
        RwLock {
            write: RawLock::new(),
            poison: Poison::new(),
            drained: Signal::new(),
            _unused: 0,
            shares: Shares::new(),
            data: UnsafeCell::new(value),
        }
    }

    /// Locks for reading, waiting as long as it takes.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] (taken, but look at the data); [`LockError::NotAMember`].
    pub fn read<'a, P: Peers>(&'a self, peers: &'a P) -> LockResult<RwLockReadGuard<'a, T, P>> {
        self.read_until(peers, Deadline::Never)
    }

    /// Locks for reading if no writer is there.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and those of [`read`](RwLock::read).
    pub fn try_read<'a, P: Peers>(&'a self, peers: &'a P) -> LockResult<RwLockReadGuard<'a, T, P>> {
        self.read_until(peers, Deadline::Now)
    }

    /// Locks for reading, waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], and those of [`read`](RwLock::read).
    pub fn read_timeout<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        timeout: Duration,
    ) -> LockResult<RwLockReadGuard<'a, T, P>> {
        self.read_until(peers, Deadline::after(timeout))
    }

    /// Locks for writing, waiting as long as it takes.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] (taken, but look at the data); [`LockError::NotAMember`].
    pub fn write<'a, P: Peers>(&'a self, peers: &'a P) -> LockResult<RwLockWriteGuard<'a, T, P>> {
        self.write_until(peers, Deadline::Never)
    }

    /// Locks for writing if nobody living has it.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and those of [`write`](RwLock::write).
    pub fn try_write<'a, P: Peers>(
        &'a self,
        peers: &'a P,
    ) -> LockResult<RwLockWriteGuard<'a, T, P>> {
        self.write_until(peers, Deadline::Now)
    }

    /// Locks for writing, waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], and those of [`write`](RwLock::write).
    pub fn write_timeout<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        timeout: Duration,
    ) -> LockResult<RwLockWriteGuard<'a, T, P>> {
        self.write_until(peers, Deadline::after(timeout))
    }

    /// Why the data may be half changed, if they may.
    #[must_use]
    pub fn poison(&self) -> Option<Cause> {
        self.poison.get()
    }

    /// Says that the data are whole again. Call it while holding the lock for writing.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// Locks for reading, as a future: for any executor, see the module.
    ///
    /// Dropped before it is ready, it has not taken the lock.
    ///
    /// # Errors
    /// Those of [`read`](RwLock::read).
    #[cfg(feature = "async")]
    pub async fn read_async<'a, P: Peers>(
        &'a self,
        peers: &'a P,
    ) -> LockResult<RwLockReadGuard<'a, T, P>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        crate::asynchronous::wait(peers, Reading::new(self, me)).await;
        self.reader(peers, me)
    }

    /// Locks for writing, as a future: for any executor, see the module.
    ///
    /// Dropped before it is ready, it has not taken the lock.
    ///
    /// # Errors
    /// Those of [`write`](RwLock::write).
    #[cfg(feature = "async")]
    pub async fn write_async<'a, P: Peers>(
        &'a self,
        peers: &'a P,
    ) -> LockResult<RwLockWriteGuard<'a, T, P>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        let acquired = self.write.lock_async(peers, me).await;
        // Dropped from here on, it gives the write word back.
        let writer = self.writer(peers, me, acquired);
        crate::asynchronous::wait(peers, Draining { lock: self, listening: None }).await;
        writer
    }

    fn read_until<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        deadline: Deadline,
    ) -> LockResult<RwLockReadGuard<'a, T, P>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        wait(peers, deadline, Reading::new(self, me))?;
        self.reader(peers, me)
    }

    /// The guard of a share that was taken.
    fn reader<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        me: Owner,
    ) -> LockResult<RwLockReadGuard<'a, T, P>> {
        self.poison.wrap(RwLockReadGuard { lock: self, peers, me }, Acquired::Free)
    }

    /// Takes a share, unless there is a writer: then that one.
    fn share(&self, me: Owner) -> Option<Owner> {
        self.shares.add(me, 1);
        // Orders the share before the look: pairs with the fence in `writer`.
        fence_after_rmw();
        let writer = self.write.holder()?;
        self.unshare(me);
        Some(writer)
    }

    #[inline]
    fn unshare(&self, me: Owner) {
        self.shares.sub(me, 1);
        // Orders the share's return before the look for a waiting writer; pairs with the fence in
        // `Signal::listen`.
        fence_after_rmw();
        if self.drained.has_listener() {
            self.drained.wake(i32::MAX.unsigned_abs());
        }
    }

    fn write_until<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        deadline: Deadline,
    ) -> LockResult<RwLockWriteGuard<'a, T, P>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        let acquired = self.write.lock(peers, me, deadline)?;
        let writer = self.writer(peers, me, acquired);
        wait(peers, deadline, Draining { lock: self, listening: None })?;
        writer
    }

    /// The guard of a write word that was taken; readers may still be there.
    fn writer<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        me: Owner,
        acquired: Acquired,
    ) -> LockResult<RwLockWriteGuard<'a, T, P>> {
        let panicking = std::thread::panicking();
        let guard = RwLockWriteGuard { lock: self, peers, me, panicking };
        let writer = self.poison.wrap(guard, acquired);
        // SeqCst: orders the write word before the look at the shares; pairs with the barrier in
        // `share`: either the reader sees the writer, or the writer sees the share.
        fence(Ordering::SeqCst);
        writer
    }
}

/// A reader's wait for the writer.
struct Reading<'a, T> {
    lock: &'a RwLock<T>,
    me: Owner,
    /// Whom the last look found.
    writer: Option<Owner>,
    slept: bool,
}

impl<'a, T> Reading<'a, T> {
    fn new(lock: &'a RwLock<T>, me: Owner) -> Reading<'a, T> {
        Reading { lock, me, writer: None, slept: false }
    }
}

impl<'a, T> Wait<'a> for Reading<'a, T> {
    type Output = ();

    fn look<P: Peers>(&mut self, peers: &P, _may_sleep: bool) -> Option<()> {
        let lock = self.lock;
        loop {
            self.writer = lock.share(self.me);
            let Some(writer) = self.writer else {
                self.give_up();
                return Some(());
            };
            if !peers.is_gone(writer) {
                return None;
            }
            if lock.write.try_take_over(peers, self.me) {
                // Whoever takes the word from the dead marks the data.
                lock.poison.set(Cause::OwnerDied);
                lock.write.unlock(self.me);
            }
        }
    }

    fn announce(&mut self) -> Option<Sleep<'a>> {
        self.lock.write.announce(self.writer?)
    }

    fn woke(&mut self, _waited: Waited) {
        self.slept = true;
    }

    /// The wake that ended the sleep was one sleeper's, and a reader leaves the lock free for the
    /// next.
    fn give_up(&mut self) {
        if self.slept {
            self.lock.write.wake_one();
        }
    }
}

/// A writer's wait for the readers.
struct Draining<'a, T> {
    lock: &'a RwLock<T>,
    listening: Option<u32>,
}

impl<'a, T> Wait<'a> for Draining<'a, T> {
    type Output = ();

    fn look<P: Peers>(&mut self, peers: &P, _may_sleep: bool) -> Option<()> {
        (self.lock.shares.take_stock(peers) == 0).then_some(())
    }

    fn announce(&mut self) -> Option<Sleep<'a>> {
        self.lock.drained.announce(&mut self.listening)
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writer = self.write.holder();
        f.debug_struct("RwLock").field("writer", &writer).field("poison", &self.poison()).finish()
    }
}

/// The data of an [`RwLock`], for reading; unlocks when dropped.
#[must_use = "the lock is released again at once"]
pub struct RwLockReadGuard<'a, T, P: Peers = Group> {
    lock: &'a RwLock<T>,
    peers: &'a P,
    me: Owner,
}

impl<T, P: Peers> Deref for RwLockReadGuard<'_, T, P> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the share keeps writers out as long as the guard lives.
        self.lock.data.with(|data| unsafe { &*data })
    }
}

impl<T, P: Peers> Drop for RwLockReadGuard<'_, T, P> {
    fn drop(&mut self) {
        // Inherited by `fork`: the parent's share.
        if self.peers.me() == Some(self.me) {
            self.lock.unshare(self.me);
        }
    }
}

impl<T: fmt::Debug, P: Peers> fmt::Debug for RwLockReadGuard<'_, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The data of an [`RwLock`], for writing; unlocks when dropped.
#[must_use = "the lock is released again at once"]
pub struct RwLockWriteGuard<'a, T, P: Peers = Group> {
    lock: &'a RwLock<T>,
    peers: &'a P,
    me: Owner,
    panicking: bool,
}

impl<T, P: Peers> Deref for RwLockWriteGuard<'_, T, P> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the write word and the readers' absence exclude everybody else.
        self.lock.data.with(|data| unsafe { &*data })
    }
}

impl<T, P: Peers> DerefMut for RwLockWriteGuard<'_, T, P> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        self.lock.data.with_mut(|data| unsafe { &mut *data })
    }
}

impl<T, P: Peers> Drop for RwLockWriteGuard<'_, T, P> {
    fn drop(&mut self) {
        if self.peers.me() != Some(self.me) {
            return;
        }
        if !self.panicking && std::thread::panicking() {
            self.lock.poison.set(Cause::Panicked);
        }
        self.lock.write.unlock(self.me);
    }
}

impl<T: fmt::Debug, P: Peers> fmt::Debug for RwLockWriteGuard<'_, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
