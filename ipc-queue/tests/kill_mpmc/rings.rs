//! Taking a role of a ring as a member of a group: whoever is killed while it does so has it, or has
//! not; the next member takes it, and goes on where the ring stands.

use crash_check::step::{Region, Scenario};
use ipc_queue::{RecvError, pipe, spsc};
use shm_core::Segment;

use crate::ground::{Item, SURVIVOR, Said, VICTIM, item, member, number, run, segment};

const PLACES: usize = 4;

fn row(operation: &str, state: &str, attach: fn(&Region, &Segment) -> Said) -> Scenario {
    Scenario::new(operation)
        .state(state)
        .init(|r| {
            let segment = segment(r)?;
            spsc::create::<Item>(&segment, 0, PLACES)?;
            let mut producer = spsc::attach_producer::<Item>(&segment, 0)?;
            producer.send_slice(&[item(0), item(1)])?;
            producer.detach();
            Said::Ok(())
        })
        .operation_with(|r| segment(r).unwrap(), move |r, segment| attach(r, segment))
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(()).and(goes_on(r)))
}

/// A member takes both roles over from whoever is dead; nothing is lost.
fn goes_on(region: &Region) -> Said {
    let segment = segment(region)?;
    let peers = || member(region, SURVIVOR);
    let mut producer = spsc::attach_producer_among::<Item>(&segment, 0, peers())?;
    let mut consumer = spsc::attach_consumer_among::<Item>(&segment, 0, peers())?;
    producer.send_slice(&[item(2), item(3)])?;
    for expected in 0..4 {
        if number(consumer.try_recv()?)? != expected {
            return Err("an item is lost".into());
        }
    }
    match consumer.try_recv() {
        Err(RecvError::Empty) => {}
        other => return Err(format!("{other:?}").into()),
    }
    // For whoever validates next: as it was.
    producer.detach();
    consumer.detach();
    Ok(())
}

#[test]
fn kill_ring_attach_among() {
    run(row("ipc_queue::spsc::attach_producer_among", "free", |r, segment| {
        let peers = member(r, VICTIM);
        std::mem::forget(spsc::attach_producer_among::<Item>(segment, 0, peers)?);
        Ok(())
    }));
    run(row("ipc_queue::spsc::attach_consumer_among", "free", |r, segment| {
        let peers = member(r, VICTIM);
        std::mem::forget(spsc::attach_consumer_among::<Item>(segment, 0, peers)?);
        Ok(())
    }));
}

/// The same claim, of a pipe.
fn pipe_row(operation: &str, attach: fn(&Region, &Segment) -> Said) -> Scenario {
    Scenario::new(operation)
        .state("free")
        .init(|r| Said::Ok(pipe::create(&segment(r)?, 0, 64)?))
        .operation_with(|r| segment(r).unwrap(), move |r, segment| attach(r, segment))
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| {
            let segment = segment(r)?;
            let mut writer = pipe::attach_writer_among(&segment, 0, member(r, SURVIVOR))?;
            let mut reader = pipe::attach_reader_among(&segment, 0, member(r, SURVIVOR))?;
            let mut bytes = [0; 8];
            let moved = (writer.try_write(b"abc")?, reader.try_read(&mut bytes)?);
            if moved == (3, 3) { Said::Ok(()) } else { Err(format!("{moved:?}").into()) }
        })
}

#[test]
fn kill_pipe_attach_among() {
    run(pipe_row("ipc_queue::pipe::attach_writer_among", |r, segment| {
        std::mem::forget(pipe::attach_writer_among(segment, 0, member(r, VICTIM))?);
        Ok(())
    }));
    run(pipe_row("ipc_queue::pipe::attach_reader_among", |r, segment| {
        std::mem::forget(pipe::attach_reader_among(segment, 0, member(r, VICTIM))?);
        Ok(())
    }));
}
