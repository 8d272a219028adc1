//! Plain data that is copied to the worker, on purpose.

use std::alloc::{Layout, alloc_zeroed};
use std::ops::Deref;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shm_core::ShmSafe;

use crate::codec::{self, Blob};

/// A slice of plain values that each task gets a copy of.
///
/// Faster than a `Vec` as an argument: the bytes go from where they lie through the worker's queue
/// to where the task reads them, without being encoded. Where several tasks read the same data,
/// [`shm_core::Frozen`] costs nothing at all.
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
#[derive(Clone, Debug)]
pub struct Copied<T> {
    values: Arc<Vec<T>>,
}

impl<T> From<Vec<T>> for Copied<T> {
    fn from(values: Vec<T>) -> Self {
        Copied { values: Arc::new(values) }
    }
}

impl<T> Copied<T> {
    /// The values; copies them only if a clone is still in use.
    #[must_use]
    pub fn into_vec(self) -> Vec<T>
    where
        T: Clone,
    {
        Arc::unwrap_or_clone(self.values)
    }
}

impl<T> Deref for Copied<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

struct Values<T>(Arc<Vec<T>>);

impl<T: ShmSafe + Copy> Blob for Values<T> {
    fn bytes(&self) -> &[u8] {
        let values: &[T] = &self.0;
        // SAFETY: `ShmSafe` types have no padding: every byte of the slice is initialised.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
    }
}

impl<T: ShmSafe + Copy> Serialize for Copied<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !codec::attach_blob(Arc::new(Values(Arc::clone(&self.values)))) {
            return Err(S::Error::custom(
                "`Copied` travels only as part of a task's input or result",
            ));
        }
        (self.values.len() as u64).serialize(serializer)
    }
}

impl<'de, T: ShmSafe + Copy> Deserialize<'de> for Copied<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let len = usize::try_from(u64::deserialize(deserializer)?).map_err(D::Error::custom)?;
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
        if !codec::fill_blob(bytes) {
            return Err(D::Error::custom("the data of a `Copied` ended early"));
        }
        Ok(Copied { values: Arc::new(values) })
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
