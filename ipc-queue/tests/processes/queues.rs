//! Real producers and consumers, killed again and again without a supervisor: nothing that was sent
//! is lost or doubled, but for the one element that a killed consumer had in hand.

use std::process::Child;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire};

use ipc_queue::{Error, RecvError, SendError, mpmc, spsc};
use shm_core::{Group, Segment};

use crate::{LONG, child};

/// Who sent it, which one it is, and a check.
type Item = [u64; 3];

const CAPACITY: usize = 8;
const PRODUCERS: usize = 16;
const EACH: usize = 100_000;

/// Behind the queue: what each producer has sent, and how often each element was received.
const TABLE: usize = 1 << 16;
const SEEN: usize = TABLE + 8 * PRODUCERS;
const SIZE: usize = SEEN + PRODUCERS * EACH;

struct Table(Segment);

impl Table {
    fn sent(&self, who: usize) -> &AtomicU64 {
        // SAFETY: within the segment, aligned, and used as this atomic only.
        unsafe { &*self.0.data().as_ptr().wrapping_add(TABLE + 8 * who).cast() }
    }

    fn seen(&self, who: usize, number: usize) -> &AtomicU8 {
        // SAFETY: as above.
        unsafe { &*self.0.data().as_ptr().wrapping_add(SEEN + who * EACH + number).cast() }
    }

    fn receive(&self, [who, number, check]: Item) {
        assert_eq!(check, who ^ number.rotate_left(7), "torn");
        assert_eq!(self.seen(who as usize, number as usize).fetch_add(1, AcqRel), 0, "twice");
    }
}

fn run_child(role: &str, segment: &Segment, group: &Group) -> Child {
    child::run_in("queues::child_process", role, segment, group)
}

/// What the other processes do; as a test of its own it does nothing.
#[test]
fn child_process() {
    let Some((role, segment, group)) = child::role_in() else { return };
    match role.as_str() {
        "ring producer" => return ring_producer(&segment, &group),
        "ring consumer" => return ring_consumer(&segment, &group),
        _ => {}
    }
    let table = Table(segment.clone());
    if role == "consumer" {
        let mut consumer = mpmc::attach_consumer::<Item>(&segment, 0, &group).unwrap();
        consumer.iter().for_each(|item| table.receive(item));
        return;
    }
    let who: usize = role.parse().unwrap();
    let mut producer = mpmc::attach_producer::<Item>(&segment, 0, &group).unwrap();
    for number in 0..EACH as u64 {
        let who = who as u64;
        if producer.send([who, number, who ^ number.rotate_left(7)]).is_err() {
            return;
        }
        table.sent(who as usize).store(number + 1, std::sync::atomic::Ordering::Release);
    }
}

/// Goes on where the ring stands, whoever held it before.
fn ring_producer(segment: &Segment, group: &Group) {
    let mut producer = spsc::attach_producer_among::<u64>(segment, 0, group.clone()).unwrap();
    while producer.send(producer.sent()).is_ok() {}
}

fn ring_consumer(segment: &Segment, group: &Group) {
    let mut consumer = spsc::attach_consumer_among::<u64>(segment, 0, group.clone()).unwrap();
    while consumer.recv().is_ok() {}
}

fn ring() -> (Segment, Group) {
    let segment = Segment::anonymous(spsc::required_size::<u64>(CAPACITY).unwrap()).unwrap();
    spsc::create::<u64>(&segment, 0, CAPACITY).unwrap();
    (segment, Group::anonymous().unwrap())
}

#[test]
fn a_ring_in_a_group_learns_of_killed_producers_and_goes_on_with_the_next() {
    let (segment, group) = ring();
    let mut consumer = spsc::attach_consumer_among::<u64>(&segment, 0, group.clone()).unwrap();
    let mut expected = 0;
    for round in 0..8 {
        // Asleep in every other round.
        consumer.set_spin_limit(if round % 2 == 0 { 0 } else { 1024 });
        let mut child = run_child("ring producer", &segment, &group);
        let enough = expected + 1 + 311 * round;
        while expected < enough {
            match consumer.recv_timeout(LONG) {
                Ok(number) => assert_eq!(number, expected),
                // The one before, whose role is not taken over yet.
                Err(RecvError::PeerDead) if round > 0 => continue,
                Err(error) => panic!("{error:?}"),
            }
            expected += 1;
        }
        if round == 0 {
            let again = spsc::attach_producer_among::<u64>(&segment, 0, group.clone());
            assert!(matches!(again, Err(Error::RoleTaken { pid, .. }) if pid == child.id()));
        }
        child.kill().unwrap();
        let end = loop {
            match consumer.recv_timeout(LONG) {
                Ok(number) => assert_eq!(number, expected, "unbroken, whoever sends"),
                Err(end) => break end,
            }
            expected += 1;
        };
        // Nobody told it.
        assert_eq!(end, RecvError::PeerDead);
        child.wait().unwrap();
    }
}

