//! Many independent objects of one kind, checked one by one.

use crate::linear::{Item, Process, Seen, Specification};
use std::collections::BTreeMap;

/// One object of kind `S` a key: an operation is a pair of key and operation. Registers by
/// address, queues by queue; the history is split by key, which is what makes long ones cheap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keyed<S>(
    /// The kind.
    pub S,
);

impl<S: Specification> Specification for Keyed<S> {
    type State = BTreeMap<u64, S::State>;
    type Op = (u64, S::Op);
    type Ret = S::Ret;

    fn init(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(
        &self,
        state: &Self::State,
        by: Process,
        (key, op): &Self::Op,
    ) -> Vec<(Self::State, S::Ret)> {
        let part = state.get(key).cloned().unwrap_or_else(|| self.0.init());
        let outcomes = self.0.step(&part, by, op).into_iter();
        let whole = |(part, ret)| {
            let mut next = state.clone();
            next.insert(*key, part);
            (next, ret)
        };
        outcomes.map(whole).collect()
    }

    fn key(&self, (key, _): &Self::Op) -> u64 {
        *key
    }

    fn at_death(&self, process: Process, key: u64) -> Option<Self::Op> {
        self.0.at_death(process, key).map(|op| (key, op))
    }

    /// The calls are all of one key.
    fn implied_order(&self, calls: &[Seen<'_, Self::Op, S::Ret>]) -> Vec<(usize, usize)> {
        let mut parts = Vec::with_capacity(calls.len());
        for &Seen { op: (_, op), ret, invoked, until, required } in calls {
            parts.push(Seen { op, ret, invoked, until, required });
        }
        self.0.implied_order(&parts)
    }

    fn item(&self, (_, op): &Self::Op, ret: Option<&S::Ret>) -> Item {
        self.0.item(op, ret)
    }
}
