//! Real processes, killed for real: this test binary runs itself again for the other side, with
//! the segment's descriptor as standard input.

use std::io::{ErrorKind, Read, Write};
use std::process::Child;

use ipc_queue::{Monitor, RecvError, SendError, Side, pipe, spsc};
use shm_core::Segment;

use crate::{LONG, child};

/// Four words that belong together: a torn one shows.
type Record = [u64; 4];

fn record(number: u64) -> Record {
    [number, !number, number.rotate_left(17), number.wrapping_mul(0x9E37_79B9_7F4A_7C15)]
}

fn byte(position: u64) -> u8 {
    (position.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

fn pattern(from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(byte).collect()
}

fn run_child(role: &str, segment: &Segment) -> Child {
    child::run("rings::child_process", role, segment)
}

/// What the other process does; as a test of its own it does nothing.
#[test]
fn child_process() {
    let Some((role, segment)) = child::role() else { return };
    match role.as_str() {
        "producer" => produce(&segment),
        "batch producer" => produce_batches(&segment),
        "consumer" => consume(&segment),
        "writer" => write(&segment),
        "echo" => echo(&segment),
        other => panic!("unknown role {other}"),
    }
}

/// Goes on where the ring stands: element n is `record(n)`, whoever sends it.
fn producer(segment: &Segment) -> spsc::Producer<Record> {
    match Monitor::attach(segment, 0).unwrap().holder(Side::Producer) {
        None => spsc::attach_producer(segment, 0).unwrap(),
        // SAFETY: the parent has reaped the holder before it started us.
        Some(dead) => unsafe { spsc::take_over_producer(segment, 0, dead) }.unwrap(),
    }
}

fn produce(segment: &Segment) {
    let mut producer = producer(segment);
    while producer.send(record(producer.sent())).is_ok() {}
}

fn produce_batches(segment: &Segment) {
    let mut producer = producer(segment);
    loop {
        let from = producer.sent();
        let batch: Vec<Record> = (from..from + 1 + from % 13).map(record).collect();
        if producer.send_slice(&batch).is_err() {
            return;
        }
    }
}

fn consume(segment: &Segment) {
    let mut consumer = spsc::attach_consumer::<Record>(segment, 0).unwrap();
    while let Ok(got) = consumer.recv() {
        assert_eq!(got, record(consumer.received() - 1));
    }
}

fn write(segment: &Segment) {
    let mut writer = pipe::attach_writer(segment, 0).unwrap();
    loop {
        let from = writer.bytes_moved();
        if writer.write_all(&pattern(from, 1 + (from % 9_001) as usize)).is_err() {
            return;
        }
    }
}

fn echo(segment: &Segment) {
    let mut consumer = spsc::attach_consumer::<Record>(segment, 0).unwrap();
    let offset = spsc::required_size::<Record>(16).unwrap().next_multiple_of(128);
    let mut producer = spsc::attach_producer::<Record>(segment, offset).unwrap();
    for got in consumer.iter() {
        producer.send(got).unwrap();
    }
}

fn ring(capacity: usize) -> Segment {
    let segment = Segment::anonymous(spsc::required_size::<Record>(capacity).unwrap()).unwrap();
    spsc::create::<Record>(&segment, 0, capacity).unwrap();
    segment
}

#[test]
fn two_processes_talk_both_ways() {
    let each = spsc::required_size::<Record>(16).unwrap().next_multiple_of(128);
    let segment = Segment::anonymous(2 * each).unwrap();
    spsc::create::<Record>(&segment, 0, 16).unwrap();
    spsc::create::<Record>(&segment, each, 16).unwrap();
    let mut producer = spsc::attach_producer::<Record>(&segment, 0).unwrap();
    let mut consumer = spsc::attach_consumer::<Record>(&segment, each).unwrap();
    let mut child = run_child("echo", &segment);
    for number in 0..1_000 {
        producer.send(record(number)).unwrap();
        assert_eq!(consumer.recv_timeout(LONG), Ok(record(number)));
    }
    drop(producer);
    assert_eq!(consumer.recv_timeout(LONG), Err(RecvError::Closed));
    assert!(child.wait().unwrap().success());
}

/// Kills a producer again and again, each time after another number of elements; a successor
/// takes its role over. The consumer sees one unbroken sequence.
fn survives_killed_producers(role: &str, capacity: usize, step: u64) {
    let segment = ring(capacity);
    let monitor = Monitor::attach(&segment, 0).unwrap();
    let mut consumer = spsc::attach_consumer::<Record>(&segment, 0).unwrap();
    let mut next = 0;
    for round in 0..10_u64 {
        let mut child = run_child(role, &segment);
        // Until the successor has taken the role, its predecessor's death is the answer.
        while monitor.holder(Side::Producer).map(|holder| holder.pid()) != Some(child.id())
            || consumer.is_empty()
        {
            assert!(child.try_wait().unwrap().is_none(), "round {round}: ended by itself");
            std::thread::yield_now();
        }
        for _ in 0..1 + round * step {
            assert_eq!(consumer.recv_timeout(LONG), Ok(record(next)), "round {round}");
            next += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap(); // the proof
        disconnect(&monitor, Side::Producer);
        loop {
            match consumer.recv_timeout(LONG) {
                Ok(got) => assert_eq!(got, record(next), "round {round}"),
                Err(error) => break assert_eq!(error, RecvError::PeerDead),
            }
            next += 1;
        }
        assert_eq!(monitor.holder(Side::Producer).map(|dead| dead.pid()), Some(child.id()));
        assert_eq!(next, consumer.received());
    }
}

/// The holder of the side was reaped.
fn disconnect(monitor: &Monitor, side: Side) {
    monitor.disconnect(monitor.holder(side).unwrap()).unwrap();
}

#[test]
fn killed_producers_leave_an_unbroken_sequence_behind() {
    survives_killed_producers("producer", 64, 977);
}

#[test]
fn producers_killed_while_the_ring_is_full_leave_an_unbroken_sequence_behind() {
    survives_killed_producers("producer", 1, 23);
}

#[test]
fn producers_killed_in_a_batch_leave_an_unbroken_sequence_behind() {
    survives_killed_producers("batch producer", 32, 977);
}

#[test]
fn a_killed_consumer_releases_the_producer_and_loses_nothing_that_it_did_not_take() {
    for round in 0..8_u64 {
        let segment = ring(16);
        let monitor = Monitor::attach(&segment, 0).unwrap();
        let mut producer = spsc::attach_producer::<Record>(&segment, 0).unwrap();
        let mut child = run_child("consumer", &segment);
        for number in 0..20 + round * 101 {
            producer.send_timeout(record(number), LONG).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap(); // the proof
        let blocked = std::thread::spawn(move || {
            loop {
                if let Err(error) = producer.send_timeout(record(producer.sent()), LONG) {
                    assert!(matches!(error, SendError::PeerDead(_)), "{error:?}");
                    return producer;
                }
            }
        });
        disconnect(&monitor, Side::Consumer);
        let mut producer = blocked.join().unwrap();
        let dead = monitor.holder(Side::Consumer).unwrap();
        // SAFETY: the holder was reaped above.
        let mut heir = unsafe { spsc::take_over_consumer::<Record>(&segment, 0, dead) }.unwrap();
        let from = heir.received();
        for (number, got) in (from..).zip(heir.drain()) {
            assert_eq!(got, record(number), "round {round}");
        }
        assert_eq!(heir.received(), producer.sent());
        producer.try_send(record(0)).unwrap();
    }
}

#[test]
fn a_reader_of_a_killed_writer_gets_an_exact_prefix_and_then_an_error() {
    for round in 0..8_u64 {
        let capacity = [64, 4096, 1 << 16][round as usize % 3];
        let segment = Segment::anonymous(pipe::required_size(capacity).unwrap()).unwrap();
        pipe::create(&segment, 0, capacity).unwrap();
        let monitor = Monitor::attach(&segment, 0).unwrap();
        let mut reader = pipe::attach_reader(&segment, 0).unwrap();
        let mut child = run_child("writer", &segment);
        let mut got = vec![0; (1 + round * 20_011) as usize];
        reader.read_exact_timeout(&mut got, LONG).unwrap();
        child.kill().unwrap();
        child.wait().unwrap(); // the proof
        disconnect(&monitor, Side::Producer);
        let error = reader.read_to_end(&mut got).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(got == pattern(0, got.len()), "round {round}");
        assert_eq!(monitor.bytes_moved(), got.len() as u64);
    }
}

#[test]
fn a_sleeping_consumer_is_woken_when_its_killed_producer_is_disconnected() {
    let segment = ring(4);
    let monitor = Monitor::attach(&segment, 0).unwrap();
    let mut consumer = spsc::attach_consumer::<Record>(&segment, 0).unwrap();
    consumer.set_spin_limit(0);
    let mut child = run_child("producer", &segment);
    assert_eq!(consumer.recv_timeout(LONG), Ok(record(0)));
    child.kill().unwrap();
    child.wait().unwrap();
    let sleeper = std::thread::spawn(move || {
        while consumer.recv_timeout(LONG).is_ok() {}
        consumer.recv_timeout(LONG)
    });
    // Until it sleeps: everything the dead one had sent is received.
    while monitor.stats(Side::Consumer).parks == 0 || !monitor.is_empty() {
        std::thread::yield_now();
    }
    disconnect(&monitor, Side::Producer);
    assert_eq!(sleeper.join().unwrap(), Err(RecvError::PeerDead));
}
