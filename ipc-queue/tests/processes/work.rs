//! Real workers, killed again and again without a supervisor: every item ends exactly once, and join
//! returns.

use std::process::Child;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire};

use ipc_queue::{RecvError, work};
use shm_core::{Group, Segment};

use crate::{LONG, child};

type Item = [u64; 2];

const CAPACITY: usize = 8;
/// Behind the queue: how many items were begun, and how often each was finished.
const BEGUN: usize = 1 << 16;
const DONE: usize = BEGUN + 64;
const ITEMS: usize = 20_000;
const SIZE: usize = DONE + ITEMS;

fn begun(segment: &Segment) -> &AtomicU64 {
    // SAFETY: within the segment, aligned, and used as this atomic only.
    unsafe { &*segment.data().as_ptr().wrapping_add(BEGUN).cast() }
}

fn done(segment: &Segment, number: u64) -> &AtomicU8 {
    // SAFETY: as above.
    unsafe { &*segment.data().as_ptr().wrapping_add(DONE + number as usize).cast() }
}

fn item(number: u64) -> Item {
    [number, !number]
}

fn run_child(role: &str, segment: &Segment, group: &Group) -> Child {
    child::run_in("work::child_process", role, segment, group)
}

/// What the other processes do; as a test of its own it does nothing.
#[test]
fn child_process() {
    let Some((role, segment, group)) = child::role_in() else { return };
    if role == "worker" {
        let mut worker = work::attach_worker::<Item>(&segment, 0, &group).unwrap();
        while let Ok(lease) = worker.lease() {
            let [number, check] = *lease;
            assert_eq!(check, !number, "torn");
            begun(&segment).fetch_add(1, AcqRel);
            done(&segment, number).fetch_add(1, AcqRel);
            lease.ack();
        }
        return;
    }
    let mut submitter = work::attach_submitter::<Item>(&segment, 0, &group).unwrap();
    for number in 0.. {
        submitter.submit(item(number)).unwrap();
    }
}

fn queue() -> (Segment, Group) {
    let segment = Segment::anonymous(SIZE).unwrap();
    assert!(work::required_size::<Item>(CAPACITY).unwrap() <= BEGUN);
    work::create::<Item>(&segment, 0, CAPACITY, 200).unwrap();
    (segment, Group::anonymous().unwrap())
}

#[test]
fn whatever_killed_workers_had_in_hand_is_done_by_others_and_join_returns() {
    let (segment, group) = queue();
    let mut submitter = work::attach_submitter::<Item>(&segment, 0, &group).unwrap();
    let mut next = 0;
    let kills = 12;
    for round in 0..kills {
        let mut workers = [(); 2].map(|()| run_child("worker", &segment, &group));
        let enough = begun(&segment).load(Acquire) + 1 + 53 * round;
        while begun(&segment).load(Acquire) < enough && next < ITEMS as u64 {
            if submitter.submit_timeout(item(next), LONG).is_ok() {
                next += 1;
            }
        }
        for worker in &mut workers {
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
    }
    let mut last = run_child("worker", &segment, &group);
    submitter.join_timeout(LONG).unwrap();
    assert!(submitter.is_empty());
    assert_eq!(submitter.take_failed(), Err(RecvError::Empty));
    let times = (0..next).map(|number| u64::from(done(&segment, number).load(Acquire)));
    // Twice only where a worker was killed between its work and its word of it.
    assert!(times.clone().all(|times| times >= 1), "an item was not done");
    assert!(times.map(|times| times - 1).sum::<u64>() <= 2 * kills);
    submitter.close();
    assert!(last.wait().unwrap().success());
}

#[test]
fn what_a_killed_submitter_had_submitted_is_done_and_workers_are_told_that_it_is_gone() {
    let (segment, group) = queue();
    let mut worker = work::attach_worker::<Item>(&segment, 0, &group).unwrap();
    for round in 0..6 {
        let mut child = run_child("submitter", &segment, &group);
        let mut next = 0;
        loop {
            match worker.lease_timeout(LONG) {
                Ok(lease) => {
                    let [number, check] = *lease;
                    assert_eq!(check, !number, "torn");
                    lease.ack();
                    next += 1;
                }
                // Before the child has attached: the one before it is gone.
                Err(RecvError::Disconnected) if next == 0 => {}
                Err(error) => break assert_eq!(error, RecvError::Disconnected),
            }
            if next == 1 + 41 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
}
