//! The queue for several producers and consumers, among the threads of one process.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use ipc_queue::{Error, RecvError, SendError, mpmc, spsc};
use proptest::prelude::*;
use shm_core::{Group, Segment};

/// Longer than any wait that works: a test that hangs fails instead.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_is_sent_is_received_in_order() {
    let (mut producer, mut consumer) = mpmc::channel::<u64>(5).unwrap();
    assert_eq!(producer.capacity(), 8);
    for lap in 0..100 {
        for number in 0..8 {
            producer.try_send(lap * 8 + number).unwrap();
        }
        assert_eq!(producer.try_send(999), Err(SendError::Full(999)));
        assert_eq!(consumer.len(), 8);
        consumer.validate().unwrap();
        assert!(consumer.drain().eq(lap * 8..lap * 8 + 8));
        assert_eq!(consumer.try_recv(), Err(RecvError::Empty));
        assert!(producer.is_empty());
    }
}

#[test]
fn several_producers_and_consumers_lose_and_double_nothing() {
    let (producer, consumer) = mpmc::channel::<[u64; 4]>(8).unwrap();
    let each = 5_000;
    let senders: Vec<_> = (0..3)
        .map(|who| {
            let mut producer = producer.try_clone().unwrap();
            thread::spawn(move || {
                for number in 0..each {
                    producer.send([who, number, who ^ number, !number]).unwrap();
                }
            })
        })
        .collect();
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let mut consumer = consumer.try_clone().unwrap();
            thread::spawn(move || {
                let got: Vec<[u64; 4]> = consumer.iter().collect();
                assert_eq!(consumer.recv(), Err(RecvError::Disconnected));
                got
            })
        })
        .collect();
    drop((producer, consumer));
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let mut seen = vec![vec![0; each as usize]; 3];
    for receiver in receivers {
        let mut last = [None; 3];
        for [who, number, mixed, inverse] in receiver.join().unwrap() {
            assert_eq!((mixed, inverse), (who ^ number, !number), "torn");
            assert!(last[who as usize] < Some(number), "one producer's elements in order");
            last[who as usize] = Some(number);
            seen[who as usize][number as usize] += 1;
        }
    }
    assert!(seen.iter().flatten().all(|&count| count == 1));
}

#[test]
fn sleepers_of_both_sides_are_woken() {
    let (mut producer, mut consumer) = mpmc::channel::<u64>(1).unwrap();
    producer.set_spin_limit(0);
    consumer.set_spin_limit(0);
    let receiver = thread::spawn(move || {
        assert!(consumer.iter().eq(0..2_000));
        consumer.stats()
    });
    for number in 0..2_000 {
        producer.send(number).unwrap();
    }
    let (sends, waker) = (producer.stats(), producer);
    drop(waker);
    let receives = receiver.join().unwrap();
    assert!(sends.parks + receives.parks > 0, "nobody slept");
}

#[test]
fn timed_operations_end() {
    let (mut producer, mut consumer) = mpmc::channel::<u8>(1).unwrap();
    let short = Duration::from_millis(2);
    assert_eq!(consumer.recv_timeout(short), Err(RecvError::Timeout));
    assert_eq!(consumer.recv_slice_timeout(&mut [0; 2], short), Err(RecvError::Timeout));
    assert_eq!(producer.send_slice_timeout(&[1, 2], short), Err(SendError::Timeout(1)));
    assert_eq!(producer.send_timeout(3, short), Err(SendError::Timeout(3)));
    assert_eq!(consumer.recv_timeout(LONG), Ok(1));
}

#[test]
fn a_closed_queue_is_drained_and_takes_no_more() {
    let (mut producer, mut consumer) = mpmc::channel::<u8>(4).unwrap();
    producer.send_slice(&[1, 2, 3]).unwrap();
    consumer.close();
    assert!(producer.is_closed());
    assert_eq!(producer.try_send(4), Err(SendError::Closed(4)));
    assert_eq!(producer.send_slice(&[4]), Err(SendError::Closed(0)));
    assert!(consumer.iter().eq([1, 2, 3]));
    assert_eq!(consumer.recv(), Err(RecvError::Closed));
    let mut another = consumer.try_clone().unwrap();
    assert_eq!(another.recv(), Err(RecvError::Closed));
    consumer.validate().unwrap();
}

#[test]
fn closing_wakes_everybody_and_loses_no_send_that_succeeded() {
    for capacity in [1, 4] {
        let (producer, consumer) = mpmc::channel::<u64>(capacity).unwrap();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let mut producer = producer.try_clone().unwrap();
                producer.set_spin_limit(0);
                thread::spawn(move || (0..).take_while(|&n| producer.send(n).is_ok()).count())
            })
            .collect();
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                let mut consumer = consumer.try_clone().unwrap();
                consumer.set_spin_limit(0);
                thread::spawn(move || {
                    let count = consumer.iter().count();
                    assert_eq!(consumer.try_recv(), Err(RecvError::Closed));
                    count
                })
            })
            .collect();
        while consumer.stats().parks + producer.stats().parks < 20 {
            thread::yield_now();
        }
        producer.close();
        let sent: usize = senders.into_iter().map(|thread| thread.join().unwrap()).sum();
        let received: usize = receivers.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sent, received);
    }
}

