//! Beside somebody who was stopped in the middle of an operation, lives, and goes on later: nothing of its
//! is revoked, and whoever dies beside it leaves the rest as it was.

use std::sync::atomic::Ordering::{Relaxed, Release};

use crash_check::step::{Region, Scenario};
use ipc_queue::{RecvError, SendError, Side, mpmc};
use shm_core::Peers;

use crate::ground::{
    CAPACITY, Consumer, Item, MAKER, Producer, SLOT, SLOTS, SURVIVOR, Said, VICTIM, consumer,
    drain, goes_on, has_returned, item, member, number, producer, returned, run, segment,
};
use crate::member::stopped;

/// Where the stopped one stands.
const AT: u64 = 5;

fn slot(position: u64) -> usize {
    SLOTS + (position % CAPACITY) as usize * SLOT
}

/// A slot's word, as `mpmc::word` lays it out.
fn store(region: &Region, state: u64, owner: u64, position: u64) {
    region.u64_at(slot(AT)).store(state << 62 | owner << 32 | position, Release);
}

/// `sent` items, of which those before `AT` were received; then one of `side` claims at `AT`, and stops.
fn build(region: &Region, sent: u64, side: Side) -> Said {
    let segment = segment(region)?;
    mpmc::create::<Item>(&segment, 0, CAPACITY as usize)?;
    let (mut producer, mut consumer) = (producer(region, MAKER)?, consumer(region, MAKER)?);
    for next in 0..sent {
        producer.try_send(item(next))?;
        if next < AT {
            consumer.try_recv()?;
        }
    }
    let peer = stopped(region);
    let owner = peer.me().map_or(0, |owner| u64::from(owner.to_bits()));
    match side {
        Side::Producer => {
            std::mem::forget(mpmc::attach_producer_among::<Item, _>(&segment, 0, peer)?);
            store(region, 2, owner, AT);
        }
        Side::Consumer => {
            std::mem::forget(mpmc::attach_consumer_among::<Item, _>(&segment, 0, peer)?);
            store(region, 3, owner, AT);
        }
    }
    Ok(())
}

/// The stopped producer fills its slot and hands it over.
fn producer_goes_on(region: &Region) {
    for (word, value) in item(AT).into_iter().enumerate() {
        // Relaxed: the store of the slot's word publishes it.
        region.u64_at(slot(AT) + 8 + 8 * word).store(value, Relaxed);
    }
    store(region, 1, 0, AT);
}

fn row<H: 'static>(
    operation: &str,
    (state, sent, side): (&'static str, u64, Side),
    handle: fn(&Region) -> Result<H, Box<dyn std::error::Error>>,
    act: fn(&mut H) -> Said,
    validate: fn(&Region) -> Said,
) {
    run(Scenario::new(operation)
        .state(state)
        .init(move |r| build(r, sent, side))
        .operation_with(
            move |r| handle(r).unwrap(),
            move |r, handle| {
                act(handle)?;
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(validate)
        .continuation(goes_on));
}

fn victim_producer(region: &Region) -> Result<Producer, Box<dyn std::error::Error>> {
    producer(region, VICTIM)
}

fn victim_consumer(region: &Region) -> Result<Consumer, Box<dyn std::error::Error>> {
    consumer(region, VICTIM)
}

/// What was `found`, once the stopped one went on: all of `expected`, or all but the last, which is the
/// victim's, if it may not have returned.
fn found_all(region: &Region, found: &[u64], expected: &[u64]) -> Said {
    let [others @ .., _] = expected else { return Err("nothing is expected".into()) };
    if found == expected || (found == others && !has_returned(region)) {
        return Ok(());
    }
    Err(format!("returned: {}, found: {found:?}", has_returned(region)).into())
}

/// The head is in the hands of one who lives: consumers wait for it, whatever lies behind.
fn waits_for_the_head(consumer: &mut Consumer) -> Said {
    match consumer.try_recv() {
        Err(RecvError::Empty) => Ok(()),
        other => Err(format!("{other:?} before the stopped producer went on").into()),
    }
}

#[test]
fn kill_mpmc_send_beside_a_stopped_producer() {
    row(
        "ipc_queue::mpmc::Producer::send",
        ("behind a stopped producer", AT, Side::Producer),
        victim_producer,
        |producer| Ok(producer.send(item(AT + 1))?),
        |region| {
            let mut consumer = consumer(region, SURVIVOR)?;
            waits_for_the_head(&mut consumer)?;
            producer_goes_on(region);
            found_all(region, &drain(&mut consumer)?.0, &[AT, AT + 1])
        },
    );
}

#[test]
fn kill_mpmc_try_recv_behind_a_stopped_producer() {
    row(
        "ipc_queue::mpmc::Consumer::try_recv",
        ("behind a stopped producer", AT, Side::Producer),
        victim_consumer,
        waits_for_the_head,
        |region| {
            let mut consumer = consumer(region, SURVIVOR)?;
            waits_for_the_head(&mut consumer)?;
            producer_goes_on(region);
            let (found, _) = drain(&mut consumer)?;
            if found == [AT] { Ok(()) } else { Err(format!("{found:?}").into()) }
        },
    );
}

#[test]
fn kill_mpmc_recv_beside_a_stopped_consumer() {
    row(
        "ipc_queue::mpmc::Consumer::recv",
        ("beside a stopped consumer", AT + 3, Side::Consumer),
        victim_consumer,
        |consumer| match number(consumer.recv()?)? == AT + 1 {
            true => Ok(()),
            false => Err("not the oldest".into()),
        },
        |region| {
            let (left, _) = drain(&mut consumer(region, SURVIVOR)?)?;
            let is_right = match left.as_slice() {
                [6, 7] => !has_returned(region),
                [7] => true,
                _ => false,
            };
            store(region, 0, 0, AT + CAPACITY);
            if is_right { Ok(()) } else { Err(format!("left: {left:?}").into()) }
        },
    );
}

#[test]
fn kill_mpmc_send_behind_a_stopped_consumer() {
    row(
        "ipc_queue::mpmc::Producer::send",
        ("one slot left, beside a stopped consumer", AT + 3, Side::Consumer),
        victim_producer,
        |producer| Ok(producer.send(item(AT + 3))?),
        |region| {
            let (found, _) = drain(&mut consumer(region, SURVIVOR)?)?;
            found_all(region, &found, &[AT + 1, AT + 2, AT + 3])?;
            // The slot in the stopped one's hands is nobody else's, a lap later either.
            let mut producer = producer(region, SURVIVOR)?;
            let more = (0..=CAPACITY).find_map(|_| producer.try_send(item(99)).err());
            if more != Some(SendError::Full(item(99))) {
                return Err(format!("{more:?} with a slot in the stopped consumer's hands").into());
            }
            store(region, 0, 0, AT + CAPACITY);
            Ok(())
        },
    );
}
