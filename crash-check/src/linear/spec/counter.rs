//! A counter.

use crate::linear::{Item, Process, Specification};

/// A counter that starts at zero and wraps; every operation returns the value before it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter;

/// Operations of [`Counter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CounterOp {
    /// Add this much (a negative amount subtracts).
    Add(i64),
    /// Look.
    Get,
}

impl Specification for Counter {
    type State = i64;
    type Op = CounterOp;
    type Ret = i64;

    fn init(&self) -> i64 {
        0
    }

    fn step(&self, state: &i64, _: Process, op: &CounterOp) -> Vec<(i64, i64)> {
        match op {
            CounterOp::Add(amount) => vec![(state.wrapping_add(*amount), *state)],
            CounterOp::Get => vec![(*state, *state)],
        }
    }

    fn item(&self, op: &CounterOp, _: Option<&i64>) -> Item {
        match op {
            CounterOp::Add(_) => Item::effect(),
            CounterOp::Get => Item::observation(),
        }
    }
}