#[test]
fn the_last_producer_to_leave_disconnects_the_consumers() {
    let (mut producer, mut consumer) = mpmc::channel::<u8>(4).unwrap();
    let second = producer.try_clone().unwrap();
    assert_eq!(consumer.producers(), 2);
    producer.send(1).unwrap();
    drop(second);
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(RecvError::Empty));
    producer.send(2).unwrap();
    drop(producer);
    assert_eq!(consumer.recv(), Ok(2));
    assert_eq!(consumer.recv(), Err(RecvError::Disconnected));
    assert_eq!(consumer.try_recv(), Err(RecvError::Disconnected));
}

#[test]
fn a_sleeper_notices_that_the_other_side_has_left() {
    let (producer, mut consumer) = mpmc::channel::<u8>(1).unwrap();
    consumer.set_spin_limit(0);
    let sleeper = thread::spawn(move || (consumer.recv(), consumer));
    while producer.stats().parks + producer.consumers() as u64 == 0 {
        thread::yield_now();
    }
    let another = producer.try_clone().unwrap();
    drop(producer);
    drop(another);
    let (received, consumer) = sleeper.join().unwrap();
    assert_eq!(received, Err(RecvError::Disconnected));
    drop(consumer);

    let (mut producer, consumer) = mpmc::channel::<u8>(1).unwrap();
    producer.set_spin_limit(0);
    producer.send(1).unwrap();
    let sleeper = thread::spawn(move || producer.send(2));
    while consumer.producers() == 0 {
        thread::yield_now();
    }
    drop(consumer);
    assert_eq!(sleeper.join().unwrap(), Err(SendError::Disconnected(2)));
}

#[test]
fn a_consumer_waits_for_the_first_producer_and_for_a_new_one() {
    let segment = Segment::anonymous(mpmc::required_size::<u8>(2).unwrap()).unwrap();
    let group = Group::anonymous().unwrap();
    mpmc::create::<u8>(&segment, 0, 2).unwrap();
    let mut consumer = mpmc::attach_consumer::<u8>(&segment, 0, &group).unwrap();
    assert_eq!(consumer.try_recv(), Err(RecvError::Empty));
    for number in 0..3 {
        let mut producer = mpmc::attach_producer::<u8>(&segment, 0, &group).unwrap();
        assert_eq!(consumer.try_recv(), Err(RecvError::Empty));
        producer.send(number).unwrap();
        drop(producer);
        assert_eq!(consumer.recv(), Ok(number));
        assert_eq!(consumer.recv(), Err(RecvError::Disconnected));
    }
}

#[test]
fn a_handle_that_was_idle_for_many_laps_finds_its_place() {
    let (mut producer, mut consumer) = mpmc::channel::<u64>(4).unwrap();
    let (mut idle_producer, mut idle_consumer) =
        (producer.try_clone().unwrap(), consumer.try_clone().unwrap());
    for number in 0..10_001 {
        producer.try_send(number).unwrap();
        assert_eq!(consumer.try_recv(), Ok(number));
    }
    assert_eq!(idle_consumer.try_recv(), Err(RecvError::Empty));
    idle_producer.try_send(7).unwrap();
    assert_eq!(idle_consumer.try_recv(), Ok(7));
    assert_eq!(idle_consumer.len(), 0);
}

#[test]
fn elements_of_any_size_and_alignment_fit() {
    let (mut producer, mut consumer) = mpmc::channel::<[u8; 3]>(2).unwrap();
    producer.send([1, 2, 3]).unwrap();
    assert_eq!(consumer.recv(), Ok([1, 2, 3]));
    let (mut producer, mut consumer) = mpmc::channel::<[u64; 7]>(2).unwrap();
    producer.send([5; 7]).unwrap();
    assert_eq!(consumer.recv(), Ok([5; 7]));
    let (mut producer, mut consumer) = mpmc::channel::<[u64; 100]>(2).unwrap();
    producer.send([9; 100]).unwrap();
    assert_eq!(consumer.recv(), Ok([9; 100]));
}

