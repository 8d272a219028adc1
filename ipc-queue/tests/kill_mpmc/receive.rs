//! A consumer is killed: what it had not taken is received by another, in order and once; the slot
//! that it had in hand is used again.

use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::{RecvError, Side};

use crate::ground::{
    Consumer, Ghost, Item, SURVIVOR, Said, Start, VICTIM, consumer, drain, goes_on, has_returned,
    member, returned, run, start,
};

const LONG: Duration = Duration::from_secs(60);
const STARTS: [Start; 7] = [
    start("one", 0, 1),
    start("full", 0, 4),
    start("wrapping", 7, 2),
    start("producer listens", 2, 4).with_listener(Side::Producer),
    start("last one, producer listens", 3, 1).with_listener(Side::Producer),
    start("behind a dead claim", 5, 2).with_ghost(Ghost::Claim),
    start("full behind a dead claim", 5, 4).with_ghost(Ghost::Claim),
];

type Receive = fn(&mut Consumer) -> Result<u64, RecvError>;

fn row(operation: &str, from: Start, takes: u64, receive: Receive) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| consumer(r, VICTIM).unwrap(),
            move |r, consumer| {
                let count = receive(consumer)?;
                if count != takes {
                    return Err(format!("received {count} of {takes}").into());
                }
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| a_suffix_is_left(r, from, takes))
        .continuation(goes_on)
}

fn a_suffix_is_left(region: &Region, from: Start, takes: u64) -> Said {
    let mut consumer = consumer(region, SURVIVOR)?;
    consumer.validate()?;
    let (left, end) = drain(&mut consumer)?;
    if end != RecvError::Disconnected {
        return Err(format!("ends with {end:?}").into());
    }
    let there = from.items().count();
    let taken = there.checked_sub(left.len()).ok_or("more than was sent")? as u64;
    if !left.iter().copied().eq(from.items().skip(taken as usize)) {
        return Err(format!("left of {:?}: {left:?}", from.items()).into());
    }
    if taken > takes || (has_returned(region) && taken != takes) {
        return Err(format!("{taken} are gone, the operation takes {takes}").into());
    }
    Ok(())
}

fn one(_: Item) -> u64 {
    1
}

#[test]
fn kill_mpmc_recv() {
    for from in STARTS {
        run(row("ipc_queue::mpmc::Consumer::recv", from, 1, |c| c.recv().map(one)));
    }
    run(row("ipc_queue::mpmc::Consumer::recv_timeout", STARTS[2], 1, |c| {
        c.recv_timeout(LONG).map(one)
    }));
}

#[test]
fn kill_mpmc_try_recv() {
    for from in [STARTS[3], STARTS[6]] {
        run(row("ipc_queue::mpmc::Consumer::try_recv", from, 1, |c| c.try_recv().map(one)));
    }
    run(row("ipc_queue::mpmc::Consumer::try_recv", start("empty", 5, 0), 0, |c| {
        if c.try_recv() == Err(RecvError::Disconnected) { Ok(0) } else { Err(RecvError::Corrupted) }
    }));
}

#[test]
fn kill_mpmc_recv_slice() {
    for from in [STARTS[1], start("wrapping", 6, 3)] {
        run(row("ipc_queue::mpmc::Consumer::recv_slice", from, 3, |c| {
            c.recv_slice(&mut [[0; 4]; 3]).map(|count| count as u64)
        }));
    }
    let wrapping = start("wrapping, producer listens", 6, 3).with_listener(Side::Producer);
    run(row("ipc_queue::mpmc::Consumer::try_recv_slice", wrapping, 3, |c| {
        c.try_recv_slice(&mut [[0; 4]; 3]).map(|count| count as u64)
    }));
    run(row("ipc_queue::mpmc::Consumer::recv_slice_timeout", wrapping, 3, |c| {
        c.recv_slice_timeout(&mut [[0; 4]; 3], LONG).map(|count| count as u64)
    }));
}

#[test]
fn kill_mpmc_drain_and_iter() {
    run(row("ipc_queue::mpmc::Consumer::drain", start("wrapping", 6, 4), 4, |c| {
        Ok(c.drain().count() as u64)
    }));
    run(row("ipc_queue::mpmc::Consumer::iter", start("wrapping", 6, 4), 3, |c| {
        Ok(c.iter().take(3).count() as u64)
    }));
}
