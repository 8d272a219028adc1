//! In which order overlapping pushes took effect, as far as the pops tell.
//!
//! Where two pushes overlap, either may be first; the wrong guess shows when the items come out,
//! and by then the search has guessed about every overlapping pair in between. Most guesses are
//! needless: where the pops do not overlap, they tell. Only items that are pushed once and popped
//! at most once are looked at.

use super::{ItemOp, ItemRet};
use crate::linear::Seen;
use std::collections::HashMap;

type Call<'a> = Seen<'a, ItemOp, ItemRet>;

/// One item: its push, and its pop if one returned it.
#[derive(Debug, Clone, Copy)]
struct Fate<'a> {
    index: usize,
    push: Call<'a>,
    pop: Option<Call<'a>>,
}

/// First in, first out: what came out first went in first; what came out went in before what is
/// still in.
pub(super) fn fifo(calls: &[Call<'_>]) -> Vec<(usize, usize)> {
    let first = |a: &Fate<'_>, b: &Fate<'_>| match (a.pop, b.pop) {
        (Some(a), Some(b)) => a.until < b.invoked,
        (Some(_), None) => true,
        (None, _) => false,
    };
    overlapping(calls).into_iter().filter_map(|(a, b)| ordered(&a, &b, first)).collect()
}

/// Last in, first out: of two that were in at once, what came out first went in last.
pub(super) fn lifo(calls: &[Call<'_>]) -> Vec<(usize, usize)> {
    // Whether `b` went in before `a`.
    let first = |b: &Fate<'_>, a: &Fate<'_>| {
        let Some(out) = a.pop else { return false };
        let both_in = |pop: Call<'_>| a.push.until.max(b.push.until) < pop.invoked;
        let returned = a.push.required && b.push.required;
        let later = b.pop.is_none_or(|pop| out.until < pop.invoked);
        returned && both_in(out) && later
    };
    overlapping(calls).into_iter().filter_map(|(a, b)| ordered(&a, &b, first)).collect()
}

/// The pair by which the two pushes are ordered, if `first` orders them.
fn ordered(
    a: &Fate<'_>,
    b: &Fate<'_>,
    first: impl Fn(&Fate<'_>, &Fate<'_>) -> bool,
) -> Option<(usize, usize)> {
    if first(a, b) {
        Some((a.index, b.index))
    } else if first(b, a) {
        Some((b.index, a.index))
    } else {
        None
    }
}

/// All pairs of items whose pushes overlap and whose fates are known.
fn overlapping<'a>(calls: &[Call<'a>]) -> Vec<(Fate<'a>, Fate<'a>)> {
    let fates = fates(calls);
    let mut pairs = Vec::new();
    for (index, a) in fates.iter().enumerate() {
        let later = fates[index + 1..].iter();
        pairs.extend(later.take_while(|b| b.push.invoked < a.push.until).map(|b| (*a, *b)));
    }
    pairs
}

/// The items whose fate is known, by push. A pop of unknown response may have taken any item that
/// no other pop took.
fn fates<'a>(calls: &[Call<'a>]) -> Vec<Fate<'a>> {
    let mut pushes: HashMap<u64, usize> = HashMap::new();
    let mut pops: HashMap<u64, Vec<Call<'a>>> = HashMap::new();
    let mut unknown_pops = false;
    for call in calls {
        match (call.op, call.ret) {
            (ItemOp::Push(_), Some(ItemRet::Full)) => {}
            (ItemOp::Push(item), _) => *pushes.entry(*item).or_default() += 1,
            (ItemOp::Pop, Some(ItemRet::Popped(item))) => {
                pops.entry(*item).or_default().push(*call);
            }
            (ItemOp::Pop, Some(_)) => {}
            (ItemOp::Pop, None) => unknown_pops = true,
        }
    }
    let fate = |(index, push): (usize, &Call<'a>)| {
        let ItemOp::Push(item) = push.op else { return None };
        let pop = match pops.get(item).map(Vec::as_slice) {
            Some([pop]) => Some(*pop),
            None if !unknown_pops => None,
            _ => return None,
        };
        let once = pushes.get(item) == Some(&1) && push.ret != Some(&ItemRet::Full);
        once.then_some(Fate { index, push: *push, pop })
    };
    calls.iter().enumerate().filter_map(fate).collect()
}
