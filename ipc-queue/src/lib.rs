//! Queues and pipes between processes, in shared memory.
//!
//! | | |
//! |---|---|
//! | [`spsc`] | a typed ring: one producer, one consumer |
//! | [`pipe`] | a byte pipe: one writer, one reader, `Read` and `Write` |
//! | [`mpmc`] | a typed queue: several producers, several consumers that compete |
//! | [`work`] | a work queue: items are leased, and given to another when their worker dies |
//! | [`work::range`] | a record of items in a row that one worker runs, and that can be taken back |
//! | [`broadcast`] | a typed ring: one producer at a time, readers that each receive everything |
//! | [`message`] | a ring of messages of varying size, written and read in place |
//! | [`mailbox`] | messages of varying size from several producers, for consumers that compete |
//! | [`oneshot`] | one element, once |
//! | [`duplex`] | a two-way byte pipe |
//! | [`select`] | waiting for several ends at once, of any kinds |
//! | `futures` | the waits as futures, for any executor (feature `async`) |
//! | `handle` | a queue as a serde value, to be sent to another process (feature `serde`) |
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
//! **When a process is killed**, at any instruction, what it had sent is received, whole and in
//! order, and nothing of anybody else is lost. [`mpmc`], [`work`] and [`mailbox`] find out for themselves, through
//! the [`Group`](shm_core::Group) that their users join: whoever comes across what the dead had in hand
//! gives it back ([the table](mpmc#when-a-process-is-killed)). So does the other side of a [`spsc`] ring or
//! a [`pipe`] that was attached in a group (`attach_producer_among` and its like); of any other it does not
//! wait in vain once somebody with proof of the death has called [`Monitor::disconnect`].
//!
//! **What it does not do yet**: follow a `fork`.
//!
//! # Waiting
//! A send publishes, then looks whether the other side listens, with a compiler barrier between
//! the two; whoever is about to sleep pays for both with `membarrier`
//! ([`shm_core::barrier`]). So while the peer is awake an operation makes no system call. A waiter
//! first looks again for about as long as a sleep would cost, and learns how much of that pays; on
//! one processor it sleeps at once. Idle handles use no processor time (a sleeper looks once a
//! second).

pub mod bell;
#[cfg(feature = "serde")]
mod boot;
pub mod broadcast;
pub mod duplex;
mod ends;
mod error;
#[cfg(feature = "async")]
pub mod futures;
#[cfg(feature = "serde")]
pub mod handle;
pub mod mailbox;
mod mapped;
pub mod message;
#[cfg(all(test, loom))]
mod models;
mod monitor;
pub mod mpmc;
pub mod oneshot;
pub mod pipe;
mod place;
mod preamble;
mod prefetch;
mod ring;
mod role;
pub mod select;
pub mod spsc;
mod wait;
pub mod work;

pub use error::{Error, RecvError, SendError};
pub use monitor::Monitor;
pub use role::{Holder, Side};
pub use wait::SideStats;
