//! What a specification is: a sequential object, and what a death does to it.

use super::Process;
use std::fmt::Debug;
use std::hash::Hash;

/// A sequential object: its states, and what each operation may return in each of them.
///
/// ```
/// use crash_check::linear::{Process, Specification};
///
/// /// A counter that wraps at three.
/// struct Dial;
///
/// impl Specification for Dial {
///     type State = u8;
///     type Op = ();
///     type Ret = u8;
///     fn init(&self) -> u8 {
///         0
///     }
///     fn step(&self, state: &u8, _: Process, _: &()) -> Vec<(u8, u8)> {
///         vec![((state + 1) % 3, *state)]
///     }
/// }
/// ```
pub trait Specification {
    /// State of the object. Equal states must behave alike: the search visits each once.
    type State: Clone + Eq + Hash + Debug;
    /// An operation with its arguments.
    type Op: Clone + Debug;
    /// A response.
    type Ret: Clone + PartialEq + Debug;

    /// The state before the first operation.
    fn init(&self) -> Self::State;

    /// Every allowed outcome of `op` by process `by` in `state`: one for a deterministic object,
    /// several for a nondeterministic one, none where the operation has to wait (a lock that is
    /// held).
    fn step(
        &self,
        state: &Self::State,
        by: Process,
        op: &Self::Op,
    ) -> Vec<(Self::State, Self::Ret)>;

    /// The outcomes of `op` that return `ret`. Override it where [`step`](Self::step) has many.
    fn step_returning(
        &self,
        state: &Self::State,
        by: Process,
        op: &Self::Op,
        ret: &Self::Ret,
    ) -> Vec<Self::State> {
        let outcomes = self.step(state, by, op).into_iter();
        outcomes.filter_map(|(next, got)| (got == *ret).then_some(next)).collect()
    }

    /// The part of the object that `op` touches. A history is checked key by key, so this must
    /// hold: the object is a product of independent objects, one a key (P-compositionality: Horn
    /// and Kroening, FORTE 2015). Registers by address: yes. Queues by queue: yes. The items of
    /// one FIFO queue: no.
    fn key(&self, _op: &Self::Op) -> u64 {
        0
    }

    /// What the death of `process` does to the object: an operation that takes effect between the
    /// crash and the end of the recovery (some time after the crash, or not at all, if no end was
    /// recorded). Permits that return, a lock that becomes ownerless. Asked once for every key
    /// that the process used.
    fn at_death(&self, _process: Process, _key: u64) -> Option<Self::Op> {
        None
    }

    /// Orders that follow from the responses: pairs `(first, second)` of indices into `calls`
    /// (which stand in the order of invocation), such that in every linearization in which the
    /// second takes effect the first does so before. A wrong pair makes good histories fail; none
    /// at all costs only time, where a wrong guess shows late: which of two overlapping pushes
    /// came first shows when their items come out.
    fn implied_order(&self, _calls: &[Seen<'_, Self::Op, Self::Ret>]) -> Vec<(usize, usize)> {
        Vec::new()
    }

    /// What a counterexample may leave out; see [`Item`]. By default only what provably does not
    /// matter, which costs a search of its own.
    fn item(&self, _op: &Self::Op, _ret: Option<&Self::Ret>) -> Item {
        Item::effect()
    }
}

/// An operation of a history, for [`Specification::implied_order`].
#[derive(Debug)]
pub struct Seen<'a, Op, Ret> {
    /// The operation.
    pub op: &'a Op,
    /// Its response, if it is known.
    pub ret: Option<&'a Ret>,
    /// It takes effect after this event ...
    pub invoked: usize,
    /// ... and before this one, if it does (`usize::MAX`: at any later time).
    pub until: usize,
    /// Whether it must take effect.
    pub required: bool,
}

impl<Op, Ret> Clone for Seen<'_, Op, Ret> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Op, Ret> Copy for Seen<'_, Op, Ret> {}

/// What the minimiser may drop without inventing a failure.
///
/// Dropping the push of an item that is popped makes a good history fail, so operations are
/// dropped only as follows. The law: leave out of a legal sequential run one observation, or all
/// operations of one item; then the rest is legal, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    pub(super) of: Option<u64>,
    pub(super) observes: bool,
    pub(super) pins: bool,
}

impl Item {
    /// The operation changes the state; it can not be dropped alone.
    pub const fn effect() -> Self {
        Self { of: None, observes: false, pins: false }
    }

    /// The operation changes nothing; it can be dropped alone (a read, a pop that found nothing).
    pub const fn observation() -> Self {
        Self { of: None, observes: true, pins: false }
    }

    /// It concerns this item, and is dropped with every other operation of the item.
    #[must_use]
    pub const fn of(self, item: u64) -> Self {
        Self { of: Some(item), ..self }
    }

    /// While it is kept, no item may be dropped (a push that found the queue full counts them).
    #[must_use]
    pub const fn pinning(self) -> Self {
        Self { pins: true, ..self }
    }
}
