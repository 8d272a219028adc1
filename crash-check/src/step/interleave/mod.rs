//! Two processes, one schedule: real machine code, interleaved instruction by instruction.
//!
//! The bounded search is that of CHESS (Musuvathi and Qadeer, PLDI 2007): all schedules with at
//! most so many preemptions, where giving up the processor (sleeping, spinning with `pause`,
//! ending) costs none. The probabilistic one is PCT (Burckhardt et al., ASPLOS 2010).

mod pair;
mod schedule;

use super::engine::Engine;
use super::error::StepError;
use super::finding::{FailureKind, Finding, Outcome};
use super::replay::Target;
use super::survivors::{self, Part};
use pair::{End, Pair};
use schedule::{Chooser, Search};

/// How the schedules of two processes are chosen.
///
/// A run is the choice, at each instruction that the other process could notice, of who executes
/// next. Every failure prints its schedule, which replays exactly.
#[derive(Clone, Copy, Debug)]
pub struct Interleaving {
    strategy: Strategy,
    runs: u64,
    death: bool,
}

#[derive(Clone, Copy, Debug)]
enum Strategy {
    Bounded { preemptions: u32 },
    Random { seed: u64 },
    Pct { seed: u64, depth: u32 },
}

impl Interleaving {
    const RUNS: u64 = 300;

    /// Every schedule with at most `preemptions` preemptions, as far as the budget goes; two are
    /// enough for most bugs.
    #[must_use]
    pub fn bounded(preemptions: u32) -> Interleaving {
        let strategy = Strategy::Bounded { preemptions };
        Interleaving { strategy, runs: Interleaving::RUNS, death: false }
    }

    /// At each choice, either process with equal chance.
    #[must_use]
    pub fn random(seed: u64) -> Interleaving {
        let strategy = Strategy::Random { seed };
        Interleaving { strategy, runs: Interleaving::RUNS, death: false }
    }

    /// Probabilistic concurrency testing: random priorities, lowered at `depth - 1` random places;
    /// finds any bug of that depth with a probability that is known beforehand.
    #[must_use]
    pub fn pct(seed: u64, depth: u32) -> Interleaving {
        let strategy = Strategy::Pct { seed, depth };
        Interleaving { strategy, runs: Interleaving::RUNS, death: false }
    }

    /// The budget: at most so many schedules; 300 unless said.
    #[must_use]
    pub fn runs(mut self, runs: u64) -> Interleaving {
        self.runs = runs;
        self
    }

    /// The first process may be killed, by a real `SIGKILL`, at any choice.
    #[must_use]
    pub fn with_a_death(mut self) -> Interleaving {
        self.death = true;
        self
    }

    fn name(&self) -> String {
        match self.strategy {
            Strategy::Bounded { preemptions } => format!("at most {preemptions} preemptions"),
            Strategy::Random { seed } => format!("random, seed {seed}"),
            Strategy::Pct { seed, depth } => format!("PCT of depth {depth}, seed {seed}"),
        }
    }
}

impl Engine<'_> {
    /// Runs schedules until one fails, the search is exhausted, or the budget is spent.
    pub(super) fn run_schedules(mut self, how: &Interleaving) -> Result<Outcome, StepError> {
        self.initialise()?;
        if let Some(target) = self.target {
            let (mut chooser, death) = replayed(target)?;
            let finding = self.run_schedule(&mut chooser, death, "replayed")?;
            self.tally.schedules = 1;
            return Ok(Outcome { tally: self.tally, finding });
        }
        let mut search = Search::new(how.strategy);
        while self.tally.schedules < how.runs {
            let Some(mut chooser) = search.next(self.tally.schedules) else {
                self.tally.exhausted = 1;
                break;
            };
            self.tally.schedules += 1;
            if let Some(finding) = self.run_schedule(&mut chooser, how.death, &how.name())? {
                return Ok(Outcome { tally: self.tally, finding: Some(finding) });
            }
            search.learn(&chooser);
        }
        Ok(Outcome { tally: self.tally, finding: None })
    }

    fn run_schedule(
        &mut self,
        chooser: &mut Chooser,
        death: bool,
        name: &str,
    ) -> Result<Option<Finding>, StepError> {
        self.region.copy_in(&self.initial);
        self.region.deaths().forget();
        let mut pair = Pair::start(self.scenario, self.region, death)?;
        let end = pair.run(chooser)?;
        self.tally.instructions = self.tally.instructions.max(pair.instructions());
        self.tally.real_kills += u64::from(pair.killed().is_some());
        let broken = match end {
            End::Over => {
                let dead = pair.killed();
                if let Some(message) = pair.release()? {
                    Some((FailureKind::Operation, message))
                } else {
                    self.tally.recoveries += 1;
                    let part = if dead.is_some() { Part::Whole } else { Part::Rest };
                    let dead: Vec<u32> = dead.into_iter().collect();
                    survivors::judge(self.scenario, self.region, None, &dead, part)?
                }
            }
            End::Failed(message) => Some((FailureKind::Operation, message)),
            End::Stuck(message) => Some((FailureKind::Deadlock, message)),
        };
        Ok(broken.map(|(kind, message)| {
            let letter = if death { 'k' } else { 'i' };
            let how = format!("schedule {} of `{name}`:\n{}", self.tally.schedules, pair.history());
            pair.finding(kind, message, how, format!("{letter}{}", chooser.as_text()))
        }))
    }
}

/// `i3:1,17:2`, or `k...` when a death was allowed.
fn replayed(target: &Target) -> Result<(Chooser, bool), StepError> {
    let no_point = || StepError::NoSuchPoint(target.text.clone());
    let death = target.text.starts_with('k');
    let text = target.text.strip_prefix(['i', 'k']).ok_or_else(no_point)?;
    Chooser::from_text(text).map(|chooser| (chooser, death)).ok_or_else(no_point)
}
