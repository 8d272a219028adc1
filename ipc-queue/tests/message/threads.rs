//! One process.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use crash_check::linear::spec::{ItemOp, ItemRet, Queue};
use crash_check::linear::{Checker, Condition, Recorder};
use ipc_queue::{Error, RecvError, SendError, message as messages, spsc};
use proptest::prelude::*;
use shm_core::{Group, Segment};

use crate::{LONG, message, number};

#[test]
fn what_is_sent_is_received_in_order_and_whole() {
    let (mut producer, mut consumer) = messages::channel(256).unwrap();
    let sender = thread::spawn(move || {
        for next in 0..30_000 {
            producer.send(&message(next)).unwrap();
        }
    });
    for next in 0..30_000 {
        assert_eq!(number(&consumer.recv().unwrap()), next);
    }
    sender.join().unwrap();
    assert_eq!(consumer.recv().unwrap_err(), RecvError::Disconnected);
}

#[test]
fn a_message_may_be_as_long_as_the_ring_wherever_it_begins() {
    let (mut producer, mut consumer) = messages::channel(128).unwrap();
    assert_eq!((producer.capacity(), producer.longest()), (128, 120));
    for shift in 0..40_usize {
        producer.try_send(&[1; 3]).unwrap();
        consumer.try_recv().unwrap();
        let long = vec![shift as u8; 120];
        producer.try_send(&long).unwrap();
        assert_eq!(producer.try_send(&[]), Err(SendError::Full(())));
        assert_eq!(consumer.validate(), Ok(1));
        assert_eq!(*consumer.try_recv().unwrap(), *long);
    }
    let error = producer.reserve(121).unwrap_err();
    assert_eq!(error, SendError::TooLarge { value: (), size: 121, most: 120 });
    assert!(error.to_string().contains("121") && error.to_string().contains("120"), "{error}");
    assert!(matches!(producer.send(&vec![0; 500]), Err(SendError::TooLarge { size: 500, .. })));
    assert!(matches!(producer.reserve(usize::MAX), Err(SendError::TooLarge { .. })));
}

#[test]
fn room_that_is_not_committed_is_not_sent() {
    let (mut producer, mut consumer) = messages::channel(64).unwrap();
    let mut room = producer.reserve(40).unwrap();
    room.fill(9);
    drop(room);
    assert_eq!(consumer.try_recv().unwrap_err(), RecvError::Empty);
    let mut room = producer.reserve(40).unwrap();
    room[..3].copy_from_slice(b"abc");
    room.commit_first(3);
    producer.try_send(&[7; 32]).unwrap();
    assert_eq!(&*consumer.recv().unwrap(), b"abc");
    assert_eq!(&*consumer.recv().unwrap(), [7; 32]);
}

#[test]
fn a_message_in_hand_keeps_its_room_until_it_is_dropped() {
    let (mut producer, mut consumer) = messages::channel(64).unwrap();
    producer.send(&[1; 40]).unwrap();
    let held = consumer.recv().unwrap();
    assert_eq!(producer.try_send(&[2; 40]), Err(SendError::Full(())));
    let short = Duration::from_millis(1);
    assert_eq!(producer.send_timeout(&[2; 40], short), Err(SendError::Timeout(())));
    assert_eq!(*held, [1; 40]);
    drop(held);
    producer.send_timeout(&[2; 40], LONG).unwrap();
    std::mem::forget(consumer.recv().unwrap());
    assert_eq!(*consumer.recv().unwrap(), [2; 40], "forgotten, it comes again");
    assert_eq!(consumer.recv_timeout(short).unwrap_err(), RecvError::Timeout);
}

#[test]
fn sleepers_of_both_sides_are_woken() {
    let (mut producer, mut consumer) = messages::channel(64).unwrap();
    producer.set_spin_limit(0);
    consumer.set_spin_limit(0);
    let receiver = thread::spawn(move || {
        let mut expected = 0;
        let end = consumer.for_each(|found| {
            assert_eq!(found, u64::to_ne_bytes(expected));
            expected += 1;
        });
        (end, expected, consumer.stats().parks)
    });
    for next in 0..2_000_u64 {
        producer.send(&next.to_ne_bytes()).unwrap();
    }
    producer.close();
    assert_eq!(producer.send(&[]), Err(SendError::Closed(())));
    let (end, received, parks) = receiver.join().unwrap();
    assert_eq!((end, received), (RecvError::Closed, 2_000));
    assert!(producer.stats().parks + parks > 0, "nobody slept");
}

#[test]
fn whoever_waits_learns_that_the_other_left_and_another_goes_on() {
    let segment = Segment::anonymous(messages::required_size(64).unwrap() + 128).unwrap();
    let group = Group::anonymous().unwrap();
    messages::create(&segment, 128, 64).unwrap();
    let mut consumer = messages::attach_consumer(&segment, 128, &group).unwrap();
    assert_eq!(consumer.try_recv().unwrap_err(), RecvError::Empty, "nobody was there to leave");
    let again = messages::attach_consumer(&segment, 128, &group);
    assert_eq!(again.unwrap_err(), Error::ConsumerThere);
    let mut producer = messages::attach_producer(&segment, 128, &group).unwrap();
    let again = messages::attach_producer(&segment, 128, &group);
    assert_eq!(again.unwrap_err(), Error::ProducerThere);
    producer.send(&[1; 20]).unwrap();
    producer.send(&[2; 20]).unwrap();
    drop(producer);
    assert_eq!(*consumer.recv().unwrap(), [1; 20]);
    drop(consumer);
    let mut producer = messages::attach_producer(&segment, 128, &group).unwrap();
    producer.send(&[3; 20]).unwrap();
    assert_eq!(producer.send(&[4; 20]), Err(SendError::Disconnected(())));
    drop(producer);
    let mut consumer = messages::attach_consumer(&segment, 128, &group).unwrap();
    assert_eq!(*consumer.recv().unwrap(), [2; 20]);
    assert_eq!(*consumer.recv().unwrap(), [3; 20]);
    assert_eq!(consumer.recv().unwrap_err(), RecvError::Disconnected);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let group = Group::anonymous().unwrap();
    let none = messages::attach_producer(&segment, 0, &group).unwrap_err();
    assert_eq!(none, Error::NotAQueue(0));
    spsc::create::<u8>(&segment, 0, 64).unwrap();
    let error = messages::attach_producer(&segment, 0, &group).unwrap_err();
    assert!(matches!(error, Error::Kind { expected: "ring of messages", .. }), "{error}");
    assert_eq!(messages::create(&segment, 0, 64), Err(Error::Exists(0)));
    assert_eq!(messages::required_size(0), Err(Error::Capacity(0)));
    assert!(matches!(messages::create(&segment, 4096, 1 << 16), Err(Error::OutOfBounds { .. })));
    assert!(matches!(messages::create(&segment, 4100, 64), Err(Error::Misaligned { .. })));
}

