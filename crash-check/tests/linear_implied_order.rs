//! Good histories that a hasty choice between overlapping pushes would call bad: item 1 is pushed
//! before item 2 in the order of invocation, yet only the order 2, 1 explains them.
#![cfg(feature = "linear")]
#![allow(clippy::unwrap_used)]

use crash_check::linear::spec::{ItemOp, ItemOp::*, ItemRet, ItemRet::*, Queue};
use crash_check::linear::{Checker, Condition, History};

fn is_good(queue: Queue, history: &History<ItemOp, ItemRet>) {
    Checker::new(queue, Condition::Strict).require(history).unwrap();
}

#[test]
fn a_pop_that_found_the_queue_empty_separates_two_items() {
    let mut history = History::new();
    history.invoke(0, Push(1)).call(1, Push(2), Pushed);
    history.invoke(2, Pop).call(3, Pop, Empty);
    history.call(3, Pop, Popped(1)).returned(2, Popped(2)).returned(0, Pushed);
    is_good(Queue::unbounded(), &history);
}

/// Item 3 went to a process that died with it: after 2, and before 1 was popped.
#[test]
fn an_item_that_a_dead_process_popped_separates_two_others() {
    let mut history = History::new();
    history.invoke(0, Push(1)).call(1, Push(2), Pushed).call(1, Push(3), Pushed);
    history.invoke(2, Pop).invoke(3, Pop).crash(3);
    history.call(1, Pop, Popped(1)).returned(2, Popped(2)).returned(0, Pushed);
    history.call(1, Pop, Empty);
    is_good(Queue::unbounded(), &history);
}

#[test]
fn a_queue_with_room_for_one_separates_two_items() {
    let mut history = History::new();
    history.invoke(0, Push(1)).invoke(1, Push(2)).invoke(2, Pop).returned(1, Pushed);
    history.invoke(3, Pop).returned(3, Popped(1)).returned(0, Pushed).returned(2, Popped(2));
    is_good(Queue::bounded(1), &history);
}
