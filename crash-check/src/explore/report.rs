//! What a search found, and how it is shown.

use std::fmt;
use std::time::Duration;

/// The outcome of one search.
#[derive(Clone, Debug)]
pub struct Report {
    /// Distinct states seen.
    pub states: usize,
    /// Steps between them, events of the environment not counted.
    pub steps: usize,
    /// States in which nothing but the environment could go on.
    pub ends: usize,
    /// Length of the longest shortest path, in steps and events.
    pub depth: usize,
    /// Memory held at the end, in bytes: map, parents, edges, and the two widest levels.
    pub bytes: usize,
    /// Time taken.
    pub elapsed: Duration,
    /// What came out.
    pub verdict: Verdict,
}

/// What a search says about a model.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Every state was seen, and all is well in all of them.
    Holds,
    /// The budget was spent: no failure in what was seen, and nothing is known about the rest.
    /// Whether an end can be reached from everywhere was not checked.
    Cut,
    /// A schedule that breaks the model.
    Fails(Box<Counterexample>),
}

/// What is wrong at the end of a [`Counterexample`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// [`Model::invariants`](super::Model::invariants) does not hold.
    Invariant(String),
    /// Nothing can go on, and [`Model::may_end`](super::Model::may_end) says this is no end.
    BadEnd(String),
    /// The last step is wrong in itself ([`Successors::flaw`](super::Successors::flaw)).
    Step(String),
    /// Steps can be taken, but no end is reachable any more.
    NoEndReachable,
}

/// A schedule, and what is wrong after it.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What is wrong.
    pub flaw: Flaw,
    /// The way there; a shortest one if breadth-first search found it.
    pub trace: Vec<TraceStep>,
    /// The state at the end, as `Debug` prints it.
    pub last: String,
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// Who moved, as [`Model::name_of`](super::Model::name_of) calls it.
    pub who: String,
    /// The step's name in the protocol's table.
    pub label: &'static str,
    /// An event of the environment.
    pub event: bool,
    /// What it changed: `path: before → after`.
    pub changes: Vec<String>,
}

impl Report {
    /// Every state was seen and nothing is wrong. False when the search was cut.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self.verdict, Verdict::Holds)
    }

    /// The schedule that breaks the model, if one was found.
    #[must_use]
    pub fn counterexample(&self) -> Option<&Counterexample> {
        match &self.verdict {
            Verdict::Fails(found) => Some(found),
            Verdict::Holds | Verdict::Cut => None,
        }
    }

    /// The chance that two of the states seen share a fingerprint, so that one was left out:
    /// n² ⁄ 2⁶⁵, were fingerprints random (10⁷ states: three in a million).
    #[must_use]
    pub fn omission_probability(&self) -> f64 {
        let states = self.states as f64;
        states * states / 2_f64.powi(65)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, {} steps, {} ends: ", self.states, self.steps, self.ends)?;
        match &self.verdict {
            Verdict::Holds => write!(f, "holds"),
            Verdict::Cut => write!(f, "cut, no failure so far"),
            Verdict::Fails(found) => write!(f, "{found}"),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Invariant(message) => write!(f, "invariant broken: {message}"),
            Flaw::BadEnd(message) => write!(f, "bad end: {message}"),
            Flaw::Step(message) => write!(f, "wrong step: {message}"),
            Flaw::NoEndReachable => write!(f, "no end can be reached any more"),
        }
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} after {} steps", self.flaw, self.trace.len())?;
        for (number, step) in self.trace.iter().enumerate() {
            writeln!(f, "{:>4} {step}", number + 1)?;
        }
        write!(f, "the state then: {}", self.last)
    }
}

impl fmt::Display for TraceStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.event { "! " } else { "  " };
        write!(f, "{mark}{:<4} {:<44} {}", self.who, self.label, self.changes.join("; "))
    }
}
