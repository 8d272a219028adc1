//! A linked list of fixed capacity whose truth is one chain of links.

// Orderings: Release for each link: what it leads to comes before, in the prefix of stores that a
// death leaves. Relaxed for loads, and for what is no truth: whoever is here holds the lock.

use std::fmt;

use crate::ShmSafe;
use crate::layout::{Field, Layout, Shape};
use crate::primitive::{AtomicU64, Ordering, compiler_fence};

/// A list of at most `N` elements, for a [`Mutex`](crate::lock::Mutex) in shared memory: elements
/// come and go anywhere without the others being moved.
///
/// Every change takes effect by one store to the chain `head → next → …`. All else (links back, the
/// length, which places are free) is worked out from it: after a holder was killed in the middle of
/// a change, [`repair`](List::repair) does so, and the list is as before the change or after it.
///
/// ```
/// use shm_core::data::List;
/// use shm_core::lock::{LockError, Mutex};
/// use shm_core::{Group, Shared};
///
/// let group = Group::anonymous()?;
/// let jobs = Shared::new(Mutex::new(List::<u64, 100>::new()))?;
/// let mut list = match jobs.lock(&group) {
///     Ok(list) => list,
///     Err(LockError::Poisoned(poisoned)) => {
///         let mut list = poisoned.into_inner();
///         list.repair();
///         jobs.clear_poison();
///         list
///     }
///     Err(_) => return Err("not locked".into()),
/// };
/// list.push_back(7).map_err(|_| "full")?;
/// assert_eq!(list.iter().sum::<u64>(), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(C)]
pub struct List<T, const N: usize> {
    /// Truth: the first place, plus 1; 0 is none.
    head: AtomicU64,
    /// Truth for places in the chain: the place behind, plus 1. For others: the next that is free.
    next: [AtomicU64; N],
    prev: [AtomicU64; N],
    tail: AtomicU64,
    free: AtomicU64,
    len: AtomicU64,
    values: [T; N],
}

// SAFETY: words and elements that any bytes are values of (`ShmSafe`), checked to be without padding;
// links are numbers, and checked where they are followed.
unsafe impl<T: ShmSafe, const N: usize> ShmSafe for List<T, N> {
    const LAYOUT: Layout = {
        let words = (2 * N + 4) * size_of::<u64>();
        assert!(
            size_of::<Self>() == words + N * size_of::<T>() && align_of::<T>() <= 8,
            "this list has padding at its end, or elements that are aligned to more than 8: take a capacity with which the elements are a multiple of 8 bytes",
        );
        Layout {
            name: "List",
            size: size_of::<Self>(),
            align: align_of::<Self>(),
            shape: Shape::Record {
                version: 1,
                fields: &[Field { name: "values", offset: 0, layout: &<[T; N]>::LAYOUT }],
            },
        }
    };
}

impl<T: ShmSafe + Copy, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        List::new()
    }
}

