//! Record arrays: named columns over the bytes of an array of structs.

use std::marker::PhantomData;
use std::ops::{Range, RangeBounds};

use crate::frozen::{Frozen, NamedFrozen, resolve, split_points};
use crate::layout::{Layout, Scalar, Shape};
use crate::{Error, ShmSafe};

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ColumnType {
    /// Signed integers of this many bytes.
    Int(u8),
    /// Unsigned integers of this many bytes.
    Uint(u8),
    /// IEEE 754 floats of this many bytes.
    Float(u8),
    /// Something else, described in words: `8 bytes of text`.
    Other(String),
}

impl ColumnType {
    fn of(layout: &Layout) -> ColumnType {
        match layout.shape {
            Shape::Scalar(scalar) => ColumnType::of_scalar(scalar),
            _ => ColumnType::Other(layout.to_string()),
        }
    }

    fn of_scalar(scalar: Scalar) -> ColumnType {
        let size = scalar.size() as u8;
        match scalar {
            Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 => ColumnType::Int(size),
            Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64 => ColumnType::Uint(size),
            Scalar::F32 | Scalar::F64 => ColumnType::Float(size),
        }
    }
}

impl std::fmt::Display for ColumnType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ColumnType::Int(size) => write!(f, "i{}", u32::from(*size) * 8),
            ColumnType::Uint(size) => write!(f, "u{}", u32::from(*size) * 8),
            ColumnType::Float(size) => write!(f, "f{}", u32::from(*size) * 8),
            ColumnType::Other(text) => f.write_str(text),
        }
    }
}

/// A number that a column can hold.
///
/// Sealed by the crate: the fixed-size integers and floats.
pub trait Number: ShmSafe + Copy + sealed::Sealed {
    /// The column type that holds it.
    fn column_type() -> ColumnType {
        ColumnType::of(&Self::LAYOUT)
    }
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl sealed::Sealed for $ty {}
        impl Number for $ty {}
    )*};
}

numbers!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);

/// Name, place and type of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// Bytes from the start of a record.
    pub offset: usize,
    /// What it holds.
    pub column_type: ColumnType,
}

/// The columns of a record, known at compile time ([`Schema::of`]) or read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Bytes from one record to the next.
    pub stride: usize,
    /// The columns, in order.
    pub columns: Vec<ColumnSpec>,
}

impl Schema {
    /// The columns of a struct that derives [`ShmSafe`].
    #[must_use]
    pub fn of<T: ShmSafe>() -> Schema {
        let layout = T::LAYOUT;
        let columns = match layout.shape {
            Shape::Record { fields, .. } => fields
                .iter()
                .map(|field| ColumnSpec {
                    name: field.name.to_owned(),
                    offset: field.offset,
                    column_type: ColumnType::of(field.layout),
                })
                .collect(),
            _ => Vec::new(),
        };
        Schema { stride: layout.size, columns }
    }

    /// The column called `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoColumn`], which lists those there are.
    pub fn column(&self, name: &str) -> Result<&ColumnSpec, Error> {
        self.columns.iter().find(|column| column.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
            Error::NoColumn {
                column: name.to_owned(),
                columns: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            }
        })
    }
}

/// One column of an immutable record array: numbers at a fixed stride, read in place.
///
/// Like [`Frozen`] it can be cut, cloned and, with the feature `serde`, sent as a handle.
///
/// ```
/// use shm_core::{Column, Frozen, ShmSafe};
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Tick { time: i64, price: f64 }
///
/// let ticks = Frozen::copy_of(&[Tick { time: 1, price: 2.5 }, Tick { time: 2, price: 3.5 }])?;
/// let prices: Column<f64> = ticks.column("price")?;
/// assert_eq!(prices.iter().sum::<f64>(), 6.0);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(bound = ""))]
pub struct Column<N> {
    bytes: Frozen<u8>,
    /// Byte of the first number.
    offset: usize,
    /// Bytes from one number to the next.
    stride: usize,
    len: usize,
    #[cfg_attr(feature = "serde", serde(skip))]
    number: PhantomData<fn() -> N>,
}

impl<N: Number> Column<N> {
    /// A column over raw bytes, as a schema that was read from a file describes it.
    ///
    /// The records need not be aligned. The number of records is what fits into `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::NoColumn`], [`Error::WrongColumnType`]; [`Error::OutOfBounds`] when the column
    /// does not lie within a record.
    pub fn new(bytes: Frozen<u8>, schema: &Schema, name: &str) -> Result<Column<N>, Error> {
        let spec = schema.column(name)?;
        if spec.column_type != N::column_type() {
            return Err(Error::WrongColumnType {
                column: name.to_owned(),
                found: spec.column_type.to_string(),
                wanted: N::column_type().to_string(),
            });
        }
        let end = spec.offset.saturating_add(size_of::<N>());
        if end > schema.stride {
            return Err(Error::OutOfBounds {
                start: spec.offset as u64,
                end: end as u64,
                len: schema.stride as u64,
            });
        }
        let records = bytes.len().checked_div(schema.stride).unwrap_or(0);
        Column::checked(bytes, spec.offset, schema.stride, records)
    }

