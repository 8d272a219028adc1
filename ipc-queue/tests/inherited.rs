//! Handles in a process that inherited them by `fork`: they say so, and do nothing.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ipc_queue::{Error, RecvError, SendError, mpmc, work};
use shm_core::futex::{Futex, Waited};
use shm_core::{Group, Owner, Peers, Segment, Ticket};

/// A group that can be told that it is in a forked child.
#[derive(Clone)]
struct Forking {
    group: Group,
    is_child: Arc<AtomicBool>,
}

impl Forking {
    fn new() -> Forking {
        Forking { group: Group::anonymous().unwrap(), is_child: Arc::default() }
    }
}

impl Peers for Forking {
    fn me(&self) -> Option<Owner> {
        if self.is_child.load(Relaxed) { None } else { self.group.me() }
    }

    fn is_gone(&self, owner: Owner) -> bool {
        self.group.is_gone(owner)
    }

    fn ticket(&self) -> Ticket {
        self.group.ticket()
    }

    fn park(&self, word: &Futex, expected: u32, ticket: Ticket, limit: Option<Duration>) -> Waited {
        self.group.park(word, expected, ticket, limit)
    }
}

#[test]
fn a_child_neither_sends_nor_receives_nor_leaves_in_its_parents_name() {
    let segment = Segment::anonymous(mpmc::required_size::<u64>(4).unwrap()).unwrap();
    mpmc::create::<u64>(&segment, 0, 4).unwrap();
    let peers = Forking::new();
    let producer = || mpmc::attach_producer_among::<u64, _>(&segment, 0, peers.clone());
    let consumer = || mpmc::attach_consumer_among::<u64, _>(&segment, 0, peers.clone());
    let (mut sending, mut receiving) = (producer().unwrap(), consumer().unwrap());
    sending.send(1).unwrap();
    peers.is_child.store(true, Relaxed);
    assert_eq!(sending.send(2), Err(SendError::Forked(2)));
    assert_eq!(sending.send_slice(&[2]), Err(SendError::Forked(0)));
    assert_eq!(receiving.recv(), Err(RecvError::Forked));
    assert_eq!(producer().err(), Some(Error::NotAMember));
    sending.close();
    drop((sending, receiving));
    peers.is_child.store(false, Relaxed);
    let mut parent = consumer().unwrap();
    assert!(!parent.is_closed());
    assert_eq!((parent.producers(), parent.recv()), (1, Ok(1)));
    assert_eq!(parent.try_recv(), Err(RecvError::Empty));
}

#[test]
fn a_child_does_not_end_its_parents_leases() {
    let segment = Segment::anonymous(work::required_size::<u64>(4).unwrap()).unwrap();
    work::create::<u64>(&segment, 0, 4, 1).unwrap();
    let peers = Forking::new();
    let mut submitter = work::attach_submitter_among::<u64, _>(&segment, 0, peers.clone()).unwrap();
    let mut worker = work::attach_worker_among::<u64, _>(&segment, 0, peers.clone()).unwrap();
    submitter.submit(1).unwrap();
    let lease = worker.lease().unwrap();
    peers.is_child.store(true, Relaxed);
    drop(lease);
    assert!(matches!(worker.try_lease(), Err(RecvError::Forked)));
    assert_eq!(submitter.submit(2), Err(SendError::Forked(2)));
    assert_eq!(submitter.join(), Err(RecvError::Forked));
    peers.is_child.store(false, Relaxed);
    assert_eq!(submitter.len(), 1, "still leased");
    assert!(matches!(worker.try_lease(), Err(RecvError::Empty)));
}
