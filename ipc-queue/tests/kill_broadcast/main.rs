//! Every operation of the broadcast ring and of the ring of messages, killed at every instruction: what
//! was sent is received whole and in a row by all who live, and nobody waits for the dead.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod ground;
mod member;
mod messages;
mod messages_mailbox;
mod readers;
mod rest;
mod send;
mod stopped;
