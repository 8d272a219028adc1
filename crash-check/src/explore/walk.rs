//! Random walks, for what cannot be exhausted: seeded, replayable, and honest about it: a walk
//! that finds nothing shows nothing.

use super::changes::changes;
use super::model::{Model, Move, Successors};
use super::report::{Counterexample, Flaw, TraceStep};

/// Walks a model at random.
///
/// One actor at a time is preferred for a stretch of steps (long runs of one thread, with few
/// switches, find more than a fair mix), and events of the environment are rare.
///
/// ```
/// # use crash_check::explore::{Model, Successors, Walker};
/// # struct Coin;
/// # impl Model for Coin {
/// #     type State = u8;
/// #     fn initial(&self) -> u8 { 0 }
/// #     fn successors(&self, s: &u8, out: &mut Successors<'_, u8>) {
/// #         if *s == 0 {
/// #             out.step(0, "heads", |n| *n = 1);
/// #             out.step(0, "tails", |n| *n = 2);
/// #         }
/// #     }
/// #     fn may_end(&self, s: &u8) -> Result<(), String> {
/// #         if *s == 1 { Ok(()) } else { Err("tails".into()) }
/// #     }
/// # }
/// let walker = Walker::new(42).walks(100);
/// let walk = walker.run(&Coin).failed.expect("tails comes up");
/// let again = walker.replay(&Coin, walk.seed).expect("and comes up again");
/// assert_eq!(again.trace, walk.found.trace);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Walker {
    seed: u64,
    walks: u64,
    steps: usize,
}

/// One walk that failed.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Gives this very walk again: [`Walker::replay`].
    pub seed: u64,
    /// What was found; the trace is not a shortest one.
    pub found: Counterexample,
}

/// What a number of walks came to.
#[derive(Clone, Debug)]
pub struct WalkReport {
    /// Walks made, the failing one included.
    pub walks: u64,
    /// Steps made in all of them.
    pub steps: u64,
    /// The first that failed.
    pub failed: Option<Walk>,
}

impl Walker {
    /// Walks that follow from `seed`: a thousand of up to 900 steps, unless said otherwise.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, walks: 1_000, steps: 900 }
    }

    /// How many walks to make.
    #[must_use]
    pub fn walks(mut self, walks: u64) -> Self {
        self.walks = walks;
        self
    }

    /// How many steps a walk may have; a walk also ends where nothing can happen.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// Walks until a failure or until all walks are made.
    pub fn run<M: Model>(&self, model: &M) -> WalkReport {
        let mut steps = 0;
        for walk in 0..self.walks {
            let seed = mixed(self.seed.wrapping_add(walk));
            let mut trail = Trail::new(model, seed);
            let failed = trail.walk(self.steps);
            steps += trail.picks.len() as u64;
            if let Some(flaw) = failed {
                let found = trail.retell(flaw);
                return WalkReport { walks: walk + 1, steps, failed: Some(Walk { seed, found }) };
            }
        }
        WalkReport { walks: self.walks, steps, failed: None }
    }

    /// Makes one walk again, from the seed in its [`Walk`].
    pub fn replay<M: Model>(&self, model: &M, seed: u64) -> Option<Counterexample> {
        let mut trail = Trail::new(model, seed);
        let flaw = trail.walk(self.steps)?;
        Some(trail.retell(flaw))
    }
}

struct Trail<'m, M: Model> {
    model: &'m M,
    state: M::State,
    random: Random,
    /// Which move was chosen, step by step.
    picks: Vec<usize>,
    focus: usize,
}

impl<'m, M: Model> Trail<'m, M> {
    fn new(model: &'m M, seed: u64) -> Self {
        Self { model, state: model.initial(), random: Random(seed), picks: Vec::new(), focus: 0 }
    }

    fn walk(&mut self, limit: usize) -> Option<Flaw> {
        let mut moves = Vec::new();
        for _ in 0..limit {
            if let Err(message) = self.model.invariants(&self.state) {
                return Some(Flaw::Invariant(message));
            }
            self.moves_into(&mut moves);
            if moves.iter().all(|step| step.event)
                && let Err(message) = self.model.may_end(&self.state)
            {
                return Some(Flaw::BadEnd(message));
            }
            if moves.is_empty() {
                return None;
            }
            let pick = self.choose(&moves);
            self.picks.push(pick);
            match moves.swap_remove(pick).result {
                Ok(next) => self.state = next,
                Err(message) => return Some(Flaw::Step(message)),
            }
        }
        None
    }

    /// Every move that changes something.
    fn moves_into(&self, moves: &mut Vec<Move<M::State>>) {
        moves.clear();
        self.model.successors(&self.state, &mut Successors::new(&self.state, moves));
        moves.retain(|step| step.result.as_ref() != Ok(&self.state));
    }

    /// Mostly a step, and mostly one of the actor that is preferred for the moment.
    fn choose(&mut self, moves: &[Move<M::State>]) -> usize {
        if self.random.below(5) == 0 {
            self.focus = moves[self.random.below(moves.len())].who;
        }
        let event = self.random.below(12) == 0;
        let stays = self.random.below(8) != 0;
        let picks = |fits: &dyn Fn(&Move<M::State>) -> bool| -> Vec<usize> {
            (0..moves.len()).filter(|&pick| fits(&moves[pick])).collect()
        };
        let mut chosen = Vec::new();
        if stays {
            chosen = picks(&|step| step.event == event && step.who == self.focus);
        }
        if chosen.is_empty() {
            chosen = picks(&|step| step.event == event);
        }
        if chosen.is_empty() {
            chosen = picks(&|_| true);
        }
        chosen[self.random.below(chosen.len())]
    }

    /// The same walk again, this time with every step described.
    fn retell(&self, flaw: Flaw) -> Counterexample {
        let mut told = Trail::new(self.model, 0);
        let mut trace = Vec::new();
        let mut moves = Vec::new();
        for &pick in &self.picks {
            told.moves_into(&mut moves);
            let step = moves.swap_remove(pick);
            let who = self.model.name_of(step.who);
            let changed = step.result.as_ref().map(|next| changes(&told.state, next));
            let changes = changed.unwrap_or_default();
            trace.push(TraceStep { who, label: step.label, event: step.event, changes });
            if let Ok(next) = step.result {
                told.state = next;
            }
        }
        Counterexample { flaw, trace, last: format!("{:?}", told.state) }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mixed(self.0) % bound as u64) as usize
    }
}

fn mixed(seed: u64) -> u64 {
    let mut z = seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
