//! The explanation of a history that breaks its condition.

use super::chart::Chart;
use super::checker::Budget;
use super::condition::{Interval, NEVER_TOO_LATE, intervals, truncate};
use super::history::{Death, Parsed};
use super::minimise::{minimise, restrict};
use super::search::{Outcome, Remaining, search};
use super::{Condition, Event, History, Specification};
use std::fmt;

/// A history that breaks its condition: what can not be explained, and the smallest picture of it.
///
/// `Display` prints all of it, the drawing included.
#[derive(Debug, Clone)]
pub struct Violation<Op, Ret> {
    condition: Condition,
    key: u64,
    prefix: Prefix,
    blocked: Blocked,
    minimal: History<Op, Ret>,
    pending: Vec<String>,
    undrawn: usize,
    chart: Chart,
}

/// How far the history can be explained.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    /// This many events are too many ...
    bad: usize,
    /// ... and this many are explained.
    good: usize,
    total: usize,
}

/// The operation that no order explains.
#[derive(Debug, Clone)]
struct Blocked {
    what: String,
    order: Vec<String>,
    state: String,
    allowed: Vec<String>,
}

impl<Op, Ret> Violation<Op, Ret> {
    /// The condition that is broken.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// The key whose operations break it.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The number of events from the start of the history that satisfy the condition.
    pub fn linearizable_prefix(&self) -> usize {
        self.prefix.good
    }

    /// The operations that are drawn, as a history: the failure stands whatever the others did.
    pub fn minimal(&self) -> &History<Op, Ret> {
        &self.minimal
    }

    /// What the specification allowed where the search came furthest, as `Debug` prints it.
    pub fn allowed(&self) -> &[String] {
        &self.blocked.allowed
    }

    /// The drawing alone: one column a process, time downward.
    pub fn to_text(&self) -> String {
        self.chart.to_text()
    }

    /// The drawing as a self-contained SVG document.
    pub fn to_svg(&self) -> String {
        let headline = format!("not {}: {}", self.condition.adjective(), self.blocked.what);
        self.chart.to_svg(&headline)
    }
}

impl<Op, Ret> fmt::Display for Violation<Op, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Blocked { what, order, state, allowed } = &self.blocked;
        let Prefix { bad, good, total } = self.prefix;
        writeln!(f, "not {}: no order explains {what}", self.condition.adjective())?;
        writeln!(
            f,
            "Of {total} events the first {good} can be explained, the first {bad} can not."
        )?;
        if self.undrawn > 0 {
            let number = self.undrawn;
            writeln!(f, "{number} operations are not drawn: it fails whatever they did.")?;
        }
        writeln!(f, "Furthest: {}", shorten(order))?;
        writeln!(f, "State then: {state}")?;
        if allowed.is_empty() {
            writeln!(f, "Allowed there: nothing, the operation would have to wait")?;
        } else {
            writeln!(f, "Allowed there: {}", allowed.join(" or "))?;
        }
        for pending in &self.pending {
            writeln!(f, "{pending}")?;
        }
        writeln!(f)?;
        f.write_str(&self.to_text())
    }
}

/// The end of a long order is what matters.
fn shorten(order: &[String]) -> String {
    const SHOWN: usize = 12;
    match order.len() {
        0 => "no operation".to_owned(),
        length if length > SHOWN => {
            format!("... {}", order[length - SHOWN..].join("; "))
        }
        _ => order.join("; "),
    }
}

/// Explains why `history` fails at `key`, which a search has shown.
pub(super) fn explain<S: Specification>(
    spec: &S,
    condition: Condition,
    budget: Budget,
    history: &History<S::Op, S::Ret>,
    parsed: &Parsed<S::Op, S::Ret>,
    key: u64,
) -> Violation<S::Op, S::Ret> {
    let all = intervals(spec, condition, parsed, key);
    let prefix = shortest_bad_prefix(spec, budget, &all, history.events().len());
    let all = truncate(&all, prefix.bad);
    let minimal = minimise(spec, &all, Remaining::from(budget));
    let mut drawn = minimal.essential;
    let lawful = restrict(&all, &minimal.lawful, &[]);
    // It failed before within the same budget, so it fails again.
    let stuck = match search(spec, &lawful, &mut Remaining::from(budget)) {
        Outcome::Stuck(stuck) => Some(stuck),
        _ => None,
    };
    let mut positions = vec![None; all.len()];
    let mut blocked_at = None;
    let blocked = stuck.map_or_else(Blocked::unknown, |stuck| {
        for (position, &index) in stuck.order.iter().enumerate() {
            positions[minimal.lawful[index]] = Some(position + 1);
        }
        blocked_at = Some(minimal.lawful[stuck.blocked]);
        Blocked::at(spec, &lawful, &stuck.order, &stuck.state, stuck.blocked)
    });
    if let Some(Err(place)) = blocked_at.map(|index| drawn.binary_search(&index)) {
        drawn.extend(blocked_at);
        drawn[place..].rotate_right(1);
    }
    let died = parsed.deaths.iter().filter(|death| death.crashed < prefix.bad);
    let deaths: Vec<Death> = died.cloned().collect();
    Violation {
        condition,
        key,
        prefix,
        blocked,
        pending: drawn.iter().filter_map(|&index| bound(condition, &all[index])).collect(),
        undrawn: all.iter().filter(|interval| !interval.of_death).count()
            - drawn.iter().filter(|&&index| !all[index].of_death).count(),
        minimal: drawn_history(history, parsed, &all, &drawn, prefix.bad),
        chart: Chart::new(&deaths, &all, &drawn, &positions, blocked_at),
    }
}

