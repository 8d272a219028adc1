//! What a shared object is: one value, or any number of elements, that many processes use at once.

use std::alloc::Layout;
use std::ops::Deref;

use crate::layout::{self, Field, Shape};
use crate::{Concurrent, Error, ShmSafe};

/// What an [`Arc`](super::Arc) in a heap or a [`Shared`](crate::Shared) in a segment can hold.
///
/// Implemented for every [`Concurrent`] type, for slices `[T]` of them, and for the arrays of plain
/// data whose number of elements is known when they are made: [`LockedArray`](super::LockedArray),
/// [`AtomicRecords`](super::AtomicRecords).
///
/// # Safety
/// - Any bytes are a value, and whatever is reached through `&Self` is accessed atomically, or under
///   a lock, or is never written: as [`Concurrent`] says;
/// - the value begins with `BEFORE` bytes that are valid when zeroed, and then has its elements side
///   by side, aligned to `ALIGN`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be shared by several processes",
    label = "two processes that write it at the same time would race",
    note = "plain data that nobody changes: `shm_core::data::ReadOnly`; that changes under a lock: `shm_core::lock::Mutex`, or `shm_core::data::LockedArray` for many; numbers on their own: `std::sync::atomic`, `shm_core::data::Value`, or `shm_core::data::AtomicRecords` for the fields of many records"
)]
pub unsafe trait Payload: Sync {
    /// What it consists of.
    type Element;
    /// Bytes before the first element.
    #[doc(hidden)]
    const BEFORE: usize;
    #[doc(hidden)]
    const ALIGN: usize;
    /// Tells the type from every other: a value, a slice of it, and the arrays differ.
    #[doc(hidden)]
    const HASH: u64;
    /// Whether there may be so many elements.
    #[doc(hidden)]
    fn fits(len: usize) -> bool;
    /// The value that begins at a place.
    #[doc(hidden)]
    fn of(start: *const u8, len: usize) -> *const Self;
    /// What errors call it.
    #[doc(hidden)]
    fn name() -> String;
}

/// A [`Payload`] of any number of elements, which is known when it is made.
///
/// # Safety
/// - As [`Payload`]: any number of elements fits, and zeroed bytes are elements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be shared by several processes as any number of elements",
    label = "two processes that write it at the same time would race",
    note = "plain data that changes under a lock: `shm_core::data::LockedArray<T>`; each number on its own: `[Value<f64>]`, or `AtomicRecords<T>` for the fields of records; that nobody changes: `[ReadOnly<T>]`, or `Frozen<T>`"
)]
pub unsafe trait Elements: Payload {}

// SAFETY: of one element, which is the value.
unsafe impl<T: Concurrent> Payload for T {
    type Element = T;
    const BEFORE: usize = 0;
    const ALIGN: usize = align_of::<T>();
    const HASH: u64 = T::LAYOUT.hash();

    fn fits(len: usize) -> bool {
        len == 1
    }

    fn of(start: *const u8, _: usize) -> *const T {
        start.cast()
    }

    fn name() -> String {
        format!("one {}", T::LAYOUT)
    }
}

// SAFETY: a slice is its elements side by side, of which any bytes are values.
unsafe impl<T: Concurrent> Payload for [T] {
    type Element = T;
    const BEFORE: usize = 0;
    const ALIGN: usize = align_of::<T>();
    const HASH: u64 = T::LAYOUT.hash() ^ 0x6172_635b;

    fn fits(_: usize) -> bool {
        true
    }

    fn of(start: *const u8, len: usize) -> *const [T] {
        std::ptr::slice_from_raw_parts(start.cast(), len)
    }

    fn name() -> String {
        format!("a slice of {}", T::LAYOUT)
    }
}

// SAFETY: as above.
unsafe impl<T: Concurrent> Elements for [T] {}

/// Size and alignment of a value of so many elements.
#[inline]
pub(crate) fn layout<T: Payload + ?Sized>(len: usize) -> Result<Layout, Error> {
    let too_large = || Error::BadSize { size: u64::MAX, max: isize::MAX as u64 };
    let size = len.checked_mul(size_of::<T::Element>());
    let size = size.and_then(|size| size.checked_add(T::BEFORE)).ok_or_else(too_large)?;
    // A value's size is a multiple of its alignment.
    Layout::from_size_align(size, T::ALIGN).map(|l| l.pad_to_align()).map_err(|_| too_large())
}

/// What is written into a value that nobody else has yet.
pub(crate) enum Init<'a, E> {
    /// One element.
    One(E),
    /// Elements that are moved there.
    Many(Vec<E>),
    /// Elements that are copied.
    Copied(&'a [E]),
    /// So many of zeroes.
    Zeroed(usize),
}

impl<E> Init<'_, E> {
    /// How many elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Init::One(_) => 1,
            Init::Many(values) => values.len(),
            Init::Copied(values) => values.len(),
            Init::Zeroed(len) => *len,
        }
    }

    /// Writes what stands before the elements, and the elements.
    ///
    /// # Safety
    /// - At `start` there is room for a `T` of [`len`](Init::len) elements, aligned, and nobody else
    ///   reaches it.
    #[inline]
    pub unsafe fn write<T: Payload<Element = E> + ?Sized>(self, start: *mut u8) {
        let first = start.wrapping_add(T::BEFORE).cast::<E>();
        if T::BEFORE > 0 {
            // SAFETY: within the value, by the caller's word.
            unsafe { start.write_bytes(0, T::BEFORE) };
        }
        match self {
            // SAFETY: there is room for one.
            Init::One(value) => unsafe { first.write(value) },
            Init::Many(values) => {
                for (index, value) in values.into_iter().enumerate() {
                    // SAFETY: there is room for all of them.
                    unsafe { first.wrapping_add(index).write(value) };
                }
            }
            // SAFETY: there is room for all of them, and they are elsewhere: nobody else has this.
            // Whoever gives a slice has seen that its elements can be copied.
            Init::Copied(values) => unsafe {
                first.copy_from_nonoverlapping(values.as_ptr(), values.len());
            },
            // SAFETY: there is room for all of them.
            Init::Zeroed(len) => unsafe { first.write_bytes(0, len) },
        }
    }
}

/// Plain data that nobody changes any more: read by many processes at once, as `&T`.
///
/// ```
/// use shm_core::data::ReadOnly;
///
/// let limits = ReadOnly::new([3u32, 5]);
/// assert_eq!(limits[1], 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct ReadOnly<T>(T);

impl<T: ShmSafe> ReadOnly<T> {
    /// The value, from now on as it is.
    pub const fn new(value: T) -> ReadOnly<T> {
        ReadOnly(value)
    }

    /// Values that nobody changes, as plain ones.
    #[must_use]
    pub fn as_slice(values: &[ReadOnly<T>]) -> &[T] {
        // SAFETY: `repr(transparent)`: the same elements, borrowed as long.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
    }

    /// Plain values, as such that nobody changes: to copy them into shared memory.
    #[must_use]
    pub fn from_slice(values: &[T]) -> &[ReadOnly<T>] {
        // SAFETY: as in `as_slice`.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
    }
}

impl<T> Deref for ReadOnly<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

// SAFETY: any bytes are a value (`ShmSafe`), and nothing is ever written through `&Self`.
unsafe impl<T: ShmSafe> Concurrent for ReadOnly<T> {
    const LAYOUT: layout::Layout = layout::Layout {
        name: "ReadOnly",
        size: size_of::<T>(),
        align: align_of::<T>(),
        shape: Shape::Record {
            version: 1,
            fields: &[Field { name: "data", offset: 0, layout: &T::LAYOUT }],
        },
    };
}
