//! Histories of processes of which some were killed, under the condition that each kind documents.

use crash_check::linear::spec::ItemOp::Pop;
use crash_check::linear::spec::ItemRet::{Empty, Popped};
use crash_check::linear::spec::{Bag, Queue};
use crash_check::linear::{Checker, Condition};
use ipc_queue::broadcast::{self, Mode, Start};
use ipc_queue::{Monitor, RecvError, SendError, mpmc, spsc, work};

use crate::play::{Actor, Again, Kind, Play, act_as_child};

const CAPACITY: usize = 4;
/// Turns that a worker gives away with an item in hand.
const WORK: u32 = 20;
/// Deaths in one history.
const KILLS: u64 = 4;
const ROUNDS: u64 = 3;

/// What passes once the dead have successors is no result.
fn sent<T>(result: Result<(), SendError<T>>) -> Result<(), Again> {
    result.map_err(|error| match error {
        SendError::PeerDead(_) | SendError::Disconnected(_) => Again,
        SendError::Closed(_) => panic!("closed before its producers have left"),
        _ => panic!("a send that waits for ever says why it did not"),
    })
}

fn received<T>(result: Result<T, RecvError>) -> Result<Option<T>, Again> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(RecvError::Closed) => Ok(None),
        Err(RecvError::PeerDead | RecvError::Disconnected) => Err(Again),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn ring_child() {
    act_as_child(ring_role);
}

fn ring_role(lane: usize, actor: Actor<'_>) {
    let (segment, group) = (actor.segment, actor.group.clone());
    if lane == 0 {
        let mut producer = spsc::attach_producer_among::<u64>(segment, 0, group).unwrap();
        actor.produce(|value| sent(producer.send(value)));
        producer.detach();
    } else {
        let mut consumer = spsc::attach_consumer_among::<u64>(segment, 0, group).unwrap();
        actor.consume(|| received(consumer.recv()));
    }
}

#[test]
fn what_processes_see_of_a_ring_is_strictly_linearizable_though_some_are_killed() {
    let mut open = 0;
    for round in 0..ROUNDS {
        let play = Play::new(Kind {
            child: "killed::ring_child",
            create: |segment| spsc::create::<u64>(segment, 0, CAPACITY).unwrap(),
            lanes: &[0, 2],
        });
        open += play.run(round, KILLS, |play| Monitor::attach(&play.segment, 0).unwrap().close());
        // Nothing is lost either: the last receive of all found the ring drained.
        let checker = Checker::new(Queue::bounded(CAPACITY), Condition::Strict);
        checker.require(&play.log.history().unwrap()).unwrap();
    }
    assert!(open > 0, "nobody was killed in the middle of anything");
}

#[test]
fn queue_child() {
    act_as_child(queue_role);
}

fn queue_role(lane: usize, actor: Actor<'_>) {
    let (segment, group) = (actor.segment, actor.group);
    if lane < 2 {
        let mut producer = mpmc::attach_producer::<u64>(segment, 0, group).unwrap();
        actor.produce(|value| sent(producer.send(value)));
    } else {
        let mut consumer = mpmc::attach_consumer::<u64>(segment, 0, group).unwrap();
        actor.consume(|| received(consumer.recv()));
    }
}

#[test]
fn what_processes_see_of_a_queue_is_strictly_linearizable_though_some_are_killed() {
    let mut open = 0;
    for round in 0..ROUNDS {
        let play = Play::new(Kind {
            child: "killed::queue_child",
            create: |segment| mpmc::create::<u64>(segment, 0, CAPACITY).unwrap(),
            lanes: &[0, 1, 2, 3],
        });
        let mut rest = mpmc::attach_consumer::<u64>(&play.segment, 0, &play.group).unwrap();
        // So that consumers wait for the successors of those who left.
        let _producer = mpmc::attach_producer::<u64>(&play.segment, 0, &play.group).unwrap();
        open += play.run(round, KILLS, |_| rest.close());
        play.consume(|| received(rest.recv()));
        let checker = Checker::new(Queue::unbounded(), Condition::Strict);
        checker.require(&play.log.history().unwrap()).unwrap();
    }
    assert!(open > 0, "nobody was killed in the middle of anything");
}

#[test]
fn work_child() {
    act_as_child(work_role);
}

/// An item ends with its `ack`: whoever is killed before that has taken nothing.
fn work_on_all(mut worker: work::Worker<u64>, mut actor: Actor<'_>) {
    loop {
        match received(worker.lease()) {
            Ok(Some(lease)) => {
                let item = *lease;
                // Some work, so that workers are killed with an item in hand.
                (0..WORK).for_each(|_| std::thread::yield_now());
                actor.begin(Pop);
                lease.ack();
                actor.end(Popped(item));
            }
            // Nothing comes after the end: it is as true now as when it was told.
            Ok(None) => {
                actor.begin(Pop);
                return actor.end(Empty);
            }
            Err(Again) => std::thread::yield_now(),
        }
    }
}

fn work_role(lane: usize, actor: Actor<'_>) {
    let (segment, group) = (actor.segment, actor.group);
    if lane < 2 {
        let mut submitter = work::attach_submitter::<u64>(segment, 0, group).unwrap();
        actor.produce(|value| sent(submitter.submit(value)));
    } else {
        work_on_all(work::attach_worker::<u64>(segment, 0, group).unwrap(), actor);
    }
}

#[test]
fn items_of_a_work_queue_end_once_though_workers_are_killed() {
    for round in 0..ROUNDS {
        let play = Play::new(Kind {
            child: "killed::work_child",
            // More deliveries than there are deaths: none fails.
            create: |segment| work::create::<u64>(segment, 0, CAPACITY, 1 + KILLS as u8).unwrap(),
            lanes: &[0, 1, 2, 3],
        });
        let rest = work::attach_worker::<u64>(&play.segment, 0, &play.group).unwrap();
        let _submitter = work::attach_submitter::<u64>(&play.segment, 0, &play.group).unwrap();
        play.run(round, KILLS, |_| rest.close());
        work_on_all(rest, play.parent());
        // Not a FIFO queue: what is given back comes first.
        let checker = Checker::new(Bag::unbounded(), Condition::Strict);
        checker.require(&play.log.history().unwrap()).unwrap();
    }
}

#[test]
fn broadcast_child() {
    act_as_child(broadcast_role);
}

fn broadcast_role(_: usize, actor: Actor<'_>) {
    let mut producer = broadcast::attach_producer::<u64>(actor.segment, 0, actor.group).unwrap();
    actor.produce(|value| sent(producer.send(value)));
}

#[test]
fn what_a_reader_sees_of_a_broadcast_is_strictly_linearizable_though_producers_are_killed() {
    let mut open = 0;
    for round in 0..ROUNDS {
        let play = Play::new(Kind {
            child: "killed::broadcast_child",
            create: |segment| broadcast::create::<u64>(segment, 0, CAPACITY).unwrap(),
            lanes: &[0],
        });
        let (segment, group) = (&play.segment, &play.group);
        let mut reader =
            broadcast::attach_reader::<u64>(segment, 0, group, Mode::Block, Start::Now).unwrap();
        std::thread::scope(|threads| {
            threads.spawn(|| play.consume(|| received(reader.recv())));
            open += play.run(round, KILLS, |play| {
                let (segment, group) = (&play.segment, &play.group);
                broadcast::attach_producer::<u64>(segment, 0, group).unwrap().close();
            });
        });
        let checker = Checker::new(Queue::bounded(CAPACITY), Condition::Strict);
        checker.require(&play.log.history().unwrap()).unwrap();
    }
    assert!(open > 0, "nobody was killed in the middle of anything");
}
