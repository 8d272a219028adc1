//! Making a pipe, taking and giving back its roles, closing it, declaring a side dead. The words
//! are those of a ring; what is checked is that the bytes written before are all there, and that
//! bytes pass afterwards, unless it was closed.

use std::io::{Read, Write};

use crash_check::step::Scenario;
use ipc_queue::pipe::{self, Reader, Writer};
use ipc_queue::{Error, Monitor, Side};
use shm_core::Segment;

use crate::ground::{Said, disconnect, has_returned, monitor, returned, run, segment};

const BYTES: usize = 64;
const KEPT: [u8; 10] = *b"0123456789";

fn build(segment: &Segment) -> Said {
    pipe::create(segment, 0, BYTES)?;
    let mut writer = pipe::attach_writer(segment, 0)?;
    writer.write_all(&KEPT)?;
    writer.detach();
    Ok(())
}

/// As a process that died with both roles leaves it.
fn held(segment: &Segment) -> Said {
    build(segment)?;
    std::mem::forget(pipe::attach_writer(segment, 0)?);
    std::mem::forget(pipe::attach_reader(segment, 0)?);
    Ok(())
}

fn next_writer(segment: &Segment) -> Result<Writer, Error> {
    match Monitor::attach(segment, 0)?.holder(Side::Producer) {
        None => pipe::attach_writer(segment, 0),
        // SAFETY: whoever held it was killed: survivors of these scenarios detach.
        Some(dead) => unsafe { pipe::take_over_writer(segment, 0, dead) },
    }
}

fn next_reader(segment: &Segment) -> Result<Reader, Error> {
    match Monitor::attach(segment, 0)?.holder(Side::Consumer) {
        None => pipe::attach_reader(segment, 0),
        // SAFETY: whoever held it was killed: survivors of these scenarios detach.
        Some(dead) => unsafe { pipe::take_over_reader(segment, 0, dead) },
    }
}

fn nothing_is_lost(segment: &Segment) -> Said {
    let mut reader = next_reader(segment)?;
    let mut found = [0; KEPT.len()];
    reader.read_exact(&mut found)?;
    reader.detach();
    if found == KEPT { Ok(()) } else { Err("bytes written before are lost".into()) }
}

fn goes_on(segment: &Segment) -> Said {
    if Monitor::attach(segment, 0)?.is_closed() {
        return Ok(());
    }
    let (mut writer, mut reader) = (next_writer(segment)?, next_reader(segment)?);
    let mut found = [0; 3 * BYTES];
    for part in found.chunks_mut(BYTES / 2) {
        writer.write_all(&KEPT)?;
        reader.read_exact(&mut part[..KEPT.len()])?;
    }
    writer.detach();
    reader.detach();
    if found.starts_with(&KEPT) { Ok(()) } else { Err("a successor's bytes are lost".into()) }
}

fn row(operation: &str, init: fn(&Segment) -> Said, dead: Side, work: fn(&Segment) -> Said) {
    run(Scenario::new(operation)
        .state("some")
        .init(move |r| init(&segment(r)?))
        .operation_with(|r| segment(r).unwrap(), move |_, segment| work(segment))
        .recovery_with(monitor, move |_, monitor| disconnect(monitor, dead))
        .validate(|r| nothing_is_lost(&segment(r)?))
        .continuation(|r| goes_on(&segment(r)?)));
}

#[test]
fn kill_pipe_create() {
    run(Scenario::new("ipc_queue::pipe::create")
        .state("zeroed memory")
        .operation_with(
            |r| segment(r).unwrap(),
            |r, segment| {
                pipe::create(segment, 0, BYTES)?;
                returned(r);
                Said::Ok(())
            },
        )
        .validate(|r| match (Monitor::attach(&segment(r)?, 0), has_returned(r)) {
            (Ok(_), _) => goes_on(&segment(r)?),
            (Err(Error::NotAQueue(_)), false) => Ok(()),
            (Err(error), _) => Err(error.into()),
        }));
}

#[test]
fn kill_pipe_attach_and_take_over() {
    row("ipc_queue::pipe::attach_writer", build, Side::Producer, |s| {
        std::mem::forget(pipe::attach_writer(s, 0)?);
        Ok(())
    });
    row("ipc_queue::pipe::attach_reader", build, Side::Consumer, |s| {
        std::mem::forget(pipe::attach_reader(s, 0)?);
        Ok(())
    });
    row("ipc_queue::pipe::take_over_writer", held, Side::Producer, |s| {
        std::mem::forget(next_writer(s)?);
        Ok(())
    });
    row("ipc_queue::pipe::take_over_reader", held, Side::Consumer, |s| {
        std::mem::forget(next_reader(s)?);
        Ok(())
    });
}

#[test]
fn kill_pipe_endings() {
    row("ipc_queue::pipe::Writer::detach", build, Side::Producer, |s| {
        pipe::attach_writer(s, 0)?.detach();
        Ok(())
    });
    row("ipc_queue::pipe::Reader::detach", build, Side::Consumer, |s| {
        pipe::attach_reader(s, 0)?.detach();
        Ok(())
    });
    row("ipc_queue::pipe::Writer::drop", build, Side::Producer, |s| {
        drop(pipe::attach_writer(s, 0)?);
        Ok(())
    });
    row("ipc_queue::pipe::Reader::drop", build, Side::Consumer, |s| {
        drop(pipe::attach_reader(s, 0)?);
        Ok(())
    });
    row("ipc_queue::pipe::Reader::close", build, Side::Consumer, |s| {
        pipe::attach_reader(s, 0)?.close();
        Ok(())
    });
}
