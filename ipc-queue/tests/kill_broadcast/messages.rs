//! The ring of messages: whoever is killed, what was sent and not released is received, whole and in
//! order, and another takes the dead one's place.

use std::error::Error;
use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::{Error as Refused, RecvError, SendError, message as messages};

use crate::member::{
    MAKER, Member, SURVIVOR, Said, VICTIM, has_returned, member, returned, run, segment,
};

pub type Producer = messages::Producer<Member>;
pub type Consumer = messages::Consumer<Member>;

const LONG: Duration = Duration::from_secs(60);
pub const BYTES: usize = 128;

/// Of various lengths: 8 to 29 bytes, 16 to 40 in the ring.
pub fn message(number: u64) -> Vec<u8> {
    let tail = (0..(number * 7) % 22).map(|at| (number + at) as u8);
    number.to_ne_bytes().into_iter().chain(tail).collect()
}

pub fn number(found: &[u8]) -> Result<u64, String> {
    let first = found.first_chunk().ok_or(format!("no message: {found:x?}"))?;
    let number = u64::from_ne_bytes(*first);
    if found == message(number) { Ok(number) } else { Err(format!("torn: {found:x?}")) }
}

pub fn producer(region: &Region, index: u32) -> Result<Producer, Box<dyn Error>> {
    Ok(messages::attach_producer_among(&segment(region)?, 0, member(region, index))?)
}

pub fn consumer(region: &Region, index: u32) -> Result<Consumer, Box<dyn Error>> {
    Ok(messages::attach_consumer_among(&segment(region)?, 0, member(region, index))?)
}

/// Messages received and messages kept before the operation.
#[derive(Clone, Copy)]
struct Start {
    state: &'static str,
    moved: u64,
    kept: u64,
}

const EMPTY: Start = Start { state: "empty", moved: 0, kept: 0 };
const SOME: Start = Start { state: "some messages", moved: 1, kept: 2 };
/// The next begins at byte 112 of 128.
const CROSSING: Start = Start { state: "crossing the end", moved: 3, kept: 1 };

impl Start {
    fn next(self) -> u64 {
        self.moved + self.kept
    }

    fn build(self, region: &Region) -> Said {
        messages::create(&segment(region)?, 0, BYTES)?;
        let (mut producer, mut consumer) = (producer(region, MAKER)?, consumer(region, MAKER)?);
        for next in 0..self.next() {
            producer.try_send(&message(next))?;
            if next < self.moved {
                consumer.try_recv()?;
            }
        }
        Ok(())
    }

    /// Everything from `first` on is there, and `own` of the victim's; then the ring ends.
    fn check(self, region: &Region, first: u64, own: impl Fn(u64) -> bool) -> Said {
        let mut consumer = consumer(region, SURVIVOR)?;
        let count = consumer.validate()? as u64;
        for expected in first..first + count {
            if number(&consumer.try_recv()?)? != expected {
                return Err("not in order, or lost".into());
            }
        }
        match consumer.try_recv().map(drop) {
            Err(RecvError::Disconnected | RecvError::Closed) => {}
            other => return Err(format!("ends with {other:?}").into()),
        }
        match (first + count).checked_sub(self.next()) {
            Some(sent) if own(sent) => Ok(()),
            other => Err(format!("{other:?} are sent, returned: {}", has_returned(region)).into()),
        }
    }
}

fn goes_on(region: &Region) -> Said {
    let (mut producer, mut consumer) = (producer(region, SURVIVOR)?, consumer(region, SURVIVOR)?);
    while consumer.try_recv().is_ok() {}
    for next in 1000..1020 {
        producer.try_send(&message(next))?;
        if number(&consumer.try_recv()?)? != next {
            return Err("a successor's message is not what was sent".into());
        }
    }
    producer.try_send(&[1; BYTES - 8])?;
    Ok(producer.validate().map(drop)?)
}

type Send = fn(&mut Producer, &[u8]) -> Said;

/// `sends`: how many messages the operation sends.
fn sending(operation: &str, from: Start, sends: u64, send: Send) -> Scenario {
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
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| {
            from.check(r, from.moved, |sent| sent == sends || (sent == 0 && !has_returned(r)))
        })
        .continuation(goes_on)
}

#[test]
fn kill_message_send() {
    for from in [EMPTY, SOME, CROSSING] {
        run(sending("ipc_queue::message::Producer::send", from, 1, |p, m| Ok(p.send(m)?)));
    }
    run(sending("ipc_queue::message::Producer::try_send", CROSSING, 1, |p, m| Ok(p.try_send(m)?)));
    run(sending("ipc_queue::message::Producer::send_timeout", SOME, 1, |p, m| {
        Ok(p.send_timeout(m, LONG)?)
    }));
    let full = Start { state: "full", moved: 0, kept: 4 };
    run(sending("ipc_queue::message::Producer::try_send", full, 0, |p, m| match p.try_send(m) {
        Err(SendError::Disconnected(())) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }));
}

