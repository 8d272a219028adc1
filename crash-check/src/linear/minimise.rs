//! Makes a counterexample small: delta debugging (Zeller and Hildebrandt, 2002) on operations.
//!
//! Not every smaller history that fails explains the failure of the larger one: without the push
//! of its item a good pop fails, too. So an operation is dropped only where that can not invent a
//! failure, in two ways:
//!
//! 1. by the specification's law ([`Item`](super::Item)): observations one by one, items whole;
//! 2. by search: the history still fails when the dropped operations may return anything, and
//!    take effect once, at any time after their invocation, or never. That costs up to two to the
//!    power of what was dropped, so it has a budget of its own and stops when it is used up.

use super::Specification;
use super::condition::{Interval, NEVER_TOO_LATE};
use super::search::{Outcome, Remaining, search};
use std::collections::BTreeMap;

/// What one trial of the second kind may spend, and all trials together.
const TRIAL: Remaining = Remaining { steps: 5_000, configurations: 2_000 };
const TRIALS_STEPS: u64 = 50_000;

/// Operations that are dropped or kept together.
type Unit = Vec<usize>;

/// What is left of a failing history.
#[derive(Debug)]
pub(super) struct Minimal {
    /// By the law alone: fails on its own.
    pub lawful: Vec<usize>,
    /// By search, too: fails whatever the others of `lawful` did.
    pub essential: Vec<usize>,
}

/// Minimises `all`, which has no linearization.
pub(super) fn minimise<S: Specification>(
    spec: &S,
    all: &[Interval<S::Op, S::Ret>],
    mut remaining: Remaining,
) -> Minimal {
    let mut kept: Vec<usize> = (0..all.len()).collect();
    let mut fails = |kept: &[usize]| {
        matches!(search(spec, &restrict(all, kept, &[]), &mut remaining), Outcome::Stuck(_))
    };
    kept = drop_units(kept, |kept| observations(spec, all, kept), &mut fails);
    kept = drop_units(kept, |kept| items(spec, all, kept), &mut fails);
    kept = drop_units(kept, |kept| observations(spec, all, kept), &mut fails);
    let lawful = kept.clone();
    let mut left = TRIALS_STEPS;
    let essential = drop_units(kept, |kept| groups(spec, all, kept), &mut |kept| {
        let dropped: Vec<usize> =
            lawful.iter().copied().filter(|index| kept.binary_search(index).is_err()).collect();
        let mut trial = Remaining { steps: TRIAL.steps.min(left), ..TRIAL };
        let before = trial.steps;
        let outcome = search(spec, &restrict(all, &lawful, &dropped), &mut trial);
        left -= before - trial.steps;
        matches!(outcome, Outcome::Stuck(_))
    });
    Minimal { lawful, essential }
}

/// The intervals of `kept`; those of them that are in `free` may do anything at any later time.
pub(super) fn restrict<Op: Clone, Ret: Clone>(
    all: &[Interval<Op, Ret>],
    kept: &[usize],
    free: &[usize],
) -> Vec<Interval<Op, Ret>> {
    let copy = |&index: &usize| {
        let mut interval = all[index].clone();
        let places = interval.not_after.iter().filter_map(|later| kept.binary_search(later).ok());
        interval.not_after = places.collect();
        if free.binary_search(&index).is_ok() {
            interval.ret = None;
            interval.required = false;
            interval.until = NEVER_TOO_LATE;
            interval.not_after.clear();
        }
        interval
    };
    kept.iter().map(copy).collect()
}

fn drop_units(
    kept: Vec<usize>,
    units: impl FnOnce(&[usize]) -> Vec<Unit>,
    fails: &mut impl FnMut(&[usize]) -> bool,
) -> Vec<usize> {
    let mut units = units(&kept);
    let mut chunk = units.len();
    let mut kept = kept;
    while chunk > 0 {
        let mut at = 0;
        let mut dropped = false;
        while at < units.len() {
            let end = (at + chunk).min(units.len());
            let rest = without(&kept, &units[at..end]);
            if fails(&rest) {
                kept = rest;
                units.drain(at..end);
                dropped = true;
            } else {
                at = end;
            }
        }
        if chunk > 1 || !dropped {
            chunk /= 2;
        }
    }
    kept
}

fn without(kept: &[usize], units: &[Unit]) -> Vec<usize> {
    let mut dropped: Vec<usize> = units.iter().flatten().copied().collect();
    dropped.sort_unstable();
    kept.iter().copied().filter(|index| dropped.binary_search(index).is_err()).collect()
}

fn observations<S: Specification>(
    spec: &S,
    all: &[Interval<S::Op, S::Ret>],
    kept: &[usize],
) -> Vec<Unit> {
    let observes = |index: &&usize| {
        let interval = &all[**index];
        spec.item(&interval.op, interval.ret.as_ref()).observes
    };
    kept.iter().filter(observes).map(|&index| vec![index]).collect()
}

fn items<S: Specification>(spec: &S, all: &[Interval<S::Op, S::Ret>], kept: &[usize]) -> Vec<Unit> {
    let mut items: BTreeMap<u64, Unit> = BTreeMap::new();
    for &index in kept {
        let item = spec.item(&all[index].op, all[index].ret.as_ref());
        if item.pins {
            return Vec::new();
        }
        if let Some(name) = item.of {
            items.entry(name).or_default().push(index);
        }
    }
    items.into_values().collect()
}

/// Items as they are, everything else alone: for the trials by search.
fn groups<S: Specification>(
    spec: &S,
    all: &[Interval<S::Op, S::Ret>],
    kept: &[usize],
) -> Vec<Unit> {
    let mut items: BTreeMap<u64, Unit> = BTreeMap::new();
    let mut alone: Vec<Unit> = Vec::new();
    for &index in kept {
        match spec.item(&all[index].op, all[index].ret.as_ref()).of {
            Some(name) => items.entry(name).or_default().push(index),
            None => alone.push(vec![index]),
        }
    }
    alone.extend(items.into_values());
    alone
}
