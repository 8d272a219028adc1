//! Waiting, without the lock, for what others do under the lock.

use std::time::Duration;

use super::deadline::Deadline;
use super::error::LockError;
use super::mutex::{LockResult, MutexGuard};
use super::signal::Signal;
use crate::futex::Waited;
use crate::group::Peers;

/// [`std::sync::Condvar`] between processes.
///
/// Zeroed memory is a valid one. Wakes may be spurious; after a death everybody is woken, so that no
/// notification is lost with a process that was notified, or with the one that was about to notify.
///
/// ```
/// use shm_core::lock::{Condvar, Mutex};
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let (work, more) = (Shared::new(Mutex::new(0_u32))?, Shared::new(Condvar::new())?);
/// std::thread::scope(|threads| {
///     threads.spawn(|| {
///         *work.lock(&group).unwrap() += 1;
///         more.notify_one();
///     });
///     let guard = work.lock(&group).unwrap();
///     let guard = more.wait_while(guard, |work| *work == 0).unwrap();
///     assert_eq!(*guard, 1);
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Condvar {
    signal: Signal,
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl Condvar {
    /// One that nobody waits on.
    #[must_use]
    pub fn new() -> Condvar {
        Condvar { signal: Signal::new() }
    }

    /// Unlocks, sleeps until notified (or for no reason), and locks again.
    ///
    /// # Errors
    /// Those of [`Mutex::lock`](super::Mutex::lock).
    pub fn wait<'a, T, P: Peers>(
        &self,
        guard: MutexGuard<'a, T, P>,
    ) -> LockResult<MutexGuard<'a, T, P>> {
        self.sleep(guard, Deadline::Never).0
    }

    /// Waits as long as `condition` holds.
    ///
    /// # Errors
    /// Those of [`Mutex::lock`](super::Mutex::lock).
    pub fn wait_while<'a, T, P: Peers>(
        &self,
        mut guard: MutexGuard<'a, T, P>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T, P>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits as long as `condition` holds, for at most `timeout`; whether it still held at the end.
    ///
    /// # Errors
    /// Those of [`Mutex::lock`](super::Mutex::lock).
    pub fn wait_timeout_while<'a, T, P: Peers>(
        &self,
        mut guard: MutexGuard<'a, T, P>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T, P>, bool)> {
        let deadline = Deadline::after(timeout);
        while condition(&mut guard) {
            if deadline.left().is_none() {
                return Ok((guard, true));
            }
            guard = match self.sleep(guard, deadline) {
                (Ok(guard), _) => guard,
                (Err(LockError::Poisoned(poisoned)), waited) => {
                    let cause = poisoned.cause();
                    let pair = (poisoned.into_inner(), waited == Waited::TimedOut);
                    return Err(LockError::Poisoned(super::Poisoned::new(pair, cause)));
                }
                (Err(_), _) => return Err(LockError::NotAMember),
            };
        }
        Ok((guard, false))
    }

    /// [`wait`](Condvar::wait) as a future: for any executor, see the module.
    ///
    /// It unlocks when it is first polled. Dropped while it waits, it does not lock again, and a
    /// notification that it was woken by goes to another waiter.
    ///
    /// # Errors
    /// Those of [`Mutex::lock`](super::Mutex::lock).
    #[cfg(feature = "async")]
    pub async fn wait_async<'a, T, P: Peers>(
        &'a self,
        guard: MutexGuard<'a, T, P>,
    ) -> LockResult<MutexGuard<'a, T, P>> {
        let (mutex, peers) = (guard.mutex, guard.peers);
        let ticket = peers.ticket();
        // Announced before the lock is free: whoever changes something under it sees this.
        let listening = self.signal.listen();
        drop(guard);
        crate::asynchronous::park(peers, self.signal.futex(), listening, ticket, None).await;
        let notified = Notified(&self.signal);
        let guard = mutex.lock_async(peers).await;
        std::mem::forget(notified);
        guard
    }

    fn sleep<'a, T, P: Peers>(
        &self,
        guard: MutexGuard<'a, T, P>,
        deadline: Deadline,
    ) -> (LockResult<MutexGuard<'a, T, P>>, Waited) {
        let (mutex, peers) = (guard.mutex, guard.peers);
        let ticket = peers.ticket();
        // Announced before the lock is free: whoever changes something under it sees this.
        let listening = self.signal.listen();
        drop(guard);
        let waited = match deadline.left() {
            Some(left) => peers.park(self.signal.futex(), listening, ticket, left),
            None => Waited::TimedOut,
        };
        (mutex.lock(peers), waited)
    }

    /// Wakes one who waits.
    pub fn notify_one(&self) {
        self.signal.notify(1);
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.signal.notify_all();
    }
}

/// Was woken, and has not looked yet: dropped, it notifies another.
#[cfg(feature = "async")]
struct Notified<'a>(&'a Signal);

#[cfg(feature = "async")]
impl Drop for Notified<'_> {
    fn drop(&mut self) {
        self.0.notify(1);
    }
}
