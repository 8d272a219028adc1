//! Recorders: what threads and processes saw, with stamps from one clock.

mod clock;
mod merge;
mod region;
mod shared;
mod threads;
mod wire;

pub use clock::Clock;
pub use shared::{Lane, SharedLog};
pub use threads::{Actor, Recorder};
pub use wire::Wire;
