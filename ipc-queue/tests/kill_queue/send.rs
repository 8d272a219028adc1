//! A producer is killed: the consumer receives what was there before, then what the dead one had
//! sent, whole and in order, then `PeerDead`; a successor goes on.

use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::spsc::{self, Producer};
use ipc_queue::{RecvError, SendError, Side};

use crate::ground::{
    Item, Said, Start, disconnect, goes_on, has_returned, item, monitor, number, returned, run,
    segment, start,
};

const LONG: Duration = Duration::from_secs(60);
const STARTS: [Start; 5] = [
    start("empty", 0, 0),
    start("one slot left", 0, 3),
    start("wrapping", 7, 1),
    start("consumer listens", 1, 0).with_listener(Side::Consumer),
    start("one slot left, consumer listens", 4, 3).with_listener(Side::Consumer),
];
const STARTS_OF_SLICES: [Start; 3] = [
    start("empty", 0, 0),
    start("wrapping", 6, 1),
    start("consumer listens", 3, 0).with_listener(Side::Consumer),
];

type Send = fn(&mut Producer<Item>, u64) -> Said;

fn three(first: u64) -> [Item; 3] {
    [item(first), item(first + 1), item(first + 2)]
}

/// `sends`: how many items the operation sends, all at one instant.
fn row(operation: &str, from: Start, sends: u64, send: Send) -> Scenario {
    let first = from.moved + from.kept;
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| spsc::attach_producer::<Item>(&segment(r).unwrap(), 0).unwrap(),
            move |r, producer| {
                send(producer, first)?;
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Producer))
        .validate(move |r| sees_a_prefix(r, from, sends))
        .continuation(|r| goes_on(&segment(r)?))
}

fn sees_a_prefix(region: &Region, from: Start, sends: u64) -> Said {
    let mut consumer = spsc::attach_consumer::<Item>(&segment(region)?, 0)?;
    let mut count = 0;
    let end = loop {
        match consumer.try_recv() {
            Ok(found) if number(found)? == from.moved + count => count += 1,
            Ok(found) => return Err(format!("{} for {}", found[0], from.moved + count).into()),
            Err(end) => break end,
        }
    };
    consumer.detach();
    let sent = count.checked_sub(from.kept).ok_or("an item sent before is lost")?;
    match (sent, has_returned(region)) {
        _ if end != RecvError::PeerDead => Err(format!("ends with {end:?}").into()),
        (sent, _) if sent == sends => Ok(()),
        (0, true) => Err("the send had returned, and is lost".into()),
        (0, false) => Ok(()),
        (sent, _) => Err(format!("{sent} of {sends} items of one batch").into()),
    }
}

#[test]
fn kill_send() {
    for from in STARTS {
        run(row("ipc_queue::spsc::Producer::send", from, 1, |p, n| Ok(p.send(item(n))?)));
        run(row("ipc_queue::spsc::Producer::try_send", from, 1, |p, n| Ok(p.try_send(item(n))?)));
    }
    run(row("ipc_queue::spsc::Producer::try_send", start("full", 2, 4), 0, |p, n| {
        if p.try_send(item(n)) == Err(SendError::Full(item(n))) {
            Ok(())
        } else {
            Err("room".into())
        }
    }));
    run(row("ipc_queue::spsc::Producer::send_timeout", STARTS[2], 1, |p, n| {
        Ok(p.send_timeout(item(n), LONG)?)
    }));
}

#[test]
fn kill_send_slice() {
    for from in STARTS_OF_SLICES {
        run(row("ipc_queue::spsc::Producer::send_slice", from, 3, |p, n| {
            Ok(p.send_slice(&three(n))?)
        }));
    }
    let wrapping = STARTS_OF_SLICES[1];
    run(row("ipc_queue::spsc::Producer::try_send_slice", wrapping, 3, |p, n| {
        p.try_send_slice(&three(n))?;
        Ok(())
    }));
    run(row("ipc_queue::spsc::Producer::send_slice_timeout", wrapping, 3, |p, n| {
        Ok(p.send_slice_timeout(&three(n), LONG)?)
    }));
}
