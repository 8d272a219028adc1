//! The program `memtree` as its users run it.

// The steps around the tests may fail as loudly as the tests themselves.
#![allow(clippy::unwrap_used)]

mod browser;
mod errors;
mod program;
mod reports;
mod runs;
mod terminal;
