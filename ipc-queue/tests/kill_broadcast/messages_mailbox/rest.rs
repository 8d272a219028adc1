//! Making a mailbox, attaching to it, leaving it, closing it; and sleeping.

use crash_check::step::{Region, Scenario};
use ipc_queue::{Error, RecvError, SendError};

use super::ground::{
    CAPACITY, Consumer, EMPTY, FULL, LISTENED, Start, WRAPPING, consumer, create, drain, goes_on,
    kit, message, number, producer, run, try_consumer,
};
use crate::member::{MAKER, PEER, SURVIVOR, Said, VICTIM, has_returned, returned};

fn nothing_is_lost(consumer: &mut Consumer, from: Start) -> Result<RecvError, String> {
    let (found, end) = drain(consumer)?;
    match found.iter().copied().eq(from.numbers()) {
        true => Ok(end),
        false => Err(format!("not {:?}: {found:?}", from.numbers())),
    }
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
        .recovery_with(|r| kit(r, SURVIVOR), |_, kit| kit.tell_everybody())
        .validate(move |r| {
            let mut consumer = consumer(r, SURVIVOR)?;
            match nothing_is_lost(&mut consumer, from)? {
                RecvError::Disconnected => Said::Ok(consumer.validate()?),
                end => Err(format!("ends with {end:?}").into()),
            }
        })
        .continuation(goes_on)
}

#[test]
fn kill_mailbox_come_and_go() {
    run(row("ipc_queue::mailbox::attach_producer", WRAPPING, |r| {
        std::mem::forget(producer(r, VICTIM)?);
        Ok(())
    }));
    run(row("ipc_queue::mailbox::attach_consumer", WRAPPING, |r| {
        std::mem::forget(consumer(r, VICTIM)?);
        Ok(())
    }));
    run(cloning("ipc_queue::mailbox::Producer::try_clone", LISTENED, |r| {
        let producer = producer(r, VICTIM).unwrap();
        Box::new(move || Ok(producer.try_clone().map(drop)?))
    }));
    run(cloning("ipc_queue::mailbox::Consumer::try_clone", WRAPPING, |r| {
        let consumer = consumer(r, VICTIM).unwrap();
        Box::new(move || Ok(consumer.try_clone().map(drop)?))
    }));
}

/// Another comes, and leaves.
fn cloning(
    operation: &str,
    from: Start,
    prepare: fn(&Region) -> Box<dyn Fn() -> Said>,
) -> Scenario {
    row(operation, from, |_| Ok(())).operation_with(prepare, |r, come_and_go| {
        come_and_go()?;
        returned(r);
        Said::Ok(())
    })
}

fn closing<S: 'static>(operation: &str, prepare: fn(&Region) -> S, close: fn(&S)) -> Scenario {
    Scenario::new(operation)
        .state(LISTENED.state)
        .init(|r| {
            LISTENED.build(r)?;
            // Somebody on each side, so that only the close ends the mailbox.
            std::mem::forget((producer(r, MAKER)?, consumer(r, MAKER)?));
            Said::Ok(())
        })
        .operation_with(prepare, move |r, handle| {
            close(handle);
            returned(r);
        })
        .recovery_with(|r| kit(r, SURVIVOR), |_, kit| kit.tell_everybody())
        .validate(|r| {
            let mut consumer = consumer(r, SURVIVOR)?;
            match nothing_is_lost(&mut consumer, LISTENED)? {
                RecvError::Closed => Said::Ok(()),
                RecvError::Empty if !has_returned(r) => Ok(()),
                end => Err(format!("ends with {end:?}").into()),
            }
        })
}

#[test]
fn kill_mailbox_close() {
    let producing = |r: &Region| producer(r, VICTIM).unwrap();
    run(closing("ipc_queue::mailbox::Producer::close", producing, |handle| handle.close()));
    let consuming = |r: &Region| consumer(r, VICTIM).unwrap();
    run(closing("ipc_queue::mailbox::Consumer::close", consuming, |handle| handle.close()));
}

