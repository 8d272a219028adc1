//! Queues and pipes between processes, in shared memory.
//!
//! | | |
//! |---|---|
//! | [`spsc`] | a typed ring: one producer, one consumer |
//! | [`pipe`] | a byte pipe: one writer, one reader, `Read` and `Write` |
//! | [`bell`] | a word that many ring and one sleeps on, to wait for many rings at once |
//! | [`Monitor`] | a supervisor's view: watches a ring, tells the living that their peer died |
//!
//! ```
//! use ipc_queue::spsc;
//! use shm_core::Segment;
//!
//! let segment = Segment::anonymous(spsc::required_size::<u64>(64)?)?;
//! spsc::create::<u64>(&segment, 0, 64)?;
//! // Each in its own thread or process that has the segment:
//! let mut producer = spsc::attach_producer::<u64>(&segment, 0)?;
//! let mut consumer = spsc::attach_consumer::<u64>(&segment, 0)?;
//! producer.send(7)?;
//! assert_eq!(consumer.recv()?, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **When a process is killed**, at any instruction, the other side receives an exact prefix of
//! what was sent, in order, nothing torn ([the table](spsc#when-a-process-is-killed)). It does not
//! wait in vain once somebody with proof of the death has called [`Monitor::disconnect`].
//!
//! **What it does not do yet**: notice a death by itself; several producers or consumers on one
//! ring; broadcast, messages of varying size, select, async, leases; follow a `fork`.
//!
//! # Waiting
//! A send publishes, then looks whether the other side listens, with a compiler barrier between
//! the two; whoever is about to sleep pays for both with `membarrier`
//! ([`shm_core::barrier`]). So while the peer is awake an operation makes no system call. A waiter
//! first looks again for about as long as a sleep would cost, and learns how much of that pays; on
//! one processor it sleeps at once. Idle handles use no processor time (a sleeper looks once a
//! second).

pub mod bell;
mod ends;
mod error;
mod mapped;
#[cfg(all(test, loom))]
mod models;
mod monitor;
pub mod mpmc;
pub mod pipe;
mod place;
mod preamble;
mod ring;
mod role;
pub mod spsc;
mod wait;
pub mod work;

pub use error::{Error, RecvError, SendError};
pub use monitor::Monitor;
pub use role::{Holder, Side};
pub use wait::SideStats;
