//! What a user writes: a [`Model`], and the [`Successors`] it is given to fill.

use std::fmt::Debug;
use std::hash::Hash;

/// A protocol as a transition system: an initial state, and from each state the steps that can be
/// taken next, one access to shared memory each.
///
/// `State` holds everything that may influence what happens next: shared words, program counters
/// and private variables of every thread, what the kernel remembers, how many deaths are left.
/// Clear what is dead (a local variable after its last use): two states that differ in it only
/// are otherwise explored twice.
pub trait Model {
    /// One instant of the whole system.
    type State: Clone + Eq + Hash + Debug;

    /// The state everything starts from.
    fn initial(&self) -> Self::State;

    /// Every step and event possible in `state`, put into `out`.
    fn successors(&self, state: &Self::State, out: &mut Successors<'_, Self::State>);

    /// What must hold in every state; the error says what is broken.
    ///
    /// # Errors
    /// The sentence that the counterexample begins with.
    fn invariants(&self, state: &Self::State) -> Result<(), String> {
        let _ = state;
        Ok(())
    }

    /// May the run stop in `state`? Asked wherever no *step* is possible (events may be): a state
    /// that may not be an end is a deadlock.
    ///
    /// # Errors
    /// The sentence that the counterexample begins with.
    fn may_end(&self, state: &Self::State) -> Result<(), String>;

    /// How traces call the actor with number `who`.
    fn name_of(&self, who: usize) -> String {
        format!("P{who}")
    }
}

/// One possible continuation of a state.
#[derive(Clone, Debug)]
pub struct Move<S> {
    /// Number of the actor, as given by the model.
    pub who: usize,
    /// The step's name in the protocol's table.
    pub label: &'static str,
    /// Done by the environment (a kill, a time-out): possible, but nothing to rely upon.
    pub event: bool,
    /// The state after it, or what this very step did wrong.
    pub result: Result<S, String>,
}

/// Collects what can happen next in one state.
#[derive(Debug)]
pub struct Successors<'a, S> {
    from: &'a S,
    moves: &'a mut Vec<Move<S>>,
}

impl<'a, S: Clone> Successors<'a, S> {
    /// Collects the moves out of `from` into `moves`.
    ///
    /// Only needed to drive a model by hand, as a test of a model may wish to:
    ///
    /// ```
    /// use crash_check::explore::Successors;
    /// let (state, mut moves) = (1_u32, Vec::new());
    /// Successors::new(&state, &mut moves).step(0, "double", |n| *n *= 2);
    /// assert_eq!(moves[0].result, Ok(2));
    /// ```
    pub fn new(from: &'a S, moves: &'a mut Vec<Move<S>>) -> Self {
        Self { from, moves }
    }

    /// A step of the protocol by actor `who`: `change` turns a copy of the state into the next.
    ///
    /// A step that changes nothing (a poll) is dropped: it is no progress.
    pub fn step(&mut self, who: usize, label: &'static str, change: impl FnOnce(&mut S)) {
        self.push(who, label, false, change);
    }

    /// An event of the environment (a kill, a time-out, a spurious wake). It may happen at any
    /// time or never: a state whose only continuations are events is an end.
    pub fn event(&mut self, who: usize, label: &'static str, change: impl FnOnce(&mut S)) {
        self.push(who, label, true, change);
    }

    /// A step that is itself the error, such as a plain store over a word that is another's.
    pub fn flaw(&mut self, who: usize, label: &'static str, message: impl Into<String>) {
        let result = Err(message.into());
        self.moves.push(Move { who, label, event: false, result });
    }

    fn push(&mut self, who: usize, label: &'static str, event: bool, change: impl FnOnce(&mut S)) {
        let mut next = self.from.clone();
        change(&mut next);
        self.moves.push(Move { who, label, event, result: Ok(next) });
    }
}
