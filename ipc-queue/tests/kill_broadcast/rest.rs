//! Making, taking the producer's place, closing and leaving.

use crash_check::step::Scenario;
use ipc_queue::broadcast::{self, Mode, Start as Begin};
use ipc_queue::{Error, RecvError, Side};

use crate::ground::{Item, goes_on, item, producer, reader, start};
use crate::member::{PEER, SURVIVOR, Said, VICTIM, has_returned, member, returned, run, segment};

#[test]
fn kill_broadcast_create() {
    let create = Scenario::new("ipc_queue::broadcast::create")
        .state("zeroed memory")
        .operation(|r| {
            broadcast::create::<Item>(&segment(r).unwrap(), 0, 4).unwrap();
            returned(r);
        })
        .validate(|r| {
            let member = member(r, SURVIVOR);
            let (mode, begin) = (Mode::Block, Begin::Now);
            match broadcast::attach_reader_among::<Item, _>(&segment(r)?, 0, member, mode, begin) {
                Ok(mut reader) => match reader.try_recv() {
                    Err(RecvError::Empty) => Said::Ok(()),
                    other => Err(format!("{other:?}").into()),
                },
                Err(Error::NotAQueue(0)) if !has_returned(r) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
    run(create);
}

#[test]
fn kill_broadcast_attach_producer() {
    let from = start("left by another", 5, 2);
    let attaching = Scenario::new("ipc_queue::broadcast::attach_producer")
        .state(from.state)
        .init(move |r| from.build(r))
        .operation(|r| std::mem::forget(producer(r, VICTIM).unwrap()))
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| from.check(r, RecvError::Disconnected, <[u64]>::is_empty))
        .continuation(goes_on);
    run(attaching);
}

/// Sleeps until the ring ends.
fn learns_of_the_end(region: &crash_check::step::Region) -> Said {
    let mut reader = reader(region, PEER, Mode::Block, Begin::Now)?;
    reader.set_spin_limit(0);
    match reader.recv() {
        Err(RecvError::Closed | RecvError::Disconnected) => Ok(()),
        Ok(found) if found == item(1000) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

#[test]
fn kill_broadcast_close_and_leave() {
    let from = start("readers listen", 5, 2).with_listener(Side::Consumer);
    let closing = Scenario::new("ipc_queue::broadcast::Producer::close")
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| producer(r, VICTIM).unwrap(),
            |r, producer| {
                producer.close();
                returned(r);
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| {
            let is_closed = reader(r, SURVIVOR, Mode::Overwrite, Begin::Now)?.is_closed();
            if has_returned(r) && !is_closed {
                return Err("not closed".into());
            }
            let end = if is_closed { RecvError::Closed } else { RecvError::Disconnected };
            from.check(r, end, <[u64]>::is_empty)
        });
    run(closing);
    let leaving = Scenario::new("ipc_queue::broadcast::Producer::drop")
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(|r| Some(producer(r, VICTIM).unwrap()), |_, producer| drop(producer.take()))
        .peer(learns_of_the_end)
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| from.check(r, RecvError::Disconnected, <[u64]>::is_empty))
        .continuation(goes_on);
    run(leaving);
}
