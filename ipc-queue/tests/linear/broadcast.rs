//! What each reader sees is a queue of its own that the producer fills: histories of threads.

use std::thread;

use crash_check::linear::spec::{ItemOp, ItemRet, Queue};
use crash_check::linear::{Checker, Condition, Recorder};
use ipc_queue::broadcast::{self, Mode, Start};

fn histories_are_linearizable(capacity: usize, each: u64, spin: bool) {
    let recorders = [Recorder::new(), Recorder::new()];
    let (mut producer, first) = broadcast::channel::<u64>(capacity).unwrap();
    let second = first.another(Mode::Block, Start::Now).unwrap();
    if !spin {
        producer.set_spin_limit(0);
    }
    thread::scope(|scope| {
        for (recorder, mut reader) in recorders.iter().zip([first, second]) {
            if !spin {
                reader.set_spin_limit(0);
            }
            let mut receives = recorder.actor(1);
            scope.spawn(move || {
                for _ in 0..each {
                    receives.call(ItemOp::Pop, || ItemRet::Popped(reader.recv().unwrap()));
                }
            });
        }
        let [mut sends, mut also] = recorders.each_ref().map(|recorder| recorder.actor(0));
        for value in 0..each {
            sends.call(ItemOp::Push(value), || {
                also.call(ItemOp::Push(value), || {
                    producer.send(value).unwrap();
                    ItemRet::Pushed
                });
                ItemRet::Pushed
            });
        }
    });
    let checker = Checker::new(Queue::bounded(producer.capacity()), Condition::Strict);
    for recorder in recorders {
        let verdict = checker.check(&recorder.into_history()).unwrap();
        assert!(verdict.violation().is_none(), "{}", verdict.violation().unwrap());
    }
}

#[test]
fn what_threads_see_of_a_ring_is_linearizable() {
    for round in 0..12 {
        histories_are_linearizable([1, 2, 8][round % 3], 80, round % 2 == 0);
    }
}
