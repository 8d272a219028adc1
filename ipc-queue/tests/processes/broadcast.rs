//! Real producers and readers, killed again and again without a supervisor: every reader receives
//! what was sent, whole and in a row, and nobody waits for the dead.

use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

use ipc_queue::broadcast::{self, Mode, Start};
use ipc_queue::{Error, RecvError};
use shm_core::{Group, Segment};

use crate::{LONG, child};

const CAPACITY: usize = 8;
/// Behind the ring: what was sent, and what each reader has received.
const TABLE: usize = 1 << 15;
const SIZE: usize = TABLE + 4096;

type Item = [u64; 3];

fn item(number: u64) -> Item {
    [number, !number, number.rotate_left(7)]
}

fn word(segment: &Segment, index: usize) -> &AtomicU64 {
    // SAFETY: within the segment, aligned, and used as this atomic only.
    unsafe { &*segment.data().as_ptr().wrapping_add(TABLE + 64 * index).cast() }
}

fn run_child(role: &str, segment: &Segment, group: &Group) -> Child {
    child::run_in("broadcast::child_process", role, segment, group)
}

/// What the other processes do; as a test of its own it does nothing.
#[test]
fn child_process() {
    let Some((role, segment, group)) = child::role_in() else { return };
    if role == "producer" {
        let mut producer = loop {
            match broadcast::attach_producer::<Item>(&segment, 0, &group) {
                Ok(producer) => break producer,
                // The proof of the one before us is on its way.
                Err(Error::ProducerThere) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        loop {
            let next = producer.sent();
            let batch = [item(next), item(next + 1), item(next + 2)];
            let sent = match next % 3 {
                0 => producer.send(item(next)).is_ok(),
                _ => producer.send_slice(&batch).is_ok(),
            };
            if !sent {
                return;
            }
            word(&segment, 0).store(producer.sent(), Release);
        }
    }
    let (mode, row) = if role == "blocking" { (Mode::Block, 1) } else { (Mode::Overwrite, 2) };
    let mut reader =
        broadcast::attach_reader::<Item>(&segment, 0, &group, mode, Start::Oldest).unwrap();
    let mut next = None;
    for received in reader.iter() {
        match received {
            Ok(found) => {
                assert_eq!(found, item(found[0]), "torn");
                assert!(next.is_none_or(|next| next == found[0]), "not in a row");
                next = Some(found[0] + 1);
            }
            Err(RecvError::Lagged(missed)) if mode == Mode::Overwrite => {
                next = next.map(|next| next + missed);
            }
            Err(error) => panic!("{error}"),
        }
        word(&segment, row).store(next.unwrap_or(0), Release);
    }
}

fn ring() -> (Segment, Group) {
    let segment = Segment::anonymous(SIZE).unwrap();
    assert!(broadcast::required_size::<Item>(CAPACITY).unwrap() <= TABLE);
    broadcast::create::<Item>(&segment, 0, CAPACITY).unwrap();
    (segment, Group::anonymous().unwrap())
}

#[test]
fn a_reader_receives_all_that_a_row_of_killed_producers_sent() {
    let (segment, group) = ring();
    let mut reader =
        broadcast::attach_reader::<Item>(&segment, 0, &group, Mode::Block, Start::Now).unwrap();
    let mut expected = 0;
    for round in 0..8 {
        let mut child = run_child("producer", &segment, &group);
        let enough = expected + 1 + 37 * round;
        let mut receive = |until: u64| {
            while expected < until {
                match reader.recv_timeout(LONG) {
                    Ok(found) => {
                        assert_eq!(found, item(expected), "lost, torn or out of order");
                        expected += 1;
                    }
                    // Between a death and the next producer.
                    Err(error) => assert_eq!(error, RecvError::Disconnected),
                }
            }
        };
        receive(enough);
        child.kill().unwrap();
        child.wait().unwrap();
        receive(word(&segment, 0).load(Acquire));
        reader.validate().unwrap();
    }
    while let Ok(found) = reader.recv_timeout(LONG) {
        assert_eq!(found, item(expected), "lost, torn or out of order");
        expected += 1;
    }
    assert_eq!(reader.recv_timeout(LONG), Err(RecvError::Disconnected));
}

#[test]
fn killed_readers_block_nobody_and_others_miss_nothing() {
    let (segment, group) = ring();
    let mut producer = broadcast::attach_producer::<Item>(&segment, 0, &group).unwrap();
    let mut survivor = run_child("blocking", &segment, &group);
    while producer.readers() == 0 {
        std::thread::yield_now();
    }
    let mut next = 0;
    for round in 0..10 {
        let role = if round % 3 == 2 { "overwriting" } else { "blocking" };
        let mut victim = run_child(role, &segment, &group);
        let mut send = |so_many: u64| {
            for _ in 0..so_many {
                producer.send_timeout(item(next), LONG).unwrap();
                next += 1;
            }
        };
        send(1);
        while group.members().len() < 3 {
            send(1);
        }
        send(1 + 41 * round);
        victim.kill().unwrap();
        victim.wait().unwrap();
        send(20);
    }
    producer.close();
    assert!(survivor.wait().unwrap().success(), "torn, or not in a row");
    assert_eq!(word(&segment, 1).load(Acquire), next, "the survivor received all, to the end");
    assert_eq!(producer.readers(), 0);
    producer.validate().unwrap();
}

#[test]
fn a_sleeping_reader_learns_without_a_supervisor_that_the_producer_was_killed() {
    let (segment, group) = ring();
    let mut reader =
        broadcast::attach_reader::<Item>(&segment, 0, &group, Mode::Block, Start::Now).unwrap();
    reader.set_spin_limit(0);
    let mut child = run_child("producer", &segment, &group);
    while reader.recv_timeout(LONG).is_err() {}
    let killer = std::thread::spawn(move || {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    assert_eq!(reader.iter().find_map(Result::err), None);
    assert_eq!(reader.recv_timeout(LONG), Err(RecvError::Disconnected));
    killer.join().unwrap();
}

#[test]
fn a_sleeping_producer_goes_on_when_the_reader_it_waits_for_is_killed() {
    let (segment, group) = ring();
    let mut producer = broadcast::attach_producer::<Item>(&segment, 0, &group).unwrap();
    producer.set_spin_limit(0);
    let mut child = run_child("blocking", &segment, &group);
    while producer.readers() == 0 {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let killer = std::thread::spawn({
        let segment = segment.clone();
        move || {
            // Until the producer stands before a reader that does not move.
            while word(&segment, 3).load(Acquire) == 0 {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
    for number in 0.. {
        if producer.try_send(item(number)).is_err() {
            break;
        }
    }
    word(&segment, 3).store(1, Release);
    producer.send_timeout(item(0), LONG).unwrap();
    killer.join().unwrap();
}
