//! Real processes, killed for real: each kind of queue between this test binary and itself.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod broadcast;
mod child;
mod queues;
mod rings;
mod work;

use std::time::Duration;

/// Longer than any wait that works: a test that hangs fails instead.
const LONG: Duration = Duration::from_secs(60);
