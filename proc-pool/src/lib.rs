#![doc = include_str!("../README.md")]

#[cfg(test)]
extern crate self as proc_pool;

mod actor;
mod arena;
mod budget;
mod build;
mod builder;
mod callbacks;
mod child;
mod codec;
mod completed;
mod copied;
mod death;
mod drive;
mod error;
#[cfg(feature = "tracing")]
mod events;
mod fork_server;
mod frames;
mod future;
mod histogram;
mod imap;
mod inbox;
mod intent;
mod keeper;
mod link;
#[cfg(feature = "live-view")]
mod live_view;
mod locked;
#[cfg(feature = "profiling")]
mod memory;
mod nested;
mod number;
mod oom;
mod options;
mod output;
mod pace;
mod pool;
mod process;
mod protocol;
mod quarantine;
mod record;
mod scope;
mod shared;
mod slot;
mod socket;
mod spin;
mod starter;
mod state;
mod stats;
#[doc(hidden)]
pub mod stepped;
mod task;
mod tune;
mod turn;
mod worker;
pub mod worker_state;

pub use actor::{Actor, ActorGroup, ActorHandle, ActorOptions, Calls, Restart};
pub use builder::{Builder, InitializerOutput};
pub use completed::{AsCompleted, Until, Waited, as_completed, wait};
pub use copied::Copied;
pub use death::{Death, DeathNotice};
pub use error::{PoolError, TaskError};
pub use fork_server::StartMethod;
pub use frames::{PanicFrame, PanicFrames};
pub use future::TaskHandle;
pub use histogram::Histogram;
pub use imap::{Imap, ImapUnordered};
pub use intent::Intent;
#[cfg(feature = "live-view")]
pub use live_view::LiveView;
#[cfg(feature = "profiling")]
pub use memory::{PoolMemory, TaskMemory};
pub use options::TaskOptions;
pub use output::{OutputLine, OutputStream};
pub use pool::Pool;
pub use proc_pool_macros::{actor, main, task, test};
pub use process::Process;
pub use quarantine::Quarantined;
pub use scope::Scope;
pub use stats::{PoolStats, TaskStats, WorkerStats};
pub use task::{Task, TaskId, Transfer, register};
pub use tune::Tuning;
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
