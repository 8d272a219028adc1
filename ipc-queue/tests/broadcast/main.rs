//! The broadcast ring: among threads, against a model, as histories, and among processes that are
//! killed.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod linear;
mod model;
mod processes;
mod threads;

use std::time::Duration;

/// Longer than any wait that works: a test that hangs fails instead.
const LONG: Duration = Duration::from_secs(60);
