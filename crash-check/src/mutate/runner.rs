//! Collects sites, makes the mutants, runs the models.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use super::error::Error;
use super::matrix::{self, Matrix, Outcome, Row};
use super::scan;
use crate::death::site::{self, Change, Orders, Site};
use crate::death::{self, Report};

type ModelFn = dyn Fn() -> Result<Report, death::Error>;

/// What to mutate, and the models that must notice.
///
/// ```no_run
/// # fn pops_what_was_pushed() -> Result<crash_check::death::Report, crash_check::death::Error> {
/// #     crash_check::death::Model::new().check(|_| {})
/// # }
/// # mod ring { pub const SOURCE: &str = ""; }
/// use crash_check::mutate::Mutations;
///
/// let matrix = Mutations::new()
///     .source("src/ring.rs", ring::SOURCE) // usually `include_str!`
///     .statements_of("recover")
///     .model("pops_what_was_pushed", pops_what_was_pushed)
///     .reason("pop", "hint.load(", "Acquire → Relaxed", "the hint is only a hint")
///     .run()?;
/// println!("{}", matrix.text());
/// matrix.check(0.1)?;
/// # Ok::<(), crash_check::mutate::Error>(())
/// ```
#[derive(Default)]
pub struct Mutations {
    sources: Vec<Source>,
    dropped_in: Vec<String>,
    models: Vec<(String, Box<ModelFn>)>,
    reasons: Vec<Reason>,
}

struct Source {
    path: String,
    lines: Vec<String>,
    functions: Vec<String>,
    listed: Vec<scan::Listed>,
}

struct Reason {
    function: String,
    snippet: String,
    mutation: String,
    why: String,
}

/// A site that at least one model reaches.
struct Reached {
    source: usize,
    orders: Orders,
    /// Indices of the models that reach it.
    models: Vec<usize>,
}

impl Mutations {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Mutates the sites of this source. `path` is its path as the compiler was given it, or the
    /// end of that path; `text` its content, for the scan and for the table.
    #[must_use]
    pub fn source(mut self, path: &str, text: &str) -> Self {
        self.sources.push(Source {
            path: path.to_owned(),
            lines: text.lines().map(|line| line.trim().to_owned()).collect(),
            functions: scan::functions_by_line(text),
            listed: scan::scan(text),
        });
        self
    }

    /// Also leaves out, one at a time, the stores, read-modify-writes, exchanges and writes to cells
    /// of functions of this name. Barriers, wakes and `statement!` are always left out in turn.
    #[must_use]
    pub fn statements_of(mut self, function: &str) -> Self {
        self.dropped_in.push(function.to_owned());
        self
    }

    /// Adds a model. It must be deterministic, and quick: it is run once for each mutant that it
    /// reaches, until one fails; quick ones first.
    #[must_use]
    pub fn model(
        mut self,
        name: &str,
        check: impl Fn() -> Result<Report, death::Error> + 'static,
    ) -> Self {
        self.models.push((name.to_owned(), Box::new(check)));
        self
    }

    /// States why a mutant may survive: the one in `function` whose source line contains `snippet`,
    /// with this `mutation` as the table prints it (`unreached` for a place without mutants).
    #[must_use]
    pub fn reason(mut self, function: &str, snippet: &str, mutation: &str, why: &str) -> Self {
        self.reasons.push(Reason {
            function: function.to_owned(),
            snippet: snippet.to_owned(),
            mutation: mutation.to_owned(),
            why: why.to_owned(),
        });
        self
    }

    /// Runs the models unchanged, then once for each mutant.
    ///
    /// # Errors
    /// [`Error::Baseline`] if a model fails unchanged, [`Error::NothingToMutate`].
    pub fn run(&self) -> Result<Matrix, Error> {
        let start = Instant::now();
        let (reports, reached) = self.baseline()?;
        if reached.is_empty() {
            return Err(Error::NothingToMutate);
        }
        let mut rows: Vec<Row> = Vec::new();
        for (site, reach) in &reached {
            let drop = self.dropped_in.contains(&self.function(reach.source, site.line));
            for change in matrix::changes(*site, reach.orders, drop) {
                rows.push(self.mutant(*site, reach, change, &reports));
            }
        }
        rows.extend(self.unreached(&reached));
        let order = |row: &Row| (self.source_index(&row.file), row.line);
        rows.sort_by_key(order);
        let stale_reasons = self.give_reasons(&mut rows);
        let names = self.models.iter().map(|(name, _)| name.clone());
        let models = names.zip(reports).collect();
        Ok(Matrix { rows, models, stale_reasons, elapsed: start.elapsed() })
    }

