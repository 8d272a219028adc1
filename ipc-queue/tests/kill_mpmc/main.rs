//! Every operation of the queue for several producers and consumers, killed at every instruction:
//! what was there is received, in order, nothing twice, and survivors go on.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod ground;
#[path = "../kill_broadcast/member.rs"]
mod member;
mod once;
mod range;
mod receive;
mod rest;
mod rings;
mod select;
mod send;
mod sleepers;
mod stopped;
mod work;