#[test]
fn a_wrong_attach_says_what_is_wrong() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let group = Group::anonymous().unwrap();
    let attach = |offset| mpmc::attach_producer::<u64>(&segment, offset, &group).map(drop);
    assert_eq!(attach(0), Err(Error::NotAQueue(0)));
    mpmc::create::<u64>(&segment, 0, 8).unwrap();
    assert_eq!(mpmc::create::<u64>(&segment, 0, 8), Err(Error::Exists(0)));
    assert!(attach(0).is_ok());
    assert!(matches!(attach(3), Err(Error::Misaligned { .. })));
    let other = mpmc::attach_producer::<u32>(&segment, 0, &group).map(drop);
    assert!(matches!(other, Err(Error::ElementType { .. })));
    let ring = spsc::attach_producer::<u64>(&segment, 0).map(drop);
    assert!(matches!(ring, Err(Error::Kind { .. })));
    assert!(matches!(ipc_queue::Monitor::attach(&segment, 0), Err(Error::Kind { .. })));
    spsc::create::<u64>(&segment, 1 << 15, 8).unwrap();
    assert!(matches!(attach(1 << 15), Err(Error::Kind { .. })));
    assert!(matches!(
        mpmc::create::<u64>(&segment, 1 << 14, 1 << 20),
        Err(Error::OutOfBounds { .. })
    ));
    assert_eq!(mpmc::required_size::<u64>(0), Err(Error::Capacity(0)));
    assert_eq!(mpmc::required_size::<u64>(usize::MAX), Err(Error::Capacity(usize::MAX)));
}

#[test]
fn nonsense_in_any_word_is_an_answer_and_no_hang() {
    let size = mpmc::required_size::<u64>(4).unwrap();
    let group = Group::anonymous().unwrap();
    for at in (0..size).step_by(8) {
        for nonsense in [u64::MAX, 1 << 63 | 60 << 32, 1 << 61, 0x1234_5678_9abc_def0] {
            let segment = Segment::anonymous(size).unwrap();
            mpmc::create::<u64>(&segment, 0, 4).unwrap();
            let handles = (
                mpmc::attach_producer::<u64>(&segment, 0, &group).unwrap(),
                mpmc::attach_consumer::<u64>(&segment, 0, &group).unwrap(),
            );
            let (mut producer, mut consumer) = handles;
            let _ = producer.try_send(1);
            // SAFETY: within the segment, aligned; every word there is an atomic or an element.
            unsafe {
                segment.data().as_ptr().wrapping_add(at).cast::<u64>().write_volatile(nonsense)
            };
            for _ in 0..6 {
                let _ = producer.try_send(2);
                let _ = (consumer.try_recv(), consumer.len(), consumer.validate());
                let _ = (consumer.producers(), producer.consumers());
            }
            let _ = mpmc::attach_consumer::<u64>(&segment, 0, &group).map(|mut c| c.try_recv());
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Send,
    Recv,
    SendSlice(usize),
    RecvSlice(usize),
    Reattach,
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let op = prop_oneof![
        4 => Just(Op::Send),
        4 => Just(Op::Recv),
        2 => (0..40usize).prop_map(Op::SendSlice),
        2 => (0..40usize).prop_map(Op::RecvSlice),
        1 => Just(Op::Reattach),
    ];
    (0..3usize, op)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever handle is used for each operation.
    #[test]
    fn a_queue_behaves_like_a_bounded_deque(
        asked in 1..20usize,
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let (producer, consumer) = mpmc::channel::<u64>(asked).unwrap();
        let mut producers = [(); 3].map(|()| producer.try_clone().unwrap());
        let mut consumers = [(); 3].map(|()| consumer.try_clone().unwrap());
        let capacity = producer.capacity();
        prop_assert!(capacity >= asked);
        let mut model = VecDeque::new();
        let mut next = 0..;
        for (who, op) in ops {
            match op {
                Op::Send => {
                    let value = next.next().unwrap();
                    let full = model.len() == capacity;
                    let expected = if full { Err(SendError::Full(value)) } else { Ok(()) };
                    prop_assert_eq!(producers[who].try_send(value), expected);
                    if !full {
                        model.push_back(value);
                    }
                }
                Op::Recv => {
                    let expected = model.pop_front().ok_or(RecvError::Empty);
                    prop_assert_eq!(consumers[who].try_recv(), expected);
                }
                Op::SendSlice(len) => {
                    let values: Vec<u64> = next.by_ref().take(len).collect();
                    let fit = len.min(capacity - model.len());
                    let full = fit == 0 && len > 0;
                    let expected = if full { Err(SendError::Full(())) } else { Ok(fit) };
                    prop_assert_eq!(producers[who].try_send_slice(&values), expected);
                    model.extend(&values[..fit]);
                }
                Op::RecvSlice(len) => {
                    let mut values = vec![0; len];
                    let there = len.min(model.len());
                    let empty = there == 0 && len > 0;
                    let expected = if empty { Err(RecvError::Empty) } else { Ok(there) };
                    prop_assert_eq!(consumers[who].try_recv_slice(&mut values), expected);
                    prop_assert!(values[..there].iter().copied().eq(model.drain(..there)));
                }
                Op::Reattach => {
                    producers[who] = producer.try_clone().unwrap();
                    consumers[who] = consumer.try_clone().unwrap();
                }
            }
            prop_assert_eq!(producer.len(), model.len());
            prop_assert_eq!(consumers[who].len(), model.len());
            prop_assert_eq!(consumer.validate(), Ok(()));
        }
    }
}
