//! Records whose numbers many processes change at once, each on its own.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Index, RangeBounds};

use super::column::offset_of;
use super::value::{Scalar, Value};
use super::{Elements, Payload};
use crate::frozen::{resolve, split_points};
use crate::layout::{self, Layout, Shape};
use crate::{Error, ShmSafe};

/// Records of any number whose numbers many processes read and change at once: a column is found by
/// name, and its elements are [`Value`]s.
///
/// It lives in a heap as `Arc<AtomicRecords<T>>`, or in a segment of its own as
/// `Shared<AtomicRecords<T>>`; both are serde values, and so is a [`Slice`](super::Slice) of one.
///
/// Each number is whole, a record need not be: who must see two fields of a record together takes a
/// [`LockedArray`](super::LockedArray). A process that is killed has made its change to a number or
/// not; nothing is to be recovered. Progress: lock-free.
///
/// ```
/// use shm_core::data::AtomicRecords;
/// use shm_core::{Shared, ShmSafe};
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Bin { count: u64, sum: f64 }
///
/// let bins = Shared::<AtomicRecords<Bin>>::zeroed(100)?;
/// let (counts, sums) = (bins.column::<u64>("count")?, bins.column::<f64>("sum")?);
/// counts[42].fetch_add(1);
/// sums[42].fetch_add(0.5);
/// assert_eq!(counts.iter().map(|count| count.load()).sum::<u64>(), 1);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[repr(transparent)]
pub struct AtomicRecords<T> {
    records: [UnsafeCell<T>],
}

// SAFETY: every number in it is reached atomically alone.
unsafe impl<T: ShmSafe> Sync for AtomicRecords<T> {}

// SAFETY: any bytes are values (`ShmSafe`), and every number in them is reached atomically, by its own
// size alone; it is a slice of records.
unsafe impl<T: ShmSafe> Payload for AtomicRecords<T> {
    type Element = T;
    const BEFORE: usize = 0;
    const ALIGN: usize = align_of::<T>();
    const HASH: u64 = T::LAYOUT.hash() ^ 0x6174_6f6d;

    fn fits(_: usize) -> bool {
        true
    }

    fn of(start: *const u8, len: usize) -> *const Self {
        std::ptr::slice_from_raw_parts(start.cast::<T>(), len) as *const Self
    }

    fn name() -> String {
        format!("atomic records of {}", T::LAYOUT)
    }
}

// SAFETY: any number of elements fits.
unsafe impl<T: ShmSafe> Elements for AtomicRecords<T> {}

impl<T: ShmSafe> AtomicRecords<T> {
    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn of_cells(records: &[UnsafeCell<T>]) -> &Self {
        let cells = std::ptr::from_ref(records) as *const Self;
        // SAFETY: `repr(transparent)`: the same slice, borrowed as long.
        unsafe { &*cells }
    }

    /// Some of the records.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<&Self, Error> {
        Ok(Self::of_cells(&self.records[resolve(range, self.len())?]))
    }

    /// The records in `parts` pieces of nearly equal length, in order.
    pub fn split(&self, parts: usize) -> impl Iterator<Item = &Self> {
        split_points(self.len(), parts).map(|range| Self::of_cells(&self.records[range]))
    }

    /// The numbers of one field of the records, in order, to be read and changed by all.
    ///
    /// # Errors
    /// [`Error::NoColumn`]; [`Error::WrongColumnType`], also for a field of a packed struct, which is
    /// not aligned.
    pub fn column<N: Scalar>(&self, name: &str) -> Result<AtomicColumn<'_, N>, Error> {
        let offset = offset_of::<T, N>(name)?;
        let align = align_of::<Value<N>>();
        if !offset.is_multiple_of(align) || !align_of::<T>().is_multiple_of(align) {
            return Err(Error::WrongColumnType {
                column: name.to_owned(),
                found: format!("numbers that are not aligned to {align} bytes"),
                wanted: "atomic ones".to_owned(),
            });
        }
        let first = self.records.as_ptr().cast::<u8>().wrapping_add(offset).cast();
        Ok(AtomicColumn { first, stride: size_of::<T>(), len: self.len(), column: PhantomData })
    }

    /// A record, read number by number: each is whole, and they may be of different moments.
    #[must_use]
    pub fn load(&self, index: usize) -> Option<T> {
        let from = self.records.get(index)?.get().cast::<u8>();
        let mut record = MaybeUninit::<T>::zeroed();
        let to = record.as_mut_ptr().cast::<u8>();
        each_number(&T::LAYOUT, 0, &mut |offset, kind| {
            let (from, to) = (from.wrapping_add(offset), to.wrapping_add(offset));
            // SAFETY: numbers of a record in shared memory, and of one of ours.
            unsafe { load(from, to, kind.size()) };
        });
        // SAFETY: zeroed, and any bytes are a value (`ShmSafe`).
        Some(unsafe { record.assume_init() })
    }

    /// Writes a record, number by number, in the order of the fields: whoever looks meanwhile, or
    /// after this process was killed meanwhile, sees some new numbers and some old ones. `false`:
    /// there is no such record.
    #[must_use]
    pub fn store(&self, index: usize, record: &T) -> bool {
        let Some(to) = self.records.get(index) else { return false };
        let (from, to) = (std::ptr::from_ref(record).cast::<u8>(), to.get().cast::<u8>());
        each_number(&T::LAYOUT, 0, &mut |offset, kind| {
            let (from, to) = (from.wrapping_add(offset), to.wrapping_add(offset));
            // SAFETY: as in `load`.
            unsafe { store(from, to, kind.size()) };
        });
        true
    }
}

