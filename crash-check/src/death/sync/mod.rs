//! Stand-ins for `core::sync::atomic` and `core::cell::UnsafeCell` in which a thread can die.
//!
//! Each operation is a possible kill point, has no effect once its thread is dead, is recorded for
//! the trace, and passes the mutation hook with its caller's place in the source.

mod atomic;
mod barrier;
mod cell;

pub use atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};
pub use barrier::{fence, heavy_barrier, light_barrier};
pub use cell::UnsafeCell;
pub use std::sync::atomic::Ordering;
