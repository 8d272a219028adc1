//! The process that drives a run.
//!
//! A test binary runs many threads, and ptrace, `waitpid` and `fork` all care about threads. So
//! [`run`] forks once, and the child, which has one thread, does everything else: it traces, it
//! forks the victims and the survivors, it writes the outcome into a file, and ends. When the
//! caller dies, the kernel kills the session (`PR_SET_PDEATHSIG`), and with it every process that
//! it traces (`PTRACE_O_EXITKILL`) or has forked (`PR_SET_PDEATHSIG` again).
//!
//! That one fork copies the locks of the caller's other threads in whatever state they are. The C
//! library repairs its allocator in the child; a lock of Rust's own, such as that of the panic
//! hook, could be caught closed. The session takes each of those that it needs once at its start,
//! and only then says that it is ready; the caller waits for that word and otherwise kills the
//! session and forks again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::child::{self, Child, Ended};
use super::engine::Engine;
use super::error::{During, StepError};
use super::finding::{Outcome, Tally};
use super::interleave::Interleaving;
use super::region::Region;
use super::replay::Target;
use super::report::Report;
use super::scenario::Scenario;
use super::sys;
use super::wire::Wire;

/// How long a session may take to say that it is ready, and how often it is forked.
const READY_WITHIN: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;

/// Room for an outcome in bytes.
const OUTCOME_LEN: usize = 1 << 20;
/// Offsets in the hand-over file: the "ready" word, the outcome's length, the outcome.
const READY: usize = 0;
const LENGTH: usize = 8;
const BYTES: usize = 16;

/// Runs a scenario in a session of its own.
pub(super) fn run(scenario: &Scenario) -> Result<Report, StepError> {
    let target = Target::from_environment(&scenario.full_name());
    let outcome = drive(scenario, |region| Engine::new(scenario, region, target.as_ref()).run())?;
    Ok(reported(scenario, outcome, target.is_some()))
}

/// Runs the two operations of a scenario under many schedules, in a session of its own.
pub(super) fn run_pairs(scenario: &Scenario, how: &Interleaving) -> Result<Report, StepError> {
    let target = Target::from_environment(&scenario.full_name());
    let outcome = drive(scenario, |region| {
        let engine = Engine::new(scenario, region, target.as_ref());
        engine.run_schedules(how)
    })?;
    Ok(reported(scenario, outcome, target.is_some()))
}

fn reported(scenario: &Scenario, outcome: Outcome, replayed: bool) -> Report {
    let report = Report::new(scenario, outcome);
    if replayed {
        eprintln!("{}\n{}", Report::table_header(), report.verbose());
    }
    report
}

/// Forks the session, has it run `work` on a fresh region, and brings the outcome back.
pub(super) fn drive(
    scenario: &Scenario,
    work: impl Fn(&Region) -> Result<Outcome, StepError>,
) -> Result<Outcome, StepError> {
    let region = Region::of(&scenario.memory, &scenario.others).during("memfd_create or mmap")?;
    let handover = Region::new(BYTES + OUTCOME_LEN).during("memfd_create or mmap")?;
    for _ in 0..ATTEMPTS {
        let mut session = Child::spawn(|_| session(&handover, &region, &work)).during("fork")?;
        if wait_ready(handover.u32_at(READY)) {
            let ended = session.wait_for_end().during("waitpid")?;
            return received(&handover, &ended);
        }
    }
    Err(StepError::Session("could not be started".to_owned()))
}

fn wait_ready(ready: &AtomicU32) -> bool {
    // Acquire: pairs with the Release store in `session`; nothing but the word itself is read.
    if ready.load(Ordering::Acquire) == 0 {
        sys::futex_wait(ready, 0, READY_WITHIN);
    }
    // Acquire: as above.
    ready.load(Ordering::Acquire) != 0
}

fn session(
    handover: &Region,
    region: &Region,
    work: &impl Fn(&Region) -> Result<Outcome, StepError>,
) -> Result<(), String> {
    child::keep_panics_quiet();
    let ready = handover.u32_at(READY);
    // Release: pairs with the Acquire load in `wait_ready`.
    ready.store(1, Ordering::Release);
    sys::futex_wake_one(ready);
    let outcome = catch_unwind(AssertUnwindSafe(|| work(region)))
        .unwrap_or_else(|_| Err(StepError::Session("panicked".to_owned())));
    let mut bytes = Vec::new();
    outcome.put(&mut bytes);
    if bytes.len() > OUTCOME_LEN {
        return Err("found more than fits the hand-over".to_owned());
    }
    let mut whole = vec![0; BYTES];
    // The session is past "ready": writing the word again changes nothing for the caller.
    whole[READY] = 1;
    whole[LENGTH..BYTES].copy_from_slice(&(bytes.len() as u64).to_ne_bytes());
    whole.extend(bytes);
    handover.copy_in(&whole);
    Ok(())
}

fn received(handover: &Region, ended: &Ended) -> Result<Outcome, StepError> {
    match ended {
        Ended::Well => {}
        Ended::Killed(signal) => {
            return Err(StepError::Session(format!("was killed by signal {signal}")));
        }
        Ended::Says(text) | Ended::Panicked(text) => return Err(StepError::Session(text.clone())),
        Ended::Hung => return Err(StepError::Session("hung".to_owned())),
    }
    let mut bytes = Vec::new();
    handover.copy_out(&mut bytes);
    let mut rest = bytes.get(LENGTH..).unwrap_or_default();
    let length = u64::take(&mut rest).and_then(|length| usize::try_from(length).ok());
    let mut body = length.and_then(|length| rest.get(..length)).unwrap_or_default();
    Result::take(&mut body)
        .unwrap_or_else(|| Err(StepError::Session("sent back nothing readable".to_owned())))
}

/// No file of the region may have outgrown it: what lies beyond is not compared.
pub(super) fn check_len(region: &Region) -> Result<(), StepError> {
    match region.outgrown().during("fstat")? {
        Some(file) => Err(StepError::RegionTooSmall { file }),
        None => Ok(()),
    }
}

/// Finds out whether this process may trace a child of its own. Costs two forks.
///
/// # Errors
///
/// [`StepError::NotPermitted`] when it may not; a test then has nothing to say.
///
/// # Examples
///
/// ```
/// if let Err(why) = crash_check::step::is_permitted() {
///     println!("not run: {why}");
/// }
/// ```
pub fn is_permitted() -> Result<(), StepError> {
    let nothing = Scenario::new("is ptrace permitted").operation(|_| ()).real_kills(0);
    drive(&nothing, |region| {
        Engine::new(&nothing, region, None).start_operation()?;
        Ok(Outcome { tally: Tally::default(), finding: None })
    })
    .map(drop)
}
