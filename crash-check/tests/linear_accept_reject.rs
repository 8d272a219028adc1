//! Longer histories: those made from a known linearization are accepted, and accepted fast;
//! those that lose, duplicate or invent something are rejected.
#![cfg(feature = "linear")]
#![allow(clippy::unwrap_used)]

use crash_check::linear::spec::{Bag, ItemOp, ItemRet, Queue, Stack};
use crash_check::linear::{Checker, Condition, Event, History, Process, Specification, Verdict};
use proptest::prelude::*;
use std::time::Instant;

/// A generator that needs no crate: Knuth's constants.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A run of `spec` by `processes`, `each` operations each, every push with an item of its own; one
/// step in `switches` another process goes on, so that operations overlap the less the more it is.
/// Effects are applied one after another, at a random moment of each operation.
fn run<S: Specification<Op = ItemOp, Ret = ItemRet>>(
    spec: &S,
    processes: usize,
    each: usize,
    switches: usize,
    random: &mut Random,
) -> History<ItemOp, ItemRet> {
    let mut state = spec.init();
    let mut history = History::new();
    let mut open: Vec<Option<(ItemOp, Option<ItemRet>)>> = vec![None; processes];
    let mut left = vec![each; processes];
    let (mut item, mut process) = (0, 0);
    while open.iter().any(Option::is_some) || left.iter().any(|&left| left > 0) {
        if random.below(switches) == 0 || (open[process].is_none() && left[process] == 0) {
            process = random.below(processes);
        }
        let name = Process(process as u32);
        match open[process].take() {
            None if left[process] > 0 => {
                left[process] -= 1;
                item += 1;
                let op = if random.below(2) == 0 { ItemOp::Push(item) } else { ItemOp::Pop };
                history.invoke(name, op);
                open[process] = Some((op, None));
            }
            None => {}
            Some((op, None)) => {
                let mut outcomes = spec.step(&state, name, &op);
                let (next, ret) = outcomes.swap_remove(random.below(outcomes.len()));
                state = next;
                open[process] = Some((op, Some(ret)));
            }
            Some((_, Some(ret))) => {
                history.returned(name, ret);
            }
        }
    }
    history
}

/// Replaces the return of the `nth` event that `which` picks.
fn with_return(
    history: &History<ItemOp, ItemRet>,
    nth: usize,
    which: impl Fn(&ItemRet) -> bool,
    replace: impl Fn(ItemRet) -> ItemRet,
) -> Option<History<ItemOp, ItemRet>> {
    let hit = |event: &Event<ItemOp, ItemRet>| matches!(event, Event::Return(_, ret) if which(ret));
    let hits: Vec<usize> = history
        .events()
        .iter()
        .enumerate()
        .filter_map(|(index, event)| hit(event).then_some(index))
        .collect();
    let chosen = *hits.get(nth % hits.len().max(1))?;
    let change = |(index, event): (usize, &Event<ItemOp, ItemRet>)| match event {
        Event::Return(process, ret) if index == chosen => Event::Return(*process, replace(*ret)),
        other => other.clone(),
    };
    Some(history.events().iter().enumerate().map(change).collect())
}

/// The history without one push: its item comes from nowhere.
fn without_a_push(history: &History<ItemOp, ItemRet>, item: u64) -> History<ItemOp, ItemRet> {
    let mut skip_return = None;
    let keep = |event: &&Event<ItemOp, ItemRet>| match event {
        Event::Invoke(process, ItemOp::Push(pushed)) if *pushed == item => {
            skip_return = Some(*process);
            false
        }
        Event::Return(process, _) if skip_return == Some(*process) => {
            skip_return = None;
            false
        }
        _ => true,
    };
    history.events().iter().filter(keep).cloned().collect()
}

fn popped(history: &History<ItemOp, ItemRet>) -> Vec<u64> {
    let items = history.events().iter().filter_map(|event| match event {
        Event::Return(_, ItemRet::Popped(item)) => Some(*item),
        _ => None,
    });
    items.collect()
}

fn is_popped(ret: &ItemRet) -> bool {
    matches!(ret, ItemRet::Popped(_))
}

