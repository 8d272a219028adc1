//! The writer or the reader of a byte pipe is killed: the other side has an exact prefix of the
//! stream, and a successor goes on where the dead one's last step ended.

use std::io::{BufRead, Read, Write};
use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::bell::Doorbell;
use ipc_queue::pipe::{self, Reader, Writer};
use ipc_queue::{Monitor, RecvError, SendError, Side};

use shm_core::Segment;

use crate::ground::{Said, disconnect, monitor, run, segment};

const LONG: Duration = Duration::from_secs(60);
/// Bytes of the ring.
const BYTES: usize = 64;
/// Bytes that an operation moves.
const MOVES: usize = 40;

/// State, bytes written before, bytes read before.
type Start = (&'static str, usize, usize);

/// Bytes `from..to` of the stream.
fn stream(from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|n| (n * 7 % 251) as u8).collect()
}

fn build(region: &Region, (_, written, read): Start) -> Said {
    let segment = segment(region)?;
    pipe::create(&segment, 0, BYTES)?;
    let mut writer = pipe::attach_writer(&segment, 0)?;
    let mut reader = pipe::attach_reader(&segment, 0)?;
    let mut at = 0;
    while at < read {
        let step = (read - at).min(BYTES);
        writer.write_all(&stream(at, at + step))?;
        reader.read_exact(&mut vec![0; step])?;
        at += step;
    }
    writer.write_all(&stream(read, written))?;
    writer.detach();
    reader.detach();
    Ok(())
}

fn writing(operation: &str, from: Start, act: fn(&mut Writer, &[u8]) -> usize) {
    let (state, written, read) = from;
    let bytes = stream(written, written + MOVES);
    let scenario = Scenario::new(operation)
        .state(state)
        .init(move |r| build(r, from))
        .operation_with(
            |r| pipe::attach_writer(&segment(r).unwrap(), 0).unwrap(),
            move |_, writer| {
                act(writer, &bytes);
            },
        )
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Producer))
        .validate(move |r| reads_a_prefix(r, written, read));
    run(scenario);
}

/// The reader gets whole bytes in order, at least those written before, and then an end.
fn reads_a_prefix(region: &Region, written: usize, read: usize) -> Said {
    let segment = segment(region)?;
    let mut reader = pipe::attach_reader(&segment, 0)?;
    let mut bytes = [0; 2 * BYTES];
    let mut filled = 0;
    let end = loop {
        match reader.try_read(&mut bytes[filled..]) {
            Ok(count) => filled += count,
            Err(end) => break end,
        }
    };
    let last = read + filled;
    if bytes[..filled] != stream(read, last) || !(written..=written + MOVES).contains(&last) {
        return Err(format!("{filled} bytes after {read}, of {written} written before").into());
    }
    match end {
        RecvError::PeerDead | RecvError::Closed => Ok(()),
        other => Err(format!("the reader would wait: {other}").into()),
    }
}

fn reading(operation: &str, from: Start, takes: usize, act: fn(&mut Reader)) {
    let (state, written, read) = from;
    let scenario = Scenario::new(operation)
        .state(state)
        .init(move |r| build(r, from))
        .operation_with(
            |r| pipe::attach_reader(&segment(r).unwrap(), 0).unwrap(),
            move |_, reader| act(reader),
        )
        .recovery_with(monitor, |_, monitor| disconnect(monitor, Side::Consumer))
        .validate(is_a_pipe)
        .continuation(move |r| reads_the_rest(r, written, read, takes));
    run(scenario);
}

/// What stands there passes every check of an attach.
fn is_a_pipe(region: &Region) -> Said {
    Monitor::attach(&segment(region)?, 0)?;
    Ok(())
}

/// A successor reads a suffix of what was written, and what is written then.
fn reads_the_rest(region: &Region, written: usize, read: usize, takes: usize) -> Said {
    let segment = segment(region)?;
    let dead = Monitor::attach(&segment, 0)?.holder(Side::Consumer).ok_or("the role is free")?;
    // SAFETY: the holder was killed before this ran.
    let mut reader = unsafe { pipe::take_over_reader(&segment, 0, dead) }?;
    // One more than there can be: a read of nothing succeeds.
    let mut rest = [0; BYTES + 1];
    let mut filled = 0;
    while let Ok(count) = reader.try_read(&mut rest[filled..]) {
        filled += count;
    }
    let first = written.checked_sub(filled).ok_or("more bytes than were written")?;
    if rest[..filled] != stream(first, written) || !(read..=read + takes).contains(&first) {
        return Err(format!("{filled} bytes left of {written}, {read} read before").into());
    }
    let mut writer = pipe::attach_writer(&segment, 0)?;
    writer.write_all(&stream(written, written + MOVES))?;
    let mut next = vec![0; MOVES];
    reader.read_exact(&mut next)?;
    if next != stream(written, written + MOVES) {
        return Err("a successor's bytes are not those written".into());
    }
    Ok(())
}

