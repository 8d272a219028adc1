//! Real producers and consumers, killed again and again without a supervisor: nothing that was sent is
//! lost, torn or out of order; what a killed consumer had in hand comes again.

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

use ipc_queue::{Error, RecvError, SendError, message as messages};
use shm_core::{Group, Segment};

use crate::{LONG, message, number};

const ROLE: &str = "IPC_QUEUE_TEST_MESSAGE";
const BYTES: usize = 256;
/// Behind the ring: how many were sent, and received.
const TABLE: usize = 4096;

fn word(segment: &Segment, index: usize) -> &AtomicU64 {
    // SAFETY: within the segment, aligned, and used as this atomic only.
    unsafe { &*segment.data().as_ptr().wrapping_add(TABLE + 64 * index).cast() }
}

fn run_child(role: &str, segment: &Segment, group: &Group) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child_process", "--nocapture"])
        .env(ROLE, role)
        .stdin(segment.as_fd().try_clone_to_owned().unwrap())
        .stdout(Stdio::null())
        .stderr(group.as_fd().try_clone_to_owned().unwrap())
        .spawn()
        .unwrap()
}

/// A side whose holder before us is dead, but perhaps not yet proven so.
fn patiently<T>(attach: impl Fn() -> Result<T, Error>) -> T {
    loop {
        match attach() {
            Ok(side) => return side,
            Err(Error::ProducerThere | Error::ConsumerThere) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What the other processes do; as a test of its own it does nothing.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let segment = Segment::attach(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
    let group = Group::attach(std::io::stderr().as_fd()).unwrap();
    if role == "producer" {
        let mut producer = patiently(|| messages::attach_producer(&segment, 0, &group));
        // One may have been sent by a producer that was killed before it said so: sent again.
        for next in word(&segment, 0).load(Acquire).. {
            if producer.send(&message(next)).is_err() {
                return;
            }
            word(&segment, 0).store(next + 1, Release);
        }
    }
    let mut consumer = patiently(|| messages::attach_consumer(&segment, 0, &group));
    consumer.for_each(|found| {
        let number = number(found);
        let received = word(&segment, 1).load(Acquire);
        // Again, if one before us was killed between its word and the release.
        assert!(number == received || number + 1 == received, "lost, or out of order");
        word(&segment, 1).store(number + 1, Release);
    });
}

fn ring() -> (Segment, Group) {
    let segment = Segment::anonymous(TABLE + 4096).unwrap();
    assert!(messages::required_size(BYTES).unwrap() <= TABLE);
    messages::create(&segment, 0, BYTES).unwrap();
    (segment, Group::anonymous().unwrap())
}

#[test]
fn a_row_of_killed_producers_loses_nothing() {
    let (segment, group) = ring();
    let mut consumer = messages::attach_consumer(&segment, 0, &group).unwrap();
    let mut expected = 0;
    let mut receive = |until: Option<u64>| loop {
        if until.is_some_and(|until| expected >= until) {
            return expected;
        }
        match consumer.recv_timeout(LONG) {
            Ok(found) => {
                let found = number(&found);
                assert!(found == expected || found + 1 == expected, "lost, or out of order");
                expected = found + 1;
            }
            Err(error) => {
                assert_eq!(error, RecvError::Disconnected);
                if until.is_none() {
                    return expected;
                }
            }
        }
    };
    for round in 0..12 {
        let mut child = run_child("producer", &segment, &group);
        let so_far = word(&segment, 0).load(Acquire);
        receive(Some(so_far + 1 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        receive(Some(word(&segment, 0).load(Acquire)));
    }
    assert!(receive(None) <= word(&segment, 0).load(Acquire) + 1);
}

#[test]
fn a_row_of_killed_consumers_loses_nothing() {
    let (segment, group) = ring();
    let mut producer = messages::attach_producer(&segment, 0, &group).unwrap();
    let mut next = 0;
    let mut child = run_child("consumer", &segment, &group);
    for round in 0..12 {
        let enough = next + 1 + 41 * round;
        while next < enough {
            match producer.send_timeout(&message(next), LONG) {
                Ok(()) => next += 1,
                // Between a death and the next consumer.
                Err(error) => assert_eq!(error, SendError::Disconnected(())),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        child = run_child("consumer", &segment, &group);
    }
    producer.close();
    assert!(child.wait().unwrap().success(), "lost, torn or out of order");
    assert_eq!(word(&segment, 1).load(Acquire), next);
    assert_eq!(producer.validate(), Ok(0));
}

#[test]
fn sleepers_learn_without_a_supervisor_that_the_other_was_killed() {
    let (segment, group) = ring();
    let mut consumer = messages::attach_consumer(&segment, 0, &group).unwrap();
    consumer.set_spin_limit(0);
    let mut child = run_child("producer", &segment, &group);
    while consumer.recv_timeout(LONG).is_err() {}
    let killer = std::thread::spawn(move || {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    assert_eq!(consumer.for_each(|_| {}), RecvError::Disconnected);
    killer.join().unwrap();
    drop(consumer);
    let mut producer = patiently(|| messages::attach_producer(&segment, 0, &group));
    producer.set_spin_limit(0);
    let mut child = run_child("consumer", &segment, &group);
    // As if all had been sent by producers before us.
    word(&segment, 1).store(0, Release);
    producer.send(&message(0)).unwrap();
    while word(&segment, 1).load(Acquire) == 0 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = (1..).find_map(|next| producer.send(&message(next)).err());
    assert_eq!(refused, Some(SendError::Disconnected(())));
}
