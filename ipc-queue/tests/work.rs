//! The work queue, among the threads of one process.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, VecDeque};
use std::thread;
use std::time::Duration;

use ipc_queue::{Error, RecvError, SendError, work};
use proptest::prelude::*;
use shm_core::{Group, Segment};

const SHORT: Duration = Duration::from_millis(2);

#[test]
fn what_is_submitted_is_leased_in_order_and_ends_with_its_ack() {
    let (mut submitter, mut worker) = work::channel::<u64>(3, 0).unwrap();
    assert_eq!(submitter.capacity(), 4);
    for lap in 0..50 {
        for number in 0..4 {
            submitter.try_submit(lap * 4 + number).unwrap();
        }
        assert_eq!(submitter.try_submit(999), Err(SendError::Full(999)));
        for number in 0..4 {
            let lease = worker.try_lease().unwrap();
            assert_eq!((*lease, lease.redeliveries()), (lap * 4 + number, 0));
            lease.ack();
        }
        assert!(matches!(worker.try_lease(), Err(RecvError::Empty)));
        assert!(submitter.is_empty());
        submitter.join().unwrap();
    }
}

#[test]
fn what_is_given_back_comes_first_and_fails_at_the_limit() {
    let (mut submitter, mut worker) = work::channel::<u64>(4, 2).unwrap();
    submitter.submit(1).unwrap();
    submitter.submit(2).unwrap();
    for given_before in 0..3 {
        let lease = worker.try_lease().unwrap();
        assert_eq!((*lease, lease.redeliveries()), (1, given_before));
        match given_before {
            0 => lease.nack(),
            _ => drop(lease),
        }
    }
    let lease = worker.try_lease().unwrap();
    assert_eq!(*lease, 2);
    lease.ack();
    submitter.join().unwrap();
    assert_eq!(submitter.take_failed(), Ok(1));
    assert_eq!(submitter.take_failed(), Err(RecvError::Empty));
}

#[test]
fn join_waits_for_leases_and_for_what_workers_submit_themselves() {
    let (mut submitter, mut worker) = work::channel::<u64>(8, 1).unwrap();
    let mut nested = submitter.try_clone().unwrap();
    submitter.submit(3).unwrap();
    assert_eq!(submitter.join_timeout(SHORT), Err(RecvError::Timeout));
    let thread = thread::spawn(move || {
        let mut done = 0;
        while let Ok(lease) = worker.lease() {
            if *lease > 0 {
                nested.submit(*lease - 1).unwrap();
            }
            lease.ack();
            done += 1;
        }
        done
    });
    submitter.join().unwrap();
    assert!(submitter.is_empty());
    submitter.close();
    assert_eq!(thread.join().unwrap(), 4);
}

#[test]
fn many_submitters_and_workers_finish_every_item_once() {
    let (submitter, worker) = work::channel::<[u64; 2]>(4, 200).unwrap();
    let each = 1_500;
    let submitters: Vec<_> = (0..2)
        .map(|who| {
            let mut submitter = submitter.try_clone().unwrap();
            thread::spawn(move || (0..each).for_each(|n| submitter.submit([who, n]).unwrap()))
        })
        .collect();
    let workers: Vec<_> = (0..3)
        .map(|who| {
            let mut worker = worker.try_clone().unwrap();
            thread::spawn(move || {
                let mut done = Vec::new();
                for turn in 0.. {
                    match worker.lease() {
                        Ok(lease) if turn % 7 == who => lease.nack(),
                        Ok(lease) => {
                            done.push(*lease);
                            lease.ack();
                        }
                        Err(end) => {
                            assert_eq!(end, RecvError::Disconnected);
                            break;
                        }
                    }
                }
                done
            })
        })
        .collect();
    submitters.into_iter().for_each(|thread| thread.join().unwrap());
    submitter.join().unwrap();
    drop((submitter, worker));
    let done: Vec<_> = workers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let distinct: BTreeSet<_> = done.iter().collect();
    assert_eq!((done.len(), distinct.len()), (2 * each as usize, 2 * each as usize));
}