#[test]
fn a_ring_in_a_group_learns_of_killed_consumers() {
    let (segment, group) = ring();
    let mut producer = spsc::attach_producer_among::<u64>(&segment, 0, group.clone()).unwrap();
    for round in 0..4 {
        producer.set_spin_limit(if round % 2 == 0 { 0 } else { 1024 });
        let mut child = run_child("ring consumer", &segment, &group);
        while producer.sent() < 1000 * (round + 1) {
            match producer.send_timeout(0, LONG) {
                // The one before, whose role is not taken over yet.
                Ok(()) | Err(SendError::PeerDead(0)) => {}
                other => panic!("{other:?}"),
            }
        }
        child.kill().unwrap();
        let end = loop {
            if let Err(end) = producer.send_timeout(0, LONG) {
                break end;
            }
        };
        assert_eq!(end, SendError::PeerDead(0));
        child.wait().unwrap();
    }
    let mut last = spsc::attach_consumer_among::<u64>(&segment, 0, group).unwrap();
    assert_eq!(last.drain().count(), CAPACITY, "what no consumer had received is there");
}

fn queue() -> (Segment, Group, Table) {
    let segment = Segment::anonymous(SIZE).unwrap();
    assert!(mpmc::required_size::<Item>(CAPACITY).unwrap() <= TABLE);
    mpmc::create::<Item>(&segment, 0, CAPACITY).unwrap();
    (segment.clone(), Group::anonymous().unwrap(), Table(segment))
}

/// Nothing lost, but for one element of each killed consumer; nothing from nowhere.
fn check(table: &Table, killed_consumers: usize) {
    let mut lost = 0;
    for who in 0..PRODUCERS {
        let sent = table.sent(who).load(Acquire) as usize;
        let count = |number| usize::from(table.seen(who, number).load(Acquire));
        lost += (0..sent).filter(|&number| count(number) == 0).count();
        // One more may have been handed over by a producer that was killed before it said so.
        assert!((sent + 1..EACH).all(|number| count(number) == 0), "never sent, but received");
    }
    assert!(lost <= killed_consumers, "{lost} are lost, {killed_consumers} consumers were killed");
}

#[test]
fn killed_producers_lose_nothing_of_anybody() {
    let (segment, group, table) = queue();
    let mut consumer = mpmc::attach_consumer::<Item>(&segment, 0, &group).unwrap();
    // The last one lives on beside the deaths of the others.
    let mut rest = run_child(&(PRODUCERS - 1).to_string(), &segment, &group);
    for who in 0..PRODUCERS - 1 {
        let mut child = run_child(&who.to_string(), &segment, &group);
        let enough = 1 + 37 * who as u64;
        while table.sent(who).load(Acquire) < enough {
            match consumer.recv_timeout(LONG) {
                Ok(item) => table.receive(item),
                // Between the end of the long-lived one and the next child's attach.
                Err(error) => assert_eq!(error, RecvError::Disconnected),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    loop {
        match consumer.recv_timeout(LONG) {
            Ok(item) => table.receive(item),
            Err(error) => break assert_eq!(error, RecvError::Disconnected),
        }
    }
    assert!(rest.wait().unwrap().success());
    assert_eq!(table.sent(PRODUCERS - 1).load(Acquire), EACH as u64);
    consumer.validate().unwrap();
    check(&table, 0);
}

#[test]
fn killed_consumers_take_one_element_each_at_most() {
    let (segment, group, table) = queue();
    let mut consumer = mpmc::attach_consumer::<Item>(&segment, 0, &group).unwrap();
    let mut producers = [0, 1].map(|who: usize| run_child(&who.to_string(), &segment, &group));
    let progress = || table.sent(0).load(Acquire) + table.sent(1).load(Acquire);
    let killed = 12;
    for round in 0..killed {
        let mut child = run_child("consumer", &segment, &group);
        // Until it is attached and has had time for some.
        while consumer_count(&segment, &group) < 2 && progress() < 2 * EACH as u64 {
            std::thread::yield_now();
        }
        let enough = progress() + 1 + 29 * round as u64;
        while progress() < enough.min(2 * EACH as u64) {
            if let Ok(item) = consumer.try_recv() {
                table.receive(item);
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    loop {
        match consumer.recv_timeout(LONG) {
            Ok(item) => table.receive(item),
            Err(error) => break assert_eq!(error, RecvError::Disconnected),
        }
    }
    for producer in &mut producers {
        assert!(producer.wait().unwrap().success());
    }
    check(&table, killed);
}

fn consumer_count(segment: &Segment, group: &Group) -> usize {
    mpmc::attach_producer::<Item>(segment, 0, group).unwrap().consumers()
}

#[test]
fn a_sleeping_consumer_learns_without_a_supervisor_that_the_last_producer_was_killed() {
    let (segment, group, table) = queue();
    let mut consumer = mpmc::attach_consumer::<Item>(&segment, 0, &group).unwrap();
    consumer.set_spin_limit(0);
    let mut child = run_child("0", &segment, &group);
    table.receive(consumer.recv_timeout(LONG).unwrap());
    let killer = std::thread::spawn(move || {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    consumer.iter().for_each(|item| table.receive(item));
    assert_eq!(consumer.recv_timeout(LONG), Err(RecvError::Disconnected));
    killer.join().unwrap();
    check(&table, 0);
}

#[test]
fn a_producer_that_sleeps_before_a_full_queue_learns_that_the_last_consumer_was_killed() {
    let (segment, group, _) = queue();
    let mut producer = mpmc::attach_producer::<Item>(&segment, 0, &group).unwrap();
    producer.set_spin_limit(0);
    let mut child = run_child("consumer", &segment, &group);
    while producer.consumers() == 0 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = (0..).find_map(|number: u64| producer.send([0, number, 0]).err()).unwrap();
    assert!(matches!(refused, ipc_queue::SendError::Disconnected(_)), "{refused:?}");
}
