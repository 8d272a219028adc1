//! Recorded histories are those of the queue that the documentation promises: of threads, and of processes
//! that are killed.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

mod broadcast;
mod killed;
mod play;
mod threads;
