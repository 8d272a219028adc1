//! Containers of items: FIFO queue, stack, and the bag that promises no order.

use super::order;
use crate::linear::{Item, Process, Seen, Specification};
use std::collections::{BTreeMap, VecDeque};

/// Operations of [`Queue`], [`Stack`] and [`Bag`]. Give each item a number of its own: then
/// duplicates and losses are seen at once, and the search is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemOp {
    /// Put an item in.
    Push(u64),
    /// Take an item out.
    Pop,
}

/// Responses of [`Queue`], [`Stack`] and [`Bag`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemRet {
    /// The item is in.
    Pushed,
    /// There was no room for it.
    Full,
    /// This item was taken out.
    Popped(u64),
    /// There was none.
    Empty,
}

impl From<Option<u64>> for ItemRet {
    /// What a non-blocking pop returns.
    fn from(popped: Option<u64>) -> Self {
        popped.map_or(Self::Empty, Self::Popped)
    }
}

impl<E> From<Result<(), E>> for ItemRet {
    /// What a non-blocking push returns: every error counts as full.
    fn from(pushed: Result<(), E>) -> Self {
        if pushed.is_ok() { Self::Pushed } else { Self::Full }
    }
}

/// A FIFO queue.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    capacity: usize,
}

/// A LIFO stack.
#[derive(Debug, Clone, Copy)]
pub struct Stack {
    capacity: usize,
}

/// A multiset: a pop may take any item. For queues that are not FIFO.
#[derive(Debug, Clone, Copy)]
pub struct Bag {
    capacity: usize,
}

macro_rules! constructors {
    ($container:ident) => {
        impl $container {
            /// It is full when it holds `capacity` items, and only then.
            pub const fn bounded(capacity: usize) -> Self {
                Self { capacity }
            }

            /// It is never full.
            pub const fn unbounded() -> Self {
                Self { capacity: usize::MAX }
            }
        }
    };
}
constructors!(Queue);
constructors!(Stack);
constructors!(Bag);

/// Items come and go as wholes, and neither order nor emptiness depends on one that is left out.
/// Only a full container counts them.
fn item(op: &ItemOp, ret: Option<&ItemRet>) -> Item {
    match (op, ret) {
        (_, Some(ItemRet::Full)) => Item::observation().pinning(),
        (_, Some(ItemRet::Empty)) => Item::observation(),
        (ItemOp::Push(item), _) => Item::effect().of(*item),
        (ItemOp::Pop, Some(ItemRet::Popped(item))) => Item::effect().of(*item),
        (ItemOp::Pop, _) => Item::effect(),
    }
}

impl Specification for Queue {
    type State = VecDeque<u64>;
    type Op = ItemOp;
    type Ret = ItemRet;

    fn init(&self) -> VecDeque<u64> {
        VecDeque::new()
    }

    fn step(
        &self,
        state: &VecDeque<u64>,
        _: Process,
        op: &ItemOp,
    ) -> Vec<(VecDeque<u64>, ItemRet)> {
        let mut next = state.clone();
        let ret = match op {
            ItemOp::Push(_) if state.len() >= self.capacity => ItemRet::Full,
            ItemOp::Push(item) => {
                next.push_back(*item);
                ItemRet::Pushed
            }
            ItemOp::Pop => next.pop_front().into(),
        };
        vec![(next, ret)]
    }

    fn step_returning(
        &self,
        state: &VecDeque<u64>,
        by: Process,
        op: &ItemOp,
        ret: &ItemRet,
    ) -> Vec<VecDeque<u64>> {
        // The commonest wrong guess, without a copy of the queue.
        if *op == ItemOp::Pop && *ret != state.front().copied().into() {
            return Vec::new();
        }
        let outcomes = self.step(state, by, op).into_iter();
        outcomes.filter_map(|(next, got)| (got == *ret).then_some(next)).collect()
    }

    fn implied_order(&self, calls: &[Seen<'_, ItemOp, ItemRet>]) -> Vec<(usize, usize)> {
        order::fifo(calls, self.capacity)
    }

    fn item(&self, op: &ItemOp, ret: Option<&ItemRet>) -> Item {
        item(op, ret)
    }
}

impl Specification for Stack {
    type State = Vec<u64>;
    type Op = ItemOp;
    type Ret = ItemRet;

    fn init(&self) -> Vec<u64> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u64>, _: Process, op: &ItemOp) -> Vec<(Vec<u64>, ItemRet)> {
        let mut next = state.clone();
        let ret = match op {
            ItemOp::Push(_) if state.len() >= self.capacity => ItemRet::Full,
            ItemOp::Push(item) => {
                next.push(*item);
                ItemRet::Pushed
            }
            ItemOp::Pop => next.pop().into(),
        };
        vec![(next, ret)]
    }

    fn implied_order(&self, calls: &[Seen<'_, ItemOp, ItemRet>]) -> Vec<(usize, usize)> {
        order::lifo(calls)
    }

    fn item(&self, op: &ItemOp, ret: Option<&ItemRet>) -> Item {
        item(op, ret)
    }
}

/// Items of a bag, and how often each is in it.
type Multiset = BTreeMap<u64, usize>;

fn without(bag: &Multiset, item: u64) -> Option<Multiset> {
    let count = *bag.get(&item)?;
    let mut next = bag.clone();
    if count > 1 {
        next.insert(item, count - 1);
    } else {
        next.remove(&item);
    }
    Some(next)
}

impl Specification for Bag {
    type State = Multiset;
    type Op = ItemOp;
    type Ret = ItemRet;

    fn init(&self) -> Multiset {
        Multiset::new()
    }

    fn step(&self, state: &Multiset, _: Process, op: &ItemOp) -> Vec<(Multiset, ItemRet)> {
        match op {
            ItemOp::Push(_) if state.values().sum::<usize>() >= self.capacity => {
                vec![(state.clone(), ItemRet::Full)]
            }
            ItemOp::Push(item) => {
                let mut next = state.clone();
                *next.entry(*item).or_default() += 1;
                vec![(next, ItemRet::Pushed)]
            }
            ItemOp::Pop if state.is_empty() => vec![(state.clone(), ItemRet::Empty)],
            ItemOp::Pop => {
                let choices = state.keys().filter_map(|&item| {
                    without(state, item).map(|next| (next, ItemRet::Popped(item)))
                });
                choices.collect()
            }
        }
    }

    fn step_returning(
        &self,
        state: &Multiset,
        by: Process,
        op: &ItemOp,
        ret: &ItemRet,
    ) -> Vec<Multiset> {
        match (op, ret) {
            (ItemOp::Pop, ItemRet::Popped(item)) => without(state, *item).into_iter().collect(),
            (ItemOp::Pop, ItemRet::Empty) if !state.is_empty() => Vec::new(),
            _ => {
                let outcomes = self.step(state, by, op).into_iter();
                outcomes.filter_map(|(next, got)| (got == *ret).then_some(next)).collect()
            }
        }
    }

    fn item(&self, op: &ItemOp, ret: Option<&ItemRet>) -> Item {
        item(op, ret)
    }
}
