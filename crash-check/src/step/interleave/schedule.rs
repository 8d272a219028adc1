//! Who runs next: searched with a bound on preemptions, at random, or by PCT.

use super::Strategy;

/// What can be chosen at one point. The first alternative is to go on as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Process 0 or 1 executes.
    Run(usize),
    /// Process 0 is killed.
    Kill,
}

/// One decision that was made: which alternative, and what it was.
#[derive(Clone, Copy, Debug)]
struct Decision {
    taken: usize,
    alternatives: usize,
    /// Was the alternative a switch away from a process that could go on?
    preemption: bool,
    /// How many of the alternatives would have been one: the second, or none.
    switch_preempts: bool,
}

/// Makes the choices of one run, and remembers them.
#[derive(Debug)]
pub(super) struct Chooser {
    /// `(number of the decision, alternative)`; all others take the first.
    fixed: Vec<(usize, usize)>,
    random: Option<Random>,
    pct: Option<Pct>,
    made: Vec<Decision>,
}

impl Chooser {
    fn fixed(fixed: Vec<(usize, usize)>) -> Chooser {
        Chooser { fixed, random: None, pct: None, made: Vec::new() }
    }

    /// Chooses among `choices`, the first of which goes on as before. `preempts` says whether
    /// running another process now takes the processor from one that could use it.
    pub(super) fn choose(&mut self, choices: &[Choice], preempts: bool) -> Choice {
        let nth = self.made.len();
        let taken = match (&mut self.random, &mut self.pct) {
            (Some(random), None) => random.pick(choices),
            (Some(random), Some(pct)) => pct.pick(nth, choices, random),
            (None, _) => {
                let fixed = self.fixed.iter().find(|(at, _)| *at == nth);
                fixed.map_or(0, |(_, taken)| (*taken).min(choices.len().saturating_sub(1)))
            }
        };
        let choice = choices.get(taken).copied().unwrap_or(Choice::Run(0));
        let is_switch = taken > 0 && matches!(choice, Choice::Run(_));
        self.made.push(Decision {
            taken,
            alternatives: choices.len(),
            preemption: is_switch && preempts,
            switch_preempts: preempts && matches!(choices.get(1), Some(Choice::Run(_))),
        });
        choice
    }

    /// The choices other than the first, `number:alternative`.
    pub(super) fn as_text(&self) -> String {
        let taken = self.made.iter().enumerate().filter(|(_, made)| made.taken > 0);
        let taken: Vec<String> = taken.map(|(at, made)| format!("{at}:{}", made.taken)).collect();
        taken.join(",")
    }

    /// The chooser that makes these choices again.
    pub(super) fn from_text(text: &str) -> Option<Chooser> {
        let pair = |text: &str| {
            let (at, taken) = text.split_once(':')?;
            Some((at.parse().ok()?, taken.parse().ok()?))
        };
        let fixed: Option<_> = text.split(',').filter(|text| !text.is_empty()).map(pair).collect();
        fixed.map(Chooser::fixed)
    }
}

/// Goes through schedules one after another.
#[derive(Debug)]
pub(super) struct Search {
    strategy: Strategy,
    /// For the bounded search: what the next run is forced to do; `None` when there is no next.
    next: Option<Vec<(usize, usize)>>,
    /// The longest run so far, in decisions.
    length: usize,
}

impl Search {
    pub(super) fn new(strategy: Strategy) -> Search {
        Search { strategy, next: Some(Vec::new()), length: 0 }
    }

    /// The chooser of run number `nth`.
    pub(super) fn next(&mut self, nth: u64) -> Option<Chooser> {
        match self.strategy {
            Strategy::Bounded { .. } => self.next.take().map(Chooser::fixed),
            Strategy::Random { seed } => {
                let random = Some(Random::new(seed, nth));
                Some(Chooser { random, ..Chooser::fixed(Vec::new()) })
            }
            Strategy::Pct { seed, depth } => {
                let mut random = Random::new(seed, nth);
                let pct = Some(Pct::new(depth, self.length.max(16), &mut random));
                Some(Chooser { random: Some(random), pct, ..Chooser::fixed(Vec::new()) })
            }
        }
    }

    /// Takes note of a run: depth first, the last decision that has an untried alternative
    /// within the bound is changed, and what came after it is forgotten.
    pub(super) fn learn(&mut self, run: &Chooser) {
        self.length = self.length.max(run.made.len());
        let Strategy::Bounded { preemptions: bound } = self.strategy else { return };
        let mut spent: u32 = run.made.iter().map(|made| u32::from(made.preemption)).sum();
        for (at, made) in run.made.iter().enumerate().rev() {
            spent -= u32::from(made.preemption);
            let mut other = made.taken + 1;
            if other == 1 && made.switch_preempts && spent >= bound {
                other = 2;
            }
            if other < made.alternatives {
                let before = run.made.iter().take(at).map(|made| made.taken);
                let taken = before.chain([other]).enumerate().filter(|(_, taken)| *taken > 0);
                self.next = Some(taken.collect());
                return;
            }
        }
        self.next = None;
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64, nth: u64) -> Random {
        let mut random = Random(seed ^ nth.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        random.number();
        random
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit.max(1) as u64).unwrap_or(0)
    }

    /// A death once in twenty choices, else any process that can run.
    fn pick(&mut self, choices: &[Choice]) -> usize {
        let runs = choices.iter().filter(|choice| **choice != Choice::Kill).count();
        if runs < choices.len() && self.below(20) == 0 {
            return choices.len() - 1;
        }
        self.below(runs)
    }
}

/// Priorities of two processes, and the places where the running one's becomes the lowest.
#[derive(Debug)]
struct Pct {
    first: usize,
    changes: Vec<usize>,
    death: usize,
}

impl Pct {
    fn new(depth: u32, length: usize, random: &mut Random) -> Pct {
        let changes = (1..depth).map(|_| random.below(length)).collect();
        Pct { first: random.below(2), changes, death: random.below(length) }
    }

    fn pick(&mut self, nth: usize, choices: &[Choice], _: &mut Random) -> usize {
        if nth == self.death && choices.last() == Some(&Choice::Kill) {
            return choices.len() - 1;
        }
        if self.changes.contains(&nth) {
            self.first = 1 - self.first;
        }
        let first = Choice::Run(self.first);
        choices.iter().position(|choice| *choice == first).unwrap_or(0)
    }
}
