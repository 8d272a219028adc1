//! Plain data that is copied to the worker, on purpose.

use std::alloc::{Layout, alloc_zeroed};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shm_core::{Segment, ShmSafe};

use crate::arena::{self, Lease};
use crate::codec::{self, Blob};

/// A slice of plain values that each task gets a copy of.
///
/// Faster than a `Vec` as an argument or a result: the bytes are not encoded. Large ones (from 256 KiB
/// on) are copied once, into shared memory that stays mapped and touched on both sides, and read
/// there; a process keeps up to 256 MiB of such memory for the next ones. Smaller ones go through
/// the worker's queue. Where several tasks read the same data, [`shm_core::Frozen`] costs nothing at
/// all.
///
/// ```standalone_crate
/// use proc_pool::{Copied, Pool, task};
///
/// #[task]
/// fn total(values: Copied<f64>) -> f64 {
///     values.iter().sum()
/// }
///
/// #[proc_pool::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = Pool::new()?;
///     let sum = pool.submit(total, Copied::from(vec![1.0, 2.0, 3.5])).wait()?;
///     assert_eq!(sum, 6.5);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Copied<T> {
    values: Arc<Values<T>>,
}

/// Where the values lie.
enum Values<T> {
    Here(Vec<T>),
    /// At the beginning of a buffer's data, this many.
    Arena(Arc<Lease>, usize),
}

impl<T> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Values::Here(values) => values,
            // SAFETY: only deserialising makes these: for `ShmSafe` types, for which any bytes are
            // a value, page-aligned, within the buffer; it is not written while the lease lives.
            Values::Arena(lease, len) => unsafe {
                std::slice::from_raw_parts(lease.start().cast::<T>().as_ptr(), *len)
            },
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Copied<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: &[T] = self;
        f.debug_struct("Copied").field("values", &values).finish()
    }
}

impl<T> From<Vec<T>> for Copied<T> {
    fn from(values: Vec<T>) -> Self {
        Copied { values: Arc::new(Values::Here(values)) }
    }
}

impl<T> Copied<T> {
    /// The values; copies them if a clone is still in use, or they lie in shared memory, where large
    /// ones arrive.
    #[must_use]
    pub fn into_vec(self) -> Vec<T>
    where
        T: Clone,
    {
        match Arc::try_unwrap(self.values) {
            Ok(Values::Here(values)) => values,
            Ok(values) => values.to_vec(),
            Err(shared) => shared.to_vec(),
        }
    }
}

impl<T> Deref for Copied<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

/// Values on their way through a pipe.
struct Piped<T>(Arc<Values<T>>);

fn bytes_of<T: ShmSafe + Copy>(values: &[T]) -> &[u8] {
    // SAFETY: `ShmSafe` types have no padding: every byte of the slice is initialised.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

impl<T: ShmSafe + Copy> Blob for Piped<T> {
    fn bytes(&self) -> &[u8] {
        bytes_of(&self.0)
    }
}

impl<T: ShmSafe + Copy> Serialize for Copied<T> {
    /// The number of values, and the buffer where they lie, if it is one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !codec::gathers() {
            return Err(S::Error::custom(
                "`Copied` travels only as part of a task's input or result",
            ));
        }
        let bytes = bytes_of(self);
        let large = bytes.len() >= arena::LEAST && align_of::<T>() <= 4096;
        let lent = if large { arena::put(bytes) } else { None };
        let buffer = lent.as_ref().map(|lent| lent.buffer().clone());
        codec::attach_blob(match lent {
            Some(lent) => Arc::new(lent),
            None => Arc::new(Piped(Arc::clone(&self.values))),
        });
        (self.len() as u64, buffer).serialize(serializer)
    }
}

impl<'de, T: ShmSafe + Copy> Deserialize<'de> for Copied<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (len, buffer) = <(u64, Option<Segment>)>::deserialize(deserializer)?;
        let len = usize::try_from(len).map_err(D::Error::custom)?;
        if let Some(lease) = buffer.as_ref().and_then(arena::redeem) {
            if len.checked_mul(size_of::<T>()).is_none_or(|size| size > lease.room()) {
                let reason = format!("{len} elements are more than their buffer holds");
                return Err(D::Error::custom(reason));
            }
            return Ok(Copied { values: Arc::new(Values::Arena(lease, len)) });
        }
        let mut values = zeroed::<T>(len).ok_or_else(|| {
            D::Error::custom(format!("no memory for {len} elements of {} bytes", size_of::<T>()))
        })?;
        // SAFETY: the vector's elements are initialised and, being `ShmSafe`, accept any bytes;
        // the reference ends before `values` is used again.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(
                values.as_mut_ptr().cast::<u8>(),
                size_of_val(values.as_slice()),
            )
        };
        let filled = match &buffer {
            Some(buffer) => arena::copy(buffer, bytes),
            None => codec::fill_blob(bytes),
        };
        if !filled {
            return Err(D::Error::custom("the data of a `Copied` ended early"));
        }
        Ok(Copied::from(values))
    }
}

/// A vector of zero bytes whose pages are first touched when they are filled.
fn zeroed<T: ShmSafe + Copy>(len: usize) -> Option<Vec<T>> {
    let layout = Layout::array::<T>(len).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the layout is not of size zero.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return None;
    }
    // SAFETY: allocated by the global allocator with exactly this layout, and all `len` elements
    // are initialised: zero bytes are a value of every `ShmSafe` type.
    Some(unsafe { Vec::from_raw_parts(start.cast(), len, len) })
}
