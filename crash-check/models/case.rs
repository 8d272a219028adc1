//! One row of the table: a configuration of a protocol, and what its exploration must say.

use std::fmt;
use std::sync::Arc;

use crash_check::explore::{Explorer, Flaw, Model, Report, Verdict, WalkReport, Walker};

/// When a case is run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effort {
    /// In every test run, unoptimized builds included: at most some ten thousand states.
    Small,
    /// In optimized test runs.
    Short,
    /// By the example `explore_protocols -- --long` only.
    Long,
}

/// What a case must come out as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Every state seen, no failure.
    Holds,
    /// A counterexample: the rule that was dropped is needed.
    Fails,
    /// No counterexample, though a rule was dropped: the rule is kept by argument only.
    NotCaught,
    /// Too large to be seen whole: the budget is spent without a failure.
    Cut,
}

/// A configuration of a protocol.
pub struct Case {
    /// The protocol.
    pub protocol: &'static str,
    /// Size and permissions, as the tables give them.
    pub configuration: String,
    /// The rules that were dropped: empty in the correct form.
    pub broken: String,
    /// When to run it.
    pub effort: Effort,
    /// What must come out.
    pub expect: Expect,
    /// What the counterexample must say.
    because: &'static str,
    budget: usize,
    run: Box<dyn Fn(usize) -> Report + Send + Sync>,
    walk: Box<dyn Fn(Walker) -> WalkReport + Send + Sync>,
}

impl Case {
    /// `model`, explored up to twenty million states.
    pub fn new<M>(protocol: &'static str, configuration: impl Into<String>, model: M) -> Self
    where
        M: Model + Send + Sync + 'static,
    {
        let model = Arc::new(model);
        let walked = Arc::clone(&model);
        Self {
            protocol,
            configuration: configuration.into(),
            broken: String::new(),
            effort: Effort::Small,
            expect: Expect::Holds,
            because: "",
            budget: 20_000_000,
            run: Box::new(move |budget| Explorer::new().budget(budget).run(&*model)),
            walk: Box::new(move |walker| walker.run(&*walked)),
        }
    }

    /// The rule that this twin drops, and that it must be caught for.
    pub fn without(mut self, broken: impl fmt::Debug) -> Self {
        // One rule, several, or a text.
        self.broken = format!("{broken:?}").replace(['[', ']', '"'], "");
        self.expect = Expect::Fails;
        self
    }

    /// What the counterexample must say: a twin that fails for another reason shows nothing.
    pub fn because(mut self, reason: &'static str) -> Self {
        self.because = reason;
        self
    }

    /// Something else than the usual must come out.
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// Not in every run.
    pub fn effort(mut self, effort: Effort) -> Self {
        self.effort = effort;
        self
    }

    /// It is too large to be seen whole: stop after so many states.
    pub fn cut_at(mut self, states: usize) -> Self {
        self.budget = states;
        self.expect(Expect::Cut).effort(Effort::Long)
    }

    /// Explores it.
    pub fn explore(&self) -> Report {
        (self.run)(self.budget)
    }

    /// Walks it at random.
    pub fn walk(&self, walker: Walker) -> WalkReport {
        (self.walk)(walker)
    }

    /// Explores it and compares with what must come out.
    ///
    /// # Errors
    /// The counterexample, or what is missing.
    pub fn check(&self) -> Result<Report, String> {
        let report = self.explore();
        let as_expected = match (self.expect, &report.verdict) {
            (Expect::Holds | Expect::NotCaught, Verdict::Holds) | (Expect::Cut, Verdict::Cut) => {
                true
            }
            (Expect::Fails, Verdict::Fails(found)) => found.flaw.to_string().contains(self.because),
            _ => false,
        };
        if as_expected {
            Ok(report)
        } else {
            Err(format!("{self}: expected {:?}, but: {report}", self.expect))
        }
    }

    /// The row of the book's table for `report`.
    pub fn row(&self, report: &Report) -> String {
        let verdict = match &report.verdict {
            Verdict::Holds if self.broken.is_empty() => "holds".to_owned(),
            Verdict::Holds => "not caught".to_owned(),
            Verdict::Cut => "cut, no failure".to_owned(),
            Verdict::Fails(found) => {
                let what = match &found.flaw {
                    Flaw::Invariant(what) | Flaw::BadEnd(what) | Flaw::Step(what) => what.clone(),
                    other => other.to_string(),
                };
                format!("{} steps: {what}", found.trace.len())
            }
        };
        format!("{} {} | {verdict} |", self.row_begins(), grouped(report.states))
    }

    /// What its row begins with: all that is known before it was run.
    pub fn row_begins(&self) -> String {
        match self.broken.as_str() {
            "" => format!("| {} | {} |", self.protocol, self.configuration),
            broken => format!("| {} | {broken} | {} |", self.protocol, self.configuration),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.configuration)?;
        if self.broken.is_empty() { Ok(()) } else { write!(f, " without {}", self.broken) }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("case", &self.to_string())
            .field("effort", &self.effort)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