#[test]
fn kill_write() {
    for from in [("empty", 0, 0), ("wrapping", 110, 100), ("nearly full", 60, 0)] {
        writing("ipc_queue::pipe::Writer::try_write", from, |writer, bytes| {
            writer.try_write(bytes).unwrap()
        });
    }
    writing("ipc_queue::pipe::Writer::try_write", ("full", 64, 0), |writer, bytes| {
        assert_eq!(writer.try_write(bytes), Err(SendError::Full(())));
        0
    });
    writing("ipc_queue::pipe::Writer::write", ("wrapping", 110, 100), |writer, bytes| {
        writer.write(bytes).unwrap()
    });
    writing("ipc_queue::pipe::Writer::write_chunk", ("wrapping", 110, 100), |writer, bytes| {
        let fill = |room: &mut [u8]| {
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            count
        };
        writer.write_chunk(None, fill).unwrap()
    });
    writing("ipc_queue::pipe::Writer::write_all", ("wrapping", 110, 100), |writer, bytes| {
        writer.write_all(bytes).map(|()| bytes.len()).unwrap()
    });
    writing("ipc_queue::pipe::Writer::write_timeout", ("wrapping", 110, 100), |writer, bytes| {
        writer.write_timeout(bytes, LONG).unwrap()
    });
    writing("ipc_queue::pipe::Writer::write_all_timeout", ("some", 10, 0), |writer, bytes| {
        writer.write_all_timeout(bytes, LONG).map(|()| bytes.len()).unwrap()
    });
    writing("ipc_queue::pipe::Writer::try_write_chunk", ("some", 10, 0), |writer, bytes| {
        let fill = |room: &mut [u8]| {
            room[..MOVES].copy_from_slice(bytes);
            MOVES
        };
        writer.try_write_chunk(fill).unwrap()
    });
    writing("ipc_queue::pipe::Writer::also_ring", ("some", 10, 0), |writer, bytes| {
        let bell = Segment::anonymous(64).unwrap();
        writer.also_ring(Doorbell::at(&bell, 0).unwrap());
        writer.write(bytes).unwrap()
    });
    writing("ipc_queue::pipe::Writer::close", ("some", 10, 0), |writer, _| {
        writer.close();
        0
    });
}

#[test]
fn kill_read() {
    reading("ipc_queue::pipe::Reader::try_read", ("empty", 0, 0), 0, |reader| {
        assert_eq!(reader.try_read(&mut [0; MOVES]), Err(RecvError::Empty));
    });
    reading("ipc_queue::pipe::Reader::try_read", ("full", 64, 0), MOVES, |reader| {
        assert_eq!(reader.try_read(&mut [0; MOVES]), Ok(MOVES));
    });
    for from in [("some", 40, 0), ("wrapping", 140, 100)] {
        reading("ipc_queue::pipe::Reader::try_read", from, MOVES, |reader| {
            assert_eq!(reader.try_read(&mut [0; MOVES]), Ok(MOVES));
        });
        reading("ipc_queue::pipe::Reader::read", from, MOVES, |reader| {
            reader.read_exact(&mut [0; MOVES]).unwrap();
        });
        reading("ipc_queue::pipe::Reader::read_timeout", from, MOVES, |reader| {
            assert_eq!(reader.read_timeout(&mut [0; MOVES], LONG), Ok(MOVES));
        });
        reading("ipc_queue::pipe::Reader::read_exact_timeout", from, MOVES, |reader| {
            assert_eq!(reader.read_exact_timeout(&mut [0; MOVES], LONG), Ok(()));
        });
        reading("ipc_queue::pipe::Reader::read_chunk", from, 7, |reader| {
            assert_eq!(reader.read_chunk(None, |bytes| (7, bytes.len() >= 7)), Ok(true));
        });
        reading("ipc_queue::pipe::Reader::try_read_chunk", from, 7, |reader| {
            assert_eq!(reader.try_read_chunk(|bytes| (7, bytes.len() >= 7)), Ok(true));
        });
        reading("ipc_queue::pipe::Reader::fill_buf", from, 0, |reader| {
            assert!(!reader.fill_buf().unwrap().is_empty());
        });
        reading("ipc_queue::pipe::Reader::also_ring", from, MOVES, |reader| {
            let bell = Segment::anonymous(64).unwrap();
            reader.also_ring(Doorbell::at(&bell, 0).unwrap());
            assert_eq!(reader.try_read(&mut [0; MOVES]), Ok(MOVES));
        });
        reading("ipc_queue::pipe::Reader::consume", from, 3, |reader| {
            assert!(reader.fill_buf().unwrap().len() >= 3);
            reader.consume(3);
        });
    }
}