#[test]
fn kill_message_reserve() {
    let ways: [(&str, u64, Send); 5] = [
        ("ipc_queue::message::Producer::reserve", 1, |p, m| {
            let mut room = p.reserve(m.len())?;
            room.copy_from_slice(m);
            room.commit();
            Ok(())
        }),
        ("ipc_queue::message::Reservation::commit", 1, |p, m| {
            let mut room = p.reserve(m.len())?;
            room.copy_from_slice(m);
            room.commit();
            Ok(())
        }),
        ("ipc_queue::message::Reservation::commit_first", 1, |p, m| {
            let mut room = p.reserve(m.len() + 20)?;
            room[..m.len()].copy_from_slice(m);
            room.commit_first(m.len());
            Ok(())
        }),
        ("ipc_queue::message::Producer::try_reserve", 0, |p, m| {
            p.try_reserve(m.len())?.copy_from_slice(m);
            Ok(())
        }),
        ("ipc_queue::message::Producer::reserve_timeout", 0, |p, m| {
            p.reserve_timeout(m.len(), LONG)?.copy_from_slice(m);
            Ok(())
        }),
    ];
    for (operation, sends, way) in ways {
        run(sending(operation, CROSSING, sends, way));
    }
}

fn released(message: messages::Message<'_, Member>) -> Said {
    drop(message);
    Ok(())
}

type Recv = fn(&mut Consumer) -> Said;

fn receiving(operation: &str, from: Start, receives: u64, recv: Recv) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| {
                let mut consumer = consumer(r, VICTIM).unwrap();
                consumer.set_spin_limit(0);
                consumer
            },
            move |r, consumer| {
                recv(consumer)?;
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| {
            let left = consumer(r, SURVIVOR)?.validate()? as u64;
            let released = from.kept - left;
            if released > receives || (has_returned(r) && released != receives) {
                return Err(format!("{released} are released").into());
            }
            from.check(r, from.moved + released, |sent| sent == 0)
        })
        .continuation(goes_on)
}

#[test]
fn kill_message_recv() {
    for from in [SOME, CROSSING] {
        run(receiving("ipc_queue::message::Consumer::recv", from, 1, |c| {
            number(&c.recv()?)?;
            Ok(())
        }));
    }
    run(receiving("ipc_queue::message::Consumer::try_recv", SOME, 1, |c| {
        number(&c.try_recv()?)?;
        Ok(())
    }));
    run(receiving("ipc_queue::message::Consumer::recv_timeout", SOME, 1, |c| {
        number(&c.recv_timeout(LONG)?)?;
        Ok(())
    }));
    run(receiving("ipc_queue::message::Consumer::for_each", SOME, 2, |c| {
        match c.for_each(|found| drop(number(found))) {
            RecvError::Disconnected => Ok(()),
            end => Err(end.into()),
        }
    }));
    run(receiving("ipc_queue::message::Message::drop", CROSSING, 1, |c| released(c.recv()?)));
}

#[test]
fn kill_message_create_attach_close_and_leave() {
    let create = Scenario::new("ipc_queue::message::create")
        .state("zeroed memory")
        .operation(|r| {
            messages::create(&segment(r).unwrap(), 0, BYTES).unwrap();
            returned(r);
        })
        .validate(|r| {
            match messages::attach_consumer_among(&segment(r)?, 0, member(r, SURVIVOR)) {
                Ok(mut consumer) => match consumer.try_recv().map(drop) {
                    Err(RecvError::Empty) => Said::Ok(()),
                    other => Err(format!("{other:?}").into()),
                },
                Err(Refused::NotAQueue(0)) if !has_returned(r) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
    run(create);
    type Act = fn(&Region);
    let acts: [(&str, Act); 5] = [
        ("ipc_queue::message::attach_producer", |r| {
            std::mem::forget(producer(r, VICTIM).unwrap());
        }),
        ("ipc_queue::message::attach_consumer", |r| {
            std::mem::forget(consumer(r, VICTIM).unwrap());
        }),
        ("ipc_queue::message::Producer::drop", |r| drop(producer(r, VICTIM).unwrap())),
        ("ipc_queue::message::Consumer::drop", |r| drop(consumer(r, VICTIM).unwrap())),
        ("ipc_queue::message::Producer::close", |r| {
            let mut producer = producer(r, VICTIM).unwrap();
            producer.close();
            std::mem::forget(producer);
        }),
    ];
    for (operation, act) in acts {
        let closes = operation.ends_with("close");
        let row = Scenario::new(operation)
            .state(SOME.state)
            .init(|r| SOME.build(r))
            .operation(act)
            .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
            .validate(|r| SOME.check(r, SOME.moved, |sent| sent == 0));
        run(if closes { row } else { row.continuation(goes_on) });
    }
}

#[test]
fn kill_message_asleep() {
    let receiving = Scenario::new("ipc_queue::message::Consumer::recv")
        .state("asleep, empty")
        .init(|r| Said::Ok(messages::create(&segment(r)?, 0, BYTES)?))
        .operation_with(
            |r| consumer(r, VICTIM).unwrap(),
            |_, consumer| {
                consumer.set_spin_limit(0);
                consumer.recv().map(drop)
            },
        )
        .waker(|r| Said::Ok(producer(r, SURVIVOR)?.send(&message(0))?))
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(consumer(r, SURVIVOR)?.validate().map(drop)?))
        .continuation(goes_on);
    run(receiving);
    let sending = Scenario::new("ipc_queue::message::Producer::send")
        .state("asleep, full")
        .init(|r| {
            messages::create(&segment(r)?, 0, BYTES)?;
            Said::Ok(producer(r, MAKER)?.send(&[1; BYTES - 8])?)
        })
        .operation_with(
            |r| producer(r, VICTIM).unwrap(),
            |_, producer| {
                producer.set_spin_limit(0);
                producer.send(&message(1))
            },
        )
        .waker(|r| released(consumer(r, SURVIVOR)?.recv()?))
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(consumer(r, SURVIVOR)?.validate().map(drop)?))
        .continuation(goes_on);
    run(sending);
}
