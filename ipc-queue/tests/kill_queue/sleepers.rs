//! Operations that really sleep: killed on the way to sleep, asleep, and between the wake-up and
//! its use; and peers that sleep for the dead one, which a disconnect must release.
//!
//! A sleep is bounded by a second, so a ring that is missing shows here as a delay and not as a
//! failure: that none is missing is shown by the models of `waiting`, where nobody wakes by himself.

use std::error::Error;
use std::io::{Read, Write};
use std::sync::atomic::Ordering::{Acquire, Release};

use crash_check::step::{Region, Scenario};
use ipc_queue::pipe;
use ipc_queue::spsc::{self, Consumer, Producer};
use ipc_queue::{RecvError, SendError, Side};

use crate::ground::{
    CAPACITY, Item, Said, Start, disconnect, goes_on, has_returned, item, monitor, next_consumer,
    number, returned, run, segment, start,
};

/// Set by the waker when it has moved its item.
const RUNG: usize = 4080;
const EMPTY: Start = start("empty, woken by a send", 5, 0);
const FULL: Start = start("full, woken by a receive", 3, CAPACITY as u64);

fn rung(region: &Region) {
    // Release: the waker's item comes before.
    region.u64_at(RUNG).store(1, Release);
}

fn has_rung(region: &Region) -> bool {
    // Acquire: pairs with the Release in `rung`.
    region.u64_at(RUNG).load(Acquire) == 1
}

/// All that a successor finds, in order.
fn left(region: &Region) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut consumer = next_consumer(&segment(region)?)?;
    let found: Vec<Item> = consumer.drain().collect();
    consumer.detach();
    Ok(found.into_iter().map(number).collect::<Result<_, _>>()?)
}

fn receiver(region: &Region) -> Consumer<Item> {
    let mut consumer = spsc::attach_consumer(&segment(region).unwrap(), 0).unwrap();
    consumer.set_spin_limit(0);
    consumer
}

fn sender(region: &Region) -> Producer<Item> {
    let mut producer = spsc::attach_producer(&segment(region).unwrap(), 0).unwrap();
    producer.set_spin_limit(0);
    producer
}

#[test]
fn kill_a_receiver_around_its_sleep() {
    run(Scenario::new("ipc_queue::spsc::Consumer::recv")
        .state(EMPTY.state)
        .init(|r| EMPTY.build(r))
        .operation_with(receiver, |r, consumer| {
            if number(consumer.recv()?)? != EMPTY.moved {
                return Err("another item".into());
            }
            returned(r);
            Said::Ok(())
        })
        .waker(|r| {
            let mut producer = sender(r);
            producer.try_send(item(EMPTY.moved))?;
            producer.detach();
            rung(r);
            Said::Ok(())
        })
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Consumer))
        .validate(|r| {
            let (sent, taken, left) = (has_rung(r), has_returned(r), left(r)?);
            match (sent, taken, &left[..]) {
                (_, false, []) | (true, true, []) => Said::Ok(()),
                (true, false, [only]) if *only == EMPTY.moved => Ok(()),
                // The producer may have been killed by nobody, yet not have told us.
                (false, false, [only]) if *only == EMPTY.moved => Ok(()),
                _ => Err(format!("sent {sent}, received {taken}, and left: {left:?}").into()),
            }
        })
        .continuation(|r| goes_on(&segment(r)?)));
}

