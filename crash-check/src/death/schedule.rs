//! Fault schedules: who is killed before which operation, which sleep ends without a reason.
//!
//! A schedule is the part of an adversary that loom does not have. It is chosen outside loom, so
//! that loom explores every interleaving and every stale read *under* each schedule, and so that a
//! schedule is short enough to be printed, read and replayed: `producer@7,consumer~0`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;

use super::error::Error;

/// One thing that goes wrong, at one place of one thread's own execution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// Name of the thread it happens to.
    pub thread: String,
    /// What happens.
    pub kind: FaultKind,
    /// Before which occurrence, counted from 0 in that thread's program order.
    pub index: usize,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The thread dies before its `index`-th shared operation (`name@index`).
    Kill,
    /// Its `index`-th sleep ends although nobody woke it (`name~index`).
    Spurious,
    /// Its `index`-th timed sleep runs out although others could still run (`name!index`).
    TimeOut,
}

impl FaultKind {
    const fn sign(self) -> char {
        match self {
            Self::Kill => '@',
            Self::Spurious => '~',
            Self::TimeOut => '!',
        }
    }
}

/// A set of faults, explored together. The empty schedule is the run in which nothing goes wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schedule {
    faults: BTreeSet<Fault>,
}

impl Schedule {
    /// The faults of this schedule, in order of thread name.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }

    /// How many faults of `kind` it holds.
    #[must_use]
    pub fn count(&self, kind: FaultKind) -> usize {
        self.faults.iter().filter(|fault| fault.kind == kind).count()
    }

    pub(super) fn has(&self, thread: &str, kind: FaultKind, index: usize) -> bool {
        self.faults.iter().any(|f| f.kind == kind && f.index == index && f.thread == thread)
    }

    fn kills(&self, thread: &str) -> bool {
        self.faults.iter().any(|f| f.kind == FaultKind::Kill && f.thread == thread)
    }

    fn with(&self, fault: Fault) -> Self {
        let mut faults = self.faults.clone();
        faults.insert(fault);
        Self { faults }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.faults.is_empty() {
            return f.write_str("none");
        }
        for (i, fault) in self.faults.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}{}{}", fault.thread, fault.kind.sign(), fault.index)?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut schedule = Self::default();
        if text == "none" {
            return Ok(schedule);
        }
        for part in text.split(',') {
            schedule.faults.insert(parse_fault(part.trim())?);
        }
        Ok(schedule)
    }
}

fn parse_fault(part: &str) -> Result<Fault, Error> {
    let bad = || Error::BadSchedule { part: part.to_owned() };
    let at = part.rfind(['@', '~', '!']).ok_or_else(bad)?;
    let (thread, rest) = part.split_at(at);
    let kind = match rest.as_bytes().first() {
        Some(b'@') => FaultKind::Kill,
        Some(b'~') => FaultKind::Spurious,
        _ => FaultKind::TimeOut,
    };
    let index = rest[1..].parse().map_err(|_| bad())?;
    if thread.is_empty() {
        return Err(bad());
    }
    Ok(Fault { thread: thread.to_owned(), kind, index })
}

/// How many faults of each kind one schedule may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) kills: usize,
    pub(super) spurious: usize,
    pub(super) timeouts: usize,
}

impl Limits {
    const fn of(&self, kind: FaultKind) -> usize {
        match kind {
            FaultKind::Kill => self.kills,
            FaultKind::Spurious => self.spurious,
            FaultKind::TimeOut => self.timeouts,
        }
    }
}

/// How often each thread could have met each kind of fault, over all executions of one schedule.
pub(super) type Occasions = BTreeMap<(String, FaultKind), usize>;

/// Breadth-first search over schedules: fewest faults first, so that the first failure is minimal.
///
/// It is complete within [`Limits`]. If a set of faults can all happen in one execution, take them
/// in the order of time: up to each of them that execution is one of the schedule that holds only
/// the earlier ones, so its occasion was seen there and the larger schedule was queued.
#[derive(Debug)]
pub(super) struct Search {
    limits: Limits,
    queue: VecDeque<Schedule>,
    known: BTreeSet<Schedule>,
}

impl Search {
    pub(super) fn new(limits: Limits) -> Self {
        let first = Schedule::default();
        Self { limits, queue: [first.clone()].into(), known: [first].into() }
    }

    pub(super) fn next(&mut self) -> Option<Schedule> {
        self.queue.pop_front()
    }

    /// Queues every schedule with one fault more than `base` for which an occasion was seen.
    pub(super) fn grow(&mut self, base: &Schedule, seen: &Occasions) {
        for ((thread, kind), &times) in seen {
            if base.count(*kind) >= self.limits.of(*kind) || base.kills(thread) {
                continue;
            }
            for index in 0..times {
                let next = base.with(Fault { thread: thread.clone(), kind: *kind, index });
                if self.known.insert(next.clone()) {
                    self.queue.push_back(next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_reads_back_what_it_prints() {
        for text in ["none", "producer@7", "a b@0,consumer~3,timer!1"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_schedule_that_names_no_fault_is_refused() {
        for text in ["", "producer", "@3", "p@x", "p@1,,"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_search_kills_nobody_twice_and_visits_each_set_once() {
        let limits = Limits { kills: 2, spurious: 0, timeouts: 0 };
        let mut search = Search::new(limits);
        let seen: Occasions =
            [(("a".to_owned(), FaultKind::Kill), 2), (("b".to_owned(), FaultKind::Kill), 1)].into();
        let mut all = Vec::new();
        while let Some(next) = search.next() {
            search.grow(&next, &seen);
            all.push(next.to_string());
        }
        assert_eq!(all, ["none", "a@0", "a@1", "b@0", "a@0,b@0", "a@1,b@0"]);
    }
}
