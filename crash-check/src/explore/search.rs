//! Breadth-first search: the first counterexample found is a shortest one.
//!
//! Only the states of two levels are kept whole; of all others a fingerprint (16 bytes in the map,
//! at most 7/8 full), the parent (4 bytes), and the outgoing steps (8 bytes and 4 for each). A trace is
//! found again by replaying from the initial state along the parents.

use std::time::Instant;

use super::changes::changes;
use super::ends::Graph;
use super::fingerprint::{Numbers, fingerprint};
use super::model::{Model, Move, Successors};
use super::report::{Counterexample, Flaw, Report, TraceStep, Verdict};

/// Searches all states of a model, up to a budget.
///
/// [The module](super) has a model to run it on.
#[derive(Clone, Copy, Debug)]
pub struct Explorer {
    budget: usize,
}

impl Default for Explorer {
    fn default() -> Self {
        Self::new()
    }
}

impl Explorer {
    /// A search of at most ten million states.
    #[must_use]
    pub fn new() -> Self {
        Self { budget: 10_000_000 }
    }

    /// Stops with [`Verdict::Cut`] once `states` distinct states were seen (at most 2³² − 1).
    #[must_use]
    pub fn budget(mut self, states: usize) -> Self {
        self.budget = states.min(u32::MAX as usize);
        self
    }

    /// Explores `model`. Deterministic: the same model gives the same counts and the same trace.
    ///
    /// Cost: see [`Report::bytes`] for memory; a few hundred thousand to a million states a second
    /// for states of about a hundred bytes.
    pub fn run<M: Model>(&self, model: &M) -> Report {
        let started = Instant::now();
        let mut search = Search::new(model);
        let verdict = search.run(self.budget);
        Report {
            states: search.parents.len(),
            steps: search.graph.edges(),
            ends: search.ends,
            depth: search.depth,
            bytes: search.bytes(),
            elapsed: started.elapsed(),
            verdict,
        }
    }
}

struct Search<'m, M: Model> {
    model: &'m M,
    numbers: Numbers,
    parents: Vec<u32>,
    graph: Graph,
    /// The level being explored, and the one being discovered.
    level: Vec<M::State>,
    next: Vec<M::State>,
    moves: Vec<Move<M::State>>,
    ends: usize,
    depth: usize,
    widest: usize,
}

/// Where the search stopped, before the trace is known.
struct Found {
    /// The last state that is whole.
    state: u32,
    /// The step out of it that is wrong in itself, if one is.
    by: Option<(usize, &'static str)>,
    flaw: Flaw,
}

impl<'m, M: Model> Search<'m, M> {
    fn new(model: &'m M) -> Self {
        Self {
            model,
            numbers: Numbers::default(),
            parents: Vec::new(),
            graph: Graph::default(),
            level: Vec::new(),
            next: Vec::new(),
            moves: Vec::new(),
            ends: 0,
            depth: 0,
            widest: 0,
        }
    }

    fn run(&mut self, budget: usize) -> Verdict {
        let initial = self.model.initial();
        self.numbers.insert(fingerprint(&initial), 0);
        self.parents.push(0);
        if let Err(message) = self.model.invariants(&initial) {
            return self.fails(Found { state: 0, by: None, flaw: Flaw::Invariant(message) });
        }
        self.level.push(initial);
        let mut number = 0;
        while !self.level.is_empty() {
            let level = std::mem::take(&mut self.level);
            for state in &level {
                if self.parents.len() > budget {
                    return Verdict::Cut;
                }
                if let Err(found) = self.expand(state, number) {
                    return self.fails(found);
                }
                number += 1;
            }
            self.widest = self.widest.max(level.len() + self.next.len());
            self.level = std::mem::take(&mut self.next);
            self.depth += usize::from(!self.level.is_empty());
        }
        match self.graph.first_without_end() {
            Some(state) => self.fails(Found { state, by: None, flaw: Flaw::NoEndReachable }),
            None => Verdict::Holds,
        }
    }

    /// Discovers what follows `state`, whose number is `number`.
    fn expand(&mut self, state: &M::State, number: u32) -> Result<(), Found> {
        self.graph.begin_state();
        let mut moves = std::mem::take(&mut self.moves);
        moves.clear();
        self.model.successors(state, &mut Successors::new(state, &mut moves));
        let mut is_end = true;
        for step in moves.drain(..) {
            let next = step.result.map_err(|message| Found {
                state: number,
                by: Some((step.who, step.label)),
                flaw: Flaw::Step(message),
            })?;
            if next == *state {
                continue;
            }
            let target = self.discover(next, number)?;
            if !step.event {
                is_end = false;
                self.graph.edge(target);
            }
        }
        self.moves = moves;
        if is_end {
            self.ends += 1;
            self.model.may_end(state).map_err(|message| Found {
                state: number,
                by: None,
                flaw: Flaw::BadEnd(message),
            })?;
        }
        Ok(())
    }

    /// The number of `state`, which is new or was seen before.
    fn discover(&mut self, state: M::State, parent: u32) -> Result<u32, Found> {
        let fresh = self.parents.len() as u32;
        let number = *self.numbers.entry(fingerprint(&state)).or_insert(fresh);
        if number == fresh {
            self.parents.push(parent);
            self.model.invariants(&state).map_err(|message| Found {
                state: number,
                by: None,
                flaw: Flaw::Invariant(message),
            })?;
            self.next.push(state);
        }
        Ok(number)
    }

    fn fails(&self, found: Found) -> Verdict {
        let (mut trace, last) = self.replay(found.state);
        if let Some((who, label)) = found.by {
            let who = self.model.name_of(who);
            trace.push(TraceStep { who, label, event: false, changes: Vec::new() });
        }
        let last = format!("{last:?}");
        Verdict::Fails(Box::new(Counterexample { flaw: found.flaw, trace, last }))
    }

    /// The way to state `number`, found again by its fingerprints.
    fn replay(&self, number: u32) -> (Vec<TraceStep>, M::State) {
        let mut path = vec![number];
        let mut at = number;
        while at != 0 {
            at = self.parents[at as usize];
            path.push(at);
        }
        let mut state = self.model.initial();
        let mut trace = Vec::new();
        for &wanted in path.iter().rev().skip(1) {
            let mut moves = Vec::new();
            self.model.successors(&state, &mut Successors::new(&state, &mut moves));
            let chosen = moves.into_iter().find_map(|step| {
                let next = step.result.ok()?;
                let number = self.numbers.get(&fingerprint(&next))?;
                (*number == wanted).then_some((step.who, step.label, step.event, next))
            });
            let Some((who, label, event, next)) = chosen else { break };
            let changes = changes(&state, &next);
            trace.push(TraceStep { who: self.model.name_of(who), label, event, changes });
            state = next;
        }
        (trace, state)
    }

    fn bytes(&self) -> usize {
        let map = self.numbers.capacity() * 8 / 7 * (size_of::<(u64, u32)>() + 1);
        let parents = self.parents.capacity() * size_of::<u32>();
        map + parents + self.graph.bytes() + self.widest * size_of::<M::State>()
    }
}
