//! The crash-aware linearizability checker.

mod chart;
mod checker;
mod condition;
mod draw;
mod error;
mod history;
mod minimise;
mod record;
mod search;
pub mod spec;
mod specification;
mod taken;
mod violation;

pub use checker::{Budget, Checker, Linearization, Unknown, Verdict};
pub use condition::Condition;
pub use error::Error;
pub use history::{Event, History, Process};
pub use record::{Actor, Clock, Lane, Recorder, SharedLog, Wire};
pub use specification::{Item, Seen, Specification};
pub use violation::Violation;
