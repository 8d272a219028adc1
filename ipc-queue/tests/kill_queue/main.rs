//! Every operation that writes to a ring, killed at every instruction: what the survivor sees is
//! an exact prefix, and a successor goes on.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod bells;
mod ground;
mod pipe_roles;
mod pipes;
mod receive;
mod roles;
mod send;
mod sleepers;
