//! What the survivors make of an image: recovery, invariant, continuation, in a fresh process.

use super::child::{Child, Ended, Outbox};
use super::error::{During, StepError};
use super::finding::FailureKind;
use super::marker::Edge;
use super::region::{Arena, Region};
use super::scenario::Scenario;

/// A broken promise, and how it showed.
pub(super) type Broken = (FailureKind, String);

const RECOVERING: u64 = 0;
const VALIDATING: u64 = 1;
const CONTINUING: u64 = 2;

/// How much of the survivors' work a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Recovery, invariant, continuation.
    Whole,
    /// Recovery alone: live peers go on before anybody looks.
    Recovery,
    /// Invariant and continuation, after [`Part::Recovery`].
    Rest,
}

/// Lets survivors loose on `arena`, or on the region itself, in a process of their own.
pub(super) fn judge(
    scenario: &Scenario,
    region: &Region,
    arena: Option<&Arena>,
    dead: &[u32],
    part: Part,
) -> Result<Option<Broken>, StepError> {
    let mut child = Child::spawn(|outbox| {
        if let Some(arena) = arena {
            region.replace_with(arena).map_err(|error| error.to_string())?;
        }
        dead.iter().for_each(|tid| region.deaths().tell(*tid));
        survive(scenario, region, outbox, part)
    })
    .during("fork")?;
    let ended = child.wait_within(scenario.watchdog).during("waitpid")?;
    Ok(verdict(&ended, child.stage()))
}

fn survive(
    scenario: &Scenario,
    region: &Region,
    outbox: &Outbox,
    part: Part,
) -> Result<(), String> {
    if part != Part::Rest {
        outbox.set_stage(RECOVERING);
        if let Some(recovery) = &scenario.recovery {
            recovery(region, &|_: Edge| ())?;
        }
    }
    if part == Part::Recovery {
        return Ok(());
    }
    outbox.set_stage(VALIDATING);
    if let Some(validate) = &scenario.validate {
        validate(region)?;
    }
    outbox.set_stage(CONTINUING);
    scenario.continuation.as_ref().map_or(Ok(()), |go_on| go_on(region))
}

fn verdict(ended: &Ended, stage: u64) -> Option<Broken> {
    if *ended == Ended::Well {
        return None;
    }
    let (kind, who) = match stage {
        RECOVERING => (FailureKind::Recovery, "recovery"),
        VALIDATING => (FailureKind::Invariant, "validate"),
        _ => (FailureKind::Continuation, "continuation"),
    };
    let message = match (kind, ended) {
        (FailureKind::Invariant, Ended::Says(text)) => text.clone(),
        (_, ended) => format!("{who} {}", describe_end(ended)),
    };
    Some((kind, message))
}

/// An end in words, after "it" or the name of a part.
pub(super) fn describe_end(ended: &Ended) -> String {
    match ended {
        Ended::Well => "ended".to_owned(),
        Ended::Says(text) => format!("says: {text}"),
        Ended::Panicked(text) => text.clone(),
        Ended::Killed(signal) => format!("died of {}", signal_name(*signal)),
        Ended::Hung => "hangs".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGABRT => "SIGABRT",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSYS => "SIGSYS",
        libc::SIGPIPE => "SIGPIPE",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
