//! The search for a linearization: Wing and Gong's, with Lowe's cache.
//!
//! Depth first over partial linearizations. A partial linearization is a set of operations and
//! the state they lead to; the cache holds those already tried, so that each is tried once.
//! What may come next depends on the set alone:
//!
//! - an operation invoked before the earliest return among the required ones that are missing;
//! - not before an operation that the responses imply to be earlier;
//! - if it is optional: not when some operation was taken that was invoked after its bound, nor
//!   when one was taken that it must not follow.

use super::checker::Budget;
use super::condition::Interval;
use super::taken::Taken;
use super::{Process, Seen, Specification};
use std::collections::HashSet;
use std::vec::IntoIter;

/// The answer for one key.
#[derive(Debug)]
pub(super) enum Outcome<State> {
    /// A linearization: indices of intervals, in order.
    Found(Vec<usize>),
    /// There is none; the partial one that came furthest.
    Stuck(Stuck<State>),
    /// The budget is used up.
    Exhausted(&'static str),
}

/// Where the search came furthest.
#[derive(Debug)]
pub(super) struct Stuck<State> {
    /// The longest partial linearization.
    pub order: Vec<usize>,
    /// The state it leads to.
    pub state: State,
    /// The operation whose return it can not get past.
    pub blocked: usize,
    /// The event of that return.
    limit: usize,
}

/// What is left to spend, over all searches of one check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remaining {
    pub steps: u64,
    pub configurations: u64,
}

impl From<Budget> for Remaining {
    fn from(budget: Budget) -> Self {
        Self { steps: budget.steps, configurations: budget.configurations }
    }
}

/// One partial linearization on the current path, and what was not yet tried after it.
struct Level<State> {
    state: State,
    /// The latest invocation among the operations taken.
    frontier: usize,
    candidates: IntoIter<usize>,
    /// The operation being tried, and the outcomes of it not yet tried.
    chosen: Option<usize>,
    outcomes: IntoIter<State>,
    /// Whether anything followed.
    leaf: bool,
}

/// Searches a linearization of `intervals`, which stand in the order of invocation.
pub(super) fn search<S: Specification>(
    spec: &S,
    intervals: &[Interval<S::Op, S::Ret>],
    remaining: &mut Remaining,
) -> Outcome<S::State> {
    Search {
        spec,
        intervals,
        earlier: earlier(spec, intervals),
        taken: Taken::none_of(intervals),
        levels: Vec::new(),
        cache: HashSet::new(),
        furthest: None,
    }
    .run(remaining)
}

struct Search<'a, S: Specification> {
    spec: &'a S,
    intervals: &'a [Interval<S::Op, S::Ret>],
    /// For each operation those that the responses imply to be earlier.
    earlier: Vec<Vec<usize>>,
    taken: Taken,
    levels: Vec<Level<S::State>>,
    cache: HashSet<(Box<[u64]>, S::State)>,
    furthest: Option<Stuck<S::State>>,
}

