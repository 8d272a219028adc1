//! Beside a peer that is stopped, and alive: who is killed leaves what it would leave otherwise; the
//! stopped one keeps its place, and nobody takes its silence for its end.

use crash_check::step::{Region, Scenario};
use ipc_queue::broadcast::{Mode, Start as Begin};
use ipc_queue::{Error, RecvError, SendError, broadcast, message as messages};

use crate::ground::{self, Item, item};
use crate::member::{
    MAKER, PEER, SURVIVOR, Said, VICTIM, has_returned, member, returned, run, segment,
};
use crate::messages::{self as ring, BYTES, message, number};

/// Sent by the peer, who is stopped in the middle of the next.
const SENT: u64 = 3;

fn beside<S: 'static>(
    operation: &str,
    state: &str,
    init: fn(&Region) -> Said,
    prepare: fn(&Region) -> S,
    work: fn(&mut S) -> Said,
) -> Scenario {
    Scenario::new(operation)
        .state(state)
        .init(init)
        .operation_with(prepare, move |r, state| {
            work(state)?;
            returned(r);
            Said::Ok(())
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
}

fn a_stopped_sender(region: &Region) -> Said {
    messages::create(&segment(region)?, 0, BYTES)?;
    let mut producer = ring::producer(region, PEER)?;
    for next in 0..SENT {
        producer.try_send(&message(next))?;
    }
    let mut room = producer.try_reserve(20)?;
    room[..10].fill(0xff);
    std::mem::forget(producer);
    Ok(())
}

/// What the victim had not released comes again; then there is nothing yet.
fn the_rest_of_the_messages(region: &Region, most: u64) -> Said {
    let mut consumer = ring::consumer(region, SURVIVOR)?;
    let mut left = Vec::new();
    let end = loop {
        match consumer.try_recv() {
            Ok(found) => left.push(number(&found)?),
            Err(end) => break end,
        }
    };
    let gone = SENT - left.len() as u64;
    let is_suffix = left.iter().copied().eq(gone..SENT);
    if end != RecvError::Empty || !is_suffix || gone > most {
        return Err(format!("{left:?}, then {end:?}").into());
    }
    if has_returned(region) && gone != most {
        return Err(format!("{gone} are gone, not {most}").into());
    }
    match ring::producer(region, SURVIVOR) {
        Err(error) if error.downcast_ref() == Some(&Error::ProducerThere) => Ok(()),
        other => Err(format!("the stopped one's place: {:?}", other.map(drop)).into()),
    }
}

#[test]
fn kill_message_recv_beside_a_stopped_producer() {
    let state = "beside a stopped producer";
    let consumer = |r: &Region| ring::consumer(r, VICTIM).unwrap();
    let one = |c: &mut ring::Consumer| -> Said {
        number(&c.recv()?)?;
        Ok(())
    };
    let row = beside("ipc_queue::message::Consumer::recv", state, a_stopped_sender, consumer, one);
    run(row.validate(|r| the_rest_of_the_messages(r, 1)));
    let all = |c: &mut ring::Consumer| -> Said {
        loop {
            match c.try_recv() {
                Ok(found) => number(&found).map(drop)?,
                Err(RecvError::Empty) => return Ok(()),
                Err(end) => return Err(end.into()),
            }
        }
    };
    let try_recv = "ipc_queue::message::Consumer::try_recv";
    let row = beside(try_recv, state, a_stopped_sender, consumer, all);
    run(row.validate(|r| the_rest_of_the_messages(r, SENT)));
}

fn a_stopped_receiver(region: &Region) -> Said {
    messages::create(&segment(region)?, 0, BYTES)?;
    let mut producer = ring::producer(region, MAKER)?;
    producer.try_send(&message(0))?;
    producer.try_send(&message(1))?;
    let mut consumer = ring::consumer(region, PEER)?;
    std::mem::forget(consumer.try_recv()?);
    std::mem::forget(consumer);
    Ok(())
}

/// Both messages are there, and the victim's; more are refused once the ring is full, and not before.
fn the_stopped_receiver_has_its_messages(region: &Region, most: usize) -> Said {
    let mut producer = ring::producer(region, SURVIVOR)?;
    let there = producer.validate()?;
    if !(2..=2 + most).contains(&there) || (has_returned(region) && there != 2 + most) {
        return Err(format!("{there} messages are there").into());
    }
    match ring::consumer(region, SURVIVOR) {
        Err(error) if error.downcast_ref() == Some(&Error::ConsumerThere) => {}
        other => return Err(format!("the stopped one's place: {:?}", other.map(drop)).into()),
    }
    for next in 0.. {
        match producer.try_send(&message(next)) {
            Ok(()) => {}
            Err(SendError::Full(())) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(producer.validate().map(drop)?)
}

#[test]
fn kill_message_send_beside_a_stopped_consumer() {
    let state = "beside a stopped consumer, a message in its hand";
    let producer = |r: &Region| ring::producer(r, VICTIM).unwrap();
    let send = |p: &mut ring::Producer| -> Said { Ok(p.send(&message(2))?) };
    let operation = "ipc_queue::message::Producer::send";
    let row = beside(operation, state, a_stopped_receiver, producer, send);
    run(row.validate(|r| the_stopped_receiver_has_its_messages(r, 1)));
    let too_long = |p: &mut ring::Producer| -> Said {
        match p.try_send(&[0; BYTES - 8]) {
            Err(SendError::Full(())) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    };
    let operation = "ipc_queue::message::Producer::try_send";
    let row = beside(operation, state, a_stopped_receiver, producer, too_long);
    run(row.validate(|r| the_stopped_receiver_has_its_messages(r, 0)));
}

fn a_broadcaster(region: &Region) -> Result<ground::Producer, Box<dyn std::error::Error>> {
    broadcast::create::<Item>(&segment(region)?, 0, ground::CAPACITY as usize)?;
    let mut producer = ground::producer(region, PEER)?;
    for next in 0..SENT {
        producer.try_send(item(next))?;
    }
    Ok(producer)
}

fn a_stopped_broadcaster(region: &Region) -> Said {
    std::mem::forget(a_broadcaster(region)?);
    Ok(())
}

/// In the middle of a batch.
fn a_stopped_batch(region: &Region) -> Said {
    let mut producer = a_broadcaster(region)?;
    let mut batch = producer.reserve(2)?;
    batch.push(item(SENT))?;
    std::mem::forget(producer);
    Ok(())
}

fn everything_is_there(region: &Region) -> Said {
    let mut reader = ground::reader(region, SURVIVOR, Mode::Overwrite, Begin::Oldest)?;
    let mut found = Vec::new();
    let end = loop {
        match reader.try_recv() {
            Ok(item) => found.push(ground::number(item)?),
            Err(RecvError::Lagged(_)) => {}
            Err(end) => break end,
        }
    };
    let first = found.first().copied().unwrap_or(SENT);
    if end != RecvError::Empty || first > 1 || !found.iter().copied().eq(first..SENT) {
        return Err(format!("{found:?}, then {end:?}").into());
    }
    match ground::producer(region, SURVIVOR) {
        Err(error) if error.downcast_ref() == Some(&Error::ProducerThere) => Ok(()),
        other => Err(format!("the stopped one's place: {:?}", other.map(drop)).into()),
    }
}

#[test]
fn kill_broadcast_recv_beside_a_stopped_producer() {
    let receive = |reader: &mut ground::Reader| -> Said {
        ground::number(reader.recv()?)?;
        match reader.try_recv() {
            Ok(_) | Err(RecvError::Empty) => Ok(()),
            Err(end) => Err(end.into()),
        }
    };
    let operation = "ipc_queue::broadcast::Reader::recv";
    let blocking = |r: &Region| ground::victim(r, Mode::Block);
    let state = "beside a stopped producer";
    let row = beside(operation, state, a_stopped_broadcaster, blocking, receive);
    run(row.validate(everything_is_there));
    let overwritten = |r: &Region| ground::victim(r, Mode::Overwrite);
    let state = "beside a stopped producer, a batch begun";
    let row = beside(operation, state, a_stopped_batch, overwritten, receive);
    run(row.validate(everything_is_there));
}

#[test]
fn kill_broadcast_attach_beside_a_stopped_producer() {
    let state = "beside a stopped producer";
    let refused = |region: &mut &'static Region| -> Said {
        match ground::producer(region, VICTIM) {
            Err(error) if error.downcast_ref() == Some(&Error::ProducerThere) => Ok(()),
            other => Err(format!("{:?}", other.map(drop)).into()),
        }
    };
    // SAFETY: every closure of a scenario runs in a process of its own, in which the region is there
    // to the end.
    let same = |region: &Region| -> &'static Region { unsafe { &*std::ptr::from_ref(region) } };
    let operation = "ipc_queue::broadcast::attach_producer";
    let row = beside(operation, state, a_stopped_broadcaster, same, refused);
    run(row.validate(everything_is_there));
}

/// Full behind a reader that blocks and is stopped: refused, and everybody else's items are there.
#[test]
fn kill_broadcast_send_beside_a_stopped_reader() {
    let from = ground::start("full, behind a stopped reader", 3, ground::CAPACITY);
    let row = Scenario::new("ipc_queue::broadcast::Producer::send_timeout")
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| {
                let mut producer = ground::producer(r, VICTIM).unwrap();
                producer.set_spin_limit(0);
                producer
            },
            |r, producer| match producer.send_timeout(item(9), std::time::Duration::from_micros(1))
            {
                Err(SendError::Timeout(_)) => {
                    returned(r);
                    Said::Ok(())
                }
                other => Err(format!("{other:?}").into()),
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| from.check(r, RecvError::Disconnected, <[u64]>::is_empty))
        .continuation(ground::goes_on);
    run(row);
}
