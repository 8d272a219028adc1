//! Mutual exclusion of processes and threads.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::deadline::Deadline;
use super::error::{Cause, LockError, Poisoned};
use super::raw::{Acquired, RawLock};
use crate::group::{Group, Owner, Peers};
use crate::primitive::{AtomicU32, Ordering, UnsafeCell};

const CLEAN: u32 = 0;
const PANICKED: u32 = 1;
const OWNER_DIED: u32 = 2;

// Orderings: Relaxed everywhere. It is written and read under the lock, and outside it only to show.
/// Whether data may be half changed, and why.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Poison(AtomicU32);

impl Poison {
    pub fn new() -> Poison {
        Poison(AtomicU32::new(CLEAN))
    }

    #[inline(always)]
    pub fn get(&self) -> Option<Cause> {
        match self.0.load(Ordering::Relaxed) {
            CLEAN => None,
            PANICKED => Some(Cause::Panicked),
            _ => Some(Cause::OwnerDied),
        }
    }

    pub fn set(&self, cause: Cause) {
        let word = match cause {
            Cause::Panicked => PANICKED,
            Cause::OwnerDied => OWNER_DIED,
        };
        self.0.store(word, Ordering::Relaxed);
    }

    pub fn clear(&self) {
        self.0.store(CLEAN, Ordering::Relaxed);
    }

    /// What the caller gets who took the lock like this.
    #[inline(always)]
    pub fn wrap<G>(&self, guard: G, acquired: Acquired) -> Result<G, LockError<G>> {
        if acquired == Acquired::FromTheDead {
            // Killed before this store: the next one takes the lock from the dead as well.
            self.set(Cause::OwnerDied);
        }
        match self.get() {
            None => Ok(guard),
            Some(cause) => Err(LockError::Poisoned(Poisoned::new(guard, cause))),
        }
    }
}

/// Data that one thread of one process at a time can reach: [`std::sync::Mutex`] between
/// processes.
///
/// Placed in shared memory, for example as a [`Shared`](crate::Shared) object. Zeroed memory is an
/// unlocked mutex. A holder that is killed does not keep it: the next one gets
/// [`LockError::Poisoned`] with the guard in it, the data being as the dead one left them.
///
/// Cost without contention: two compare-and-swaps (the example `bench_locks` measures it).
///
/// ```
/// use shm_core::lock::Mutex;
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let counter = Shared::new(Mutex::new(0_u64))?; // other processes: `Shared::attach`
/// *counter.lock(&group).map_err(|_| "poisoned")? += 1;
/// assert_eq!(*counter.lock(&group).map_err(|_| "poisoned")?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(C)]
pub struct Mutex<T> {
    lock: RawLock,
    poison: Poison,
    data: UnsafeCell<T>,
}

// SAFETY: the lock lends the data to one thread at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// What locking gives: the guard, or [`LockError`].
pub type LockResult<G> = Result<G, LockError<G>>;

impl<T> Mutex<T> {
    /// An unlocked mutex holding `value`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex { lock: RawLock::new(), poison: Poison::new(), data: UnsafeCell::new(value) }
    }

    /// Locks, waiting as long as it takes.
    ///
    /// Waiters sleep; after a death they are woken, and one of them takes the lock over.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] (taken, but look at the data); [`LockError::NotAMember`].
    #[inline]
    pub fn lock<'a, P: Peers>(&'a self, peers: &'a P) -> LockResult<MutexGuard<'a, T, P>> {
        self.lock_until(peers, Deadline::Never)
    }

    /// Locks if nobody living holds it.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and those of [`lock`](Mutex::lock).
    pub fn try_lock<'a, P: Peers>(&'a self, peers: &'a P) -> LockResult<MutexGuard<'a, T, P>> {
        self.lock_until(peers, Deadline::Now)
    }

    /// Locks, waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], and those of [`lock`](Mutex::lock).
    pub fn lock_timeout<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        timeout: Duration,
    ) -> LockResult<MutexGuard<'a, T, P>> {
        self.lock_until(peers, Deadline::after(timeout))
    }

    /// Locks, as a future: for any executor, see the module.
    ///
    /// Dropped before it is ready, it has not taken the lock.
    ///
    /// # Errors
    /// Those of [`lock`](Mutex::lock).
    #[cfg(feature = "async")]
    pub async fn lock_async<'a, P: Peers>(
        &'a self,
        peers: &'a P,
    ) -> LockResult<MutexGuard<'a, T, P>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        let acquired = self.lock.lock_async(peers, me).await;
        self.guard(peers, me, acquired)
    }

    #[inline]
    pub(crate) fn lock_until<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        deadline: Deadline,
    ) -> LockResult<MutexGuard<'a, T, P>> {
        let me = peers.me().ok_or(LockError::NotAMember)?;
        let acquired = self.lock.lock(peers, me, deadline)?;
        self.guard(peers, me, acquired)
    }

    #[inline]
    fn guard<'a, P: Peers>(
        &'a self,
        peers: &'a P,
        me: Owner,
        acquired: Acquired,
    ) -> LockResult<MutexGuard<'a, T, P>> {
        let panicking = std::thread::panicking();
        self.poison.wrap(MutexGuard { mutex: self, peers, me, panicking }, acquired)
    }

    /// Why the data may be half changed, if they may. Old news unless the caller holds the lock.
    #[must_use]
    pub fn poison(&self) -> Option<Cause> {
        self.poison.get()
    }

    /// Says that the data are whole again. Call it while holding the lock.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The data of a mutex that nobody shares yet.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: exclusive by the borrow; the pointer is to `self.data`.
        self.data.with_mut(|data| unsafe { &mut *data })
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.lock.holder();
        f.debug_struct("Mutex").field("holder", &held).field("poison", &self.poison()).finish()
    }
}

/// The data of a locked [`Mutex`]; unlocks when dropped.
///
/// It may be sent to another thread: the process holds the lock.
#[must_use = "the mutex is unlocked again at once"]
pub struct MutexGuard<'a, T, P: Peers = Group> {
    pub(crate) mutex: &'a Mutex<T>,
    pub(crate) peers: &'a P,
    me: Owner,
    /// The thread was panicking when it locked: its panic does not make the data suspect.
    panicking: bool,
}

impl<T, P: Peers> Deref for MutexGuard<'_, T, P> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock excludes everybody else as long as the guard lives.
        self.mutex.data.with(|data| unsafe { &*data })
    }
}

impl<T, P: Peers> DerefMut for MutexGuard<'_, T, P> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        self.mutex.data.with_mut(|data| unsafe { &mut *data })
    }
}

impl<T, P: Peers> Drop for MutexGuard<'_, T, P> {
    #[inline]
    fn drop(&mut self) {
        if self.peers.me() != Some(self.me) {
            // Inherited by `fork`: the parent's lock.
            return;
        }
        if !self.panicking && std::thread::panicking() {
            self.mutex.poison.set(Cause::Panicked);
        }
        self.mutex.lock.unlock(self.me);
    }
}

impl<T: fmt::Debug, P: Peers> fmt::Debug for MutexGuard<'_, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
