//! Histories of threads that compete for small queues are those of a FIFO queue.

use std::thread;

use crash_check::linear::spec::{ItemOp, ItemRet, Queue};
use crash_check::linear::{Checker, Condition, Recorder};
use ipc_queue::mpmc;

/// Each of two producers sends so many; each of two consumers receives as many. Only finished
/// operations are recorded: `Empty` and `Full` say less than a queue's (see the module's docs).
fn history_is_linearizable(capacity: usize, each: u64, spin: bool) {
    let recorder = Recorder::new();
    let (producer, consumer) = mpmc::channel::<u64>(capacity).unwrap();
    thread::scope(|scope| {
        for who in 0..2 {
            let mut producer = producer.try_clone().unwrap();
            let mut consumer = consumer.try_clone().unwrap();
            if !spin {
                producer.set_spin_limit(0);
                consumer.set_spin_limit(0);
            }
            let (mut sends, mut receives) = (recorder.actor(who), recorder.actor(2 + who));
            scope.spawn(move || {
                for number in 0..each {
                    let value = u64::from(who) * 1_000_000 + number;
                    sends.call(ItemOp::Push(value), || {
                        producer.send(value).unwrap();
                        ItemRet::Pushed
                    });
                }
            });
            scope.spawn(move || {
                for _ in 0..each {
                    receives.call(ItemOp::Pop, || ItemRet::Popped(consumer.recv().unwrap()));
                }
            });
        }
    });
    let checker = Checker::new(Queue::unbounded(), Condition::Strict);
    let verdict = checker.check(&recorder.into_history()).unwrap();
    assert!(verdict.violation().is_none(), "{}", verdict.violation().unwrap());
}

#[test]
fn what_threads_see_of_a_queue_is_linearizable() {
    for round in 0..20 {
        history_is_linearizable([1, 2, 8][round % 3], 60, true);
    }
}

#[test]
fn what_sleeping_threads_see_of_a_queue_is_linearizable() {
    for round in 0..6 {
        history_is_linearizable([1, 2, 8][round % 3], 60, false);
    }
}
