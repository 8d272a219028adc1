//! The mutation matrix: is every ordering, and every statement of a recovery, needed by a model?
//!
//! Every place where an algorithm under [`death`](crate::death) orders memory is weakened by one
//! notch in turn, and every store, read-modify-write or wake of its recovery functions is left out
//! in turn; the models are run again, and one of them must fail. What survives is either a hole in
//! the models or an ordering nobody needs; it is listed with its reason.
//!
//! The algorithm is not annotated: the shim's types know their callers' places (`#[track_caller]`).
//! The list of places comes twice, once from running the models and once from scanning the source,
//! and a place that only the scan knows is reported, since no model gets there.
//!
#![doc = include_str!("../../docs/mutate.md")]

mod error;
mod html;
mod matrix;
mod runner;
mod scan;
mod text;

use std::panic::Location;

use crate::death::site;

pub use crate::death::site::{Change, Operation, Orders, Site, SiteOrder};
pub use error::Error;
pub use matrix::{Matrix, Outcome, Row};
pub use runner::Mutations;
pub use scan::{Listed, scan};

/// Shall the statement marked at the caller's place be run? The work of [`statement!`](crate::statement!).
#[track_caller]
#[must_use]
pub fn keeps_statement() -> bool {
    !site::visit(Site::new(Location::caller(), Operation::Statement), None, None).dropped
}

/// Marks a statement that is no shared operation itself as one that the matrix leaves out in turn.
///
/// ```
/// let mut swept = Vec::new();
/// crash_check::statement!(swept.push(3));
/// assert_eq!(swept, [3]);
/// ```
///
/// A crate that uses it in code which is also built without this one defines a macro of that name
/// that expands to the statement alone.
#[macro_export]
macro_rules! statement {
    ($statement:expr) => {
        if $crate::mutate::keeps_statement() {
            $statement;
        }
    };
}
