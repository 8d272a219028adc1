//! Messages: among threads, against a deque, as histories, and among processes that are killed.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

#[cfg(feature = "async")]
mod asynchronous;
mod mailbox;
mod mailbox_processes;
mod processes;
mod threads;

use std::time::Duration;

/// Longer than any wait that works: a test that hangs fails instead.
const LONG: Duration = Duration::from_secs(60);

/// A message of that number: its length and bytes follow from it.
fn message(number: u64) -> Vec<u8> {
    let len = (number.wrapping_mul(2_654_435_761) >> 7) % 90;
    let body = (0..len).map(|at| (number.wrapping_add(at) % 251) as u8);
    number.to_ne_bytes().into_iter().chain(body).collect()
}

/// The number of a message that is whole.
fn number(found: &[u8]) -> u64 {
    let number = u64::from_ne_bytes(found[..8].try_into().unwrap());
    assert_eq!(found, message(number), "torn");
    number
}