/// The end of a closed mailbox is marked by whoever finds it drained.
#[test]
fn kill_mailbox_recv_at_the_end() {
    let draining = Scenario::new("ipc_queue::mailbox::Consumer::recv")
        .state("closed")
        .init(|r| {
            WRAPPING.build(r)?;
            producer(r, MAKER)?.close();
            Said::Ok(())
        })
        .operation_with(
            |r| consumer(r, VICTIM).unwrap(),
            |_, consumer| match consumer.for_each(|_| {}) {
                RecvError::Closed => Ok(()),
                end => Err(end),
            },
        )
        .recovery_with(|r| kit(r, SURVIVOR), |_, kit| kit.tell_everybody())
        .validate(|r| {
            let sent = producer(r, SURVIVOR)?.try_send(&message(9));
            let mut consumer = consumer(r, SURVIVOR)?;
            let (left, end) = drain(&mut consumer)?;
            let is_suffix = WRAPPING.numbers().rev().zip(left.iter().rev()).all(|(a, &b)| a == b);
            match (sent.is_err(), is_suffix, end) {
                (true, true, RecvError::Closed) => Said::Ok(consumer.validate()?),
                other => Err(format!("{other:?}: {left:?}").into()),
            }
        });
    run(draining);
}

#[test]
fn kill_mailbox_create() {
    let creating = Scenario::new("ipc_queue::mailbox::create")
        .state("zeroed memory")
        .operation(|r| {
            create(r, VICTIM).unwrap();
            returned(r);
        })
        .validate(|r| match try_consumer(r, kit(r, SURVIVOR)) {
            Ok(consumer) => Said::Ok(consumer.validate()?),
            Err(Error::NotAQueue(_)) if !has_returned(r) => Ok(()),
            Err(error) => Err(error.into()),
        });
    run(creating);
}

fn receives_or_ends(region: &Region) -> Said {
    let mut consumer = consumer(region, PEER)?;
    consumer.set_spin_limit(0);
    match consumer.recv() {
        Ok(found) => Ok(number(&found).map(drop)?),
        Err(RecvError::Disconnected) => Ok(()),
        Err(end) => Err(end.into()),
    }
}

#[test]
fn kill_mailbox_recv_asleep() {
    let asleep = Scenario::new("ipc_queue::mailbox::Consumer::recv")
        .state("asleep, empty, beside another")
        .init(|r| {
            EMPTY.build(r)?;
            // The waker is there from the start: a mailbox that nobody sends to would end the sleep.
            std::mem::forget(producer(r, SURVIVOR)?);
            Said::Ok(())
        })
        .operation_with(
            |r| {
                let mut consumer = consumer(r, VICTIM).unwrap();
                consumer.set_spin_limit(0);
                consumer
            },
            |_, consumer| match consumer.recv().map(drop) {
                Err(RecvError::Disconnected) => Ok(()),
                other => other,
            },
        )
        .waker(|r| Said::Ok(producer(r, SURVIVOR)?.send(&message(0))?))
        .peer(receives_or_ends)
        .recovery_with(|r| kit(r, SURVIVOR), |_, kit| kit.tell_everybody())
        .validate(|r| Said::Ok(consumer(r, SURVIVOR)?.validate()?))
        .continuation(goes_on);
    run(asleep);
}

#[test]
fn kill_mailbox_send_asleep() {
    let asleep = Scenario::new("ipc_queue::mailbox::Producer::send")
        .state("asleep, full")
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
            |_, producer| match producer.send(&message(FULL.next())) {
                Err(SendError::Disconnected(())) => Ok(()),
                other => other,
            },
        )
        .waker(|r| {
            drop(consumer(r, SURVIVOR)?.recv()?);
            Said::Ok(())
        })
        .recovery_with(|r| kit(r, SURVIVOR), |_, kit| kit.tell_everybody())
        .validate(|r| {
            let mut consumer = consumer(r, SURVIVOR)?;
            consumer.validate()?;
            let (found, _) = drain(&mut consumer)?;
            let first = *found.first().ok_or("nothing is left")?;
            let is_row = found.iter().copied().eq(first..first + found.len() as u64);
            match is_row && found.len() as u64 <= CAPACITY && first <= FULL.moved + 1 {
                true => Said::Ok(()),
                false => Err(format!("{found:?}").into()),
            }
        })
        .continuation(goes_on);
    run(asleep);
}
