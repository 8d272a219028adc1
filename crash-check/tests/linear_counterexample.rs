//! What a counterexample says and shows.
#![cfg(feature = "linear")]
#![allow(clippy::unwrap_used)]

use crash_check::linear::spec::{
    Counter, CounterOp, ItemOp, ItemOp::*, ItemRet, ItemRet::*, Queue,
};
use crash_check::linear::{Checker, Condition, Event, History, Process, Specification, Violation};

fn violation<S: Specification>(
    spec: S,
    condition: Condition,
    history: &History<S::Op, S::Ret>,
) -> Violation<S::Op, S::Ret> {
    let verdict = Checker::new(spec, condition).check(history).unwrap();
    verdict.violation().expect("the history is bad").clone()
}

/// Two hundred good operations by two processes, around whatever `bad` adds in the middle.
fn hidden_in_traffic(bad: impl FnOnce(&mut History<ItemOp, ItemRet>)) -> History<ItemOp, ItemRet> {
    let mut history = History::new();
    let traffic = |history: &mut History<ItemOp, ItemRet>, items: std::ops::Range<u64>| {
        for item in items {
            history.invoke(2, Push(item)).invoke(3, Pop);
            history.returned(2, Pushed).returned(3, Popped(item));
        }
    };
    traffic(&mut history, 1000..1050);
    bad(&mut history);
    traffic(&mut history, 2000..2050);
    history
}

#[test]
fn an_item_delivered_twice_is_shown_with_its_push_and_nothing_else() {
    let history = hidden_in_traffic(|history| {
        history.call(0, Push(7), Pushed).call(1, Push(8), Pushed);
        history.call(0, Pop, Popped(7)).call(1, Pop, Popped(8)).call(0, Pop, Popped(7));
    });
    let found = violation(Queue::unbounded(), Condition::Linearizable, &history);
    let mut minimal = History::new();
    minimal.call(0, Push(7), Pushed).call(0, Pop, Popped(7)).call(0, Pop, Popped(7));
    assert_eq!(found.minimal(), &minimal, "{found}");
    assert_eq!(found.allowed(), ["Empty"]);
    assert_eq!(found.linearizable_prefix(), 209);
}

/// The first refusal is right, the second is not: without the items both would look wrong.
#[test]
fn a_false_refusal_is_shown_and_not_a_right_one() {
    let mut history = History::new();
    history.call(0, Push(1), Pushed).call(0, Push(2), Pushed).call(1, Push(3), Full);
    history.call(0, Pop, Popped(1)).call(1, Push(4), Full);
    let found = violation(Queue::bounded(2), Condition::Linearizable, &history);
    assert!(found.to_string().contains("no order explains P1 Push(4) -> Full"), "{found}");
    let last = found.minimal().events().iter().rev().nth(1);
    assert_eq!(last, Some(&Event::Invoke(Process(1), Push(4))), "{found}");
    assert_eq!(found.allowed(), ["Pushed"]);
    // That there was room is seen by the pop, so it is drawn.
    let pop = Event::Return(Process(0), Popped(1));
    assert!(found.minimal().events().contains(&pop), "{found}");
}

#[test]
fn the_drawing_has_one_column_a_process_and_time_runs_down() {
    let mut history = History::new();
    history.invoke(0, Push(7)).crash(0).call(1, Pop, Empty).call(1, Pop, Popped(7));
    let found = violation(Queue::unbounded(), Condition::Strict, &history);
    let drawn = "\
event  P0             P1
    0  ┬ Push(7)
    1  ✗ killed
    2                 ┬ Pop  (1)
    3                 ┴ Empty
    4                 ┬ Pop
    5                 ┴ Popped(7)   <-- no order explains this
";
    assert_eq!(found.to_text(), drawn);
    let report = found.to_string();
    assert!(report.starts_with("not strictly linearizable: no order explains P1 Pop"), "{report}");
    assert!(
        report.contains("P0 Push(7) was open at its crash: before event 1, or never"),
        "{report}"
    );
}

