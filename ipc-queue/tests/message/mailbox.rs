//! The mailbox: several producers and consumers in one process, against a deque, and as histories.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crash_check::linear::spec::{ItemOp, ItemRet, Queue};
use crash_check::linear::{Checker, Condition, Recorder};
use ipc_queue::mailbox::{self, Consumer, Options, Producer};
use ipc_queue::{Error, RecvError, SendError, message as ring};
use proptest::prelude::*;
use shm_core::{Group, Segment};

use crate::{LONG, message, number};

const SHORT: Duration = Duration::from_millis(1);
/// What is in use of the memory when no message is: the slots.
fn slots(messages: usize) -> usize {
    mailbox::channel(messages, 1).unwrap().0.used()
}

/// Nothing is left in it, and nothing is lost.
fn is_clean(consumer: &Consumer) {
    consumer.validate().unwrap();
    assert_eq!(consumer.used(), slots(consumer.capacity()), "a block is lost");
}

fn memory(options: &Options) -> (Segment, Group) {
    let segment = Segment::anonymous(mailbox::required_size(options).unwrap() + 128).unwrap();
    let group = Group::anonymous().unwrap();
    mailbox::create(&segment, 128, &group, options).unwrap();
    (segment, group)
}

#[test]
fn each_producers_messages_are_received_once_whole_and_in_order() {
    const EACH: u64 = 3_000;
    let (producer, mut consumer) = mailbox::channel(16, 1 << 20).unwrap();
    let mut other = consumer.try_clone().unwrap();
    let receive = |consumer: &mut Consumer| {
        let mut last = [None::<u64>; 3];
        let mut count = 0;
        let end = consumer.for_each(|found| {
            let number = number(found);
            let (who, which) = ((number / EACH) as usize, number % EACH);
            assert!(last[who].is_none_or(|last| last < which), "out of order");
            last[who] = Some(which);
            count += 1;
        });
        assert_eq!(end, RecvError::Disconnected);
        count
    };
    thread::scope(|scope| {
        for who in 0..3 {
            let mut producer = producer.try_clone().unwrap();
            scope.spawn(move || {
                for which in 0..EACH {
                    producer.send(&message(who * EACH + which)).unwrap();
                }
            });
        }
        drop(producer);
        let second = scope.spawn(|| receive(&mut other));
        assert_eq!(receive(&mut consumer) + second.join().unwrap(), 3 * EACH);
    });
    is_clean(&consumer);
}

#[test]
fn a_message_may_be_as_long_as_it_says_and_not_longer() {
    let (mut producer, mut consumer) = mailbox::channel(4, 300_000).unwrap();
    let most = producer.longest();
    assert!(most >= 300_000, "{most}");
    for round in 0..3 {
        producer.send(&vec![round; most]).unwrap();
        assert_eq!(producer.try_send(&vec![9; most]), Err(SendError::Full(())), "no memory");
        assert!(consumer.recv().unwrap().iter().all(|&byte| byte == round));
    }
    let error = producer.reserve(most + 1).unwrap_err();
    assert_eq!(error.map_size(), (most + 1, most));
    assert!(matches!(producer.send(&vec![0; most + 9]), Err(SendError::TooLarge { .. })));
    assert!(matches!(producer.reserve(usize::MAX), Err(SendError::TooLarge { .. })));
    producer.send(&[]).unwrap();
    assert_eq!(consumer.recv().unwrap().len(), 0);
    is_clean(&consumer);
}

trait Sizes {
    fn map_size(self) -> (usize, usize);
}

impl<T> Sizes for SendError<T> {
    fn map_size(self) -> (usize, usize) {
        match self {
            SendError::TooLarge { size, most, .. } => (size, most),
            _ => panic!("another reason"),
        }
    }
}

