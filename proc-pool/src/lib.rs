#![doc = include_str!("../README.md")]

#[cfg(test)]
extern crate self as proc_pool;

mod callbacks;
mod child;
mod codec;
mod completed;
mod copied;
mod error;
mod future;
mod keeper;
mod link;
mod locked;
mod pool;
mod protocol;
mod shared;
mod slot;
mod socket;
mod state;
mod task;
mod worker;

pub use completed::{AsCompleted, Until, Waited, as_completed, wait};
pub use copied::Copied;
pub use error::{Death, PoolError, TaskError};
pub use future::TaskHandle;
pub use pool::{Builder, Pool};
pub use proc_pool_macros::{main, task, test};
pub use task::{Task, TaskId, register};
pub use worker::init;

/// What the macros' output names; not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::task::{LINKED, TaskEntry};
    pub use linkme;

    /// Makes a test able to start workers: see `#[proc_pool::test]`.
    pub fn init_test(path: &'static str) {
        crate::child::start_as_test(path);
        crate::worker::init();
    }
}