#[test]
fn workers_of_a_closed_queue_wait_for_leases_that_may_come_back() {
    let (mut submitter, mut worker) = work::channel::<u64>(2, 3).unwrap();
    let mut another = worker.try_clone().unwrap();
    submitter.submit(1).unwrap();
    let lease = worker.lease().unwrap();
    submitter.close();
    assert_eq!(submitter.try_submit(2), Err(SendError::Closed(2)));
    assert!(matches!(another.try_lease(), Err(RecvError::Empty)));
    let waiting = thread::spawn(move || {
        let lease = another.lease().unwrap();
        assert_eq!((*lease, lease.redeliveries()), (1, 1));
        lease.ack();
        assert!(matches!(another.lease(), Err(RecvError::Closed)));
    });
    lease.nack();
    waiting.join().unwrap();
    assert!(matches!(worker.lease(), Err(RecvError::Closed)));
}

#[test]
fn a_submitter_waits_for_a_free_record_and_a_worker_for_an_item() {
    let (mut submitter, mut worker) = work::channel::<u64>(1, 0).unwrap();
    assert!(matches!(worker.lease_timeout(SHORT), Err(RecvError::Timeout)));
    submitter.submit(0).unwrap();
    assert_eq!(submitter.submit_timeout(9, SHORT), Err(SendError::Timeout(9)));
    let thread = thread::spawn(move || {
        for expected in 0..300 {
            let lease = worker.lease().unwrap();
            assert_eq!(*lease, expected);
            lease.ack();
        }
        worker
    });
    (1..300).for_each(|number| submitter.submit(number).unwrap());
    let worker = thread.join().unwrap();
    submitter.submit(1).unwrap();
    drop(worker);
    assert_eq!(submitter.submit(2), Err(SendError::Disconnected(2)));
}

#[test]
fn a_wrong_attach_says_what_is_wrong() {
    let segment = Segment::anonymous(1 << 14).unwrap();
    let group = Group::anonymous().unwrap();
    let attach = |offset| work::attach_worker::<u64>(&segment, offset, &group).map(drop);
    assert_eq!(attach(0), Err(Error::NotAQueue(0)));
    work::create::<u64>(&segment, 0, 8, 1).unwrap();
    assert!(attach(0).is_ok());
    let other = work::attach_worker::<u32>(&segment, 0, &group).map(drop);
    assert!(matches!(other, Err(Error::ElementType { .. })));
    let other = ipc_queue::mpmc::attach_consumer::<u64>(&segment, 0, &group).map(drop);
    assert!(matches!(other, Err(Error::Kind { .. })));
    assert_eq!(work::required_size::<u64>(4097), Err(Error::Capacity(4097)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Submits, leases that end well or are given back, failed ones taken.
    #[test]
    fn a_work_queue_behaves_like_a_deque_with_a_set_of_returned_items(
        ops in prop::collection::vec(0..4u8, 1..200),
    ) {
        let (mut submitter, mut worker) = work::channel::<u64>(8, 1).unwrap();
        let (mut queued, mut returned, mut failed) = (VecDeque::new(), BTreeSet::new(), 0_usize);
        for (number, op) in (0..).zip(ops) {
            match op {
                0 => {
                    let full = queued.len() + returned.len() + failed == 8;
                    prop_assert_eq!(submitter.try_submit(number).is_err(), full);
                    if !full {
                        queued.push_back(number);
                    }
                }
                1 | 2 => match worker.try_lease() {
                    Err(end) => {
                        prop_assert_eq!(end, RecvError::Empty);
                        prop_assert!(queued.is_empty() && returned.is_empty());
                    }
                    Ok(lease) => {
                        let was_returned = returned.remove(&*lease);
                        prop_assert_eq!(lease.redeliveries() > 0, was_returned);
                        if !was_returned {
                            prop_assert!(returned.is_empty());
                            prop_assert_eq!(queued.pop_front(), Some(*lease));
                        }
                        if op == 1 {
                            lease.ack();
                        } else {
                            let value = *lease;
                            lease.nack();
                            if was_returned {
                                failed += 1;
                            } else {
                                returned.insert(value);
                            }
                        }
                    }
                },
                _ => {
                    let taken = submitter.take_failed();
                    prop_assert_eq!(taken.is_ok(), failed > 0);
                    failed = failed.saturating_sub(1);
                }
            }
            prop_assert_eq!(submitter.len(), queued.len() + returned.len());
        }
    }
}
