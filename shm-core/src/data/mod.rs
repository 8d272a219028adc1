//! Data in shared memory: each discipline is a type.
//!
//! | who may write | type |
//! |---|---|
//! | one thread, which holds it | [`Box`], [`FixedVec`], [`FixedString`] in a heap |
//! | whoever holds its lock | [`Mutex`](crate::lock::Mutex), also of a [`List`]; [`LockedArray`] |
//! | everybody, each number on its own | [`Value`], std's atomics; [`AtomicRecords`] |
//! | nobody any more | [`ReadOnly`] |
//!
//! The last three are shared by [`Arc`] in a heap, or as a [`Shared`](crate::Shared) object of its
//! own; `Arc<[T]>` and `Shared<[T]>` hold a slice of them. A [`Slice`] is a part of one, a
//! [`ColumnOf`] one field of its records: both travel.
//!
//! # Held by one thread
//!
//! Each is a [`Block`](crate::heap::Block) that knows what is in it. It is private to its holder,
//! who reads and writes it as Rust's own `Box`, `Vec` and `String`; it is handed over by putting it
//! into a cell, and given back when its holder's process is killed. Only types that may lie in
//! shared memory fit in: see [`ShmSafe`](crate::ShmSafe).
//!
//! ```
//! use shm_core::data::FixedVec;
//! use shm_core::heap::{Heap, HeapOptions};
//! use shm_core::{Group, Segment};
//!
//! let (segment, group) = (Segment::anonymous(4 << 20)?, Group::anonymous()?);
//! let heap = Heap::create(&segment, &group, HeapOptions::default())?;
//! let local = heap.local()?;
//! let mut primes = FixedVec::with_capacity(&local, 100)?;
//! for prime in [2u64, 3, 5, 7] {
//!     primes.push(prime).map_err(|_| "full")?;
//! }
//! primes.publish(heap.root("primes")?).map_err(|_| "the cell is taken")?;
//!
//! // In another process:
//! let block = heap.root("primes")?.take(&local)?.ok_or("nothing there")?;
//! let mut primes = FixedVec::<u64>::from_block(block).map_err(|not| not.error)?;
//! primes[0] = 11;
//! assert_eq!(primes.iter().sum::<u64>(), 26);
//! # Ok::<(), std::boxed::Box<dyn std::error::Error>>(())
//! ```

mod arc;
mod atomic;
mod boxed;
mod column;
mod list;
mod locked;
mod payload;
mod slice;
mod string;
mod typed;
mod value;
mod vec;

#[cfg(feature = "serde")]
pub use arc::sent_to;
pub use arc::{Arc, ArcStats, Arcs, Flight};
pub use atomic::{AtomicColumn, AtomicRecords};
pub use boxed::Box;
pub use column::ColumnOf;
pub use list::List;
pub use locked::{LockedArray, LockedGuard, LockedRange};
pub use payload::{Elements, Payload, ReadOnly};
pub(crate) use payload::{Init, layout as payload_layout};
pub use slice::{Rows, Slice, Sliceable, View};
pub use string::FixedString;
pub use typed::NotThat;
pub use value::{Scalar, Value};
pub use vec::FixedVec;

/// The code of the book's page on shared data: compiled and run as this crate's.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/guide/shared-data.md")]
#[derive(Debug)]
pub struct Guide;
