//! What a shared value is made of: one value, or a slice of values, that many processes use at once.

use std::alloc::Layout;
use std::ops::Deref;

use crate::layout::{self, Field, Shape};
use crate::{Concurrent, Error, ShmSafe};

/// A value, or a slice of values, that many processes may use at once.
///
/// Implemented for every [`Concurrent`] type `T`, and for `[T]`.
///
/// # Safety
/// - Values are as [`Concurrent`] says; `Element` is what they consist of.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be shared by several processes",
    label = "two processes that write it at the same time would race",
    note = "plain data that nobody changes: `shm_core::data::ReadOnly`; that changes under a lock: `shm_core::lock::Mutex`; numbers on their own: `std::sync::atomic`, `shm_core::data::Value`"
)]
pub unsafe trait Payload: Send + Sync {
    /// What it consists of.
    type Element: Concurrent;
    /// Distinguishes a value from a slice of one.
    #[doc(hidden)]
    const KIND: u64;
    /// Whether there may be so many elements.
    #[doc(hidden)]
    fn fits(len: usize) -> bool;
    /// The elements as a value.
    #[doc(hidden)]
    fn of(first: *const Self::Element, len: usize) -> *const Self;
}

// SAFETY: of one element, which is the value.
unsafe impl<T: Concurrent + Send> Payload for T {
    type Element = T;
    const KIND: u64 = 0x6172_6300;

    fn fits(len: usize) -> bool {
        len == 1
    }

    fn of(first: *const T, _: usize) -> *const T {
        first
    }
}

// SAFETY: a slice is its elements side by side.
unsafe impl<T: Concurrent + Send> Payload for [T] {
    type Element = T;
    const KIND: u64 = 0x6172_635b;

    fn fits(_: usize) -> bool {
        true
    }

    fn of(first: *const T, len: usize) -> *const [T] {
        std::ptr::slice_from_raw_parts(first, len)
    }
}

/// What the block of such a value says of its type.
pub(super) fn hash<T: Payload + ?Sized>() -> u64 {
    const { T::Element::LAYOUT.hash() ^ T::KIND }
}

/// Bytes before the first element: `type hash 8 | length 8`, and what alignment asks for.
pub(super) fn header<E>() -> usize {
    align_of::<E>().max(16)
}

/// The first element of a block.
pub(super) fn first<E>(start: *mut u8) -> *mut E {
    start.wrapping_add(header::<E>()).cast()
}

/// Size and alignment of a block of so many elements.
pub(super) fn layout<E>(len: usize) -> Result<Layout, Error> {
    let too_large = || Error::BadSize { size: u64::MAX, max: isize::MAX as u64 };
    let size = len.checked_mul(size_of::<E>()).and_then(|size| size.checked_add(header::<E>()));
    Layout::from_size_align(size.ok_or_else(too_large)?, header::<E>()).map_err(|_| too_large())
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
