//! Explicit-state search over protocol models.
//!
//! A protocol is written down as a table of steps, each of them one access to shared memory, and
//! every order of the steps of all participants is tried, with deaths between them. What comes out
//! is either "holds, in every one of these states" or the shortest schedule that breaks it.
//!
//! # What is checked
//! * [`Model::invariants`] in every state;
//! * [`Model::may_end`] in every state where nothing but the environment (a kill, a time-out) can
//!   happen: a deadlock is an end that the model does not allow;
//! * from every state some end can be reached without the help of the environment: no livelock
//!   that cannot be left (this is possibility, not fairness: it bounds nothing).
//!
//! # What is not seen
//! Interleavings are sequentially consistent: a model sees a store buffer only if it has one in
//! its state. Weak memory is the task of the `death` tool. States are told apart by a 64-bit
//! fingerprint: see [`Report::omission_probability`].
//!
//! # Example
//! A lock whose owner may be killed, and nobody looks after it:
//!
//! ```
//! use crash_check::explore::{Explorer, Model, Successors};
//!
//! #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
//! enum At { Wants, Holds, Done, Dead }
//!
//! #[derive(Clone, PartialEq, Eq, Hash, Debug)]
//! struct State { locked: bool, at: [At; 2] }
//!
//! struct PlainLock;
//!
//! impl Model for PlainLock {
//!     type State = State;
//!
//!     fn initial(&self) -> State {
//!         State { locked: false, at: [At::Wants; 2] }
//!     }
//!
//!     fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
//!         for p in 0..2 {
//!             match s.at[p] {
//!                 At::Wants if !s.locked => out.step(p, "CAS lock", |n| {
//!                     n.locked = true;
//!                     n.at[p] = At::Holds;
//!                 }),
//!                 At::Holds => out.step(p, "unlock", |n| {
//!                     n.locked = false;
//!                     n.at[p] = At::Done;
//!                 }),
//!                 _ => {}
//!             }
//!             if s.at[p] == At::Holds {
//!                 out.event(p, "killed", |n| n.at[p] = At::Dead);
//!             }
//!         }
//!     }
//!
//!     fn may_end(&self, s: &State) -> Result<(), String> {
//!         if s.at.contains(&At::Wants) { Err("waits for ever".into()) } else { Ok(()) }
//!     }
//! }
//!
//! let report = Explorer::new().run(&PlainLock);
//! let found = report.counterexample().expect("the lock of the dead stays held");
//! assert_eq!(found.trace.len(), 2, "{found}");
//! ```

mod changes;
mod ends;
mod fingerprint;
mod model;
mod process;
mod report;
mod search;
mod wait;
mod walk;

pub use fingerprint::fingerprint;
pub use model::{Model, Move, Successors};
pub use process::{Exit, Process};
pub use report::{Counterexample, Flaw, Report, TraceStep, Verdict};
pub use search::Explorer;
pub use wait::WaitQueues;
pub use walk::{Walk, WalkReport, Walker};
