//! The conditions by their definitions: every subset of the optional operations in every order.

use crash_check::linear::{Condition, Event, History, Process, Specification};

struct Operation<S: Specification> {
    process: Process,
    key: u64,
    op: S::Op,
    ret: Option<S::Ret>,
    invoked: usize,
    returned: Option<usize>,
    crashed: Option<usize>,
    /// The invocation that left it behind.
    left: Option<usize>,
    death: bool,
}

impl<S: Specification> Operation<S> {
    fn required(&self) -> bool {
        self.returned.is_some()
    }

    /// Whether it must stand before `other`, if both take effect.
    fn precedes(&self, other: &Self, condition: Condition) -> bool {
        let bound = match condition {
            Condition::Strict => self.crashed.or(self.returned),
            Condition::Persistent => self.returned.or(self.left),
            _ => self.returned,
        };
        if bound.is_some_and(|bound| bound <= other.invoked) {
            return true;
        }
        let pending = self.crashed.is_some() && self.returned.is_none();
        condition == Condition::Recoverable
            && pending
            && !other.death
            && self.process == other.process
            && self.key == other.key
            && self.invoked < other.invoked
    }
}

/// Whether the history satisfies the condition.
pub fn holds<S: Specification>(
    spec: &S,
    condition: Condition,
    history: &History<S::Op, S::Ret>,
) -> bool {
    let operations = operations(spec, history);
    let mut order = Vec::new();
    extend(spec, condition, &operations, &mut order, &spec.init())
}

fn extend<S: Specification>(
    spec: &S,
    condition: Condition,
    all: &[Operation<S>],
    order: &mut Vec<usize>,
    state: &S::State,
) -> bool {
    if (0..all.len()).all(|index| order.contains(&index) || !all[index].required()) {
        return true;
    }
    for index in 0..all.len() {
        let next = &all[index];
        let late = order.iter().any(|&earlier| next.precedes(&all[earlier], condition));
        if order.contains(&index) || late {
            continue;
        }
        for (after, ret) in spec.step(state, next.process, &next.op) {
            if next.ret.as_ref().is_some_and(|seen| *seen != ret) {
                continue;
            }
            order.push(index);
            let found = extend(spec, condition, all, order, &after);
            order.pop();
            if found {
                return true;
            }
        }
    }
    false
}

fn operations<S: Specification>(spec: &S, history: &History<S::Op, S::Ret>) -> Vec<Operation<S>> {
    let mut all: Vec<Operation<S>> = Vec::new();
    for (index, event) in history.events().iter().enumerate() {
        let process = event.process();
        let last = all.iter().rposition(|op| op.process == process && !op.death);
        let open = last.filter(|&op| all[op].returned.is_none());
        match event {
            Event::Invoke(_, op) => {
                if let Some(open) = open {
                    all[open].left = Some(index);
                }
                let key = spec.key(op);
                let (op, ret) = (op.clone(), None);
                let (returned, crashed, left) = (None, None, None);
                let invoked = index;
                all.push(Operation {
                    process,
                    key,
                    op,
                    ret,
                    invoked,
                    returned,
                    crashed,
                    left,
                    death: false,
                });
            }
            Event::Return(_, ret) => {
                let open = open.unwrap();
                all[open].ret = Some(ret.clone());
                all[open].returned = Some(index);
            }
            Event::Crash(_) => {
                if let Some(open) = open {
                    all[open].crashed.get_or_insert(index);
                }
                if let Some(op) = spec.at_death(process, 0) {
                    all.push(Operation {
                        process,
                        key: 0,
                        op,
                        ret: None,
                        invoked: index,
                        returned: None,
                        crashed: None,
                        left: None,
                        death: true,
                    });
                }
            }
            Event::Recover(_) => {
                if let Some(death) = all.iter().rposition(|op| op.process == process && op.death) {
                    all[death].returned = Some(index);
                }
            }
        }
    }
    all
}
