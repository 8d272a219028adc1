//! The finished matrix, and what makes it pass.

use std::fmt;
use std::time::Duration;

use super::error::Error;
use crate::death::Report;
use crate::death::site::{Change, Operation, Orders, Site, SiteOrder};

/// What became of one mutant.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A model failed, as it should.
    Killed {
        /// Which model.
        model: String,
        /// Under which schedule of faults; `none`: without any.
        schedule: String,
        /// First line of what it found.
        message: String,
        /// As a weaker ordering alone no model noticed it (0). It was noticed when the operation was
        /// also made before so many stores that precede it, which a compiler may do then.
        moved_up: usize,
    },
    /// No model failed.
    Survived,
    /// A model was cut before it had looked at everything.
    Undecided,
    /// The scan knows the place; no model gets there.
    Unreached,
}

/// One mutant of one place.
#[derive(Debug, Clone)]
pub struct Row {
    /// Path of the source, as given to [`Mutations::source`](super::Mutations::source).
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// The function it stands in.
    pub function: String,
    /// The source line, trimmed.
    pub source: String,
    /// What is done to it: `Release → Relaxed`, `dropped`.
    pub mutation: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it may survive, or stay unreached.
    pub reason: Option<String>,
    /// Time to the verdict.
    pub took: Duration,
}

impl Row {
    /// Does it count as a survivor?
    #[must_use]
    pub fn survives(&self) -> bool {
        matches!(self.outcome, Outcome::Survived | Outcome::Undecided)
    }

    fn needs_a_reason(&self) -> bool {
        self.reason.is_none() && !matches!(self.outcome, Outcome::Killed { .. })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, function, mutation, source, .. } = self;
        write!(f, "{file}:{line} in `{function}`: {mutation}: `{source}`")
    }
}

/// All mutants and what became of them.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// One row a mutant, in the order of the sources.
    pub rows: Vec<Row>,
    /// The models without mutation.
    pub models: Vec<(String, Report)>,
    /// Reasons that fit no row.
    pub stale_reasons: Vec<String>,
    /// Wall time of the whole.
    pub elapsed: Duration,
}

impl Matrix {
    /// Mutants made; places that no model reaches are not among them.
    #[must_use]
    pub fn mutants(&self) -> usize {
        self.rows.iter().filter(|row| !matches!(row.outcome, Outcome::Unreached)).count()
    }

    /// Mutants that no model failed on.
    #[must_use]
    pub fn survivors(&self) -> usize {
        self.rows.iter().filter(|row| row.survives()).count()
    }

    /// Passes if everything that was not killed has a reason, every reason is needed, and at most
    /// this share of the mutants survives.
    ///
    /// # Errors
    /// [`Error::WithoutReason`], [`Error::StaleReasons`], [`Error::TooManySurvivors`].
    pub fn check(&self, most: f64) -> Result<(), Error> {
        let open = self.rows.iter().filter(|row| row.needs_a_reason());
        let rows: Vec<String> = open.map(ToString::to_string).collect();
        if !rows.is_empty() {
            return Err(Error::WithoutReason { rows });
        }
        if !self.stale_reasons.is_empty() {
            return Err(Error::StaleReasons { reasons: self.stale_reasons.clone() });
        }
        let (survivors, mutants) = (self.survivors(), self.mutants());
        #[allow(clippy::cast_precision_loss)] // some hundreds
        if survivors as f64 > most * mutants as f64 {
            return Err(Error::TooManySurvivors { survivors, mutants, most });
        }
        Ok(())
    }

    /// A table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        super::text::render(self)
    }

    /// A self-contained page: no script, nothing loaded from elsewhere.
    #[must_use]
    pub fn html(&self, title: &str) -> String {
        super::html::render(self, title)
    }
}

/// The mutants of one site: each ordering one notch weaker; left out, where that is asked for or
/// nothing weaker is left.
///
/// loom treats a `SeqCst` access as `AcqRel`, so a notch from there is taken below `AcqRel`.
pub(super) fn changes(site: Site, orders: Orders, drop: bool) -> Vec<Change> {
    use SiteOrder::{AcqRel, Acquire, Relaxed, Release, SeqCst};
    let main = orders.main.unwrap_or(Relaxed);
    let mut changes = match (site.operation, main) {
        (Operation::Barrier | Operation::Wake | Operation::Statement, _) => vec![Change::Dropped],
        (Operation::Fence, SeqCst) => vec![Change::Main(AcqRel)],
        (Operation::Fence, _) => vec![Change::Dropped],
        (_, Relaxed) => vec![],
        (Operation::Rmw | Operation::CompareExchange, AcqRel | SeqCst) => {
            vec![Change::Main(Acquire), Change::Main(Release)]
        }
        (_, Acquire | Release | AcqRel | SeqCst) => vec![Change::Main(Relaxed)],
    };
    if matches!(orders.failure, Some(Acquire | SeqCst)) {
        changes.push(Change::Failure(Relaxed));
    }
    let writes = matches!(
        site.operation,
        Operation::Store | Operation::Rmw | Operation::CompareExchange | Operation::WriteCell
    );
    if drop && writes {
        changes.push(Change::Dropped);
    }
    changes
}

/// The most stores that a weakened operation is moved up by.
const MOST_OVERTAKEN: usize = 4;

/// What a compiler may make of a change besides: an operation that is no Release any more may come
/// before stores that precede it. A thread that is alive shows that by stale reads as well; a
/// dead one shows it by what it left.
pub(super) fn moved_up(site: Site, orders: Orders, change: Change) -> Vec<Change> {
    use SiteOrder::{AcqRel, Acquire, Relaxed, Release, SeqCst};
    let writes = [Operation::Store, Operation::Rmw, Operation::CompareExchange];
    match (orders.main, change) {
        (Some(Release | AcqRel | SeqCst), Change::Main(new @ (Acquire | Relaxed))) => {
            let most = if writes.contains(&site.operation) { MOST_OVERTAKEN } else { 0 };
            (1..=most).map(|stores| Change::MovedUp(new, stores)).collect()
        }
        _ => Vec::new(),
    }
}

/// `Release → Relaxed`, `failure Acquire → Relaxed`, `dropped`.
pub(super) fn label(orders: Orders, change: Change) -> String {
    let name = |order: Option<SiteOrder>| order.map_or(String::new(), |order| format!("{order:?}"));
    match change {
        Change::Main(order) | Change::MovedUp(order, _) => {
            format!("{} → {order:?}", name(orders.main))
        }
        Change::Failure(order) => format!("failure {} → {order:?}", name(orders.failure)),
        Change::Dropped => "dropped".to_owned(),
    }
}
