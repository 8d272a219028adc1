//! A reader is killed: nobody is owed less, the producer does not wait for it, its row is another's.

use std::time::Duration;

use crash_check::step::Scenario;
use ipc_queue::broadcast::{Mode, Start as Begin};
use ipc_queue::{RecvError, Side};

use crate::ground::{Reader, Start, goes_on, item, number, producer, reader, start, victim};
use crate::member::{PEER, SURVIVOR, Said, VICTIM, member, run};

const LONG: Duration = Duration::from_secs(60);
const STARTS: [Start; 3] = [
    start("full, wrapping", 3, 4),
    start("one item", 1, 1),
    start("full, the producer listens", 2, 4).with_listener(Side::Producer),
];

type Recv = fn(&mut Reader) -> Said;

fn row(operation: &str, from: Start, mode: Mode, recv: Recv) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(move |r| victim(r, mode), move |_, reader| recv(reader))
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| from.check(r, RecvError::Disconnected, <[u64]>::is_empty))
        .continuation(goes_on)
}

fn last_of(found: impl Iterator<Item = Result<[u64; 4], RecvError>>) -> Said {
    let numbers: Result<Vec<u64>, String> = found.flatten().map(number).collect();
    if numbers?.is_empty() { Err("nothing was there".into()) } else { Ok(()) }
}

fn some(
    reader: &mut Reader,
    recv: fn(&mut Reader, &mut [[u64; 4]]) -> Result<usize, RecvError>,
) -> Said {
    let mut values = [[0; 4]; 3];
    let count = recv(reader, &mut values)?;
    last_of(values[..count].iter().map(|&value| Ok(value)))
}

#[test]
fn kill_broadcast_recv() {
    for from in STARTS {
        for mode in [Mode::Block, Mode::Overwrite] {
            run(row("ipc_queue::broadcast::Reader::recv", from, mode, |reader| {
                last_of([reader.recv()].into_iter())
            }));
        }
    }
}

#[test]
fn kill_broadcast_recv_in_other_ways() {
    let ways: [(&str, Recv); 7] = [
        ("ipc_queue::broadcast::Reader::try_recv", |r| last_of([r.try_recv()].into_iter())),
        ("ipc_queue::broadcast::Reader::recv_timeout", |r| {
            last_of([r.recv_timeout(LONG)].into_iter())
        }),
        ("ipc_queue::broadcast::Reader::recv_slice", |r| some(r, |r, v| r.recv_slice(v))),
        ("ipc_queue::broadcast::Reader::try_recv_slice", |r| some(r, |r, v| r.try_recv_slice(v))),
        ("ipc_queue::broadcast::Reader::recv_slice_timeout", |r| {
            some(r, |r, v| r.recv_slice_timeout(v, LONG))
        }),
        ("ipc_queue::broadcast::Reader::iter", |r| {
            r.set_spin_limit(0);
            last_of(r.iter())
        }),
        ("ipc_queue::broadcast::Reader::drain", |r| last_of(r.drain())),
    ];
    for (operation, way) in ways {
        run(row(operation, STARTS[2], Mode::Block, way));
    }
}

#[test]
fn kill_broadcast_recv_overwritten() {
    let from = STARTS[0];
    let lagging = Scenario::new("ipc_queue::broadcast::Reader::recv")
        .state("overwritten")
        .init(move |r| from.build(r))
        .operation_with(
            |r| {
                // Joined before two more items overwrote the first that it would receive.
                let joined = victim(r, Mode::Overwrite);
                crate::ground::maker_leaves(r);
                let mut producer = producer(r, SURVIVOR).unwrap();
                producer.send_slice(&[item(7), item(8)]).unwrap();
                joined
            },
            |_, reader| {
                assert_eq!(reader.recv(), Err(RecvError::Lagged(2)));
                assert_eq!(reader.recv(), Ok(item(5)));
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(reader(r, SURVIVOR, Mode::Overwrite, Begin::Oldest)?.validate()?))
        .continuation(goes_on);
    run(lagging);
}

#[test]
fn kill_broadcast_join_and_leave() {
    for (from, mode) in
        [(STARTS[0], Mode::Block), (STARTS[2], Mode::Block), (STARTS[1], Mode::Overwrite)]
    {
        let joining = Scenario::new("ipc_queue::broadcast::attach_reader")
            .state(from.state)
            .init(move |r| from.build(r))
            .operation(move |r| std::mem::forget(victim(r, mode)))
            .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
            .validate(move |r| from.check(r, RecvError::Disconnected, <[u64]>::is_empty))
            .continuation(goes_on);
        run(joining);
    }
    run(row("ipc_queue::broadcast::Reader::another", STARTS[0], Mode::Overwrite, |reader| {
        std::mem::forget(reader.another(Mode::Block, Begin::Oldest)?);
        Ok(())
    }));
    let from = STARTS[2];
    let leaving = Scenario::new("ipc_queue::broadcast::Reader::drop")
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(|r| Some(victim(r, Mode::Block)), |_, reader| drop(reader.take()))
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| from.check(r, RecvError::Disconnected, <[u64]>::is_empty))
        .continuation(goes_on);
    run(leaving);
}

/// Sleeps for the same: receives the element whatever becomes of the other.
fn receives(reader: &mut Reader) -> Said {
    reader.set_spin_limit(0);
    match reader.recv() {
        Ok(found) if number(found)? == 0 => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

#[test]
fn kill_broadcast_recv_asleep() {
    let asleep = Scenario::new("ipc_queue::broadcast::Reader::recv")
        .state("asleep, empty")
        .init(|r| {
            let segment = crate::member::segment(r)?;
            Said::Ok(ipc_queue::broadcast::create::<[u64; 4]>(&segment, 0, 4)?)
        })
        .operation_with(
            |r| reader(r, VICTIM, Mode::Block, Begin::Now).unwrap(),
            |_, reader| receives(reader),
        )
        .waker(|r| Said::Ok(producer(r, SURVIVOR)?.send(item(0))?))
        .peer(|r| receives(&mut reader(r, PEER, Mode::Overwrite, Begin::Oldest)?))
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(reader(r, SURVIVOR, Mode::Overwrite, Begin::Oldest)?.validate()?))
        .continuation(goes_on);
    run(asleep);
}
