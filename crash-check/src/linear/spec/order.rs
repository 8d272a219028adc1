//! In which order overlapping pushes took effect, as far as the pops tell.
//!
//! Where two pushes overlap, either may be first; a wrong guess shows when the items come out,
//! and by then the search has guessed about every overlapping pair in between. Most guesses are
//! needless.
//!
//! **What is implied** (FIFO). What came out first went in first; what came out went in before
//! what is still in; what came out before another was pushed went in before it. With the order of
//! pushes that do not overlap this makes a relation R.
//!
//! **What may be chosen** (FIFO). Say that every item is pushed once, that it is known who popped
//! it, and that nothing was refused for want of room. Take any linearization. The pops that
//! found the queue empty cut it into groups of items: each was pushed and popped between two of
//! them. Inside a group *every* order that extends R has a linearization, too: let each push take
//! effect as early, and each pop as late, as its interval and the order permit. For that, `inv
//! push x < ret pop y` must hold whenever x is not after y: else y came out before x was pushed,
//! and R has y before x. So the search may fix one extension of R for all pairs that no empty
//! pop can separate. (In the same vein: Henzinger, Sezgin, Vafeiadis, *Aspect-oriented
//! linearizability proofs*, CONCUR 2013.)
//!
//! A pop that is still open may or may not have happened. Whichever: its item may be put behind
//! all that surely came out and before all that surely did not; only among such items nothing is
//! chosen.
//!
//! An item that was popped more often than pushed makes the history bad whatever the order, so
//! that any order will do for it.

use super::{ItemOp, ItemRet};
use crate::linear::Seen;
use std::collections::{BTreeSet, HashMap};

type Call<'a> = Seen<'a, ItemOp, ItemRet>;
type Pair = (usize, usize);

/// One item: its push, and its pop if one returned it.
#[derive(Debug, Clone, Copy)]
struct Fate<'a> {
    index: usize,
    push: Call<'a>,
    pop: Option<Call<'a>>,
}

/// Whether an item came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Out {
    Surely,
    Perhaps,
    Never,
}

impl Fate<'_> {
    fn out(&self) -> Out {
        self.pop.map_or(Out::Never, |pop| if pop.required { Out::Surely } else { Out::Perhaps })
    }
}

/// What the calls tell of the items.
#[derive(Debug, Default)]
struct Fates<'a> {
    /// By push.
    items: Vec<Fate<'a>>,
    /// Pops that found nothing, by invocation.
    empty: Vec<Call<'a>>,
    /// Whether no item is missing.
    complete: bool,
}

