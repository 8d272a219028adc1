//! Death inside loom.
//!
//! loom explores every interleaving and every stale read of a small model. This module adds what it
//! lacks: a thread that dies before its *k*-th shared operation, for every *k*, and the part the
//! kernel plays in a death.
//!
//! ```
//! use crash_check::death::{Model, sync::{AtomicU32, Ordering::{Acquire, Relaxed, Release}}};
//! use std::sync::Arc;
//!
//! // A writer that may die between two stores, and a survivor that repairs after it.
//! let report = Model::new().victims(1).check(|world| {
//!     let (a, b) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
//!     let life = world.life("writer");
//!     let writer = world.victim("writer", {
//!         let (a, b) = (a.clone(), b.clone());
//!         move || {
//!             a.store(1, Relaxed);
//!             b.store(1, Release);
//!         }
//!     });
//!     if life.is_dead() {
//!         b.store(a.load(Relaxed), Relaxed); // the repair
//!         assert_eq!(a.load(Relaxed), b.load(Relaxed));
//!     } else if b.load(Acquire) == 1 {
//!         assert_eq!(a.load(Relaxed), 1);
//!     }
//!     let _ = writer.join();
//! })?;
//! assert_eq!(report.kill_points, 3); // before each store, and after the last
//! # Ok::<(), crash_check::death::Error>(())
//! ```
//!
#![doc = include_str!("../../docs/death.md")]

mod error;
mod kernel;
mod life;
mod model;
mod panics;
mod run;
mod schedule;
pub(crate) mod site;
mod trace;

pub mod doorbell;
pub mod futex;
pub mod hint;
pub mod sync;
pub mod thread;

pub use error::{Error, Failure, Report};
pub use life::{Life, Proof};
pub use model::{Model, Process, World};
pub use schedule::{Fault, FaultKind, Schedule};

/// Robust futexes: words that the kernel stamps when their owner dies.
pub mod robust {
    pub use super::kernel::{
        OWNER_DIED, TID_MASK, WAITERS, robust_list_add, robust_list_remove, thread_id,
    };
}
