//! Shared memory for programs made of several processes: segments with validated attach, record arrays, frozen data, waiting.
pub mod barrier;
pub mod futex;
#[doc(hidden)]
pub mod primitive;
mod segment;
pub use segment::{Error, Segment};