#[test]
fn kill_a_sender_around_its_sleep() {
    let next = FULL.moved + FULL.kept;
    run(Scenario::new("ipc_queue::spsc::Producer::send")
        .state(FULL.state)
        .init(|r| FULL.build(r))
        .operation_with(sender, move |r, producer| {
            producer.send(item(next))?;
            returned(r);
            Said::Ok(())
        })
        .waker(|r| {
            let mut consumer = receiver(r);
            let found = number(consumer.try_recv()?)?;
            consumer.detach();
            rung(r);
            if found == FULL.moved { Said::Ok(()) } else { Err("not the first item".into()) }
        })
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Producer))
        .validate(move |r| {
            let first = FULL.moved + u64::from(has_rung(r));
            let left = left(r)?;
            let expected: Vec<u64> = (first..next).collect();
            let with_it: Vec<u64> = (first..=next).collect();
            match has_returned(r) {
                true if left == with_it => Said::Ok(()),
                false if left == expected || left == with_it => Ok(()),
                returned => Err(format!("returned {returned}, left {left:?}").into()),
            }
        })
        .continuation(|r| goes_on(&segment(r)?)));
}

/// A live receiver on an empty ring whose producer is killed: it gets the item or the death.
#[test]
fn kill_the_sender_of_a_sleeping_receiver() {
    let from = start("empty, a receiver sleeps", 5, 0);
    run(Scenario::new("ipc_queue::spsc::Producer::send")
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(sender, move |r, producer| {
            producer.send(item(from.moved))?;
            returned(r);
            Said::Ok(())
        })
        .peer(move |r| {
            let mut consumer = receiver(r);
            let first = consumer.recv();
            let end = match first {
                Ok(found) if number(found)? == from.moved => consumer.recv(),
                Err(_) if has_returned(r) => return Err("what was sent is lost".into()),
                other => other,
            };
            consumer.detach();
            if end == Err(RecvError::PeerDead) {
                Said::Ok(())
            } else {
                Err(format!("{end:?}").into())
            }
        })
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Producer))
        .validate(|_| ())
        .continuation(|r| goes_on(&segment(r)?)));
}

/// A live sender on a full ring whose consumer is killed: it has room once, then hears of the death.
#[test]
fn kill_the_receiver_of_a_sleeping_sender() {
    let from = start("full, a sender sleeps", 3, CAPACITY as u64);
    run(Scenario::new("ipc_queue::spsc::Consumer::recv")
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(receiver, |r, consumer| {
            consumer.recv()?;
            returned(r);
            Said::Ok(())
        })
        .peer(move |r| {
            let mut producer = sender(r);
            let mut sent = 0;
            let end = loop {
                match producer.send(item(100 + sent)) {
                    Ok(()) => sent += 1,
                    Err(end) => break end,
                }
            };
            producer.detach();
            match (end, sent) {
                (SendError::PeerDead(_), 0 | 1) => Said::Ok(()),
                (end, sent) => Err(format!("after {sent} sent: {end}").into()),
            }
        })
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Consumer))
        .validate(|_| ())
        .continuation(|r| goes_on(&segment(r)?)));
}

const BYTES: usize = 64;

fn piped(region: &Region, written: usize) -> Said {
    let segment = segment(region)?;
    pipe::create(&segment, 0, BYTES)?;
    let mut writer = pipe::attach_writer(&segment, 0)?;
    writer.write_all(&vec![1; written])?;
    writer.detach();
    Ok(())
}

/// Whatever happened: a successor on either side, and bytes pass.
fn pipe_goes_on(region: &Region, dead: Side) -> Said {
    let segment = segment(region)?;
    let seen = ipc_queue::Monitor::attach(&segment, 0)?.holder(dead);
    let mut end = [0; 2 * BYTES];
    if dead == Side::Consumer {
        let mut reader = match seen {
            // SAFETY: the holder was killed before this ran.
            Some(dead) => unsafe { pipe::take_over_reader(&segment, 0, dead) }?,
            None => pipe::attach_reader(&segment, 0)?,
        };
        let _ = reader.try_read(&mut end);
        let mut writer = pipe::attach_writer(&segment, 0)?;
        writer.write_all(&[7; 10])?;
        return if reader.try_read(&mut end)? == 10 { Ok(()) } else { Err("bytes lost".into()) };
    }
    let mut writer = match seen {
        // SAFETY: the holder was killed before this ran.
        Some(dead) => unsafe { pipe::take_over_writer(&segment, 0, dead) }?,
        None => pipe::attach_writer(&segment, 0)?,
    };
    let mut reader = pipe::attach_reader(&segment, 0)?;
    let _ = reader.try_read(&mut end);
    writer.write_all(&[7; 10])?;
    if reader.try_read(&mut end)? == 10 { Ok(()) } else { Err("bytes lost".into()) }
}

