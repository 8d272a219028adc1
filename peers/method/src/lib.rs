//! How the peers are measured, in one place, so that every area is measured alike.
//!
//! A [`Case`] is one piece of work and the [`Side`]s that do it: ours and the rivals. Its rounds run
//! every side once, in an order that turns from round to round, each sample between two
//! calibrations on the same two processors ([`Calibration`]). A sample is *disturbed*, and its round
//! does not count for the rows of that side, when
//!
//! - the calibrations before and after it differ by more than [`DRIFT`] times, or
//! - two sides that look for each other without sleeping got less than [`UNDISTURBED`] processors.
//!
//! Where less than half of the rounds, or fewer than [`FEWEST`], are left, all of them count and
//! the row is `unstable`, as is one whose spread exceeds 15 % (latency) or 10 % (throughput).
//!
//! The rounds of a case are divided among several processes of the same program (`parts`), so that
//! what differs from one start of it to the next is in the spread.
//!
//! The figures of a row are medians. Its `ratio` is the median of the rounds' own ratios, written so
//! that above 1 ours is ahead; its `spread` is how far the quartiles of those ratios lie from it.

pub mod arguments;
mod calibration;
mod case;
pub mod cores;
mod parts;
mod program;
mod row;
mod side;
mod stats;
mod together;

pub use arguments::Arguments;
pub use calibration::{Calibration, DRIFT, UNDISTURBED};
pub use case::{Axis, Case};
pub use program::Program;
pub use row::{FEWEST, Row, Target, Unit, describe};
pub use side::{Promise, Sample, Side};
pub use stats::{median, spread};
pub use together::{Between, Gate, together};

/// What a measurement gives, or why there is none.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