/// First in, first out.
pub(super) fn fifo(calls: &[Call<'_>], capacity: usize) -> Vec<Pair> {
    let fates = Fates::of(calls);
    let pairs = fates.overlapping();
    let implied = |a: &Fate<'_>, b: &Fate<'_>| match (a.pop, b.pop) {
        (Some(out), _) if out.until < b.push.invoked => true,
        (Some(out), Some(other)) => out.until < other.invoked,
        (Some(_), None) => a.out() == Out::Surely,
        (None, _) => false,
    };
    let mut order: Vec<Pair> =
        pairs.iter().filter_map(|pair| fates.ordered(pair, implied)).collect();
    if fates.complete && capacity >= calls.len() {
        let open: Vec<Pair> =
            pairs.into_iter().filter(|pair| fates.ordered(pair, implied).is_none()).collect();
        let chosen = fates.choose(&order, open);
        order.extend(chosen);
    }
    fates.named(order)
}

/// Last in, first out: of two that were in at once, what came out first went in last.
pub(super) fn lifo(calls: &[Call<'_>]) -> Vec<Pair> {
    let fates = Fates::of(calls);
    // Whether `b` went in before `a`.
    let implied = |b: &Fate<'_>, a: &Fate<'_>| {
        let Some(out) = a.pop else { return false };
        let both_in = a.push.until.max(b.push.until) < out.invoked;
        let returned = a.push.required && b.push.required;
        returned && both_in && b.pop.is_none_or(|pop| out.until < pop.invoked)
    };
    let pairs = fates.overlapping();
    let order = pairs.iter().filter_map(|pair| fates.ordered(pair, implied)).collect();
    fates.named(order)
}

impl<'a> Fates<'a> {
    /// A pop of unknown response may have taken any item that no other pop took.
    fn of(calls: &[Call<'a>]) -> Self {
        let mut pushes: HashMap<u64, usize> = HashMap::new();
        let mut pops: HashMap<u64, Call<'a>> = HashMap::new();
        let mut fates = Self { complete: true, ..Self::default() };
        for call in calls {
            match (call.op, call.ret) {
                (ItemOp::Push(_), Some(ItemRet::Full)) => {}
                (ItemOp::Push(item), _) => *pushes.entry(*item).or_default() += 1,
                (ItemOp::Pop, Some(ItemRet::Popped(item))) => {
                    pops.entry(*item).or_insert(*call);
                }
                (ItemOp::Pop, Some(_)) => fates.empty.push(*call),
                (ItemOp::Pop, None) => fates.complete = false,
            }
        }
        let unknown_pops = !fates.complete;
        for (index, push) in calls.iter().enumerate() {
            let ItemOp::Push(item) = push.op else { continue };
            let pop = pops.get(item).copied();
            let known = pushes.get(item) == Some(&1) && (pop.is_some() || !unknown_pops);
            if push.ret == Some(&ItemRet::Full) {
                continue;
            } else if !known {
                fates.complete = false;
            } else if push.required || pop.is_some_and(|pop| pop.required) {
                // Else the item need not have been there at all.
                fates.items.push(Fate { index, push: *push, pop });
            }
        }
        fates
    }

    /// The pair in the order that `implied` gives it, if it does.
    fn ordered(
        &self,
        &(a, b): &Pair,
        implied: impl Fn(&Fate<'_>, &Fate<'_>) -> bool,
    ) -> Option<Pair> {
        let (one, other) = (&self.items[a], &self.items[b]);
        if implied(one, other) { Some((a, b)) } else { implied(other, one).then_some((b, a)) }
    }

    /// One order for those `open` pairs that may be chosen. If even the implied order runs in a
    /// circle, the history is bad, and any order shows it as well as another.
    fn choose(&self, implied: &[Pair], open: Vec<Pair>) -> Vec<Pair> {
        let out = |item: usize| self.items[item].out();
        let by_fate = |&(a, b): &Pair| if out(a) <= out(b) { (a, b) } else { (b, a) };
        let differ = open.iter().filter(|(a, b)| out(*a) != out(*b)).map(by_fate);
        let known: Vec<Pair> = implied.iter().copied().chain(differ).collect();
        let (rank, circle) = self.extend(&known);
        if circle && !self.extend(implied).1 {
            return Vec::new();
        }
        let may_choose = |pair: &Pair| {
            let both_perhaps = out(pair.0) == Out::Perhaps && out(pair.1) == Out::Perhaps;
            !both_perhaps && self.inseparable(pair)
        };
        let by_rank = |(a, b): Pair| if rank[a] < rank[b] { (a, b) } else { (b, a) };
        open.into_iter().filter(may_choose).map(by_rank).collect()
    }

    /// All pairs of items whose pushes overlap.
    fn overlapping(&self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (a, first) in self.items.iter().enumerate() {
            let later = self.items.iter().enumerate().skip(a + 1);
            let until = later.take_while(|(_, other)| other.push.invoked < first.push.until);
            pairs.extend(until.map(|(b, _)| (a, b)));
        }
        pairs
    }

    /// Ranks of the items in one order that extends `implied` and the order of the pushes that do
    /// not overlap; and whether there was none, so that a circle was cut somewhere.
    fn extend(&self, implied: &[Pair]) -> (Vec<usize>, bool) {
        let mut later: Vec<Vec<usize>> = vec![Vec::new(); self.items.len()];
        let mut before = vec![0; self.items.len()];
        for &(a, b) in implied {
            later[a].push(b);
            before[b] += 1;
        }
        let mut left: BTreeSet<usize> = (0..self.items.len()).collect();
        let mut rank = vec![0; self.items.len()];
        let mut circle = false;
        for place in 0..self.items.len() {
            let free = self.earliest(&left).find(|&item| before[item] == 0);
            circle |= free.is_none();
            let Some(next) = free.or_else(|| left.first().copied()) else { break };
            rank[next] = place;
            left.remove(&next);
            for &item in &later[next] {
                before[item] -= 1;
            }
        }
        (rank, circle)
    }

    /// The items that no other of `left` precedes by its push.
    fn earliest<'s>(&'s self, left: &'s BTreeSet<usize>) -> impl Iterator<Item = usize> + 's {
        let mut limit = usize::MAX;
        let overlaps = move |&item: &usize| {
            let push = &self.items[item].push;
            let overlaps = push.invoked < limit;
            limit = limit.min(push.until);
            overlaps
        };
        left.iter().copied().take_while(overlaps)
    }

    /// Whether no pop can have found the queue empty between the lives of the two items.
    fn inseparable(&self, &(a, b): &Pair) -> bool {
        let (a, b) = (&self.items[a], &self.items[b]);
        let end = |item: &Fate<'_>| item.pop.map_or(usize::MAX, |pop| pop.until);
        let from = a.push.invoked.min(b.push.invoked);
        let to = end(a).max(end(b));
        // Two that are still in were never out, and all that is empty was before both.
        let still_in = a.pop.is_none() && b.pop.is_none();
        let candidates = self.empty.partition_point(|pop| pop.invoked < to);
        still_in || self.empty[..candidates].iter().all(|pop| pop.until < from)
    }

    /// Pairs of calls for pairs of items.
    fn named(&self, pairs: Vec<Pair>) -> Vec<Pair> {
        let name = |(a, b): Pair| (self.items[a].index, self.items[b].index);
        pairs.into_iter().map(name).collect()
    }
}
