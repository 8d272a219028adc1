#![doc = include_str!("../../docs/step.md")]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "feature `step` of crash-check needs Linux on x86_64: \
     build with `default-features = false` and the other features"
);

mod child;
mod deaths;
mod engine;
mod error;
mod finding;
mod interleave;
mod liveness;
mod locate;
mod marker;
mod memory;
mod real;
mod region;
mod replay;
mod report;
mod scenario;
mod session;
mod survivors;
mod sys;
mod touch;
mod trace;
mod walk;
mod wire;

pub use error::StepError;
pub use finding::{AfterCall, Change, FailureKind, Phase, Place};
pub use interleave::Interleaving;
pub use liveness::{
    FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, LifeWords, Liveness, RobustList, Victim,
};
pub use region::Region;
pub use report::{Failure, Report, Verdict};
pub use scenario::{Outcome, Scenario};
pub use session::is_permitted;
