//! An array of any length that whoever holds its lock may change: one lock, or one a stripe.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut, Range, RangeBounds};
use std::time::{Duration, Instant};

use super::{Elements, Payload};
use crate::frozen::{piece, resolve};
use crate::lock::{Cause, LockError, LockResult, Mutex, MutexGuard, Poisoned};
use crate::{Error, Group, Peers, ShmSafe};

/// Plain data of any number of elements, changed under locks: Python's `Array` with its lock.
///
/// It lives in a heap as `Arc<LockedArray<T>>`, or in a segment of its own as
/// `Shared<LockedArray<T>>`; both are serde values. The elements are divided into `STRIPES` stretches
/// of nearly equal length, each with a lock: with one, whoever holds it has the whole array; with
/// more, those who work on different stretches do not wait for each other. Who locks several gets
/// them in ascending order, so that no two wait for each other in a circle, unless a thread locks a
/// second range while it holds a first.
///
/// # What it promises
/// As [`Mutex`]: a holder that is killed keeps nothing; whoever locks a stretch that it held gets
/// [`LockError::Poisoned`] with the guard in it, the elements being as the dead one left them.
///
/// ```
/// use shm_core::data::LockedArray;
/// use shm_core::{Group, Shared, ShmSafe};
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Account { id: u64, cents: i64 }
///
/// let group = Group::anonymous()?;
/// let accounts = Shared::<LockedArray<Account, 16>>::zeroed(1000)?;
/// // One stripe, or the stripes that a range touches:
/// let mut rows = accounts.range(10..12)?.lock(&group).map_err(|_| "poisoned")?;
/// rows[0].cents -= 5;
/// rows[1].cents += 5;
/// drop(rows);
/// let all = accounts.lock(&group).map_err(|_| "poisoned")?;
/// assert_eq!(all.iter().map(|account| account.cents).sum::<i64>(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(C)]
pub struct LockedArray<T, const STRIPES: usize = 1> {
    stripes: [Stripe; STRIPES],
    elements: [UnsafeCell<T>],
}

/// A lock in a cache line's worth of memory: its neighbours' holders do not slow each other down.
#[repr(C)]
struct Stripe {
    lock: Mutex<[u8; 0]>,
    _apart: [u8; 64usize.saturating_sub(size_of::<Mutex<[u8; 0]>>())],
}

// SAFETY: an element is reached under the lock of its stripe alone.
unsafe impl<T: ShmSafe, const STRIPES: usize> Sync for LockedArray<T, STRIPES> {}

// SAFETY: locks, which are valid when zeroed, and elements, of which any bytes are values
// (`ShmSafe`), each reached under its lock; `repr(C)` lays them out as stated.
unsafe impl<T: ShmSafe, const STRIPES: usize> Payload for LockedArray<T, STRIPES> {
    type Element = T;
    const BEFORE: usize = {
        assert!(STRIPES > 0, "an array needs a lock: take 1 stripe or more");
        (STRIPES * size_of::<Stripe>()).next_multiple_of(align_of::<T>())
    };
    const ALIGN: usize =
        if align_of::<T>() > align_of::<Stripe>() { align_of::<T>() } else { align_of::<Stripe>() };
    const HASH: u64 = T::LAYOUT.hash() ^ 0x6c6f_636b ^ (STRIPES as u64) << 32;

    fn fits(_: usize) -> bool {
        true
    }

    fn of(start: *const u8, len: usize) -> *const Self {
        // A pointer to it carries the number of its elements.
        std::ptr::slice_from_raw_parts(start.cast::<T>(), len) as *const Self
    }

    fn name() -> String {
        format!("a locked array of {} in {STRIPES} stripes", T::LAYOUT)
    }
}

// SAFETY: any number of elements fits.
unsafe impl<T: ShmSafe, const STRIPES: usize> Elements for LockedArray<T, STRIPES> {}

impl<T: ShmSafe, const STRIPES: usize> LockedArray<T, STRIPES> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Locks all of it, waiting as long as it takes.
    ///
    /// # Errors
    /// As [`LockedRange::lock`].
    pub fn lock<'a, P: Peers>(&'a self, peers: &'a P) -> LockResult<LockedGuard<'a, T, P>> {
        self.all().lock(peers)
    }

    /// Locks all of it if nobody living holds any of it.
    ///
    /// # Errors
    /// As [`LockedRange::try_lock`].
    pub fn try_lock<'a, P: Peers>(&'a self, peers: &'a P) -> LockResult<LockedGuard<'a, T, P>> {
        self.all().try_lock(peers)
    }

    /// All elements, to be locked.
    #[must_use]
    pub fn all(&self) -> LockedRange<'_, T> {
        self.cut(0..self.len(), 0..STRIPES)
    }

    /// Some elements, to be locked: with them the others of the stripes that they lie in.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn range(&self, range: impl RangeBounds<usize>) -> Result<LockedRange<'_, T>, Error> {
        let range = resolve(range, self.len())?;
        let stripes = match range.is_empty() {
            // Nothing to lock, but for the guard to have something.
            true => 0..1,
            false => self.stripe_of(range.start)..self.stripe_of(range.end - 1) + 1,
        };
        Ok(self.cut(range, stripes))
    }

    /// The elements of each stripe, in order, to be locked one after the other or by several.
    pub fn stripes(&self) -> impl ExactSizeIterator<Item = LockedRange<'_, T>> {
        (0..STRIPES).map(|stripe| self.cut(piece(self.len(), STRIPES, stripe), stripe..stripe + 1))
    }

    fn cut(&self, range: Range<usize>, stripes: Range<usize>) -> LockedRange<'_, T> {
        LockedRange { stripes: &self.stripes[stripes], elements: &self.elements[range] }
    }

    /// The stripe that an element is in.
    fn stripe_of(&self, index: usize) -> usize {
        let (each, longer) = (self.len() / STRIPES, self.len() % STRIPES);
        let behind_longer = longer * (each + 1);
        match index.checked_sub(behind_longer) {
            None => index / (each + 1),
            // `each` is not 0: then all elements are in the longer stripes.
            Some(rest) => longer + rest / each.max(1),
        }
    }
}

