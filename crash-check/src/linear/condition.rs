//! The conditions: until when the operation of a dead process may take effect.

use super::history::{Call, Death, Parsed};
use super::{Process, Seen, Specification};
use std::collections::BTreeSet;

/// When the pending operation of a crashed process may take effect, if it does.
///
/// All four agree on operations that returned, and on those still open when the recording ended
/// (any time after their invocation, or never). Each accepts every history that the one before
/// it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Condition {
    /// Strict linearizability: before the crash, or never (Aguilera and Frølund, *Strict
    /// linearizability and the power of aborting*, HP Labs HPL-2003-241).
    Strict,
    /// Persistent atomicity: before the next invocation of the same process, on whatever object,
    /// or never (Guerraoui and Levy, *Robust emulations of shared memory in a crash-recovery
    /// model*, ICDCS 2004). The whole history is looked at before it is split by key, for this
    /// condition is not local.
    Persistent,
    /// Recoverable linearizability: in the linearization it stands before every later operation
    /// of the same process on the same object ([`Specification::key`]), or nowhere (Berryhill,
    /// Golab, Tripunitara, *Robust shared objects for non-volatile main memory*, OPODIS 2015).
    /// This orders operations as they were *invoked*; it sets no point in time.
    Recoverable,
    /// Linearizability: at any later time, or never (Herlihy and Wing, TOPLAS 1990).
    Linearizable,
}

impl Condition {
    /// All of them, from the strongest to the weakest.
    pub const ALL: [Self; 4] =
        [Self::Strict, Self::Persistent, Self::Recoverable, Self::Linearizable];

    /// The adjective for reports.
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Strict => "strictly linearizable",
            Self::Persistent => "persistently atomic",
            Self::Recoverable => "recoverably linearizable",
            Self::Linearizable => "linearizable",
        }
    }

    /// The event before which the call must have taken effect, and whether it must at all.
    fn bound<Op, Ret>(self, call: &Call<Op, Ret>) -> (usize, bool) {
        match (call.returned, call.crashed) {
            (Some(_), Some(crash)) if self == Self::Strict => (crash, true),
            (Some(returned), _) => (returned, true),
            (None, None) => (NEVER_TOO_LATE, false),
            (None, Some(crash)) => match self {
                Self::Strict => (crash, false),
                Self::Persistent => (call.next.unwrap_or(NEVER_TOO_LATE), false),
                Self::Recoverable | Self::Linearizable => (NEVER_TOO_LATE, false),
            },
        }
    }
}

/// The bound of an operation that may take effect at any later time.
pub(super) const NEVER_TOO_LATE: usize = usize::MAX;

/// An operation as the search sees it: when it may take effect, and whether it must.
#[derive(Debug, Clone)]
pub(super) struct Interval<Op, Ret> {
    pub process: Process,
    pub op: Op,
    pub ret: Option<Ret>,
    /// Takes effect after this event ...
    pub invoked: usize,
    /// ... and before this one.
    pub until: usize,
    /// Whether it must take effect.
    pub required: bool,
    /// Must not take effect after any of these (indices into the same list).
    pub not_after: Vec<usize>,
    /// The events that the drawing shows.
    pub returned: Option<usize>,
    pub crashed: Option<usize>,
    /// Whether it is what a death does, not what a process called.
    pub of_death: bool,
}

impl<Op, Ret> Interval<Op, Ret> {
    pub fn seen(&self) -> Seen<'_, Op, Ret> {
        Seen {
            op: &self.op,
            ret: self.ret.as_ref(),
            invoked: self.invoked,
            until: self.until,
            required: self.required,
        }
    }
}

/// The intervals of one key, in the order of invocation.
pub(super) fn intervals<S: Specification>(
    spec: &S,
    condition: Condition,
    parsed: &Parsed<S::Op, S::Ret>,
    key: u64,
) -> Vec<Interval<S::Op, S::Ret>> {
    let calls = parsed.calls.iter().filter(|call| spec.key(&call.op) == key);
    let mut all: Vec<_> = calls.map(|call| of_call(condition, call)).collect();
    let users: BTreeSet<Process> = all.iter().map(|interval| interval.process).collect();
    let deaths = parsed.deaths.iter().filter(|death| users.contains(&death.process));
    all.extend(deaths.filter_map(|death| of_death(spec, death, key)));
    all.sort_by_key(|interval| interval.invoked);
    if condition == Condition::Recoverable {
        order_as_invoked(&mut all);
    }
    all
}

/// What the first `length` events say: operations that had not returned by then need not have
/// taken effect; if they have, they returned what they returned later.
pub(super) fn truncate<Op: Clone, Ret: Clone>(
    all: &[Interval<Op, Ret>],
    length: usize,
) -> Vec<Interval<Op, Ret>> {
    let begun = all.partition_point(|interval| interval.invoked < length);
    let mut prefix = all[..begun].to_vec();
    for interval in &mut prefix {
        interval.required &= interval.returned.unwrap_or(interval.until) < length;
        interval.not_after.retain(|&later| later < begun);
    }
    prefix
}

fn of_call<Op: Clone, Ret: Clone>(condition: Condition, call: &Call<Op, Ret>) -> Interval<Op, Ret> {
    let (until, required) = condition.bound(call);
    Interval {
        process: call.process,
        op: call.op.clone(),
        ret: call.ret.clone(),
        invoked: call.invoked,
        until,
        required,
        not_after: Vec::new(),
        returned: call.returned,
        crashed: call.crashed,
        of_death: false,
    }
}

fn of_death<S: Specification>(
    spec: &S,
    death: &Death,
    key: u64,
) -> Option<Interval<S::Op, S::Ret>> {
    Some(Interval {
        process: death.process,
        op: spec.at_death(death.process, key)?,
        ret: None,
        invoked: death.crashed,
        until: death.recovered.unwrap_or(NEVER_TOO_LATE),
        required: death.recovered.is_some(),
        not_after: Vec::new(),
        returned: None,
        crashed: None,
        of_death: true,
    })
}

/// A pending operation stands before every later one of its process. Those up to the first one
/// that must take effect suffice: the others come after that one anyway.
fn order_as_invoked<Op, Ret>(all: &mut [Interval<Op, Ret>]) {
    for index in 0..all.len() {
        if all[index].required || all[index].crashed.is_none() {
            continue;
        }
        let process = all[index].process;
        let mut later = Vec::new();
        for (other, interval) in all.iter().enumerate().skip(index + 1) {
            if interval.process == process && !interval.of_death {
                later.push(other);
                if interval.required {
                    break;
                }
            }
        }
        all[index].not_after = later;
    }
}
