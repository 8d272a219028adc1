//! The checker: a specification, a condition, a budget; and what it says of a history.

use super::condition::intervals;
use super::history::{Parsed, parse};
use super::search::{Outcome, Remaining, search};
use super::violation::explain;
use super::{Condition, Error, History, Process, Specification, Violation};
use std::collections::BTreeSet;

/// What a check may spend. Deciding linearizability is NP-complete (Gibbons and Korach, 1997), so
/// that without a bound a short history of many overlapping operations may take for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Operations tried: calls of [`Specification::step`]. Bounds the time.
    pub steps: u64,
    /// Pairs of (set of operations, state) kept. Bounds the memory: each costs a state and a few
    /// words.
    pub configurations: u64,
}

impl Default for Budget {
    /// Twenty million steps, half a million configurations: seconds, and some hundred megabytes
    /// where a state is some hundred bytes. Give less where states are large.
    fn default() -> Self {
        Self { steps: 20_000_000, configurations: 500_000 }
    }
}

/// Checks histories against a specification under a [`Condition`].
///
/// The search visits each (set of operations, state) once. With `n` operations of which at most
/// `c` overlap, that is at most `n * 2^c` sets times the states they lead to; where few overlap
/// it is linear in `n`. Each pending operation may double it.
///
/// ```
/// use crash_check::linear::{Checker, Condition, History};
/// use crash_check::linear::spec::{ItemOp::*, ItemRet::*, Queue};
///
/// // Killed inside a push; the item arrives after the queue was seen empty.
/// let mut history = History::new();
/// history.invoke(0, Push(7)).crash(0).call(1, Pop, Empty).call(1, Pop, Popped(7));
///
/// let plain = Checker::new(Queue::unbounded(), Condition::Linearizable);
/// assert!(plain.check(&history)?.holds());
/// let strict = Checker::new(Queue::unbounded(), Condition::Strict);
/// assert!(!strict.check(&history)?.holds());
/// # Ok::<(), crash_check::linear::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checker<S> {
    spec: S,
    condition: Condition,
    budget: Budget,
}

impl<S: Specification> Checker<S> {
    /// A checker with the default budget.
    pub fn new(spec: S, condition: Condition) -> Self {
        Self { spec, condition, budget: Budget::default() }
    }

    /// Replaces the budget.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Decides whether `history` satisfies the condition.
    ///
    /// # Errors
    ///
    /// The history is not well-formed: [`Error::Overlap`], [`Error::ReturnWithoutInvoke`],
    /// [`Error::ActsAfterCrash`], [`Error::RecoverWithoutCrash`].
    pub fn check(&self, history: &History<S::Op, S::Ret>) -> Result<Verdict<S::Op, S::Ret>, Error> {
        let parsed = parse(history)?;
        let keys: BTreeSet<u64> = parsed.calls.iter().map(|call| self.spec.key(&call.op)).collect();
        let mut remaining = Remaining::from(self.budget);
        let mut orders = Vec::new();
        let mut undecided = None;
        for key in keys {
            match self.check_key(&parsed, key, &mut remaining) {
                KeyVerdict::Holds(order) => orders.push(order),
                KeyVerdict::Fails => {
                    let violation =
                        explain(&self.spec, self.condition, self.budget, history, &parsed, key);
                    return Ok(Verdict::Violated(Box::new(violation)));
                }
                // Another key may still break the condition for certain.
                KeyVerdict::Unknown(what) => undecided = undecided.or(Some((key, what))),
            }
        }
        Ok(match undecided {
            Some((key, what)) => {
                Verdict::Unknown(Unknown { key, spent: what, budget: self.budget })
            }
            None => Verdict::Holds(orders),
        })
    }

    /// As [`check`](Self::check), but only a history that certainly satisfies the condition is
    /// `Ok`: for tests.
    ///
    /// # Errors
    ///
    /// [`Error::Violated`] with the explanation and the drawing, [`Error::Undecided`], or what
    /// [`check`](Self::check) returns.
    pub fn require(&self, history: &History<S::Op, S::Ret>) -> Result<(), Error> {
        match self.check(history)? {
            Verdict::Holds(_) => Ok(()),
            Verdict::Violated(violation) => Err(Error::Violated { report: violation.to_string() }),
            Verdict::Unknown(unknown) => Err(Error::Undecided { reason: unknown.to_string() }),
        }
    }

    fn check_key(
        &self,
        parsed: &Parsed<S::Op, S::Ret>,
        key: u64,
        remaining: &mut Remaining,
    ) -> KeyVerdict {
        let intervals = intervals(&self.spec, self.condition, parsed, key);
        match search(&self.spec, &intervals, remaining) {
            Outcome::Found(order) => KeyVerdict::Holds(Linearization {
                key,
                invocations: order.iter().map(|&index| intervals[index].invoked).collect(),
                processes: order.iter().map(|&index| intervals[index].process).collect(),
            }),
            Outcome::Stuck(_) => KeyVerdict::Fails,
            Outcome::Exhausted(what) => KeyVerdict::Unknown(what),
        }
    }
}

enum KeyVerdict {
    Holds(Linearization),
    Fails,
    Unknown(&'static str),
}

/// What the checker found.
#[derive(Debug)]
#[must_use]
pub enum Verdict<Op, Ret> {
    /// The history satisfies the condition: one linearization a key as the witness.
    Holds(Vec<Linearization>),
    /// It does not: no order of the operations explains what the callers saw.
    Violated(Box<Violation<Op, Ret>>),
    /// The budget was used up first: neither is claimed.
    Unknown(Unknown),
}

impl<Op, Ret> Verdict<Op, Ret> {
    /// Whether the history certainly satisfies the condition.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Holds(_))
    }

    /// The violation, if there is one.
    pub fn violation(&self) -> Option<&Violation<Op, Ret>> {
        match self {
            Self::Violated(violation) => Some(violation),
            _ => None,
        }
    }
}

/// A linearization of the operations of one key: the witness that a history is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linearization {
    /// The key, as [`Specification::key`] gives it.
    pub key: u64,
    /// The operations in the order of their effect, each named by the index of the event that
    /// invoked it (for the effect of a death: of the crash). Pending operations that took no
    /// effect are absent.
    pub invocations: Vec<usize>,
    /// The process of each.
    pub processes: Vec<Process>,
}

/// Why a check remained undecided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The first key that remained undecided.
    pub key: u64,
    /// What ran out.
    pub spent: &'static str,
    /// The budget of the whole check.
    pub budget: Budget,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Budget { steps, configurations } = self.budget;
        write!(
            f,
            "the {} ran out at key {} (budget: {steps} steps, {configurations} configurations)",
            self.spent, self.key
        )
    }
}