impl<S: Specification> Search<'_, S> {
    fn run(mut self, remaining: &mut Remaining) -> Outcome<S::State> {
        self.enter(self.spec.init(), None);
        while let Some(level) = self.levels.last_mut() {
            if level.chosen.is_none() && self.taken.is_complete() {
                return Outcome::Found(self.order());
            }
            if let Some(state) = level.outcomes.next() {
                let frontier = level.frontier;
                match self.visit(state, frontier, remaining) {
                    Ok(()) => continue,
                    Err(spent) => return Outcome::Exhausted(spent),
                }
            }
            if let Some(tried) = level.chosen.take() {
                self.taken.remove(tried);
            }
            if level.candidates.len() == 0 {
                self.leave();
                continue;
            }
            if remaining.steps == 0 {
                return Outcome::Exhausted("steps of the specification");
            }
            remaining.steps -= 1;
            self.choose();
        }
        match self.furthest {
            Some(stuck) => Outcome::Stuck(stuck),
            // Nothing was required, so nothing could be missing.
            None => Outcome::Found(Vec::new()),
        }
    }

    /// Goes on from a new partial linearization, unless it was tried before.
    fn visit(
        &mut self,
        state: S::State,
        frontier: usize,
        remaining: &mut Remaining,
    ) -> Result<(), &'static str> {
        let entry = (self.taken.key(), state);
        if self.cache.contains(&entry) {
            return Ok(());
        }
        if remaining.configurations == 0 {
            return Err("configurations");
        }
        remaining.configurations -= 1;
        let state = entry.1.clone();
        self.cache.insert(entry);
        let chosen = self.levels.last_mut().and_then(|level| {
            level.leaf = false;
            level.chosen
        });
        self.enter(state, chosen.map(|chosen| (chosen, frontier)));
        Ok(())
    }

    fn enter(&mut self, state: S::State, after: Option<(usize, usize)>) {
        let frontier = after.map_or(0, |(taken, before)| before.max(self.intervals[taken].invoked));
        let candidates = self.candidates(frontier).into_iter();
        self.levels.push(Level {
            state,
            frontier,
            candidates,
            chosen: None,
            outcomes: Vec::new().into_iter(),
            leaf: true,
        });
    }

    /// Takes the next candidate of the deepest level.
    fn choose(&mut self) {
        let Some(level) = self.levels.last_mut() else { return };
        let Some(index) = level.candidates.next() else { return };
        let Interval { process, op, ret, .. } = &self.intervals[index];
        let outcomes = match ret {
            Some(ret) => self.spec.step_returning(&level.state, *process, op, ret),
            None => successors(self.spec, &level.state, *process, op),
        };
        level.outcomes = outcomes.into_iter();
        level.chosen = Some(index);
        self.taken.insert(index);
    }

    /// The operations that may come next: the required ones first, for most histories need none
    /// of the others.
    fn candidates(&self, frontier: usize) -> Vec<usize> {
        let mut candidates = Vec::new();
        let mut limit = usize::MAX;
        for index in self.taken.missing() {
            let interval = &self.intervals[index];
            if interval.invoked > limit {
                break;
            }
            limit = limit.min(interval.until);
            if self.follows(index) {
                candidates.push(index);
            }
        }
        let in_time = |index: &usize| {
            let interval = &self.intervals[*index];
            interval.invoked < limit && frontier < interval.until
        };
        let allowed = |index: &usize| {
            !self.taken.contains(*index)
                && self.follows(*index)
                && !self.intervals[*index].not_after.iter().any(|later| self.taken.contains(*later))
        };
        let optional = self.taken.optional.iter().copied();
        candidates.extend(optional.filter(in_time).filter(allowed));
        candidates
    }

    /// Whether everything that must be earlier was taken.
    fn follows(&self, index: usize) -> bool {
        self.earlier[index].iter().all(|&earlier| self.taken.contains(earlier))
    }

    /// Gives the deepest level up, and remembers it if nothing came further.
    fn leave(&mut self) {
        let blocked = self.taken.missing().min_by_key(|&index| self.intervals[index].until);
        let order = self.levels.last().is_some_and(|level| level.leaf).then(|| self.order());
        let Some(level) = self.levels.pop() else { return };
        let (Some(blocked), Some(order)) = (blocked, order) else { return };
        let limit = self.intervals[blocked].until;
        let rank = (limit, order.len());
        if self.furthest.as_ref().is_none_or(|best| rank > (best.limit, best.order.len())) {
            self.furthest = Some(Stuck { order, state: level.state, blocked, limit });
        }
    }

    fn order(&self) -> Vec<usize> {
        self.levels.iter().filter_map(|level| level.chosen).collect()
    }
}

fn earlier<S: Specification>(spec: &S, intervals: &[Interval<S::Op, S::Ret>]) -> Vec<Vec<usize>> {
    let seen: Vec<Seen<'_, S::Op, S::Ret>> = intervals.iter().map(Interval::seen).collect();
    let mut earlier = vec![Vec::new(); intervals.len()];
    for (first, second) in spec.implied_order(&seen) {
        earlier[second].push(first);
    }
    earlier
}

/// The distinct states that an operation of unknown response may lead to.
fn successors<S: Specification>(
    spec: &S,
    state: &S::State,
    by: Process,
    op: &S::Op,
) -> Vec<S::State> {
    let mut states: Vec<S::State> = Vec::new();
    for (next, _) in spec.step(state, by, op) {
        if !states.contains(&next) {
            states.push(next);
        }
    }
    states
}