#[test]
fn what_is_not_committed_is_not_sent_and_what_is_refused_is_given_back() {
    let (mut producer, mut consumer) = mailbox::channel(1, 1000).unwrap();
    producer.reserve(40).unwrap().fill(9);
    assert_eq!(consumer.try_recv().unwrap_err(), RecvError::Empty);
    let mut room = producer.reserve(40).unwrap();
    room[..3].copy_from_slice(b"abc");
    room.commit_first(3).unwrap();
    let mut room = producer.reserve(4).unwrap();
    room.copy_from_slice(b"next");
    let Err(SendError::Full(room)) = room.try_commit() else { panic!("full") };
    let Err(SendError::Timeout(room)) = room.commit_timeout(SHORT) else { panic!("full") };
    assert_eq!(&*consumer.recv().unwrap(), b"abc");
    room.commit_timeout(LONG).unwrap();
    assert_eq!(producer.send_timeout(b"late", SHORT), Err(SendError::Timeout(())));
    assert_eq!(&*consumer.recv().unwrap(), b"next");
    let room = producer.reserve(4).unwrap();
    consumer.close();
    assert_eq!(room.commit(), Err(SendError::Closed(())));
    assert_eq!(producer.reserve(1).unwrap_err(), SendError::Closed(()));
    assert_eq!(consumer.recv().unwrap_err(), RecvError::Closed);
    is_clean(&consumer);
}

#[test]
fn what_one_has_in_hand_keeps_nobody_from_the_others() {
    let (mut producer, mut consumer) = mailbox::channel(4, 1 << 16).unwrap();
    let mut other = consumer.try_clone().unwrap();
    for next in 0..4 {
        producer.send(&message(next)).unwrap();
    }
    let held = consumer.recv().unwrap();
    for next in 1..4 {
        assert_eq!(number(&other.recv().unwrap()), next);
    }
    assert_eq!(producer.try_send(&message(4)), Err(SendError::Full(())), "its slot is the next");
    assert_eq!(number(&held), 0);
    drop(held);
    producer.send(&message(4)).unwrap();
    assert_eq!(number(&other.recv().unwrap()), 4);
    is_clean(&other);
}

#[test]
fn whoever_waits_for_memory_gets_it_or_is_told_that_none_will_come() {
    let options = Options::new(8, 200_000).producers(0).handles(4);
    let (segment, group) = memory(&options);
    let mut producer = mailbox::attach_producer(&segment, 128, &group).unwrap();
    let mut consumer = mailbox::attach_consumer(&segment, 128, &group).unwrap();
    let mut other = producer.try_clone().unwrap();
    producer.set_spin_limit(0);
    let most = producer.longest();
    producer.send(&vec![1; most]).unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| producer.send(&vec![2; most]));
        while consumer.producers() < 2 || waits.is_finished() {
            thread::yield_now();
        }
        assert_eq!(consumer.recv().unwrap()[0], 1);
        assert_eq!(waits.join().unwrap(), Ok(()));
    });
    assert_eq!(consumer.recv().unwrap()[0], 2);
    // What the first had sent is its own to send again.
    let hoard = producer.reserve(most).unwrap();
    assert_eq!(other.send(&vec![3; most]), Err(SendError::Full(())));
    assert_eq!(other.send_timeout(&vec![3; most], LONG), Err(SendError::Full(())));
    drop(hoard);
    is_clean(&consumer);
}

#[test]
fn sleepers_of_both_sides_are_woken() {
    let (mut producer, mut consumer) = mailbox::channel(2, 1 << 16).unwrap();
    producer.set_spin_limit(0);
    consumer.set_spin_limit(0);
    let receiver = thread::spawn(move || {
        let mut expected = 0;
        let end = consumer.for_each(|found| {
            assert_eq!(number(found), expected);
            expected += 1;
        });
        is_clean(&consumer);
        (end, expected, consumer.stats().parks)
    });
    for next in 0..1_000 {
        producer.send(&message(next)).unwrap();
    }
    producer.close();
    assert_eq!(producer.send(&[]), Err(SendError::Closed(())));
    let (end, received, parks) = receiver.join().unwrap();
    assert_eq!((end, received), (RecvError::Closed, 1_000));
    assert!(producer.stats().parks + parks > 0, "nobody slept");
}