impl<T: ShmSafe + Copy, const N: usize> List<T, N> {
    /// An empty list, not shared yet.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: any bytes are a value of every element (`ShmSafe`).
        let values = [unsafe { std::mem::zeroed() }; N];
        let word = || AtomicU64::new(0);
        let (next, prev) = (std::array::from_fn(|_| word()), std::array::from_fn(|_| word()));
        let mut list =
            List { head: word(), next, prev, tail: word(), free: word(), len: word(), values };
        list.repair();
        list
    }

    /// Elements that there are.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.len.load(Ordering::Relaxed) as usize).min(N)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        N
    }

    /// A link's place, if it is one.
    fn place(link: &AtomicU64) -> Option<usize> {
        let place = (link.load(Ordering::Relaxed) as usize).checked_sub(1)?;
        (place < N).then_some(place)
    }

    /// The link that leads to what is behind this place, or to the first.
    fn link(&self, before: Option<usize>) -> &AtomicU64 {
        match before {
            Some(place) => &self.next[place],
            None => &self.head,
        }
    }

    /// The link that leads back to what is before this place, or to the last.
    fn back(&self, behind: Option<usize>) -> &AtomicU64 {
        match behind {
            Some(place) => &self.prev[place],
            None => &self.tail,
        }
    }

    /// The places of the chain, in order; no more than there can be, whatever stands there.
    fn places(&self) -> impl Iterator<Item = usize> {
        let mut link = &self.head;
        (0..N).map_while(move |_| {
            let place = Self::place(link)?;
            link = &self.next[place];
            Some(place)
        })
    }

    /// The place of an index, from the nearer end.
    fn at(&self, index: usize) -> Option<usize> {
        if index >= self.len() {
            return None;
        }
        if index <= self.len() / 2 {
            return self.places().nth(index);
        }
        (index + 1..self.len())
            .try_fold(Self::place(&self.tail)?, |place, _| Self::place(&self.prev[place]))
    }

    /// Puts a value behind a place, or first: committed by the store to the link.
    fn link_in(&mut self, before: Option<usize>, value: T) -> Result<(), T> {
        let Some(place) = Self::place(&self.free) else { return Err(value) };
        let free = self.next[place].load(Ordering::Relaxed);
        // The stores that took this place out of the chain come before the value: a death between
        // them finds it free. For the compiler; who is proven dead has stored in this order.
        compiler_fence(Ordering::Release);
        self.values[place] = value;
        let number = place as u64 + 1;
        let behind = self.link(before).load(Ordering::Relaxed);
        // A free place's link is no truth; from now on the free list is to be repaired.
        self.next[place].store(behind, Ordering::Release);
        // Release: the value and its link come before. The commit.
        self.link(before).store(number, Ordering::Release);
        self.free.store(free, Ordering::Relaxed);
        let after = Self::place(&self.next[place]);
        self.back(after).store(number, Ordering::Relaxed);
        self.prev[place].store(before.map_or(0, |place| place as u64 + 1), Ordering::Relaxed);
        self.len.store(self.len() as u64 + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a place out: committed by the store to the link that led to it.
    fn link_out(&mut self, place: usize) -> T {
        let before = Self::place(&self.prev[place]);
        let behind = self.next[place].load(Ordering::Relaxed);
        // Release: the commit.
        self.link(before).store(behind, Ordering::Release);
        let after = Self::place(&self.next[place]);
        self.back(after).store(before.map_or(0, |place| place as u64 + 1), Ordering::Relaxed);
        // Release: the place is out of the chain.
        self.next[place].store(self.free.load(Ordering::Relaxed), Ordering::Release);
        self.free.store(place as u64 + 1, Ordering::Relaxed);
        self.len.store(self.len().saturating_sub(1) as u64, Ordering::Relaxed);
        self.values[place]
    }

    /// Adds an element at the end.
    ///
    /// # Errors
    /// Gives the element back when there is no room.
    pub fn push_back(&mut self, value: T) -> Result<(), T> {
        self.link_in(Self::place(&self.tail), value)
    }

    /// Adds an element at the beginning.
    ///
    /// # Errors
    /// As [`push_back`](List::push_back).
    pub fn push_front(&mut self, value: T) -> Result<(), T> {
        self.link_in(None, value)
    }

    /// Adds an element before the one at `index`, or at the end. Cost: a walk from the nearer end.
    ///
    /// # Errors
    /// Gives the element back when there is no room, or `index` is beyond the end.
    pub fn insert(&mut self, index: usize, value: T) -> Result<(), T> {
        match (index, self.at(index)) {
            (0, _) => self.push_front(value),
            (_, Some(place)) => self.link_in(Self::place(&self.prev[place]), value),
            (index, None) if index == self.len() => self.push_back(value),
            _ => Err(value),
        }
    }

    /// Takes the first element out.
    pub fn pop_front(&mut self) -> Option<T> {
        Self::place(&self.head).map(|place| self.link_out(place))
    }

    /// Takes the last element out.
    pub fn pop_back(&mut self) -> Option<T> {
        Self::place(&self.tail).map(|place| self.link_out(place))
    }

    /// Takes the element at `index` out. Cost: a walk from the nearer end.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        self.at(index).map(|place| self.link_out(place))
    }

    /// Takes all elements out, by one store.
    pub fn clear(&mut self) {
        // Release: the commit.
        self.head.store(0, Ordering::Release);
        self.repair();
    }

    /// The element at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.at(index).map(|place| &self.values[place])
    }

    /// The element at `index`, for changing: a holder that is killed meanwhile leaves it half changed.
    #[must_use]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.at(index).map(|place| &mut self.values[place])
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.places().map(|place| self.values[place])
    }

    /// Works out everything anew from the chain, after a holder was killed or panicked; how many
    /// elements there are. It may be killed itself, and is repeated then. Cost: a look at every place.
    pub fn repair(&mut self) -> usize {
        let mut used = [false; N];
        let (mut len, mut last) = (0, None);
        for place in self.places() {
            if used[place] {
                break; // A ring, which no death leaves: somebody has overwritten a link.
            }
            used[place] = true;
            self.prev[place].store(Self::number(last), Ordering::Relaxed);
            (len, last) = (len + 1, Some(place));
        }
        self.link(last).store(0, Ordering::Release);
        self.tail.store(Self::number(last), Ordering::Relaxed);
        let mut free = 0;
        for place in (0..N).rev().filter(|&place| !used[place]) {
            self.next[place].store(free, Ordering::Relaxed);
            free = place as u64 + 1;
        }
        self.free.store(free, Ordering::Relaxed);
        self.len.store(len as u64, Ordering::Relaxed);
        len
    }

    fn number(place: Option<usize>) -> u64 {
        place.map_or(0, |place| place as u64 + 1)
    }

    /// Whether everything fits the chain: what is wrong first, if not. What a death leaves is not
    /// whole before [`repair`](List::repair).
    ///
    /// # Errors
    /// What does not fit.
    pub fn validate(&self) -> Result<(), &'static str> {
        let (mut last, mut count) = (None, 0);
        for place in self.places() {
            if Self::place(&self.prev[place]) != last {
                return Err("a link back leads elsewhere");
            }
            (last, count) = (Some(place), count + 1);
        }
        if Self::place(&self.tail) != last || last.is_some_and(|last| self.ends_not(last)) {
            return Err("the last place is another");
        }
        if count != self.len() {
            return Err("the length is another");
        }
        let mut link = &self.free;
        for _ in count..N {
            let Some(place) = Self::place(link) else { return Err("a place is lost") };
            link = &self.next[place];
        }
        if Self::place(link).is_some() { Err("a place is in the chain and free") } else { Ok(()) }
    }

    fn ends_not(&self, last: usize) -> bool {
        Self::place(&self.next[last]).is_some()
    }
}

impl<T: ShmSafe + Copy + fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
