//! A consumer is killed: the producer is refused with `PeerDead`; the successor receives what the
//! dead one had not finished receiving, whole and in order, and nothing twice that it had.

use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::spsc::{self, Consumer};
use ipc_queue::{RecvError, SendError, Side};

use crate::ground::{
    Item, Said, Start, disconnect, goes_on, has_returned, item, monitor, next_consumer, number,
    returned, run, segment, start,
};

const LONG: Duration = Duration::from_secs(60);
const STARTS: [Start; 5] = [
    start("one", 0, 1),
    start("full", 0, 4),
    start("wrapping", 7, 2),
    start("producer listens", 2, 4).with_listener(Side::Producer),
    start("last one, producer listens", 3, 1).with_listener(Side::Producer),
];

type Receive = fn(&mut Consumer<Item>) -> Result<u64, RecvError>;

/// `whole`: what the operation receives, it receives at one instant.
fn row(operation: &str, from: Start, takes: u64, whole: bool, receive: Receive) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| spsc::attach_consumer::<Item>(&segment(r).unwrap(), 0).unwrap(),
            move |r, consumer| {
                let count = receive(consumer)?;
                if count != takes {
                    return Err(format!("received {count} of {takes}").into());
                }
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Consumer))
        .validate(producer_is_refused)
        .continuation(move |r| leaves_a_suffix(r, from, takes, whole))
}

fn producer_is_refused(region: &Region) -> Said {
    let mut producer = spsc::attach_producer::<Item>(&segment(region)?, 0)?;
    let refused = producer.try_send(item(999));
    producer.detach();
    match refused {
        Err(SendError::PeerDead(_)) => Ok(()),
        other => Err(format!("a send to the dead: {other:?}").into()),
    }
}

fn leaves_a_suffix(region: &Region, from: Start, takes: u64, whole: bool) -> Said {
    let segment = segment(region)?;
    let end = from.moved + from.kept;
    let mut consumer = next_consumer(&segment)?;
    let left: Vec<Item> = consumer.drain().collect();
    consumer.detach();
    let taken = from.kept.checked_sub(left.len() as u64).ok_or("more than was sent")?;
    for (found, expected) in left.into_iter().zip(from.moved + taken..end) {
        if number(found)? != expected {
            return Err(format!("{} for {expected}", found[0]).into());
        }
    }
    let is_possible = match has_returned(region) {
        true => taken == takes,
        false => taken == 0 || taken == takes || (!whole && taken < takes),
    };
    if !is_possible {
        return Err(format!("{taken} are gone, the operation takes {takes}").into());
    }
    goes_on(&segment)
}

fn one(_: Item) -> u64 {
    1
}

#[test]
fn kill_recv() {
    for from in STARTS {
        run(row("ipc_queue::spsc::Consumer::recv", from, 1, true, |c| c.recv().map(one)));
        run(row("ipc_queue::spsc::Consumer::try_recv", from, 1, true, |c| c.try_recv().map(one)));
    }
    run(row("ipc_queue::spsc::Consumer::recv_timeout", STARTS[2], 1, true, |c| {
        c.recv_timeout(LONG).map(one)
    }));
    run(row("ipc_queue::spsc::Consumer::try_recv", start("empty", 5, 0), 0, true, |c| {
        if c.try_recv() == Err(RecvError::Empty) { Ok(0) } else { Err(RecvError::Corrupted) }
    }));
}

#[test]
fn kill_recv_slice() {
    for from in [STARTS[1], start("wrapping", 6, 3)] {
        run(row("ipc_queue::spsc::Consumer::recv_slice", from, 3, true, |c| {
            c.recv_slice(&mut [[0; 4]; 3]).map(|count| count as u64)
        }));
    }
    let wrapping = start("wrapping, producer listens", 6, 3).with_listener(Side::Producer);
    run(row("ipc_queue::spsc::Consumer::try_recv_slice", wrapping, 3, true, |c| {
        c.try_recv_slice(&mut [[0; 4]; 3]).map(|count| count as u64)
    }));
    run(row("ipc_queue::spsc::Consumer::recv_slice_timeout", wrapping, 3, true, |c| {
        c.recv_slice_timeout(&mut [[0; 4]; 3], LONG).map(|count| count as u64)
    }));
}

#[test]
fn kill_drain_and_iter() {
    run(row("ipc_queue::spsc::Consumer::drain", start("wrapping", 6, 4), 4, false, |c| {
        Ok(c.drain().count() as u64)
    }));
    run(row("ipc_queue::spsc::Consumer::iter", start("wrapping", 6, 4), 3, false, |c| {
        Ok(c.iter().take(3).count() as u64)
    }));
}
