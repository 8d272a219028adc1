//! One point of one run, named so that it can be run again.
//!
//! `SCENARIO@POINT`, where the point is one of
//! - `17`: killed after 17 instructions of the operation, survivors on a copy;
//! - `17/5`: the same, and their recovery killed after 5 instructions;
//! - `17!`, `17/5!`: the same by real `SIGKILL`s; `17~!` while it slept there, `17^!` once it was
//!   woken; `s3+2!` two instructions after its third system call;
//! - `i...`: a schedule of two processes, see [`interleave`](super::interleave).

use super::finding::{AfterCall, Phase, Place};

/// The environment variable that asks for one point only.
pub(super) const VARIABLE: &str = "CRASH_CHECK_REPLAY";

/// The point that the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The point as it was written.
    pub(super) text: String,
}

impl Target {
    /// The target, if the environment names the scenario `name`.
    pub(super) fn from_environment(name: &str) -> Option<Target> {
        let wanted = std::env::var(VARIABLE).ok()?;
        let (scenario, point) = wanted.rsplit_once('@')?;
        (scenario == name).then(|| Target { text: point.to_owned() })
    }

    /// Is `path` this very point, left by `real` kill or on a copy?
    pub(super) fn is(&self, path: &[Place], real: bool) -> bool {
        self.text == name(path, real)
    }

    /// Is it reached by real kills?
    pub(super) fn is_real(&self) -> bool {
        self.text.ends_with('!')
    }

    /// Does this point lie inside the recovery of `path`?
    pub(super) fn is_below(&self, path: &[Place]) -> bool {
        self.text.starts_with(&format!("{}/", name(path, false)))
    }
}

/// A path of kill points as text.
pub(super) fn name(path: &[Place], real: bool) -> String {
    let steps: Vec<String> = path.iter().map(|place| one(*place)).collect();
    format!("{}{}", steps.join("/"), if real { "!" } else { "" })
}

fn one(place: Place) -> String {
    let mark = match place.phase {
        Phase::Running => "",
        Phase::Asleep => "~",
        Phase::Woken => "^",
    };
    match place.after_call {
        Some(AfterCall { calls, instructions: 0 }) => format!("s{calls}{mark}"),
        Some(AfterCall { calls, instructions }) => format!("s{calls}+{instructions}{mark}"),
        None => format!("{}{mark}", place.instruction),
    }
}