    fn baseline(&self) -> Result<(Vec<Report>, BTreeMap<Site, Reached>), Error> {
        let mut reports = Vec::new();
        let mut reached: BTreeMap<Site, Reached> = BTreeMap::new();
        for (index, (name, check)) in self.models.iter().enumerate() {
            let (result, sites) = site::record(check);
            let report = result.map_err(|error| Error::Baseline { model: name.clone(), error })?;
            reports.push(report);
            for (site, orders) in sites {
                let Some(source) = self.source_of(site) else { continue };
                let entry =
                    reached.entry(site).or_insert(Reached { source, orders, models: Vec::new() });
                entry.models.push(index);
            }
        }
        Ok((reports, reached))
    }

    fn source_of(&self, site: Site) -> Option<usize> {
        self.sources.iter().position(|source| site.file.ends_with(&source.path))
    }

    fn source_index(&self, path: &str) -> usize {
        self.sources.iter().position(|source| source.path == path).unwrap_or(usize::MAX)
    }

    fn function(&self, source: usize, line: u32) -> String {
        let line = line as usize - 1;
        self.sources[source].functions.get(line).cloned().unwrap_or_default()
    }

    fn mutant(&self, site: Site, reach: &Reached, change: Change, reports: &[Report]) -> Row {
        let start = Instant::now();
        let mut models = reach.models.clone();
        models.sort_by_key(|&index| reports[index].executions);
        let mut outcome = self.outcome(site, change, &models);
        for moved_up in matrix::moved_up(site, reach.orders, change) {
            if matches!(outcome, Outcome::Survived) {
                outcome = self.outcome(site, moved_up, &models);
            }
        }
        let mutation = matrix::label(reach.orders, change);
        Row { outcome, took: start.elapsed(), ..self.row(reach.source, site.line, mutation) }
    }

    /// What the first of these models says that fails.
    fn outcome(&self, site: Site, change: Change, models: &[usize]) -> Outcome {
        let mut outcome = Outcome::Survived;
        for &index in models {
            let (name, check) = &self.models[index];
            match site::mutated(site, change, check) {
                Err(death::Error::Failed(failure)) => {
                    return Outcome::Killed {
                        model: name.clone(),
                        schedule: failure.schedule.to_string(),
                        message: failure.message.lines().next().unwrap_or("").to_owned(),
                        moved_up: if let Change::MovedUp(_, stores) = change { stores } else { 0 },
                    };
                }
                Err(_) => outcome = Outcome::Undecided,
                Ok(_) => {}
            }
        }
        outcome
    }

    fn row(&self, source: usize, line: u32, mutation: String) -> Row {
        let text = &self.sources[source];
        Row {
            file: text.path.clone(),
            line,
            function: self.function(source, line),
            source: text.lines.get(line as usize - 1).cloned().unwrap_or_default(),
            mutation,
            outcome: Outcome::Unreached,
            reason: None,
            took: std::time::Duration::ZERO,
        }
    }

    fn unreached(&self, reached: &BTreeMap<Site, Reached>) -> Vec<Row> {
        let mut rows = Vec::new();
        for (source, text) in self.sources.iter().enumerate() {
            for listed in &text.listed {
                let known = reached.iter().any(|(site, reach)| {
                    reach.source == source
                        && (site.line, site.column) == (listed.line, listed.column)
                });
                if !known {
                    rows.push(self.row(source, listed.line, "unreached".to_owned()));
                }
            }
        }
        rows
    }

    /// Gives each row that needs one its reason, and returns those that fit no row.
    fn give_reasons(&self, rows: &mut [Row]) -> Vec<String> {
        let mut stale = Vec::new();
        for reason in &self.reasons {
            let mut used = false;
            for row in rows.iter_mut() {
                let fits = row.function == reason.function
                    && row.source.contains(&reason.snippet)
                    && row.mutation == reason.mutation;
                if fits && !matches!(row.outcome, Outcome::Killed { .. }) {
                    row.reason = Some(reason.why.clone());
                    used = true;
                }
            }
            if !used {
                let Reason { function, snippet, mutation, why } = reason;
                stale.push(format!("`{function}`, `{snippet}`, {mutation}: {why}"));
            }
        }
        stale
    }
}

impl fmt::Debug for Mutations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources: Vec<&str> = self.sources.iter().map(|source| source.path.as_str()).collect();
        let models: Vec<&str> = self.models.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Mutations")
            .field("sources", &sources)
            .field("models", &models)
            .finish_non_exhaustive()
    }
}
