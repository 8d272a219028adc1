//! Making a queue, attaching to it, leaving it, closing it.

use crash_check::step::{Region, Scenario};
use ipc_queue::{Error, RecvError, Side, mpmc};

use crate::ground::{
    CAPACITY, Item, MAKER, SURVIVOR, Said, Start, VICTIM, consumer, drain, goes_on, has_returned,
    item, member, producer, returned, run, segment, start,
};

const FROM: Start = start("two sent", 3, 2);
const LISTENING: Start = start("consumer listens", 3, 2).with_listener(Side::Consumer);

/// What was sent before is all there; why there is no more.
fn nothing_is_lost(region: &Region, from: Start) -> Result<RecvError, Box<dyn std::error::Error>> {
    let mut consumer = consumer(region, SURVIVOR)?;
    consumer.validate()?;
    let (found, end) = drain(&mut consumer)?;
    if !found.iter().copied().eq(from.items()) {
        return Err(format!("not {:?}: {found:?}", from.items()).into());
    }
    Ok(end)
}

fn row(operation: &str, from: Start, work: fn(&Region) -> Said) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation(move |r| {
            work(r)?;
            returned(r);
            Said::Ok(())
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| match nothing_is_lost(r, from)? {
            RecvError::Disconnected => Said::Ok(()),
            end => Err(format!("ends with {end:?}").into()),
        })
        .continuation(goes_on)
}

#[test]
fn kill_mpmc_attach() {
    run(row("ipc_queue::mpmc::attach_producer", FROM, |r| {
        std::mem::forget(producer(r, VICTIM)?);
        Ok(())
    }));
    run(row("ipc_queue::mpmc::attach_consumer", FROM, |r| {
        std::mem::forget(consumer(r, VICTIM)?);
        Ok(())
    }));
}

#[test]
fn kill_mpmc_leave() {
    for from in [FROM, LISTENING] {
        // Two come, and both leave.
        run(row("ipc_queue::mpmc::Producer::try_clone", from, |r| {
            let producer = producer(r, VICTIM)?;
            drop(producer.try_clone()?);
            Ok(())
        }));
        run(row("ipc_queue::mpmc::Consumer::try_clone", from, |r| {
            let consumer = consumer(r, VICTIM)?;
            drop(consumer.try_clone()?);
            Ok(())
        }));
    }
}

fn closing<S: 'static>(
    operation: &str,
    from: Start,
    prepare: fn(&Region) -> S,
    close: fn(&S),
) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| {
            from.build(r)?;
            // Somebody on each side, so that only the close ends the queue.
            std::mem::forget((producer(r, MAKER)?, consumer(r, MAKER)?));
            Said::Ok(())
        })
        .operation_with(prepare, move |r, handle| {
            close(handle);
            returned(r);
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| match nothing_is_lost(r, from)? {
            RecvError::Closed => Said::Ok(()),
            RecvError::Empty if !has_returned(r) => Ok(()),
            end => Err(format!("ends with {end:?}").into()),
        })
        .continuation(|r| match producer(r, SURVIVOR)?.is_closed() {
            true => Said::Ok(()),
            false => goes_on(r),
        })
}

#[test]
fn kill_mpmc_close() {
    for from in [FROM, LISTENING] {
        run(closing(
            "ipc_queue::mpmc::Producer::close",
            from,
            |r| producer(r, VICTIM).unwrap(),
            |producer| producer.close(),
        ));
        run(closing(
            "ipc_queue::mpmc::Consumer::close",
            from,
            |r| consumer(r, VICTIM).unwrap(),
            |consumer| consumer.close(),
        ));
    }
}

/// The end of a closed queue is marked by whoever finds it drained.
#[test]
fn kill_mpmc_recv_at_the_end_of_a_closed_queue() {
    let draining = Scenario::new("ipc_queue::mpmc::Consumer::recv")
        .state("closed")
        .init(|r| {
            FROM.build(r)?;
            producer(r, VICTIM)?.close();
            Said::Ok(())
        })
        .operation_with(
            |r| consumer(r, VICTIM).unwrap(),
            |_, consumer| match consumer.iter().count() as u64 == FROM.kept {
                true => Ok(()),
                false => Err("something is missing"),
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| {
            let sent = producer(r, SURVIVOR)?.try_send(item(9));
            let (left, end) = drain(&mut consumer(r, SURVIVOR)?)?;
            let is_suffix = FROM.items().rev().zip(left.iter().rev()).all(|(a, &b)| a == b);
            match (sent.is_err(), is_suffix && left.len() < 3, end) {
                (true, true, RecvError::Closed) => Said::Ok(()),
                other => Err(format!("{other:?}: {left:?}").into()),
            }
        });
    run(draining);
}

#[test]
fn kill_mpmc_create() {
    let create = Scenario::new("ipc_queue::mpmc::create")
        .state("zeroed memory")
        .operation(|r| {
            mpmc::create::<Item>(&segment(r).unwrap(), 0, CAPACITY as usize).unwrap();
            returned(r);
        })
        .validate(|r| {
            let segment = segment(r)?;
            let member = member(r, SURVIVOR);
            match mpmc::attach_consumer_among::<Item, _>(&segment, 0, member) {
                Ok(consumer) => Said::Ok(consumer.validate()?),
                Err(Error::NotAQueue(0)) if !has_returned(r) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
    run(create);
}
