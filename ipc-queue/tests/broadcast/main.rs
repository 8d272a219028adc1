//! The broadcast ring: among threads, and against a model.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod model;
mod threads;

use std::time::Duration;

/// Longer than any wait that works: a test that hangs fails instead.
const LONG: Duration = Duration::from_secs(60);
