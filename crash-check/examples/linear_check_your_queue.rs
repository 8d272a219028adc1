//! Check a queue of yours: record what its callers see, then ask the checker.
//!
//! `cargo run -p crash-check --example linear_check_your_queue` checks a good queue and one that
//! looks before it takes; the second one's counterexample is printed, and drawn to a file if a
//! path is given.

use crash_check::linear::spec::{ItemOp, Queue};
use crash_check::linear::{Checker, Condition, Error, History, Recorder, Verdict};
use std::collections::VecDeque;
use std::sync::Mutex;

type Seen = History<ItemOp, crash_check::linear::spec::ItemRet>;

/// The part to copy: your queue in place of this one, your operations in the two calls.
fn record(queue: &Mutex<VecDeque<u64>>, pop: fn(&Mutex<VecDeque<u64>>) -> Option<u64>) -> Seen {
    let recorder = Recorder::new();
    std::thread::scope(|scope| {
        for process in 0..3 {
            let mut actor = recorder.actor(process);
            scope.spawn(move || {
                for number in 0..50 {
                    let item = u64::from(process) * 1000 + number; // each item once
                    actor.call(ItemOp::Push(item), || push(queue, item).into());
                    actor.call(ItemOp::Pop, || pop(queue).into());
                }
            });
        }
    });
    recorder.into_history()
}

fn push(queue: &Mutex<VecDeque<u64>>, item: u64) -> Result<(), u64> {
    queue.lock().map_err(|_| item)?.push_back(item);
    Ok(())
}

fn pop_at_once(queue: &Mutex<VecDeque<u64>>) -> Option<u64> {
    queue.lock().ok()?.pop_front()
}

/// Wrong: between the look and the removal another thread may have taken the same item.
fn look_then_pop(queue: &Mutex<VecDeque<u64>>) -> Option<u64> {
    let item = queue.lock().ok()?.front().copied();
    std::thread::yield_now();
    queue.lock().ok()?.pop_front();
    item
}

fn main() -> Result<(), Error> {
    let checker = Checker::new(Queue::unbounded(), Condition::Linearizable);
    for (name, pop) in
        [("pop at once", pop_at_once as fn(&_) -> _), ("look, then pop", look_then_pop)]
    {
        match checker.check(&record(&Mutex::default(), pop))? {
            Verdict::Holds(_) => println!("{name}: linearizable\n"),
            Verdict::Unknown(unknown) => println!("{name}: undecided, {unknown}\n"),
            Verdict::Violated(violation) => {
                println!("{name}: {violation}");
                if let Some(path) = std::env::args().nth(1) {
                    let written = std::fs::write(&path, violation.to_svg());
                    written.map_err(|source| Error::System { call: "write", source })?;
                }
            }
        }
    }
    Ok(())
}