impl<T, const STRIPES: usize> fmt::Debug for LockedArray<T, STRIPES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedArray")
            .field("len", &self.elements.len())
            .field("stripes", &STRIPES)
            .finish_non_exhaustive()
    }
}

/// Some elements of a [`LockedArray`], to be locked.
#[derive(Clone, Copy)]
pub struct LockedRange<'a, T> {
    /// At least one.
    stripes: &'a [Stripe],
    elements: &'a [UnsafeCell<T>],
}

// SAFETY: as the array that it is of.
unsafe impl<T: ShmSafe> Send for LockedRange<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ShmSafe> Sync for LockedRange<'_, T> {}

impl<'a, T: ShmSafe> LockedRange<'a, T> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Locks them, waiting as long as it takes. Cost: that of a [`Mutex`] for each stripe.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] if any stripe is: taken, but look at the elements;
    /// [`LockError::NotAMember`].
    pub fn lock<P: Peers>(self, peers: &'a P) -> LockResult<LockedGuard<'a, T, P>> {
        self.each(|mutex| mutex.lock(peers))
    }

    /// Locks them if nobody living holds any.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`], and those of [`lock`](LockedRange::lock).
    pub fn try_lock<P: Peers>(self, peers: &'a P) -> LockResult<LockedGuard<'a, T, P>> {
        self.each(|mutex| mutex.try_lock(peers))
    }

    /// Locks them, waiting for at most `timeout` in all.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], and those of [`lock`](LockedRange::lock).
    pub fn lock_timeout<P: Peers>(
        self,
        peers: &'a P,
        timeout: Duration,
    ) -> LockResult<LockedGuard<'a, T, P>> {
        let start = Instant::now();
        self.each(|mutex| mutex.lock_timeout(peers, timeout.saturating_sub(start.elapsed())))
    }

    /// Says that the elements of these stripes are whole again. Call it while holding them.
    pub fn clear_poison(&self) {
        self.stripes.iter().for_each(|stripe| stripe.lock.clear_poison());
    }

    /// Takes the locks one after the other; those that it has go if one cannot be had.
    fn each<P: Peers>(
        self,
        mut lock: impl FnMut(&'a Mutex<[u8; 0]>) -> LockResult<Held<'a, P>>,
    ) -> LockResult<LockedGuard<'a, T, P>> {
        let (mut first, mut others, mut suspect) = (None, Vec::new(), None::<Cause>);
        for stripe in self.stripes {
            let guard = match lock(&stripe.lock) {
                Ok(guard) => guard,
                Err(LockError::Poisoned(poisoned)) => {
                    suspect = suspect.or(Some(poisoned.cause()));
                    poisoned.into_inner()
                }
                Err(LockError::WouldBlock) => return Err(LockError::WouldBlock),
                Err(LockError::TimedOut) => return Err(LockError::TimedOut),
                Err(LockError::NotAMember) => return Err(LockError::NotAMember),
            };
            match first {
                None => first = Some(guard),
                Some(_) => others.push(guard),
            }
        }
        let guard = LockedGuard { elements: self.elements, _first: first, _others: others };
        match suspect {
            None => Ok(guard),
            Some(cause) => Err(LockError::Poisoned(Poisoned::new(guard, cause))),
        }
    }
}

impl<T> fmt::Debug for LockedRange<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedRange").field("len", &self.elements.len()).finish_non_exhaustive()
    }
}

/// Elements of a [`LockedArray`] that are locked: a `&mut [T]`; unlocked when it is dropped.
#[must_use = "the elements are unlocked again at once"]
pub struct LockedGuard<'a, T, P: Peers = Group> {
    elements: &'a [UnsafeCell<T>],
    /// One lock needs no vector.
    _first: Option<Held<'a, P>>,
    _others: Vec<Held<'a, P>>,
}

/// The lock of a stripe.
type Held<'a, P> = MutexGuard<'a, [u8; 0], P>;

// SAFETY: the elements may be used by any thread (`ShmSafe`), and so may the locks' guards.
unsafe impl<T: ShmSafe, P: Peers + Sync> Send for LockedGuard<'_, T, P> {}
// SAFETY: it lends the elements as `&[T]` does, and the locks' guards may be shared.
unsafe impl<T: ShmSafe, P: Peers + Sync> Sync for LockedGuard<'_, T, P> {}

impl<T: ShmSafe, P: Peers> Deref for LockedGuard<'_, T, P> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let (first, len) = (self.elements.as_ptr().cast::<T>(), self.elements.len());
        // SAFETY: an `UnsafeCell<T>` is as a `T`; the locks of all of them are held as long as this
        // guard lives.
        unsafe { std::slice::from_raw_parts(first, len) }
    }
}

impl<T: ShmSafe, P: Peers> DerefMut for LockedGuard<'_, T, P> {
    fn deref_mut(&mut self) -> &mut [T] {
        let (first, len) = (self.elements.as_ptr().cast::<T>().cast_mut(), self.elements.len());
        // SAFETY: as in `deref`; within cells, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }
}

impl<T: ShmSafe + fmt::Debug, P: Peers> fmt::Debug for LockedGuard<'_, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
