//! Sleepers: killed asleep, and at every instruction between the wake and its use, beside another
//! sleeper, who must get what the dead one was woken for, or learn that it is gone.

use crash_check::step::{Region, Scenario};
use ipc_queue::{RecvError, SendError};

use crate::ground::{
    PEER, SURVIVOR, Said, Start, VICTIM, consumer, goes_on, item, member, number, producer, run,
    start,
};

const EMPTY: Start = start("asleep, empty", 2, 0);
const FULL: Start = start("asleep, full", 2, 4);

pub fn sends_one(region: &Region) -> Said {
    Ok(producer(region, SURVIVOR)?.send(item(2))?)
}

/// Sleeps for the same: gets the element, or is told that nobody is left.
pub fn receives_or_ends(region: &Region) -> Said {
    let mut consumer = consumer(region, PEER)?;
    consumer.set_spin_limit(0);
    match consumer.recv() {
        Ok(found) if number(found)? == 2 => Ok(()),
        Err(RecvError::Disconnected) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

#[test]
fn kill_mpmc_recv_asleep() {
    let asleep = Scenario::new("ipc_queue::mpmc::Consumer::recv")
        .state(EMPTY.state)
        .init(|r| {
            EMPTY.build(r)?;
            // The waker is there from the start: a queue that nobody sends to would end the sleep.
            std::mem::forget(producer(r, SURVIVOR)?);
            Said::Ok(())
        })
        .operation_with(
            |r| {
                let mut consumer = consumer(r, VICTIM).unwrap();
                consumer.set_spin_limit(0);
                consumer
            },
            |_, consumer| consumer.recv().map(drop).or_else(gone),
        )
        .waker(sends_one)
        .peer(receives_or_ends)
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(consumer(r, SURVIVOR)?.validate()?))
        .continuation(goes_on);
    run(asleep);
}

fn gone(end: RecvError) -> Result<(), RecvError> {
    if end == RecvError::Disconnected { Ok(()) } else { Err(end) }
}

#[test]
fn kill_mpmc_send_asleep() {
    let asleep = Scenario::new("ipc_queue::mpmc::Producer::send")
        .state(FULL.state)
        .init(|r| {
            FULL.build(r)?;
            std::mem::forget(consumer(r, SURVIVOR)?);
            Said::Ok(())
        })
        .operation_with(
            |r| {
                let mut producer = producer(r, VICTIM).unwrap();
                producer.set_spin_limit(0);
                producer
            },
            |_, producer| match producer.send(item(7)) {
                Ok(()) | Err(SendError::Disconnected(_)) => Ok(()),
                Err(error) => Err(error),
            },
        )
        .waker(|r| {
            let mut consumer = consumer(r, SURVIVOR)?;
            match number(consumer.recv()?)? == 2 {
                true => Said::Ok(()),
                false => Err("not the oldest".into()),
            }
        })
        .peer(|r| {
            let mut producer = producer(r, PEER)?;
            producer.set_spin_limit(0);
            match producer.send(item(8)) {
                Ok(()) | Err(SendError::Disconnected(_)) => Said::Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(consumer(r, SURVIVOR)?.validate()?))
        .continuation(goes_on);
    run(asleep);
}
