//! Part of a shared array that travels: the array, and which elements.

use std::ops::{Deref, Range, RangeBounds};

use super::{Arc, AtomicRecords, ReadOnly};
use crate::frozen::{resolve, split_points};
use crate::{Concurrent, Error, Group, ShmSafe};

/// What [`Slice`]s can be made of: the elements of `[T]` and of [`AtomicRecords`].
pub trait Sliceable {
    /// How many elements there are.
    fn count(&self) -> usize;
    /// Some of them; as many as there are of those.
    #[doc(hidden)]
    fn cut(&self, range: Range<usize>) -> &Self;
}

impl<T: Concurrent> Sliceable for [T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn cut(&self, range: Range<usize>) -> &Self {
        self.get(range).unwrap_or_default()
    }
}

impl<T: ShmSafe> Sliceable for AtomicRecords<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn cut(&self, range: Range<usize>) -> &Self {
        self.slice(range).unwrap_or(self)
    }
}

/// Arrays of records, whose columns have names.
pub trait Rows: Sliceable {
    /// The record.
    type Record: ShmSafe;
}

impl<T: ShmSafe> Rows for [ReadOnly<T>] {
    type Record = T;
}

impl<T: ShmSafe> Rows for AtomicRecords<T> {
    type Record = T;
}

/// Some of the elements of a shared array, which it keeps alive: of `H` = `Arc<[T]>`,
/// `Shared<[T]>`, `Arc<AtomicRecords<T>>`, `Shared<AtomicRecords<T>>`.
///
/// It is read and written as the array is. Cutting it costs a clone of `H`; as a serde value it
/// travels as `H` does, and two numbers.
///
/// ```
/// use shm_core::Shared;
/// use shm_core::data::{Slice, Value};
///
/// let sums = Shared::<[Value<f64>]>::zeroed(1000)?;
/// for part in Slice::of(sums.clone()).split(4) {
///     // a worker's job: `part` goes to another process
///     part[0].fetch_add(1.0);
/// }
/// assert_eq!(sums[250].load(), 1.0);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Slice<H> {
    whole: H,
    start: usize,
    len: usize,
}

impl<H: Deref<Target: Sliceable> + Clone> Slice<H> {
    /// All of the elements.
    #[must_use]
    pub fn of(whole: H) -> Self {
        Slice { start: 0, len: whole.count(), whole }
    }

    fn cut(&self, range: Range<usize>) -> Self {
        Slice { whole: self.whole.clone(), start: self.start + range.start, len: range.len() }
    }

    /// Some of these elements.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self, Error> {
        Ok(self.cut(resolve(range, self.len)?))
    }

    /// These elements in `parts` slices of nearly equal length, in order.
    #[must_use]
    pub fn split(&self, parts: usize) -> Vec<Self> {
        split_points(self.len, parts).map(|range| self.cut(range)).collect()
    }

    /// Where the first of these elements is in the array.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }
}

impl<H: Deref<Target: Sliceable>> Deref for Slice<H> {
    type Target = H::Target;

    fn deref(&self) -> &H::Target {
        // Made so, or checked when it was received.
        self.whole.cut(self.start..self.start + self.len)
    }
}

/// Some of the elements of a slice in a heap that nobody changes.
///
/// ```
/// use shm_core::ShmSafe;
/// use shm_core::data::{Arc, Arcs, ReadOnly, View};
/// # use shm_core::heap::{Heap, HeapOptions};
/// # use shm_core::{Group, Segment};
/// # let (segment, group) = (Segment::anonymous(4 << 20)?, Group::anonymous()?);
/// # let heap = Heap::create(&segment, &group, HeapOptions::default())?;
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Tick { time: i64, price: f64 }
///
/// let arcs = Arcs::open(&heap)?;
/// let ticks: Vec<Tick> = (0..10).map(|time| Tick { time, price: 0.5 }).collect();
/// let ticks = View::of(Arc::copy_of(&arcs, ReadOnly::from_slice(&ticks))?);
/// let late = ticks.slice(8..)?;
/// assert_eq!(late[0].time, 8);
/// assert_eq!(late.column::<f64>("price")?.iter().sum::<f64>(), 1.0);
/// # Ok::<(), shm_core::Error>(())
/// ```
pub type View<T, P = Group> = Slice<Arc<[ReadOnly<T>], P>>;

impl<H: Deref<Target = [ReadOnly<T>]>, T: ShmSafe> Slice<H> {
    /// The elements as plain ones.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        ReadOnly::as_slice(self)
    }
}

#[cfg(feature = "serde")]
impl<'de, H> serde::Deserialize<'de> for Slice<H>
where
    H: Deref<Target: Sliceable> + Clone + serde::Deserialize<'de>,
{
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Parts<H> {
            whole: H,
            start: usize,
            len: usize,
        }
        let Parts { whole, start, len } = Parts::<H>::deserialize(deserializer)?;
        let range = start..start.saturating_add(len);
        let slice = Slice::of(whole);
        let range = resolve(range, slice.len).map_err(serde::de::Error::custom)?;
        Ok(Slice { start: range.start, len: range.len(), ..slice })
    }
}