#[test]
fn whoever_waits_learns_that_the_others_left_and_another_goes_on() {
    let (segment, group) = memory(&Options::new(1, 1000).handles(4));
    let mut consumer = mailbox::attach_consumer(&segment, 128, &group).unwrap();
    assert_eq!(consumer.try_recv().unwrap_err(), RecvError::Empty, "nobody was there to leave");
    let mut producer = mailbox::attach_producer(&segment, 128, &group).unwrap();
    producer.send(&message(1)).unwrap();
    assert_eq!((producer.consumers(), consumer.producers(), producer.len()), (1, 1, 1));
    drop(producer);
    assert_eq!(number(&consumer.recv().unwrap()), 1);
    assert_eq!(consumer.recv().unwrap_err(), RecvError::Disconnected);
    drop(consumer);
    let mut producer = mailbox::attach_producer(&segment, 128, &group).unwrap();
    producer.send(&message(2)).unwrap();
    assert_eq!(producer.send(&message(3)), Err(SendError::Disconnected(())));
    let most = producer.longest();
    assert_eq!(producer.send(&vec![0; most]), Err(SendError::Disconnected(())), "no memory");
    let mut consumer = mailbox::attach_consumer(&segment, 128, &group).unwrap();
    assert_eq!(number(&consumer.recv().unwrap()), 2);
    is_clean(&consumer);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let options = Options::new(4, 1000).handles(2);
    let (segment, group) = memory(&options);
    let create = |at, options: Options| mailbox::create(&segment, at, &group, &options);
    assert_eq!(create(128, options), Err(Error::Exists(128)));
    assert!(matches!(create(4096, Options::new(4, 1 << 30)), Err(Error::OutOfBounds { .. })));
    assert!(matches!(create(4100, options), Err(Error::Misaligned { .. })));
    assert_eq!(mailbox::required_size(&Options::new(0, 9)), Err(Error::Capacity(0)));
    let too_many = Options::new(4, usize::MAX);
    assert_eq!(mailbox::required_size(&too_many), Err(Error::Capacity(usize::MAX)));
    let none = mailbox::attach_producer(&segment, 1 << 16, &group).unwrap_err();
    assert_eq!(none, Error::NotAQueue(1 << 16));
    let kind = ring::attach_producer(&segment, 128, &group).unwrap_err();
    assert!(matches!(kind, Error::Kind { found: "mailbox", .. }), "{kind}");
    let stranger = mailbox::attach_producer(&segment, 128, &Group::anonymous().unwrap());
    assert!(stranger.unwrap_err().to_string().contains("group"));
    let two = [(); 2].map(|()| mailbox::attach_producer(&segment, 128, &group).unwrap());
    let error = two[0].try_clone().unwrap_err();
    assert!(matches!(&error, Error::Heap(why) if why.contains('2')), "{error}");
    drop(two);
    let small = Segment::anonymous(4 << 20).unwrap();
    let spoiled = mailbox::create(&small, 0, &group, &Options::new(4, 1000).handles(513));
    assert!(matches!(spoiled, Err(Error::Heap(_))), "{spoiled:?}");
    let none = mailbox::attach_producer(&small, 0, &group).unwrap_err();
    assert_eq!(none, Error::NotAQueue(0));
}

#[test]
fn what_threads_see_of_a_mailbox_is_linearizable() {
    for round in 0..8 {
        let recorder = Recorder::new();
        // Full and Empty may be said a little early (see the module): nobody tries here.
        let (mut producer, mut consumer) = mailbox::channel(4, 1 << 16).unwrap();
        if round % 2 == 0 {
            producer.set_spin_limit(0);
            consumer.set_spin_limit(0);
        }
        let others = (producer.try_clone().unwrap(), consumer.try_clone().unwrap());
        let send = |mut producer: Producer, actor, first| {
            let mut sends = recorder.actor(actor);
            for value in first..first + 30_u64 {
                sends.call(ItemOp::Push(value), || {
                    producer.send(&value.to_ne_bytes()).unwrap();
                    ItemRet::Pushed
                });
            }
        };
        let receive = |mut consumer: Consumer, actor| {
            let mut receives = recorder.actor(actor);
            for _ in 0..30 {
                receives.call(ItemOp::Pop, || {
                    let found = consumer.recv().unwrap();
                    ItemRet::Popped(u64::from_ne_bytes((&*found).try_into().unwrap()))
                });
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| send(producer, 0, 0));
            scope.spawn(|| send(others.0, 1, 100));
            scope.spawn(|| receive(consumer, 2));
            scope.spawn(|| receive(others.1, 3));
        });
        let checker = Checker::new(Queue::unbounded(), Condition::Strict);
        let verdict = checker.check(&recorder.into_history()).unwrap();
        assert!(verdict.violation().is_none(), "{}", verdict.violation().unwrap());
    }
}

