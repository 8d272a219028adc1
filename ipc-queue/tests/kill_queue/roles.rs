//! Making a ring, taking and giving back its roles, closing it, declaring a side dead.

use crash_check::step::{Region, Scenario};
use ipc_queue::spsc::{self, Producer};
use ipc_queue::{Error, Monitor, RecvError, Side};
use shm_core::Segment;

use crate::ground::{
    CAPACITY, Item, Said, Start, disconnect, goes_on, has_returned, monitor, next_consumer, number,
    returned, run, segment, start,
};

const FROM: Start = start("two sent", 3, 2);
const LISTENING: Start = start("consumer listens", 3, 2).with_listener(Side::Consumer);

/// What was sent before is all there, whatever became of the role.
fn nothing_is_lost(region: &Region, from: Start) -> Result<RecvError, Box<dyn std::error::Error>> {
    let segment = segment(region)?;
    let mut consumer = next_consumer(&segment)?;
    for expected in from.moved..from.moved + from.kept {
        if number(consumer.try_recv()?)? != expected {
            return Err("an item is lost".into());
        }
    }
    let end = consumer.try_recv().err().ok_or("an item too many")?;
    consumer.detach();
    Ok(end)
}

fn row(operation: &str, from: Start, dead: Side, work: fn(&Segment) -> Said) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(|r| segment(r).unwrap(), move |_, segment| work(segment))
        .recovery_with(monitor, move |_, monitor| disconnect(monitor, dead))
        .validate(move |r| nothing_is_lost(r, from).map(drop))
        .continuation(|r| goes_on(&segment(r)?))
}

/// A row for an operation that ends a role that the victim holds.
fn ending(operation: &str, from: Start, closes: bool, end: fn(Producer<Item>)) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| Some(spsc::attach_producer::<Item>(&segment(r).unwrap(), 0).unwrap()),
            move |r, producer| {
                producer.take().into_iter().for_each(end);
                returned(r);
            },
        )
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Producer))
        .validate(move |r| match (nothing_is_lost(r, from)?, has_returned(r)) {
            (RecvError::Closed, _) if closes => Said::Ok(()),
            (RecvError::PeerDead, returned) if !(closes && returned) => Ok(()),
            // The role was given back: there is no dead peer.
            (RecvError::Empty, _) if !closes => Ok(()),
            (other, returned) => Err(format!("{other:?}, returned: {returned}").into()),
        })
        .continuation(move |r| {
            let segment = segment(r)?;
            let is_closed = Monitor::attach(&segment, 0)?.is_closed();
            if is_closed { Ok(()) } else { goes_on(&segment) }
        })
}

#[test]
fn kill_create() {
    run(Scenario::new("ipc_queue::spsc::create")
        .state("zeroed memory")
        .operation_with(
            |r| segment(r).unwrap(),
            |r, segment| {
                spsc::create::<Item>(segment, 0, CAPACITY)?;
                returned(r);
                Said::Ok(())
            },
        )
        .validate(|r| {
            let attached = spsc::attach_consumer::<Item>(&segment(r)?, 0);
            match (attached, has_returned(r)) {
                (Ok(consumer), _) => consumer.detach(),
                (Err(Error::NotAQueue(_)), false) => (),
                (Err(error), _) => return Err(error.into()),
            }
            Said::Ok(())
        })
        .continuation(|r| {
            // A ring that was not finished is never taken for one; else it works.
            match Monitor::attach(&segment(r)?, 0) {
                Ok(_) => goes_on(&segment(r)?),
                Err(_) => Ok(()),
            }
        }));
}

#[test]
fn kill_attach() {
    run(row("ipc_queue::spsc::attach_producer", FROM, Side::Producer, |s| {
        spsc::attach_producer::<Item>(s, 0)?.detach();
        Ok(())
    }));
    run(row("ipc_queue::spsc::attach_consumer", FROM, Side::Consumer, |s| {
        spsc::attach_consumer::<Item>(s, 0)?.detach();
        Ok(())
    }));
}

/// As a process that died with both roles leaves it.
fn held(region: &Region, from: Start) -> Said {
    from.build(region)?;
    let segment = segment(region)?;
    std::mem::forget(spsc::attach_producer::<Item>(&segment, 0)?);
    std::mem::forget(spsc::attach_consumer::<Item>(&segment, 0)?);
    Ok(())
}

#[test]
fn kill_take_over() {
    run(row("ipc_queue::spsc::take_over_producer", FROM, Side::Producer, |s| {
        let dead = Monitor::attach(s, 0)?.holder(Side::Producer).ok_or("no holder")?;
        // SAFETY: the process that `held` it has ended.
        unsafe { spsc::take_over_producer::<Item>(s, 0, dead) }?.detach();
        Ok(())
    })
    .init(|r| held(r, FROM)));
    run(row("ipc_queue::spsc::take_over_consumer", FROM, Side::Consumer, |s| {
        let dead = Monitor::attach(s, 0)?.holder(Side::Consumer).ok_or("no holder")?;
        // SAFETY: the process that `held` it has ended.
        unsafe { spsc::take_over_consumer::<Item>(s, 0, dead) }?.detach();
        Ok(())
    })
    .init(|r| held(r, FROM)));
}

#[test]
fn kill_endings() {
    for from in [FROM, LISTENING] {
        run(ending("ipc_queue::spsc::Producer::close", from, true, |mut p| {
            p.close();
            std::mem::forget(p);
        }));
        run(ending("ipc_queue::spsc::Producer::drop", from, true, drop));
    }
    run(ending("ipc_queue::spsc::Producer::detach", FROM, false, Producer::detach));
    run(row("ipc_queue::spsc::Consumer::close", FROM, Side::Consumer, |s| {
        spsc::attach_consumer::<Item>(s, 0)?.close();
        Ok(())
    })
    .continuation(nothing_blocks));
    run(row("ipc_queue::spsc::Consumer::detach", FROM, Side::Consumer, |s| {
        spsc::attach_consumer::<Item>(s, 0)?.detach();
        Ok(())
    }));
}

#[test]
fn kill_consumer_drop() {
    for from in [FROM, LISTENING] {
        run(row("ipc_queue::spsc::Consumer::drop", from, Side::Consumer, |s| {
            drop(spsc::attach_consumer::<Item>(s, 0)?);
            Ok(())
        })
        .continuation(nothing_blocks));
    }
}

/// A ring that may have been closed: it either says so, or goes on.
fn nothing_blocks(region: &Region) -> Said {
    let segment = segment(region)?;
    let is_closed = Monitor::attach(&segment, 0)?.is_closed();
    if is_closed { Ok(()) } else { goes_on(&segment) }
}

#[test]
fn kill_monitors() {
    for from in [FROM, LISTENING] {
        run(row("ipc_queue::Monitor::disconnect", from, Side::Producer, |s| {
            Ok(disconnect(&Monitor::attach(s, 0)?, Side::Producer)?)
        })
        .init(move |r| held(r, from)));
        run(row("ipc_queue::Monitor::close", from, Side::Producer, |s| {
            Monitor::attach(s, 0)?.close();
            Ok(())
        })
        .continuation(nothing_blocks));
    }
}
