//! The producer is killed: what it had sent is there, whole, a batch as one; its place is free.

use std::time::Duration;

use crash_check::step::Scenario;
use ipc_queue::{RecvError, SendError, Side};

use crate::ground::{Item, Producer, Start, goes_on, item, maker_leaves, producer, reader, start};
use crate::member::{SURVIVOR, Said, VICTIM, has_returned, member, returned, run};
use ipc_queue::broadcast::{Mode, Start as Begin};

const LONG: Duration = Duration::from_secs(60);
const STARTS: [Start; 5] = [
    start("empty", 0, 0),
    start("one slot left", 0, 3),
    start("wrapping, readers listen", 7, 1).with_listener(Side::Consumer),
    start("behind a dead reader", 5, 2).with_ghost(),
    start("one slot left, behind a dead reader", 2, 3).with_ghost(),
];

type Send = fn(&mut Producer, u64) -> Said;

/// `sends`: how many items the operation sends, as one step.
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
        .validate(move |r| {
            from.check(r, RecvError::Disconnected, |own| {
                let count = own.len() as u64;
                count == sends || (count == 0 && !has_returned(r))
            })
        })
        .continuation(goes_on)
}

fn three(first: u64) -> [Item; 3] {
    [item(first), item(first + 1), item(first + 2)]
}

#[test]
fn kill_broadcast_send() {
    for from in STARTS {
        run(row("ipc_queue::broadcast::Producer::send", from, 1, |p, n| Ok(p.send(item(n))?)));
    }
}

#[test]
fn kill_broadcast_try_send() {
    let [_, left, .., dead] = STARTS;
    for from in [left, dead] {
        run(row("ipc_queue::broadcast::Producer::try_send", from, 1, |p, n| {
            Ok(p.try_send(item(n))?)
        }));
    }
    run(row("ipc_queue::broadcast::Producer::try_send", start("full", 3, 4), 0, |p, n| {
        match p.try_send(item(n)) {
            Err(SendError::Full(_)) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }));
    run(row("ipc_queue::broadcast::Producer::send_timeout", left, 1, |p, n| {
        Ok(p.send_timeout(item(n), LONG)?)
    }));
}

#[test]
fn kill_broadcast_send_slice() {
    let wrapping = start("wrapping", 6, 1);
    for from in [wrapping, start("behind a dead reader", 5, 0).with_ghost()] {
        run(row("ipc_queue::broadcast::Producer::send_slice", from, 3, |p, n| {
            Ok(p.send_slice(&three(n))?)
        }));
    }
    run(row("ipc_queue::broadcast::Producer::try_send_slice", wrapping, 3, |p, n| {
        p.try_send_slice(&three(n))?;
        Ok(())
    }));
    run(row("ipc_queue::broadcast::Producer::send_slice_timeout", wrapping, 3, |p, n| {
        Ok(p.send_slice_timeout(&three(n), LONG)?)
    }));
}

#[test]
fn kill_broadcast_reserve() {
    let wrapping = start("wrapping", 6, 1);
    for operation in [
        "ipc_queue::broadcast::Producer::reserve",
        "ipc_queue::broadcast::Reservation::push",
        "ipc_queue::broadcast::Reservation::commit",
    ] {
        run(row(operation, wrapping, 2, |p, n| {
            let mut batch = p.reserve(3)?;
            batch.push(item(n))?;
            batch.push(item(n + 1))?;
            batch.commit();
            Ok(())
        }));
    }
    let dropped: [(&str, Send); 2] = [
        ("ipc_queue::broadcast::Producer::try_reserve", |p, n| {
            Ok(p.try_reserve(2)?.push(item(n))?)
        }),
        ("ipc_queue::broadcast::Producer::reserve_timeout", |p, n| {
            Ok(p.reserve_timeout(2, LONG)?.push(item(n))?)
        }),
    ];
    for (operation, drop_it) in dropped {
        run(row(operation, wrapping, 0, drop_it));
    }
}

#[test]
fn kill_broadcast_send_asleep() {
    let full = start("asleep, full", 2, 4);
    let asleep = Scenario::new("ipc_queue::broadcast::Producer::send")
        .state(full.state)
        .init(move |r| full.build(r))
        .operation_with(
            |r| {
                let mut producer = producer(r, VICTIM).unwrap();
                producer.set_spin_limit(0);
                producer
            },
            |_, producer| producer.send(item(6)),
        )
        .waker(|r| {
            maker_leaves(r);
            // Whoever leaves rings.
            drop(reader(r, SURVIVOR, Mode::Overwrite, Begin::Now)?);
            Said::Ok(())
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(reader(r, SURVIVOR, Mode::Overwrite, Begin::Oldest)?.validate()?))
        .continuation(goes_on);
    run(asleep);
}