impl Blocked {
    fn at<S: Specification>(
        spec: &S,
        intervals: &[Interval<S::Op, S::Ret>],
        order: &[usize],
        state: &S::State,
        blocked: usize,
    ) -> Self {
        let interval = &intervals[blocked];
        let outcomes = spec.step(state, interval.process, &interval.op);
        let mut allowed: Vec<String> = outcomes.iter().map(|(_, ret)| format!("{ret:?}")).collect();
        allowed.dedup();
        Self {
            what: format!("{} ({} {})", describe(interval), "event", event_of(interval)),
            order: order.iter().map(|&index| describe(&intervals[index])).collect(),
            state: format!("{state:?}"),
            allowed,
        }
    }

    fn unknown() -> Self {
        Self {
            what: "the operations below".to_owned(),
            order: Vec::new(),
            state: "not determined within the budget".to_owned(),
            allowed: Vec::new(),
        }
    }
}

fn event_of<Op, Ret>(interval: &Interval<Op, Ret>) -> usize {
    interval.returned.unwrap_or(interval.until)
}

fn describe<Op: fmt::Debug, Ret: fmt::Debug>(interval: &Interval<Op, Ret>) -> String {
    let Interval { process, op, ret, .. } = interval;
    match ret {
        Some(ret) => format!("{process} {op:?} -> {ret:?}"),
        None => format!("{process} {op:?}"),
    }
}

/// Until when an operation that its crash interrupted may take effect, for the reader.
fn bound<Op: fmt::Debug, Ret: fmt::Debug>(
    condition: Condition,
    interval: &Interval<Op, Ret>,
) -> Option<String> {
    interval.crashed.filter(|_| !interval.required)?;
    let until = match condition {
        Condition::Recoverable => "before any later operation of its process".to_owned(),
        _ if interval.until == NEVER_TOO_LATE => "at any later time".to_owned(),
        _ => format!("before event {}", interval.until),
    };
    Some(format!("{} was open at its crash: {until}, or never", describe(interval)))
}

/// Every prefix of a good history is good, so that bisection finds where it turns bad. A prefix
/// that can not be decided counts as good; then `good` says less than is true.
fn shortest_bad_prefix<S: Specification>(
    spec: &S,
    budget: Budget,
    all: &[Interval<S::Op, S::Ret>],
    total: usize,
) -> Prefix {
    let (mut low, mut bad, mut good) = (0, total, 0);
    while low + 1 < bad {
        let middle = low.midpoint(bad);
        match search(spec, &truncate(all, middle), &mut Remaining::from(budget)) {
            Outcome::Stuck(_) => bad = middle,
            Outcome::Found(_) => (low, good) = (middle, middle),
            Outcome::Exhausted(_) => low = middle,
        }
    }
    Prefix { bad, good, total }
}

/// The events of the drawn operations, and the deaths of their processes.
fn drawn_history<Op: Clone, Ret: Clone>(
    history: &History<Op, Ret>,
    parsed: &Parsed<Op, Ret>,
    all: &[Interval<Op, Ret>],
    drawn: &[usize],
    length: usize,
) -> History<Op, Ret> {
    let intervals = || drawn.iter().map(|&index| &all[index]);
    let mut events: Vec<usize> = intervals()
        .filter(|interval| !interval.of_death)
        .flat_map(|interval| [Some(interval.invoked), interval.returned])
        .flatten()
        .collect();
    for death in parsed.deaths.iter().filter(|death| death.crashed < length) {
        if intervals().any(|interval| interval.process == death.process) {
            events.extend([Some(death.crashed), death.recovered].into_iter().flatten());
        }
    }
    events.sort_unstable();
    let pick = |index: usize| -> Option<Event<Op, Ret>> { history.events().get(index).cloned() };
    events.into_iter().filter_map(pick).collect()
}
