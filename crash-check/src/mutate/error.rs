//! Why there is no matrix, or why it does not pass.

use crate::death;

/// What can be wrong with a matrix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model fails without any mutation.
    #[error("model `{model}` fails before anything is mutated; mend that first:\n{error}")]
    Baseline {
        /// Its name.
        model: String,
        /// What it found.
        error: death::Error,
    },
    /// No model reaches any ordering of the given sources.
    #[error(
        "no model reaches an operation in the given sources: give the paths as the compiler sees \
         them (or their ends), and build the sources against `crash_check::death::sync`"
    )]
    NothingToMutate,
    /// Some rows need a reason and have none.
    #[error(
        "{} rows have neither a failing model nor a reason; add a model that needs the ordering, \
         weaken it, or give a reason by `Mutations::reason`:\n{}",
        .rows.len(), .rows.join("\n")
    )]
    WithoutReason {
        /// The rows, one line each.
        rows: Vec<String>,
    },
    /// Too many mutants survive, reasons or not.
    #[error("{survivors} of {mutants} mutants survive, more than a share of {most} allows")]
    TooManySurvivors {
        /// Mutants that no model failed on.
        survivors: usize,
        /// All mutants.
        mutants: usize,
        /// The share that was allowed.
        most: f64,
    },
    /// Reasons that no row needs (any more).
    #[error("these reasons fit no surviving row, take them out:\n{}", .reasons.join("\n"))]
    StaleReasons {
        /// The reasons, one line each.
        reasons: Vec<String>,
    },
}