#[test]
fn what_threads_see_of_a_ring_is_linearizable() {
    for round in 0..8 {
        let recorder = Recorder::new();
        let (mut producer, mut consumer) = messages::channel(64).unwrap();
        if round % 2 == 0 {
            producer.set_spin_limit(0);
            consumer.set_spin_limit(0);
        }
        let (mut sends, mut receives) = (recorder.actor(0), recorder.actor(1));
        thread::scope(|scope| {
            scope.spawn(move || {
                for value in 0..80_u64 {
                    sends.call(ItemOp::Push(value), || {
                        producer.send(&value.to_ne_bytes()).unwrap();
                        ItemRet::Pushed
                    });
                }
            });
            scope.spawn(move || {
                for _ in 0..80 {
                    receives.call(ItemOp::Pop, || {
                        let found = consumer.recv().unwrap();
                        ItemRet::Popped(u64::from_ne_bytes((&*found).try_into().unwrap()))
                    });
                }
            });
        });
        let checker = Checker::new(Queue::bounded(4), Condition::Strict);
        let verdict = checker.check(&recorder.into_history()).unwrap();
        assert!(verdict.violation().is_none(), "{}", verdict.violation().unwrap());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    /// Reserved, and how much of it is committed, if any.
    Reserve(usize, Option<usize>),
    Recv,
    Forget,
    NextProducer,
    NextConsumer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..80_usize).prop_map(Step::Send),
        3 => (0..80_usize, prop::option::of(0..90_usize)).prop_map(|(a, b)| Step::Reserve(a, b)),
        5 => Just(Step::Recv),
        1 => Just(Step::Forget),
        1 => Just(Step::NextProducer),
        1 => Just(Step::NextConsumer),
    ];
    prop::collection::vec(step, 1..150)
}

fn size(len: usize) -> usize {
    len.next_multiple_of(8) + 8
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn random_messages_agree_with_a_deque(asked in 1..200_usize, steps in steps()) {
        let segment = Segment::anonymous(messages::required_size(asked).unwrap()).unwrap();
        let group = Group::anonymous().unwrap();
        messages::create(&segment, 0, asked).unwrap();
        let mut producer = Some(messages::attach_producer(&segment, 0, &group).unwrap());
        let mut consumer = Some(messages::attach_consumer(&segment, 0, &group).unwrap());
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let capacity = asked.max(64).next_power_of_two();
        for (number, step) in steps.into_iter().enumerate() {
            let used: usize = model.iter().map(|message| size(message.len())).sum();
            let sender = producer.as_mut().unwrap();
            let receiver = consumer.as_mut().unwrap();
            prop_assert_eq!(sender.validate(), Ok(model.len()));
            prop_assert_eq!((sender.used(), receiver.is_empty()), (used, model.is_empty()));
            let fits = |len: usize| match () {
                () if size(len) > capacity => {
                    Err(SendError::TooLarge { value: (), size: len, most: capacity - 8 })
                }
                () if used + size(len) > capacity => Err(SendError::Full(())),
                () => Ok(()),
            };
            match step {
                Step::Send(len) => {
                    let message = vec![number as u8; len];
                    let sent = sender.try_send(&message);
                    prop_assert_eq!(sent, fits(len));
                    if sent.is_ok() {
                        model.push_back(message);
                    }
                }
                Step::Reserve(len, commit) => match (sender.try_reserve(len), fits(len)) {
                    (Err(found), Err(expected)) => prop_assert_eq!(found, expected),
                    (Ok(mut room), Ok(())) => {
                        room.fill(!(number as u8));
                        if let Some(first) = commit {
                            model.push_back(room[..first.min(len)].to_vec());
                            room.commit_first(first);
                        }
                    }
                    other => prop_assert!(false, "{:?}", other.1),
                },
                Step::Recv => match (receiver.try_recv(), model.pop_front()) {
                    (Ok(found), Some(expected)) => prop_assert_eq!(&*found, &expected[..]),
                    (Err(RecvError::Empty), None) => {}
                    other => prop_assert!(false, "{:?}", other.1),
                },
                Step::Forget => if let Ok(found) = receiver.try_recv() {
                    prop_assert_eq!(&*found, &model[0][..]);
                    std::mem::forget(found);
                },
                Step::NextProducer => {
                    drop(producer.take());
                    producer = Some(messages::attach_producer(&segment, 0, &group).unwrap());
                }
                Step::NextConsumer => {
                    drop(consumer.take());
                    consumer = Some(messages::attach_consumer(&segment, 0, &group).unwrap());
                }
            }
        }
    }
}