    /// The only way to make a column: every number lies within the bytes, and no two overlap (so
    /// that a column is never longer than its bytes).
    pub(crate) fn checked(
        bytes: Frozen<u8>,
        offset: usize,
        stride: usize,
        len: usize,
    ) -> Result<Column<N>, Error> {
        let end = match len {
            0 => Some(0),
            _ if stride < size_of::<N>() => None,
            _ => (len - 1)
                .checked_mul(stride)
                .and_then(|last| last.checked_add(offset))
                .and_then(|last| last.checked_add(size_of::<N>())),
        };
        match end {
            Some(end) if end <= bytes.len() => {
                Ok(Column { bytes, offset, stride, len, number: PhantomData })
            }
            _ => Err(Error::OutOfBounds {
                start: offset as u64,
                end: end.map_or(u64::MAX, |end| end as u64),
                len: bytes.len() as u64,
            }),
        }
    }

    /// Numbers in the column.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number at `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<N> {
        (index < self.len).then(|| self.iter_range(index..index + 1).next()).flatten()
    }

    /// The numbers in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, N> {
        self.iter_range(0..self.len)
    }

    /// A view of some of the numbers.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Column<N>, Error> {
        Ok(self.cut(resolve(range, self.len)?))
    }

    /// Divides the column into `parts` views of nearly equal length, in order.
    #[must_use]
    pub fn split(&self, parts: usize) -> Vec<Column<N>> {
        split_points(self.len, parts).map(|range| self.cut(range)).collect()
    }

    fn cut(&self, range: Range<usize>) -> Column<N> {
        Column {
            bytes: self.bytes.clone(),
            // A range that starts at the end is empty: its offset is never used.
            offset: if range.is_empty() { 0 } else { self.offset + range.start * self.stride },
            stride: self.stride,
            len: range.len(),
            number: PhantomData,
        }
    }

    fn iter_range(&self, range: Range<usize>) -> Iter<'_, N> {
        let bytes: &[u8] = &self.bytes;
        let at = if range.is_empty() { 0 } else { self.offset + range.start * self.stride };
        Iter {
            next: bytes[at..].as_ptr(),
            left: range.len(),
            stride: self.stride,
            column: PhantomData,
        }
    }
}

#[cfg(feature = "serde")]
impl<'de, N: Number> serde::Deserialize<'de> for Column<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Parts {
            bytes: Frozen<u8>,
            offset: usize,
            stride: usize,
            len: usize,
        }
        let Parts { bytes, offset, stride, len } = Parts::deserialize(deserializer)?;
        Column::checked(bytes, offset, stride, len).map_err(serde::de::Error::custom)
    }
}

/// Iterator over a [`Column`].
#[derive(Clone, Debug)]
pub struct Iter<'a, N> {
    next: *const u8,
    left: usize,
    stride: usize,
    column: PhantomData<&'a N>,
}

impl<N: Number> Iter<'_, N> {
    /// # Safety
    /// - From `first` on, `stride` bytes apart, lie `len` numbers that live as long as the borrow and
    ///   that nobody changes.
    pub(crate) unsafe fn new(first: *const u8, len: usize, stride: usize) -> Self {
        Iter { next: first, left: len, stride, column: PhantomData }
    }
}

impl<N: Number> Iterator for Iter<'_, N> {
    type Item = N;

    #[inline]
    fn next(&mut self) -> Option<N> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: `Column::checked`, or the caller of `new`, knows that each of the `left` numbers
        // lies within the bytes, which the borrow keeps mapped; any bytes are an `N`.
        let value = unsafe { self.next.cast::<N>().read_unaligned() };
        // One past the last number the address is computed, wrapping, and never read.
        self.next = self.next.wrapping_add(self.stride);
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<N: Number> ExactSizeIterator for Iter<'_, N> {}

impl<'a, N: Number> IntoIterator for &'a Column<N> {
    type Item = N;
    type IntoIter = Iter<'a, N>;

    fn into_iter(self) -> Iter<'a, N> {
        self.iter()
    }
}

impl<T: ShmSafe + Copy> Frozen<T> {
    /// The column `name` of an array of records.
    ///
    /// # Errors
    ///
    /// [`Error::NoColumn`], [`Error::WrongColumnType`].
    pub fn column<N: Number>(&self, name: &str) -> Result<Column<N>, Error> {
        Column::new(self.to_bytes(), &Schema::of::<T>(), name)
    }
}

impl<T: ShmSafe + Copy> NamedFrozen<T> {
    /// The column `name` of an array of records.
    ///
    /// # Errors
    ///
    /// [`Error::NoColumn`], [`Error::WrongColumnType`].
    pub fn column<N: Number>(&self, name: &str) -> Result<Column<N>, Error> {
        self.view().column(name)
    }

    /// The same memory, seen as bytes. It has no handle: other processes open the name.
    #[must_use]
    pub fn to_bytes(&self) -> Frozen<u8> {
        self.view().to_bytes()
    }
}
