//! A producer is killed: its message is received whole or was never sent, all others' are there.

use crash_check::step::{Region, Scenario};
use ipc_queue::SendError;

use super::ground::{
    CAPACITY, DEAD_CLAIM, DEAD_MESSAGE, DEAD_RECEIVED, EMPTY, FULL, LISTENED, LONG, ONE_LEFT,
    Producer, STOPPED_CLAIM, STOPPED_MESSAGE, Start, WRAPPING, consumer, drain, goes_on, kit,
    message, producer, run,
};
use crate::member::{SURVIVOR, Said, VICTIM, has_returned, returned};

type Send = fn(&mut Producer, &[u8]) -> Said;

/// Who clears up first: whoever comes across a slot, or the recovery of the memory.
#[derive(Clone, Copy, PartialEq)]
enum First {
    Slots,
    Memory,
}

/// `sends`: how many messages the operation sends.
fn row(operation: &str, from: Start, sends: u64, first: First, send: Send) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| producer(r, VICTIM).unwrap(),
            move |r, producer| {
                send(producer, &message(from.next()))?;
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(
            |r| kit(r, SURVIVOR),
            move |r, kit| {
                kit.tell_everybody();
                if first == First::Memory {
                    consumer(r, SURVIVOR)?.validate()?;
                }
                Said::Ok(())
            },
        )
        .validate(move |r| check(r, from, sends))
        .continuation(goes_on)
}

fn check(region: &Region, from: Start, sends: u64) -> Said {
    let mut consumer = consumer(region, SURVIVOR)?;
    let (found, end) = drain(&mut consumer)?;
    if end != from.end() {
        return Err(format!("ends with {end:?}").into());
    }
    let found = from.the_peer_ends(region, found, &mut consumer)?;
    consumer.validate()?;
    let first = if from.is_behind_a_stopped_claim() { from.moved } else { from.numbers().start };
    let sent = found.len() as u64 - (from.next() - first).min(found.len() as u64);
    let is_all = found.iter().copied().eq(first..from.next() + sent);
    match is_all && (sent == sends || (sent == 0 && !has_returned(region))) {
        true => Ok(()),
        false => Err(format!("{found:?} from {first}, returned: {}", has_returned(region)).into()),
    }
}

const SEND: &str = "ipc_queue::mailbox::Producer::send";

#[test]
fn kill_mailbox_send() {
    for from in [EMPTY, ONE_LEFT, WRAPPING, DEAD_RECEIVED] {
        run(row(SEND, from, 1, First::Slots, |p, m| Ok(p.send(m)?)));
    }
    for from in [EMPTY, WRAPPING] {
        run(row(SEND, from, 1, First::Memory, |p, m| Ok(p.send(m)?)));
    }
}

#[test]
fn kill_mailbox_send_beside_others() {
    for from in [DEAD_CLAIM, DEAD_MESSAGE, STOPPED_CLAIM, STOPPED_MESSAGE, LISTENED] {
        run(row(SEND, from, 1, First::Slots, |p, m| Ok(p.send(m)?)));
    }
}

/// Over the whole lap: also the slot whose cell holds what a dead producer never sent.
#[test]
fn kill_mailbox_send_a_lap() {
    let lap: Send = |p, m| {
        let first = u64::from_ne_bytes(m[..8].try_into()?);
        (first..first + CAPACITY - 2).try_for_each(|next| p.send(&message(next)))?;
        Ok(())
    };
    let from = DEAD_CLAIM;
    let scenario = Scenario::new(SEND)
        .state("a cell of the dead, never sent")
        .init(move |r| {
            from.build(r)?;
            // Passes over the claim, and receives what is behind it.
            drain(&mut consumer(r, SURVIVOR)?)?;
            Said::Ok(())
        })
        .operation_with(
            |r| producer(r, VICTIM).unwrap(),
            move |r, producer| {
                lap(producer, &message(from.next()))?;
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(|r| kit(r, SURVIVOR), |_, kit| kit.tell_everybody())
        .validate(move |r| {
            let mut consumer = consumer(r, SURVIVOR)?;
            let (found, _) = drain(&mut consumer)?;
            consumer.validate()?;
            let first = from.next();
            let all = first..first + found.len() as u64;
            match found.iter().copied().eq(all) && (!has_returned(r) || found.len() == 2) {
                true => Said::Ok(()),
                false => Err(format!("{found:?}").into()),
            }
        })
        .continuation(goes_on);
    run(scenario);
}

#[test]
fn kill_mailbox_other_sends() {
    run(row("ipc_queue::mailbox::Producer::try_send", ONE_LEFT, 1, First::Slots, |p, m| {
        Ok(p.try_send(m)?)
    }));
    run(row("ipc_queue::mailbox::Producer::send_timeout", WRAPPING, 1, First::Slots, |p, m| {
        Ok(p.send_timeout(m, LONG)?)
    }));
    run(row("ipc_queue::mailbox::Producer::try_send", FULL, 0, First::Slots, |p, m| {
        match p.try_send(m) {
            Err(SendError::Disconnected(())) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }));
}

#[test]
fn kill_mailbox_reserve_and_commit() {
    let ways: [(&str, Start, u64, Send); 6] = [
        ("ipc_queue::mailbox::Producer::reserve", WRAPPING, 1, |p, m| {
            let mut room = p.reserve(m.len())?;
            room.copy_from_slice(m);
            Ok(room.commit()?)
        }),
        ("ipc_queue::mailbox::Reservation::commit", EMPTY, 1, |p, m| {
            let mut room = p.reserve(m.len())?;
            room.copy_from_slice(m);
            Ok(room.commit()?)
        }),
        ("ipc_queue::mailbox::Reservation::commit_first", ONE_LEFT, 1, |p, m| {
            let mut room = p.reserve(m.len() + 20)?;
            room[..m.len()].copy_from_slice(m);
            Ok(room.commit_first(m.len())?)
        }),
        ("ipc_queue::mailbox::Reservation::commit_timeout", WRAPPING, 1, |p, m| {
            let mut room = p.reserve(m.len())?;
            room.copy_from_slice(m);
            room.commit_timeout(LONG).map_err(|_| "refused")?;
            Ok(())
        }),
        ("ipc_queue::mailbox::Producer::try_reserve", WRAPPING, 0, |p, m| {
            p.try_reserve(m.len())?.copy_from_slice(m);
            Ok(())
        }),
        ("ipc_queue::mailbox::Producer::reserve_timeout", WRAPPING, 0, |p, m| {
            p.reserve_timeout(m.len(), LONG)?.copy_from_slice(m);
            Ok(())
        }),
    ];
    for (operation, from, sends, way) in ways {
        run(row(operation, from, sends, First::Slots, way));
    }
    // Refused, and given back.
    let refused: Send = |p, m| match p.reserve(m.len())?.try_commit() {
        Err(SendError::Disconnected(room)) if room.len() == m.len() => Ok(()),
        _ => Err("sent into a full mailbox".into()),
    };
    run(row("ipc_queue::mailbox::Reservation::try_commit", FULL, 0, First::Slots, refused));
    let dropped: Send = |p, m| Ok(p.reserve(m.len()).map(drop)?);
    run(row("ipc_queue::mailbox::Reservation::drop", EMPTY, 0, First::Memory, dropped));
    // Two spans and a half: a run.
    let large: Send = |p, _| Ok(p.reserve(100_000).map(|mut room| room[0] = 1)?);
    run(row("ipc_queue::mailbox::Producer::reserve", EMPTY, 0, First::Slots, large));
}
