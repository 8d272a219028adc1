//! One process, several threads.

use std::thread;
use std::time::Duration;

use ipc_queue::broadcast::{self, Mode, Start};
use ipc_queue::select::Select;
use ipc_queue::{Error, RecvError, SendError, mpmc};
use shm_core::{Group, Segment};

use crate::LONG;

#[test]
fn every_reader_receives_everything_in_order() {
    let (mut producer, first) = broadcast::channel::<[u64; 3]>(8).unwrap();
    let mut readers = vec![first];
    for _ in 0..3 {
        readers.push(readers[0].another(Mode::Block, Start::Now).unwrap());
    }
    assert_eq!(producer.readers(), 4);
    let threads: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            thread::spawn(move || {
                let mut expected = 0;
                while let Ok(found) = reader.recv() {
                    assert_eq!(found, [expected, !expected, expected ^ 77], "torn or out of order");
                    expected += 1;
                }
                assert_eq!(reader.recv(), Err(RecvError::Disconnected));
                expected
            })
        })
        .collect();
    for number in 0..20_000 {
        producer.send([number, !number, number ^ 77]).unwrap();
    }
    drop(producer);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 20_000);
    }
}

#[test]
fn a_reader_that_does_not_block_is_told_exactly_what_it_missed() {
    let (mut producer, blocking) = broadcast::channel::<[u64; 5]>(4).unwrap();
    let mut reader = blocking.another(Mode::Overwrite, Start::Now).unwrap();
    drop(blocking);
    let thread = thread::spawn(move || {
        let (mut next, mut missed) = (0, 0);
        for received in reader.iter() {
            match received {
                Ok(found) => {
                    assert_eq!(found, [next; 5], "torn, or not the next");
                    next += 1;
                }
                Err(RecvError::Lagged(count)) => {
                    assert!(count > 0);
                    next += count;
                    missed += count;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(next, 200_000, "received and missed are all that was sent");
        missed
    });
    for number in 0..200_000 {
        producer.send([number; 5]).unwrap();
    }
    producer.close();
    let missed = thread.join().unwrap();
    println!("missed {missed}");
}

#[test]
fn a_full_ring_waits_for_the_slowest_that_blocks_and_for_nobody_else() {
    let (mut producer, mut slow) = broadcast::channel::<u8>(2).unwrap();
    let mut fast = slow.another(Mode::Block, Start::Now).unwrap();
    let mut lossy = slow.another(Mode::Overwrite, Start::Now).unwrap();
    producer.send_slice(&[1, 2]).unwrap();
    assert_eq!(producer.try_send(3), Err(SendError::Full(3)));
    assert!(fast.drain().eq([Ok(1), Ok(2)]));
    assert_eq!(producer.send_timeout(3, Duration::from_millis(1)), Err(SendError::Timeout(3)));
    assert_eq!(slow.recv(), Ok(1));
    producer.try_send(3).unwrap();
    assert_eq!((lossy.lag(), producer.lag()), (3, 3));
    assert_eq!(lossy.recv(), Err(RecvError::Lagged(1)));
    assert_eq!(lossy.recv(), Ok(2));
    drop(slow);
    producer.try_send(4).unwrap();
    assert_eq!(producer.try_send(5), Err(SendError::Full(5)));
    drop(fast);
    for number in 5..100 {
        producer.try_send(number).unwrap();
    }
    assert!(lossy.drain().eq([Err(RecvError::Lagged(95)), Ok(98), Ok(99)]));
    lossy.validate().unwrap();
}

#[test]
fn a_late_reader_starts_now_or_at_the_oldest() {
    let (mut producer, first) = broadcast::channel::<u8>(4).unwrap();
    producer.send_slice(&[1, 2, 3]).unwrap();
    let mut now = first.another(Mode::Block, Start::Now).unwrap();
    let mut oldest = first.another(Mode::Block, Start::Oldest).unwrap();
    let mut lossy = first.another(Mode::Overwrite, Start::Oldest).unwrap();
    drop(first);
    assert_eq!((now.len(), oldest.len(), lossy.len()), (0, 3, 3));
    assert_eq!(now.try_recv(), Err(RecvError::Empty));
    assert!(oldest.drain().eq([Ok(1), Ok(2), Ok(3)]));
    assert!(lossy.drain().eq([Ok(1), Ok(2), Ok(3)]));
    for number in 4..14 {
        producer.try_send(number).unwrap();
        assert_eq!((now.recv(), oldest.recv()), (Ok(number), Ok(number)));
    }
    let mut late = now.another(Mode::Overwrite, Start::Oldest).unwrap();
    assert!(late.drain().eq([Ok(10), Ok(11), Ok(12), Ok(13)]));
    let mut late = now.another(Mode::Block, Start::Oldest).unwrap();
    let got: Vec<u8> = late.drain().map(Result::unwrap).collect();
    assert!([10, 11, 12, 13].ends_with(&got), "{got:?}");
}

#[test]
fn readers_that_join_while_the_producer_runs_find_whole_elements_in_a_row() {
    let (mut producer, first) = broadcast::channel::<[u64; 4]>(4).unwrap();
    let sender = thread::spawn(move || {
        let mut number: u64 = 0;
        while producer.readers() > 0 {
            number += 1;
            producer.send([number, !number, number * 3, number ^ 5]).unwrap();
        }
    });
    let threads: Vec<_> = (0..2)
        .map(|who| {
            let holder = first.another(Mode::Overwrite, Start::Now).unwrap();
            thread::spawn(move || {
                for round in 0..300 {
                    let start = if (round + who) % 2 == 0 { Start::Now } else { Start::Oldest };
                    let mut reader = holder.another(Mode::Block, start).unwrap();
                    let mut last = None;
                    for _ in 0..9 {
                        let found = reader.recv().unwrap();
                        let [number, ..] = found;
                        assert_eq!(found, [number, !number, number * 3, number ^ 5], "torn");
                        assert!(last.is_none_or(|last| last + 1 == number), "not in a row");
                        last = Some(number);
                    }
                }
            })
        })
        .collect();
    drop(first);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    sender.join().unwrap();
}

#[test]
fn a_batch_is_sent_whole_or_not_at_all() {
    let (mut producer, mut reader) = broadcast::channel::<u8>(4).unwrap();
    let mut lossy = reader.another(Mode::Overwrite, Start::Now).unwrap();
    producer.send_slice(&[1, 2, 3, 4]).unwrap();
    assert_eq!(producer.try_reserve(1).unwrap_err(), SendError::Full(()));
    let none = producer.reserve_timeout(1, Duration::from_millis(1)).unwrap_err();
    assert_eq!(none, SendError::Timeout(()));
    let mut values = [0; 9];
    assert_eq!(reader.recv_slice(&mut values), Ok(4));
    let mut batch = producer.reserve(3).unwrap();
    batch.push(8).unwrap();
    batch.push(9).unwrap();
    assert_eq!(batch.left(), 1);
    drop(batch);
    assert_eq!(reader.try_recv_slice(&mut values), Err(RecvError::Empty));
    assert_eq!(lossy.recv(), Err(RecvError::Lagged(2)), "they were written over");
    assert_eq!(lossy.recv(), Ok(3));
    let mut batch = producer.reserve(2).unwrap();
    batch.push(5).unwrap();
    batch.push(6).unwrap();
    assert_eq!(batch.push(7), Err(SendError::Full(7)));
    assert_eq!(batch.commit(), 2);
    assert_eq!(reader.recv_slice(&mut values), Ok(2));
    assert_eq!(values[..2], [5, 6]);
    assert!(lossy.drain().eq([Ok(4), Ok(5), Ok(6)]));
    let error = producer.reserve(5).unwrap_err();
    assert_eq!(error, SendError::TooLarge { value: (), size: 5, most: 4 });
    assert!(error.to_string().contains("5 elements") && error.to_string().contains("the 4"));
}

#[test]
fn sleepers_of_both_sides_are_woken() {
    let (mut producer, reader) = broadcast::channel::<u64>(2).unwrap();
    producer.set_spin_limit(0);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let mut reader = reader.another(Mode::Block, Start::Now).unwrap();
            reader.set_spin_limit(0);
            thread::spawn(move || {
                assert!(reader.iter().eq((0..2_000).map(Ok)));
                reader.stats().parks
            })
        })
        .collect();
    drop(reader);
    for number in 0..2_000 {
        producer.send(number).unwrap();
    }
    producer.close();
    let parks: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(producer.stats().parks + parks > 0, "nobody slept");
    assert!(producer.stats().wakes > 0, "nobody was woken");
}

#[test]
fn a_producer_that_sleeps_goes_on_when_the_reader_it_waits_for_leaves() {
    let (mut producer, reader) = broadcast::channel::<u64>(1).unwrap();
    producer.set_spin_limit(0);
    producer.send(0).unwrap();
    let leaver = thread::spawn(move || drop(reader));
    producer.send_timeout(1, LONG).unwrap();
    leaver.join().unwrap();
}

#[test]
fn a_closed_ring_is_drained_and_takes_no_more() {
    let (mut producer, mut reader) = broadcast::channel::<u8>(4).unwrap();
    producer.send_slice(&[1, 2]).unwrap();
    producer.close();
    assert!(producer.is_closed() && reader.is_closed());
    assert_eq!(producer.send(3), Err(SendError::Closed(3)));
    assert_eq!(producer.send_slice(&[3]), Err(SendError::Closed(0)));
    assert_eq!(producer.reserve(1).unwrap_err(), SendError::Closed(()));
    assert!(reader.iter().eq([Ok(1), Ok(2)]));
    assert_eq!(reader.recv(), Err(RecvError::Closed));
    assert_eq!(reader.recv_timeout(LONG), Err(RecvError::Closed));
}

#[test]
fn there_is_one_producer_at_a_time_and_the_next_goes_on_behind_it() {
    let segment = Segment::anonymous(broadcast::required_size::<u64>(4).unwrap() + 128).unwrap();
    let group = Group::anonymous().unwrap();
    broadcast::create::<u64>(&segment, 128, 4).unwrap();
    let mut reader =
        broadcast::attach_reader::<u64>(&segment, 128, &group, Mode::Block, Start::Now).unwrap();
    assert_eq!(reader.try_recv(), Err(RecvError::Empty), "nobody has been there to leave");
    let mut producer = broadcast::attach_producer::<u64>(&segment, 128, &group).unwrap();
    let second = broadcast::attach_producer::<u64>(&segment, 128, &group);
    assert_eq!(second.unwrap_err(), Error::ProducerThere);
    producer.send_slice(&[1, 2]).unwrap();
    drop(producer);
    let mut second = broadcast::attach_producer::<u64>(&segment, 128, &group).unwrap();
    assert_eq!(second.sent(), 2);
    second.send_slice(&[3, 4]).unwrap();
    assert_eq!(second.try_send(5), Err(SendError::Full(5)));
    drop(second);
    assert!(reader.iter().eq([1, 2, 3, 4].map(Ok)));
    assert_eq!(reader.recv(), Err(RecvError::Disconnected));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let group = Group::anonymous().unwrap();
    let reader =
        |offset| broadcast::attach_reader::<u64>(&segment, offset, &group, Mode::Block, Start::Now);
    assert_eq!(reader(0).unwrap_err(), Error::NotAQueue(0));
    broadcast::create::<u32>(&segment, 0, 4).unwrap();
    assert_eq!(broadcast::create::<u32>(&segment, 0, 4), Err(Error::Exists(0)));
    assert!(matches!(reader(0).unwrap_err(), Error::ElementType { found_size: 4, size: 8, .. }));
    mpmc::create::<u64>(&segment, 1 << 15, 4).unwrap();
    let error = reader(1 << 15).unwrap_err();
    assert!(matches!(error, Error::Kind { expected: "broadcast ring", .. }), "{error}");
    assert_eq!(broadcast::required_size::<u64>(0), Err(Error::Capacity(0)));
    assert!(matches!(
        broadcast::create::<u64>(&segment, 1 << 14, 1 << 20),
        Err(Error::OutOfBounds { .. })
    ));
    let (_, first) = broadcast::channel::<u64>(1).unwrap();
    let many: Vec<_> =
        (1..48).map(|_| first.another(Mode::Overwrite, Start::Now).unwrap()).collect();
    let error = first.another(Mode::Block, Start::Now).unwrap_err();
    assert_eq!(error, Error::TooManyReaders { max: 48 });
    drop(many);
    first.another(Mode::Block, Start::Now).unwrap();
}

#[test]
fn a_selector_sleeps_on_rings_of_both_kinds_and_both_sides() {
    let (mut producer, mut reader) = broadcast::channel::<u64>(1).unwrap();
    let (mut sender, mut receiver) = ipc_queue::message::channel(64).unwrap();
    let rounds = 300;
    let other = thread::spawn(move || {
        let mut select = Select::new();
        select.set_spin_limit(0);
        let (mut elements, mut bytes) = (0, 0);
        while elements < rounds || bytes < rounds {
            match select.wait_timeout(&[&reader, &receiver], LONG).unwrap() {
                0 => elements += u64::from(reader.try_recv().is_ok()),
                _ => bytes += u64::from(receiver.try_recv().is_ok()),
            }
        }
    });
    let mut select = Select::new();
    select.set_spin_limit(0);
    let (mut elements, mut bytes) = (0, 0);
    while elements < rounds || bytes < rounds {
        match select.wait_timeout(&[&producer, &sender], LONG).unwrap() {
            0 if elements < rounds => elements += u64::from(producer.try_send(elements).is_ok()),
            1 if bytes < rounds => bytes += u64::from(sender.try_send(&[3; 40]).is_ok()),
            // One is done and always ready: the other is waited for alone.
            0 => sender.send(&[3; 40]).map(|()| bytes += 1).unwrap(),
            _ => producer.send(elements).map(|()| elements += 1).unwrap(),
        }
    }
    other.join().unwrap();
}