/// Good is accepted; swapped, duplicated, lost and invented items are not.
fn accepts_and_rejects<S>(spec: S, seed: u64) -> Result<(), TestCaseError>
where
    S: Specification<Op = ItemOp, Ret = ItemRet> + Clone,
{
    let mut random = Random(seed);
    let good = run(&spec, 3, 12, 1, &mut random);
    let holds = |history: &History<ItemOp, ItemRet>| {
        Checker::new(spec.clone(), Condition::Linearizable).check(history).unwrap().holds()
    };
    prop_assert!(holds(&good), "{:#?}", good);
    let items = popped(&good);
    if items.len() >= 2 {
        let (first, second) = (items[0], items[items.len() - 1]);
        let twice = with_return(
            &good,
            0,
            |ret| *ret == ItemRet::Popped(second),
            |_| ItemRet::Popped(first),
        );
        prop_assert!(!holds(&twice.unwrap()), "an item popped twice");
        prop_assert!(!holds(&without_a_push(&good, first)), "an item that nobody pushed");
    }
    let nth = random.below(100);
    if let Some(invented) = with_return(&good, nth, is_popped, |_| ItemRet::Popped(u64::MAX)) {
        prop_assert!(!holds(&invented), "an item from nowhere");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn queues_are_accepted_and_their_mutants_rejected(seed: u64) {
        accepts_and_rejects(Queue::bounded(4), seed)?;
    }

    #[test]
    fn stacks_are_accepted_and_their_mutants_rejected(seed: u64) {
        accepts_and_rejects(Stack::unbounded(), seed)?;
    }

    #[test]
    fn bags_are_accepted_and_their_mutants_rejected(seed: u64) {
        accepts_and_rejects(Bag::bounded(4), seed)?;
    }

    /// After a run, every item that was pushed and not popped is popped, in order, until the
    /// queue is empty. One push whose item does not come out was lost.
    #[test]
    fn a_lost_push_is_rejected_when_the_queue_was_drained(seed: u64) {
        let mut random = Random(seed);
        let run = run(&Queue::unbounded(), 3, 12, 1, &mut random);
        let checker = Checker::new(Queue::unbounded(), Condition::Linearizable);
        let Verdict::Holds(witness) = checker.check(&run).unwrap() else {
            panic!("the run is good")
        };
        let mut state = Queue::unbounded().init();
        for &invoked in &witness[0].invocations {
            if let Event::Invoke(by, op) = &run.events()[invoked] {
                state = Queue::unbounded().step(&state, *by, op).swap_remove(0).0;
            }
        }
        prop_assume!(!state.is_empty());
        let drain = |lost: usize| {
            let mut history = run.clone();
            for (_, item) in state.iter().enumerate().filter(|(index, _)| *index != lost) {
                history.call(0, ItemOp::Pop, ItemRet::Popped(*item));
            }
            history.call(0, ItemOp::Pop, ItemRet::Empty);
            checker.check(&history).unwrap().holds()
        };
        prop_assert!(drain(usize::MAX), "the witness leads to what is drained");
        prop_assert!(!drain(random.below(state.len())));
    }
}

/// Four processes, a thousand operations each; few of them overlap, or all the time some do.
/// Times are printed, not asserted: machines differ.
#[test]
fn four_thousand_operations_on_a_queue_are_checked_and_a_fault_in_them_is_found() {
    let checker = Checker::new(Queue::unbounded(), Condition::Linearizable);
    for (switches, overlap) in [(6, "few"), (1, "many")] {
        let good = run(&Queue::unbounded(), 4, 1000, switches, &mut Random(42));
        let start = Instant::now();
        assert!(checker.check(&good).unwrap().holds());
        println!("4 x 1000 operations, {overlap} overlap: accepted in {:.1?}", start.elapsed());
    }
    let good = run(&Queue::unbounded(), 4, 1000, 1, &mut Random(42));
    let bad = with_return(&good, 700, is_popped, |_| ItemRet::Popped(1)).unwrap();
    let start = Instant::now();
    let verdict = checker.check(&bad).unwrap();
    println!("one popped twice: rejected, minimised and drawn in {:.1?}", start.elapsed());
    let violation = verdict.violation().expect("item 1 comes out twice, or was never pushed");
    assert!(violation.minimal().events().len() <= 8, "{violation}");
}
