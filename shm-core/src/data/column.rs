//! One field of many records, which travels: the records, and where the field is in them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, RangeBounds};

use super::slice::{Rows, Slice, Sliceable};
use super::value::Scalar;
use super::{AtomicColumn, AtomicRecords, ReadOnly};
use crate::{Error, Iter, Number, Schema, ShmSafe};

/// Where a field of that type is in a record.
pub(super) fn offset_of<T: ShmSafe, N: Number>(name: &str) -> Result<usize, Error> {
    let schema = Schema::of::<T>();
    let spec = schema.column(name)?;
    if spec.column_type != N::column_type() {
        return Err(Error::WrongColumnType {
            column: name.to_owned(),
            found: spec.column_type.to_string(),
            wanted: N::column_type().to_string(),
        });
    }
    Ok(spec.offset)
}

/// The numbers of one field of shared records, which it keeps alive: of a [`Slice<H>`].
///
/// Over records that nobody changes it is read in place, as an iterator of numbers; over
/// [`AtomicRecords`] its elements are [`Value`](super::Value)s, which all may change. It can be cut like a slice.
/// As a serde value it travels as its records do, with the field's name: the receiver looks the name
/// up in its own type.
///
/// ```
/// use shm_core::data::{Arc, Arcs, ColumnOf, ReadOnly, Slice};
/// use shm_core::ShmSafe;
/// # use shm_core::heap::{Heap, HeapOptions};
/// # use shm_core::{Group, Segment};
/// # let (segment, group) = (Segment::anonymous(4 << 20)?, Group::anonymous()?);
/// # let heap = Heap::create(&segment, &group, HeapOptions::default())?;
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Tick { time: i64, price: f64 }
///
/// type Ticks = Arc<[ReadOnly<Tick>]>;
/// let arcs = Arcs::open(&heap)?;
/// let ticks: Ticks =
///     Arc::from_values(&arcs, (0..10).map(|time| ReadOnly::new(Tick { time, price: 0.5 })))?;
/// let prices: ColumnOf<Ticks, f64> = Slice::of(ticks).column("price")?;
/// // In another process:
/// fn job(prices: ColumnOf<Ticks, f64>) -> f64 {
///     prices.iter().sum()
/// }
/// let sums: Vec<f64> = prices.split(2).into_iter().map(job).collect();
/// assert_eq!(sums, [2.5, 2.5]);
/// # Ok::<(), shm_core::Error>(())
/// ```
pub struct ColumnOf<H, N> {
    rows: Slice<H>,
    name: String,
    /// Bytes from the start of a record.
    offset: usize,
    number: PhantomData<fn() -> N>,
}

impl<H: Deref<Target: Rows> + Clone> Slice<H> {
    /// The numbers of one field of these records.
    ///
    /// # Errors
    /// [`Error::NoColumn`], [`Error::WrongColumnType`].
    pub fn column<N: Number>(&self, name: &str) -> Result<ColumnOf<H, N>, Error> {
        ColumnOf::new(self.clone(), name)
    }
}

impl<H: Deref<Target: Rows> + Clone, N: Number> ColumnOf<H, N> {
    /// A field of records, by its name.
    ///
    /// # Errors
    /// [`Error::NoColumn`], [`Error::WrongColumnType`].
    pub fn new(rows: Slice<H>, name: &str) -> Result<Self, Error> {
        let offset = offset_of::<<H::Target as Rows>::Record, N>(name)?;
        Ok(ColumnOf { rows, name: name.to_owned(), offset, number: PhantomData })
    }

    /// The records that it is a field of.
    #[must_use]
    pub fn rows(&self) -> &Slice<H> {
        &self.rows
    }

    /// The field's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Numbers in the column.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn over(&self, rows: Slice<H>) -> Self {
        ColumnOf { rows, name: self.name.clone(), offset: self.offset, number: PhantomData }
    }

    /// Some of the numbers.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self, Error> {
        Ok(self.over(self.rows.slice(range)?))
    }

    /// The numbers in `parts` columns of nearly equal length, in order.
    #[must_use]
    pub fn split(&self, parts: usize) -> Vec<Self> {
        self.rows.split(parts).into_iter().map(|rows| self.over(rows)).collect()
    }
}

impl<H: Deref<Target = [ReadOnly<T>]> + Clone, T: ShmSafe, N: Number> ColumnOf<H, N> {
    /// The numbers in order, read in place.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, N> {
        column_of(self.rows.as_slice(), self.offset)
    }

    /// The number at an index, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<N> {
        let one = self.rows.as_slice().get(index..)?;
        column_of(one, self.offset).next()
    }
}

/// The numbers of a field at an offset that [`offset_of`] found in `T`.
fn column_of<T: ShmSafe, N: Number>(records: &[T], offset: usize) -> Iter<'_, N> {
    let first = records.as_ptr().cast::<u8>().wrapping_add(offset);
    // SAFETY: the type's own layout has a number of this type there in each of the records, which are
    // borrowed as long.
    unsafe { Iter::new(first, records.len(), size_of::<T>()) }
}

impl<H: Deref<Target = AtomicRecords<T>> + Clone, T: ShmSafe, N: Scalar> ColumnOf<H, N> {
    /// The numbers, to be read and changed by all.
    ///
    /// # Errors
    /// [`Error::WrongColumnType`] for a field of a packed struct: see [`AtomicRecords::column`].
    pub fn atomic(&self) -> Result<AtomicColumn<'_, N>, Error> {
        AtomicRecords::column(&self.rows, &self.name)
    }
}

impl<H: Clone, N> Clone for ColumnOf<H, N> {
    fn clone(&self) -> Self {
        let (rows, name) = (self.rows.clone(), self.name.clone());
        ColumnOf { rows, name, offset: self.offset, number: PhantomData }
    }
}

impl<H, N> fmt::Debug for ColumnOf<H, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnOf").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(feature = "serde")]
impl<H: serde::Serialize, N> serde::Serialize for ColumnOf<H, N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.rows, &self.name).serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de, H, N: Number> serde::Deserialize<'de> for ColumnOf<H, N>
where
    H: Deref<Target: Rows> + Clone + serde::Deserialize<'de>,
{
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (rows, name) = <(Slice<H>, String)>::deserialize(deserializer)?;
        ColumnOf::new(rows, &name).map_err(serde::de::Error::custom)
    }
}