#[test]
fn a_pending_operation_that_may_still_take_effect_is_dotted() {
    let mut history = History::new();
    history.invoke(0, Push(7)).crash(0).call(1, Pop, Popped(7)).call(1, Pop, Popped(7));
    let found = violation(Queue::unbounded(), Condition::Linearizable, &history);
    let dotted = found.to_text().lines().filter(|line| line.contains('┆')).count();
    assert_eq!(dotted, 4, "{found}");
}

#[test]
fn the_svg_is_well_formed_and_escapes_what_it_shows() {
    let mut history = History::new();
    history.call(0, CounterOp::Add(1), 0).call(1, CounterOp::Get, 5);
    let svg = violation(Counter, Condition::Strict, &history).to_svg();
    assert!(svg.starts_with("<svg xmlns="), "{svg}");
    assert!(svg.contains("-&gt; 5") && !svg.contains("-> 5"), "{svg}");
    let lines = || svg.lines();
    let opened = lines().filter(|line| line.starts_with("<text")).count();
    let closed = lines().filter(|line| line.ends_with("</text>")).count();
    assert_eq!(opened, closed);
    assert!(!svg.contains("href") && !svg.contains("script"));
}

/// The numbers after `x="` of the lines that contain `what`.
fn places(svg: &str, what: &str) -> Vec<usize> {
    let lines = svg.lines().filter(|line| line.contains(what));
    let after = lines.filter_map(|line| line.split(" x=\"").nth(1)?.split('"').next());
    after.map(|number| number.parse().unwrap()).collect()
}

#[test]
fn in_the_svg_no_label_runs_into_the_next_column() {
    const LONG: u64 = 12_345_678_901_234_567_890;
    let mut history = History::new();
    history.call(0, Push(LONG), Pushed).invoke(0, Pop).call(1, Pop, Popped(LONG));
    history.returned(0, Popped(LONG));
    let svg = violation(Queue::unbounded(), Condition::Strict, &history).to_svg();
    let label = format!("= Popped({LONG})");
    let (first, second) = (places(&svg, &label)[1], places(&svg, &label)[0]);
    assert!(first + 8 * label.len() < second, "{svg}");
    assert!(places(&svg, "no order explains this")[0] > second, "{svg}");
}

/// A specification without the law of items: what is dropped is dropped by search.
#[derive(Debug, Clone)]
struct Plain;

impl Specification for Plain {
    type State = i64;
    type Op = CounterOp;
    type Ret = i64;
    fn init(&self) -> i64 {
        0
    }
    fn step(
        &self,
        state: &i64,
        by: crash_check::linear::Process,
        op: &CounterOp,
    ) -> Vec<(i64, i64)> {
        Counter.step(state, by, op)
    }
}

#[test]
fn without_a_law_an_operation_is_dropped_only_if_the_rest_fails_whatever_it_did() {
    let mut history = History::new();
    for _ in 0..4 {
        history.invoke(0, CounterOp::Add(1)).invoke(1, CounterOp::Get);
        let value = history.events().len() as i64 / 4;
        history.returned(1, value).returned(0, value);
    }
    history.call(1, CounterOp::Get, 3);
    let found = violation(Plain, Condition::Linearizable, &history);
    // All four increments are needed to see that three is too few: without their returns any
    // of them might have been the one without effect.
    assert!(found.minimal().events().len() >= 4, "{found}");
    assert_eq!(found.allowed(), ["4"]);
    let mut impossible = History::new();
    for _ in 0..4 {
        let before = impossible.events().len() as i64 / 2;
        impossible.call(0, CounterOp::Add(1), before);
    }
    impossible.call(1, CounterOp::Get, 99);
    let found = violation(Plain, Condition::Linearizable, &impossible);
    assert_eq!(found.minimal().events().len(), 2, "no increments explain 99: {found}");
}
