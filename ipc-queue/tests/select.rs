//! Waiting for several ends at once.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::Duration;

use ipc_queue::select::{MOST, Select, SelectError, Selectable};
use ipc_queue::{
    RecvError, SendError, SideStats, broadcast, message, mpmc, oneshot, pipe, spsc, work,
};

/// Sleeps at once, so that the test is about sleeping.
fn sleeper() -> Select {
    let mut select = Select::new();
    select.set_spin_limit(0);
    select
}

const SOON: Duration = Duration::from_millis(5);

#[test]
fn a_selector_wakes_for_each_kind_of_end() {
    let (mut numbers, mut ring) = spsc::channel::<u64>(4).unwrap();
    let (mut bytes, mut pipe) = pipe::channel(64).unwrap();
    let (mut jobs, mut queue) = mpmc::channel::<u64>(4).unwrap();
    let (answer, mut answered) = oneshot::channel::<u64>().unwrap();
    let (mut items, mut worker) = work::channel::<u64>(4, 1).unwrap();
    let sender = thread::spawn(move || {
        let pause = || thread::sleep(SOON);
        pause();
        numbers.send(1).unwrap();
        pause();
        assert_eq!(bytes.try_write(b"2"), Ok(1));
        pause();
        jobs.send(3).unwrap();
        pause();
        answer.send(4).unwrap();
        pause();
        items.submit(5).unwrap();
        items.join().unwrap();
        // Kept to the end: an end that is closed is ready for ever.
        (numbers, bytes, jobs, items)
    });
    let mut select = sleeper();
    for expected in 0..5 {
        // The oneshot is closed by its first send, so it is left out once it was received.
        let ends: [&dyn Selectable; 5] = [&ring, &pipe, &queue, &answered, &worker];
        let found = match expected {
            4 => select.wait(&[&ring, &pipe, &queue, &worker]).map(|index| index + 1),
            _ => select.wait(&ends),
        };
        assert_eq!(found, Ok(expected));
        match expected {
            0 => assert_eq!(ring.try_recv(), Ok(1)),
            1 => assert_eq!(pipe.try_read(&mut [0; 8]), Ok(1)),
            2 => assert_eq!(queue.try_recv(), Ok(3)),
            3 => assert_eq!(answered.try_recv(), Ok(4)),
            _ => worker.try_lease().unwrap().ack(),
        }
    }
    drop(sender.join().unwrap());
}

#[test]
fn a_selector_wakes_for_room() {
    let (mut producer, mut consumer) = spsc::channel::<u64>(1).unwrap();
    let (mut sender, mut receiver) = mpmc::channel::<u64>(1).unwrap();
    let (mut submitter, mut worker) = work::channel::<u64>(1, 0).unwrap();
    producer.send(1).unwrap();
    sender.send(1).unwrap();
    submitter.submit(1).unwrap();
    let mut select = sleeper();
    assert_eq!(select.try_wait(&[&producer, &sender, &submitter]), Err(SelectError::Timeout));
    let taker = thread::spawn(move || {
        thread::sleep(SOON);
        receiver.recv().unwrap();
        receiver
    });
    assert_eq!(select.wait(&[&producer, &sender, &submitter]), Ok(1));
    sender.try_send(2).unwrap();
    consumer.recv().unwrap();
    assert_eq!(select.wait(&[&producer, &sender, &submitter]), Ok(0));
    producer.try_send(2).unwrap();
    worker.lease().unwrap().ack();
    assert_eq!(select.wait(&[&producer, &sender, &submitter]), Ok(2));
    drop(taker.join().unwrap());
}

#[test]
fn the_end_of_a_queue_is_something_to_wake_for() {
    let (producer, mut ring) = spsc::channel::<u64>(4).unwrap();
    let (sender, mut queue) = mpmc::channel::<u64>(4).unwrap();
    let (submitter, mut worker) = work::channel::<u64>(4, 0).unwrap();
    let closer = thread::spawn(move || {
        thread::sleep(SOON);
        drop(sender);
        thread::sleep(SOON);
        submitter.close();
        thread::sleep(SOON);
        drop(producer);
    });
    let mut select = sleeper();
    assert_eq!(select.wait(&[&ring, &queue, &worker]), Ok(1));
    assert_eq!(queue.try_recv(), Err(RecvError::Disconnected));
    assert_eq!(select.wait(&[&ring, &worker]), Ok(1));
    assert_eq!(worker.try_lease().err(), Some(RecvError::Closed));
    assert_eq!(select.wait(&[&ring]), Ok(0));
    assert_eq!(ring.try_recv(), Err(RecvError::Closed));
    closer.join().unwrap();
    let (mut producer, consumer) = spsc::channel::<u64>(1).unwrap();
    producer.send(1).unwrap();
    drop(consumer);
    assert_eq!(select.wait(&[&producer]), Ok(0));
    assert_eq!(producer.try_send(2), Err(SendError::Closed(2)));
}