impl<T: ShmSafe> fmt::Debug for AtomicRecords<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicRecords").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Calls `f` for every number in a layout, with its offset.
fn each_number(layout: &Layout, at: usize, f: &mut impl FnMut(usize, layout::Scalar)) {
    match layout.shape {
        Shape::Scalar(scalar) => f(at, scalar),
        Shape::Array { of, len } => {
            (0..len).for_each(|index| each_number(of, at + index * of.size, f));
        }
        Shape::Record { fields, .. } => {
            fields.iter().for_each(|field| each_number(field.layout, at + field.offset, f));
        }
    }
}

/// The atomic of `N`'s size at a place, if it is aligned for that.
///
/// # Safety
/// - The place lies in shared records that live as long as `'a`, and has the bytes of an `N`.
unsafe fn number_at<'a, N: Scalar>(place: *const u8) -> Option<&'a Value<N>> {
    let place = place.cast::<Value<N>>();
    // SAFETY: aligned, by the check; atomic, and there is one, by the caller's word.
    place.is_aligned().then(|| unsafe { &*place })
}

/// Reads a number: whole, if it is aligned.
///
/// # Safety
/// - `from` is a number of shared records, and `to` has room for it; both are of `size` bytes.
unsafe fn load(from: *const u8, to: *mut u8, size: usize) {
    macro_rules! whole {
        ($number:ty) => {
            // SAFETY: the caller's word.
            if let Some(number) = unsafe { number_at::<$number>(from) } {
                // SAFETY: there is room for as many bytes.
                return unsafe { to.cast::<$number>().write_unaligned(number.load()) };
            }
        };
    }
    match size {
        8 => whole!(u64),
        4 => whole!(u32),
        2 => whole!(u16),
        _ => {}
    }
    for at in 0..size {
        // SAFETY: a byte of the number.
        let byte = unsafe { number_at::<u8>(from.wrapping_add(at)) }.map_or(0, Value::load);
        // SAFETY: there is room for as many bytes.
        unsafe { to.wrapping_add(at).write(byte) };
    }
}

/// Writes a number: whole, if it is aligned.
///
/// # Safety
/// - `from` is a number, and `to` one of shared records; both are of `size` bytes.
unsafe fn store(from: *const u8, to: *const u8, size: usize) {
    macro_rules! whole {
        ($number:ty) => {
            // SAFETY: the caller's word.
            if let Some(number) = unsafe { number_at::<$number>(to) } {
                // SAFETY: there are as many bytes.
                return number.store(unsafe { from.cast::<$number>().read_unaligned() });
            }
        };
    }
    match size {
        8 => whole!(u64),
        4 => whole!(u32),
        2 => whole!(u16),
        _ => {}
    }
    for at in 0..size {
        // SAFETY: there are as many bytes.
        let byte = unsafe { from.wrapping_add(at).read() };
        // SAFETY: a byte of the number.
        if let Some(place) = unsafe { number_at::<u8>(to.wrapping_add(at)) } {
            place.store(byte);
        }
    }
}

/// One field of [`AtomicRecords`]: numbers at a fixed stride, each a [`Value`].
pub struct AtomicColumn<'a, N: Scalar> {
    first: *const Value<N>,
    stride: usize,
    len: usize,
    column: PhantomData<&'a Value<N>>,
}

// SAFETY: it is many `&Value`.
unsafe impl<N: Scalar> Send for AtomicColumn<'_, N> {}
// SAFETY: as above.
unsafe impl<N: Scalar> Sync for AtomicColumn<'_, N> {}

impl<'a, N: Scalar> AtomicColumn<'a, N> {
    /// Number of numbers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number at an index, if there is one.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a Value<N>> {
        // SAFETY: there is such a record.
        (index < self.len).then(|| unsafe { self.at(index) })
    }

    /// # Safety
    /// - `index` is below the number of records.
    #[inline]
    unsafe fn at(&self, index: usize) -> &'a Value<N> {
        let place = self.first.wrapping_byte_add(index * self.stride);
        // SAFETY: within the records, which live as long as `'a`, by the caller's word; aligned, as
        // `AtomicRecords::column` has checked; it is reached atomically alone.
        unsafe { &*place }
    }

    /// The numbers, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a Value<N>> + DoubleEndedIterator {
        let column = *self;
        // SAFETY: there is such a record.
        (0..column.len).map(move |index| unsafe { column.at(index) })
    }

    /// Some of the numbers.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self, Error> {
        let range = resolve(range, self.len)?;
        let first = self.first.wrapping_byte_add(range.start * self.stride);
        Ok(AtomicColumn { first, len: range.len(), ..*self })
    }
}

impl<N: Scalar> Clone for AtomicColumn<'_, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N: Scalar> Copy for AtomicColumn<'_, N> {}

/// Panics beyond the end, as a slice's does.
impl<'a, N: Scalar> Index<usize> for AtomicColumn<'a, N> {
    type Output = Value<N>;

    #[inline]
    fn index(&self, index: usize) -> &Value<N> {
        match self.get(index) {
            Some(number) => number,
            None => panic!("index {index} of a column of {}", self.len),
        }
    }
}

impl<N: Scalar> fmt::Debug for AtomicColumn<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicColumn").field("len", &self.len).finish_non_exhaustive()
    }
}