#[test]
fn kill_a_reader_around_its_sleep() {
    run(Scenario::new("ipc_queue::pipe::Reader::read")
        .state("empty, woken by a write")
        .init(|r| piped(r, 0))
        .operation_with(
            |r| {
                let mut reader = pipe::attach_reader(&segment(r).unwrap(), 0).unwrap();
                reader.set_spin_limit(0);
                reader
            },
            |_, reader| match reader.read(&mut [0; 20])? {
                20 => Said::Ok(()),
                other => Err(format!("{other} bytes").into()),
            },
        )
        .waker(|r| {
            let mut writer = pipe::attach_writer(&segment(r)?, 0)?;
            writer.write_all(&[1; 20])?;
            writer.detach();
            Said::Ok(())
        })
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Consumer))
        .validate(|r| {
            pipe::attach_writer(&segment(r)?, 0)?.detach();
            Said::Ok(())
        })
        .continuation(|r| pipe_goes_on(r, Side::Consumer)));
}

#[test]
fn kill_a_writer_around_its_sleep() {
    run(Scenario::new("ipc_queue::pipe::Writer::write")
        .state("full, woken by a read")
        .init(|r| piped(r, BYTES))
        .operation_with(
            |r| {
                let mut writer = pipe::attach_writer(&segment(r).unwrap(), 0).unwrap();
                writer.set_spin_limit(0);
                writer
            },
            |_, writer| match writer.write(&[2; 20])? {
                20 => Said::Ok(()),
                other => Err(format!("{other} bytes").into()),
            },
        )
        .waker(|r| {
            let mut reader = pipe::attach_reader(&segment(r)?, 0)?;
            reader.read_exact(&mut [0; 30])?;
            reader.detach();
            Said::Ok(())
        })
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Producer))
        .validate(|r| {
            pipe::attach_reader(&segment(r)?, 0)?.detach();
            Said::Ok(())
        })
        .continuation(|r| pipe_goes_on(r, Side::Producer)));
}

/// A second bell, of somebody who sleeps for many rings: after a send that returned it has rung.
#[test]
fn kill_rings_for_many() {
    const BELL: usize = 4000;
    let from = start("somebody listens for many", 5, 1);
    let bell = |r: &Region| ipc_queue::bell::Doorbell::at(&segment(r).unwrap(), BELL).unwrap();
    let heard = move |r: &Region| match (bell(r).ring(), has_returned(r)) {
        // Nobody listens any more: it was rung.
        (false, _) | (true, false) => Ok(()),
        (true, true) => Err("returned, and the bell was not rung"),
    };
    let listen = move |r: &Region| {
        from.build(r)?;
        let _ticket = bell(r).listen();
        Said::Ok(())
    };
    let next = from.moved + from.kept;
    run(Scenario::new("ipc_queue::spsc::Producer::also_ring")
        .state(from.state)
        .init(listen)
        .operation_with(sender, move |r, producer| {
            producer.also_ring(bell(r));
            producer.send(item(next))?;
            returned(r);
            Said::Ok(())
        })
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Producer))
        .validate(heard)
        .continuation(|r| goes_on(&segment(r)?)));
    run(Scenario::new("ipc_queue::spsc::Consumer::also_ring")
        .state(from.state)
        .init(listen)
        .operation_with(receiver, move |r, consumer| {
            consumer.also_ring(bell(r));
            consumer.recv()?;
            returned(r);
            Said::Ok(())
        })
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Consumer))
        .validate(heard)
        .continuation(|r| goes_on(&segment(r)?)));
}