#[test]
fn an_end_that_is_always_ready_leaves_the_others_their_turn() {
    let (mut busy, mut first) = spsc::channel::<u64>(8).unwrap();
    let (mut rare, mut second) = spsc::channel::<u64>(8).unwrap();
    busy.send_slice(&[0; 8]).unwrap();
    rare.send(1).unwrap();
    let mut select = Select::new();
    let mut turns = [0; 2];
    for _ in 0..4 {
        let index = select.wait(&[&first, &second]).unwrap();
        turns[index] += 1;
        if index == 0 {
            first.try_recv().unwrap();
            busy.try_send(0).unwrap();
        } else {
            second.try_recv().unwrap();
            rare.try_send(1).unwrap();
        }
    }
    assert_eq!(turns, [2, 2]);
}

#[test]
fn several_selectors_share_one_queue_and_nothing_is_left_lying() {
    const EACH: u64 = 2000;
    let (mut producer, consumer) = mpmc::channel::<u64>(4).unwrap();
    let selectors = (0..3).map(|_| {
        let mut consumer = consumer.try_clone().unwrap();
        thread::spawn(move || {
            let (_never, nothing) = spsc::channel::<u64>(1).unwrap();
            let mut select = sleeper();
            let mut received = Vec::new();
            loop {
                assert_eq!(select.wait(&[&nothing, &consumer]), Ok(1));
                match consumer.try_recv() {
                    Ok(value) => received.push(value),
                    // Another was first.
                    Err(RecvError::Empty) => {}
                    Err(error) => {
                        assert_eq!(error, RecvError::Disconnected);
                        return received;
                    }
                }
            }
        })
    });
    let selectors: Vec<_> = selectors.collect();
    for value in 0..EACH {
        producer.send(value).unwrap();
    }
    drop((producer, consumer));
    let mut all: Vec<u64> = selectors.into_iter().flat_map(|it| it.join().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..EACH).collect::<Vec<_>>());
}

#[test]
fn a_wait_for_nothing_or_for_too_much_is_refused() {
    let (_producer, consumer) = spsc::channel::<u64>(1).unwrap();
    let mut select = Select::new();
    assert_eq!(select.wait(&[]), Err(SelectError::Nothing));
    let many: Vec<&dyn Selectable> = vec![&consumer; MOST + 1];
    assert_eq!(select.wait(&many), Err(SelectError::TooMany { count: MOST + 1 }));
    assert_eq!(select.wait_timeout(&many[..MOST], SOON), Err(SelectError::Timeout));
}

/// A sender that was refused twice, a receiver that was once.
fn counted(sender: SideStats, receiver: SideStats) {
    assert_eq!((sender.full, sender.empty), (2, 0), "{sender:?}");
    assert_eq!((receiver.full, receiver.empty), (0, 1), "{receiver:?}");
}

#[test]
fn every_kind_counts_how_often_it_was_full_and_how_often_empty() {
    let (mut producer, mut consumer) = spsc::channel::<u64>(2).unwrap();
    assert_eq!(consumer.try_recv(), Err(RecvError::Empty));
    assert_eq!((0..4).filter(|&n| producer.try_send(n).is_err()).count(), 2);
    counted(producer.stats(), consumer.stats());

    let (mut writer, mut reader) = pipe::channel(2).unwrap();
    assert_eq!(reader.try_read(&mut [0]), Err(RecvError::Empty));
    assert_eq!((0..4).filter(|&n| writer.try_write(&[n]).is_err()).count(), 2);
    counted(writer.stats(), reader.stats());

    let (mut producer, mut consumer) = mpmc::channel::<u64>(2).unwrap();
    assert_eq!(consumer.try_recv(), Err(RecvError::Empty));
    assert_eq!((0..4).filter(|&n| producer.try_send(n).is_err()).count(), 2);
    counted(producer.stats(), consumer.stats());

    let (mut submitter, mut worker) = work::channel::<u64>(2, 1).unwrap();
    assert_eq!(worker.try_lease().err(), Some(RecvError::Empty));
    assert_eq!((0..4).filter(|&n| submitter.try_submit(n).is_err()).count(), 2);
    counted(submitter.stats(), worker.stats());

    let (mut producer, mut reader) = broadcast::channel::<u64>(2).unwrap();
    assert_eq!(reader.try_recv(), Err(RecvError::Empty));
    assert_eq!((0..4).filter(|&n| producer.try_send(n).is_err()).count(), 2);
    counted(producer.stats(), reader.stats());

    let (mut producer, mut consumer) = message::channel(64).unwrap();
    assert_eq!(consumer.try_recv().err(), Some(RecvError::Empty));
    while producer.try_send(&[7; 8]).is_ok() {}
    assert_eq!(producer.try_send(&[7; 8]), Err(SendError::Full(())));
    counted(producer.stats(), consumer.stats());

    let (_sender, mut receiver) = oneshot::channel::<u64>().unwrap();
    assert_eq!(receiver.try_recv(), Err(RecvError::Empty));
    assert_eq!(receiver.stats().empty, 1);
}

#[test]
fn a_wait_that_ends_by_a_send_has_found_the_queue_empty_once() {
    let (mut producer, mut consumer) = spsc::channel::<u64>(2).unwrap();
    consumer.set_spin_limit(0);
    let waiter = thread::spawn(move || (consumer.recv(), consumer.stats()));
    thread::sleep(SOON);
    producer.send(7).unwrap();
    let (received, stats) = waiter.join().unwrap();
    assert_eq!(received, Ok(7));
    // Not at all if the thread was slow, and the element there first.
    assert!(stats.empty == 1 || (stats.empty == 0 && stats.parks == 0), "{stats:?}");
}
