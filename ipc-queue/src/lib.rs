//! Queues and pipes between processes, in shared memory.

pub mod bell;
mod ends;
mod error;
mod mapped;
#[cfg(all(test, loom))]
mod models;
mod monitor;
pub mod pipe;
mod place;
mod ring;
mod role;
pub mod spsc;
mod wait;

pub use error::{Error, RecvError, SendError};
pub use monitor::Monitor;
pub use role::{Holder, Side};
pub use wait::SideStats;
