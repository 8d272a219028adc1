//! Part of a slice in a heap that nobody changes, and the columns of its records.

use std::ops::{Deref, Range, RangeBounds};

use super::{Arc, ReadOnly};
use crate::frozen::{resolve, split_points};
use crate::{Error, Group, Number, Peers, Schema, ShmSafe};

/// Some of the elements of an `Arc<[ReadOnly<T>]>`, which it keeps alive: a plain `&[T]` in every
/// process. Cutting it costs nothing; as a serde value it travels like the [`Arc`].
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
/// let ticks = (0..10).map(|time| ReadOnly::new(Tick { time, price: 0.5 }));
/// let ticks = View::of(Arc::<[_]>::from_values(&arcs, ticks)?);
/// let late = ticks.slice(8..)?;
/// assert_eq!(late[0].time, 8);
/// assert_eq!(late.column::<f64>("price")?.sum::<f64>(), 1.0);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(bound(serialize = "Arc<[ReadOnly<T>], P>: serde::Serialize")))]
pub struct View<T: ShmSafe, P: Peers + Clone = Group> {
    whole: Arc<[ReadOnly<T>], P>,
    start: usize,
    len: usize,
}

impl<T: ShmSafe, P: Peers + Clone> View<T, P> {
    /// All of the elements.
    #[must_use]
    pub fn of(whole: Arc<[ReadOnly<T>], P>) -> Self {
        View { start: 0, len: whole.len(), whole }
    }

    fn cut(&self, range: Range<usize>) -> Self {
        View { whole: self.whole.clone(), start: self.start + range.start, len: range.len() }
    }

    /// Some of these elements.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self, Error> {
        Ok(self.cut(resolve(range, self.len)?))
    }

    /// These elements in `parts` views of nearly equal length, in order.
    #[must_use]
    pub fn split(&self, parts: usize) -> Vec<Self> {
        split_points(self.len, parts).map(|range| self.cut(range)).collect()
    }

    /// The numbers of one field of the records, in order, read in place.
    ///
    /// # Errors
    /// [`Error::NoColumn`], [`Error::WrongColumnType`].
    pub fn column<N: Number>(&self, name: &str) -> Result<impl Iterator<Item = N>, Error> {
        let schema = Schema::of::<T>();
        let spec = schema.column(name)?;
        if spec.column_type != N::column_type() {
            return Err(Error::WrongColumnType {
                column: name.to_owned(),
                found: spec.column_type.to_string(),
                wanted: N::column_type().to_string(),
            });
        }
        let offset = spec.offset;
        Ok(self.iter().map(move |record| {
            let field = std::ptr::from_ref(record).cast::<u8>().wrapping_add(offset).cast::<N>();
            // SAFETY: the type's own layout has a number of this type there, within the record.
            unsafe { field.read_unaligned() }
        }))
    }
}

impl<T: ShmSafe, P: Peers + Clone> Deref for View<T, P> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // Made so, or checked when it was received.
        &ReadOnly::as_slice(&self.whole)[self.start..self.start + self.len]
    }
}

impl<T: ShmSafe, P: Peers + Clone> Clone for View<T, P> {
    fn clone(&self) -> Self {
        self.cut(0..self.len)
    }
}

#[cfg(feature = "serde")]
impl<'de, T: ShmSafe> serde::Deserialize<'de> for View<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(bound = "")]
        struct Parts<T: ShmSafe> {
            whole: Arc<[ReadOnly<T>]>,
            start: usize,
            len: usize,
        }
        let Parts { whole, start, len } = Parts::<T>::deserialize(deserializer)?;
        let range = start..start.saturating_add(len);
        View::of(whole).slice(range).map_err(serde::de::Error::custom)
    }
}