/// Whatever stands in a word of the mailbox's own: an answer, and no panic and no hang.
#[test]
fn a_mailbox_of_nonsense_is_survived() {
    let options = Options::new(2, 1).producers(0).handles(4);
    let all = (0..1152 / 8).flat_map(|at| [u64::MAX, 1 << 63, 0x0102].map(|n| (at, n)));
    for (at, nonsense) in all {
        let (segment, group) = memory(&options);
        let attach = || {
            let producer = mailbox::attach_producer(&segment, 128, &group).ok();
            (producer, mailbox::attach_consumer(&segment, 128, &group).ok())
        };
        let mut before = attach();
        if let Some(producer) = &mut before.0 {
            producer.try_send(&[1; 10]).unwrap();
        }
        // SAFETY: within the segment, aligned; the words there are atomics.
        let word: &AtomicU64 =
            unsafe { &*segment.data().as_ptr().wrapping_add(128 + 8 * at).cast() };
        word.store(nonsense, Ordering::Release);
        for _ in 0..2 {
            for _ in 0..4 {
                if let Some(producer) = &mut before.0 {
                    let _ = (producer.try_send(&[1; 20]), producer.validate(), producer.used());
                }
                if let Some(consumer) = &mut before.1 {
                    let _ = consumer.try_recv().map(|message| message.len());
                }
            }
            drop(before);
            before = attach();
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize),
    /// Reserved, and how much of it is committed, if any.
    Reserve(usize, usize, Option<usize>),
    Recv(usize),
    Another(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = || prop_oneof![5 => 0..200_usize, 1 => 30_000..140_000_usize];
    let step = prop_oneof![
        4 => (0..2_usize, len()).prop_map(|(who, len)| Step::Send(who, len)),
        3 => (0..2_usize, len(), prop::option::of(0..90_usize))
            .prop_map(|(who, a, b)| Step::Reserve(who, a, b)),
        6 => (0..2_usize).prop_map(Step::Recv),
        1 => (0..4_usize).prop_map(Step::Another),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn random_messages_agree_with_a_deque(asked in 1..9_usize, steps in steps()) {
        let options = Options::new(asked, 4 << 20).handles(4);
        let (segment, group) = memory(&options);
        let producer = || mailbox::attach_producer(&segment, 128, &group).unwrap();
        let consumer = || mailbox::attach_consumer(&segment, 128, &group).unwrap();
        let mut producers = [Some(producer()), Some(producer())];
        let mut consumers = [Some(consumer()), Some(consumer())];
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let capacity = asked.next_power_of_two();
        for (number, step) in steps.into_iter().enumerate() {
            let is_full = model.len() == capacity;
            match step {
                Step::Send(who, len) => {
                    let message = vec![number as u8; len];
                    let sent = producers[who].as_mut().unwrap().try_send(&message);
                    prop_assert_eq!(sent, if is_full { Err(SendError::Full(())) } else { Ok(()) });
                    if sent.is_ok() {
                        model.push_back(message);
                    }
                }
                Step::Reserve(who, len, commit) => {
                    let producer = producers[who].as_mut().unwrap();
                    let mut room = producer.try_reserve(len).unwrap();
                    room.fill(!(number as u8));
                    match commit {
                        Some(first) if !is_full => {
                            model.push_back(room[..first.min(len)].to_vec());
                            room.commit_first(first).unwrap();
                        }
                        Some(_) => prop_assert!(matches!(room.try_commit(), Err(SendError::Full(_)))),
                        None => {}
                    }
                }
                Step::Recv(who) => {
                    let found = consumers[who].as_mut().unwrap().try_recv();
                    match (found, model.pop_front()) {
                        (Ok(found), Some(expected)) => prop_assert_eq!(&*found, &expected[..]),
                        (Err(RecvError::Empty), None) => {}
                        other => prop_assert!(false, "{:?}", other.1),
                    }
                }
                Step::Another(who) if who < 2 => {
                    drop(producers[who].take());
                    producers[who] = Some(producer());
                }
                Step::Another(who) => {
                    drop(consumers[who - 2].take());
                    consumers[who - 2] = Some(consumer());
                }
            }
            prop_assert_eq!(consumers[0].as_ref().unwrap().len(), model.len());
        }
        let [Some(consumer), _] = &mut consumers else { return Ok(()) };
        consumer.validate().unwrap();
        while consumer.try_recv().is_ok() {}
        is_clean(consumer);
    }
}
