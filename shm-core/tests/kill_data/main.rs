//! Every operation of what lies in a heap and is shared, killed at every instruction: values live as
//! long as a living process holds them, and no longer.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod arc;
#[allow(dead_code, reason = "the other rows use the rest")]
#[path = "../kill_heap/ground.rs"]
mod ground;
mod held;
mod list;
mod records;
