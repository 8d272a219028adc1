//! The crash-aware linearizability checker.
//!
//! You record what the callers of a shared structure saw: invocations, returns, deaths. You say
//! what the structure is: a sequential [`Specification`], ready-made ones in [`spec`]. A
//! [`Checker`] then decides whether some order of the operations explains what was seen, under
//! one of four [`Condition`]s that differ in what an operation may do whose process died in it.
//! If none does, it says where and draws the smallest part that shows it.
//!
//! ```
//! use crash_check::linear::spec::{ItemOp::*, ItemRet::*, Queue};
//! use crash_check::linear::{Checker, Condition, Recorder};
//!
//! let recorder = Recorder::scripted(); // Recorder::new() for real threads
//! let (mut producer, mut consumer) = (recorder.actor(0), recorder.actor(1));
//! producer.invoke(Push(7)); // ... and is killed inside
//! producer.crash();
//! consumer.call(Pop, || Empty);
//! consumer.call(Pop, || Popped(7)); // somebody helped the dead one's push, late
//! drop((producer, consumer));
//!
//! let checker = Checker::new(Queue::unbounded(), Condition::Strict);
//! let verdict = checker.check(&recorder.into_history())?;
//! let violation = verdict.violation().expect("it took effect after the crash");
//! assert!(violation.to_string().starts_with("not strictly linearizable"));
//! println!("{violation}"); // with a drawing; `to_svg` gives another
//! # Ok::<(), crash_check::linear::Error>(())
//! ```
//!
//! For processes there is [`SharedLog`]: the invocation is in shared memory before the operation
//! begins, so that what a process was killed in stands in its log.
//!
//! It judges histories, not code: what no recorded run did, it can not see. Definitions with
//! their sources, costs and limits: `docs/linear.md`.

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
