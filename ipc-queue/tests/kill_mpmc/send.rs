//! A producer is killed: all items of others are received, its own whole, in order and once; then
//! the consumer is told that nobody is left.

use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::{RecvError, SendError, Side};

use crate::ground::{
    Ghost, Item, Producer, SURVIVOR, Said, Start, VICTIM, consumer, drain, goes_on, has_returned,
    item, member, producer, returned, run, start,
};

const LONG: Duration = Duration::from_secs(60);
const STARTS: [Start; 7] = [
    start("empty", 0, 0),
    start("one slot left", 0, 3),
    start("wrapping", 7, 1),
    start("consumer listens", 1, 0).with_listener(Side::Consumer),
    start("one slot left, consumer listens", 4, 3).with_listener(Side::Consumer),
    start("behind a dead claim", 5, 2).with_ghost(Ghost::Claim),
    start("the slot in a dead consumer's hands", 5, 3).with_ghost(Ghost::Taking),
];

type Send = fn(&mut Producer, u64) -> Said;

/// `sends`: how many items the operation sends, one after another.
fn row(operation: &str, from: Start, sends: u64, send: Send) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| producer(r, VICTIM).unwrap(),
            move |r, producer| {
                send(producer, from.next())?;
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| all_is_received(r, from, sends))
        .continuation(goes_on)
}

/// Beside another producer's item, if there is room for it.
fn all_is_received(region: &Region, from: Start, sends: u64) -> Said {
    let mut consumer = consumer(region, SURVIVOR)?;
    consumer.validate()?;
    let mut another = producer(region, SURVIVOR)?;
    let is_sent = match another.try_send(item(999)) {
        Ok(()) => true,
        Err(SendError::Full(_)) if from.kept + sends >= 4 => false,
        Err(error) => return Err(error.into()),
    };
    drop(another);
    let (found, end) = drain(&mut consumer)?;
    if end != RecvError::Disconnected {
        return Err(format!("ends with {end:?}").into());
    }
    let mut left = found.as_slice();
    for expected in from.items() {
        left = left.strip_prefix(&[expected]).ok_or(format!("{expected} is lost: {found:?}"))?;
    }
    if is_sent {
        left = left.strip_suffix(&[999]).ok_or(format!("the other's is lost: {found:?}"))?;
    }
    let own = from.next()..from.next() + sends;
    let is_prefix = left.len() <= sends as usize && left.iter().copied().eq(own.take(left.len()));
    if !is_prefix || (has_returned(region) && left.len() as u64 != sends) {
        return Err(format!("returned: {}, found: {found:?}", has_returned(region)).into());
    }
    Ok(())
}

fn three(first: u64) -> [Item; 3] {
    [item(first), item(first + 1), item(first + 2)]
}

#[test]
fn kill_mpmc_send() {
    for from in STARTS {
        run(row("ipc_queue::mpmc::Producer::send", from, 1, |p, n| Ok(p.send(item(n))?)));
    }
}

#[test]
fn kill_mpmc_try_send() {
    for from in [STARTS[1], STARTS[5]] {
        run(row("ipc_queue::mpmc::Producer::try_send", from, 1, |p, n| Ok(p.try_send(item(n))?)));
    }
    let full = start("full", 3, 4);
    run(row("ipc_queue::mpmc::Producer::try_send", full, 0, |p, n| {
        if p.try_send(item(n)) == Err(SendError::Disconnected(item(n))) {
            return Ok(());
        }
        Err("there was room".into())
    }));
    run(row("ipc_queue::mpmc::Producer::send_timeout", STARTS[2], 1, |p, n| {
        Ok(p.send_timeout(item(n), LONG)?)
    }));
}

#[test]
fn kill_mpmc_send_slice() {
    for from in [STARTS[0], start("wrapping", 6, 1), STARTS[3]] {
        run(row("ipc_queue::mpmc::Producer::send_slice", from, 3, |p, n| {
            Ok(p.send_slice(&three(n))?)
        }));
    }
    let wrapping = start("wrapping", 6, 1);
    run(row("ipc_queue::mpmc::Producer::try_send_slice", wrapping, 3, |p, n| {
        p.try_send_slice(&three(n))?;
        Ok(())
    }));
    run(row("ipc_queue::mpmc::Producer::send_slice_timeout", wrapping, 3, |p, n| {
        Ok(p.send_slice_timeout(&three(n), LONG)?)
    }));
}
