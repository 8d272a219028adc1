//! The byte pipe between threads: order, wrapping, ends, waiting.

#![cfg(not(loom))]
// Helpers outside the test functions unwrap too.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use ipc_queue::bell::Doorbell;
use ipc_queue::{Error, Monitor, RecvError, SendError, Side, pipe};
use shm_core::Segment;

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn a_payload_much_larger_than_the_ring_arrives_whole_and_in_order() {
    for (round, capacity) in [1, 2, 64, 4096, 1 << 20].into_iter().enumerate() {
        let payload = pattern([2_000, 2_000, 100_000, 1_000_000, 3_000_001][round]);
        let (mut writer, mut reader) = pipe::channel(capacity).unwrap();
        let expected = payload.clone();
        let thread = std::thread::spawn(move || {
            writer.write_all(&payload).unwrap();
            writer.bytes_moved()
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert!(got == expected, "capacity {capacity}");
        assert_eq!(thread.join().unwrap(), expected.len() as u64);
        assert_eq!(reader.bytes_moved(), expected.len() as u64);
    }
}

#[test]
fn chunks_are_lent_in_place_and_end_where_the_ring_wraps() {
    let (mut writer, mut reader) = pipe::channel(8).unwrap();
    writer.write_all(b"abcdef").unwrap();
    assert_eq!(reader.read_chunk(None, |bytes| (4, bytes.to_vec())).unwrap(), b"abcdef");
    let room = writer.write_chunk(None, |room| {
        room.copy_from_slice(b"gh");
        room.len()
    });
    assert_eq!(room, Ok(2));
    assert_eq!(writer.try_write(b"ijklm"), Ok(4));
    assert_eq!(writer.try_write_chunk(|_| 1), Err(SendError::Full(())));
    assert_eq!(reader.read_chunk(None, |bytes| (99, bytes.to_vec())).unwrap(), b"efgh");
    assert_eq!(reader.fill_buf().unwrap(), b"ijkl");
    BufRead::consume(&mut reader, 99);
    assert_eq!(reader.try_read_chunk(|bytes| (0, bytes.len())), Err(RecvError::Empty));
}

#[test]
fn a_chunk_of_which_nothing_is_handed_over_stays_free() {
    let (mut writer, reader) = pipe::channel(8).unwrap();
    assert_eq!(writer.write_chunk(None, |_| 0), Ok(0));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = writer.write_chunk(None, |_| panic!("while filling"));
    }));
    assert!(caught.is_err());
    assert_eq!(reader.len(), 0);
    assert_eq!(writer.try_write(b"12345678"), Ok(8));
}

#[test]
fn an_empty_write_and_an_empty_read_do_not_wait() {
    let (mut writer, mut reader) = pipe::channel(8).unwrap();
    assert_eq!(writer.write(b"").unwrap(), 0);
    assert_eq!(reader.read(&mut []).unwrap(), 0);
}

#[test]
fn a_timed_read_of_an_empty_pipe_and_a_timed_write_to_a_full_one_end() {
    let (mut writer, mut reader) = pipe::channel(8).unwrap();
    reader.set_spin_limit(0);
    let limit = Duration::from_millis(5);
    assert_eq!(reader.read_timeout(&mut [0; 4], limit), Err(RecvError::Timeout));
    assert_eq!(writer.write_all_timeout(b"123456789", limit), Err(SendError::Timeout(8)));
    assert_eq!(writer.write_timeout(b"9", limit), Err(SendError::Timeout(())));
    assert_eq!(reader.read_exact_timeout(&mut [0; 9], limit), Err((8, RecvError::Timeout)));
    assert!(reader.stats().parks > 0, "it slept instead of spinning");
}

#[test]
fn the_reader_drains_a_closed_pipe_and_then_sees_the_end() {
    let (mut writer, mut reader) = pipe::channel(64).unwrap();
    writer.write_all(b"last words").unwrap();
    writer.close();
    assert_eq!(writer.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "last words");
    assert_eq!(reader.try_read(&mut [0; 1]), Err(RecvError::Closed));
}

#[test]
fn a_write_to_a_pipe_without_reader_fails_even_with_room() {
    let (mut writer, reader) = pipe::channel(64).unwrap();
    drop(reader);
    assert_eq!(writer.try_write(b"x"), Err(SendError::Closed(())));
}

#[test]
fn a_sleeping_reader_is_woken_by_a_close() {
    let (writer, mut reader) = pipe::channel(64).unwrap();
    reader.set_spin_limit(0);
    let thread = std::thread::spawn(move || reader.read(&mut [0; 1]).unwrap());
    drop(writer);
    assert_eq!(thread.join().unwrap(), 0);
}

#[test]
fn a_dead_writer_is_an_error_and_not_the_end() {
    let segment = Segment::anonymous(pipe::required_size(64).unwrap()).unwrap();
    pipe::create(&segment, 0, 64).unwrap();
    let mut writer = pipe::attach_writer(&segment, 0).unwrap();
    let mut reader = pipe::attach_reader(&segment, 0).unwrap();
    let monitor = Monitor::attach(&segment, 0).unwrap();
    writer.write_all(b"half a rec").unwrap();
    let thread = std::thread::spawn(move || {
        let mut got = Vec::new();
        let error = reader.read_to_end(&mut got).unwrap_err();
        (got, error.kind())
    });
    monitor.disconnect(monitor.holder(Side::Producer).unwrap()).unwrap();
    let (got, kind) = thread.join().unwrap();
    assert_eq!((got.as_slice(), kind), (&b"half a rec"[..], ErrorKind::ConnectionReset));
    assert_eq!(monitor.bytes_moved(), 10);
}

#[test]
fn a_dead_reader_releases_a_blocked_writer() {
    let segment = Segment::anonymous(pipe::required_size(64).unwrap()).unwrap();
    pipe::create(&segment, 0, 64).unwrap();
    let mut writer = pipe::attach_writer(&segment, 0).unwrap();
    // Stands for a process that was killed.
    std::mem::forget(pipe::attach_reader(&segment, 0).unwrap());
    let monitor = Monitor::attach(&segment, 0).unwrap();
    let thread =
        std::thread::spawn(move || writer.write_all_timeout(&[7; 1000], Duration::from_secs(60)));
    while monitor.len() < 64 {
        std::thread::yield_now();
    }
    monitor.disconnect(monitor.holder(Side::Consumer).unwrap()).unwrap();
    assert_eq!(thread.join().unwrap(), Err(SendError::PeerDead(64)));
}

#[test]
fn a_second_writer_is_refused_by_name_until_the_first_detaches() {
    let segment = Segment::anonymous(pipe::required_size(64).unwrap()).unwrap();
    pipe::create(&segment, 0, 64).unwrap();
    let mut first = pipe::attach_writer(&segment, 0).unwrap();
    let refused = pipe::attach_writer(&segment, 0).unwrap_err();
    assert_eq!(refused, Error::RoleTaken { side: Side::Producer, pid: std::process::id() });
    first.write_all(b"one ").unwrap();
    first.detach();
    let mut second = pipe::attach_writer(&segment, 0).unwrap();
    second.write_all(b"two").unwrap();
    drop(second);
    let mut text = String::new();
    pipe::attach_reader(&segment, 0).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "one two");
}

#[test]
fn one_bell_wakes_the_reader_of_many_pipes() {
    let pipes = 4;
    let each = 2_000_u32;
    let segment = Segment::anonymous(128).unwrap();
    let bell = Doorbell::at(&segment, 0).unwrap();
    let mut readers = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..pipes {
        let (mut writer, reader) = pipe::channel(16).unwrap();
        writer.also_ring(bell.clone());
        readers.push(reader);
        threads.push(std::thread::spawn(move || {
            for number in 0..each {
                writer.write_all(&number.to_le_bytes()).unwrap();
            }
        }));
    }
    let mut got = vec![Vec::new(); pipes];
    let mut open = pipes;
    while open > 0 {
        let ticket = bell.listen();
        let mut found = false;
        open = 0;
        for (reader, got) in readers.iter_mut().zip(&mut got) {
            match reader.try_read_chunk(|bytes| (bytes.len(), bytes.to_vec())) {
                Ok(bytes) => {
                    got.extend(bytes);
                    found = true;
                }
                Err(RecvError::Closed) => continue,
                Err(error) => assert_eq!(error, RecvError::Empty),
            }
            open += 1;
        }
        if !found && open > 0 {
            bell.wait(ticket, None);
        }
    }
    let expected: Vec<u8> = (0..each).flat_map(u32::to_le_bytes).collect();
    assert!(got.iter().all(|bytes| *bytes == expected));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn waiting_sleeps_instead_of_burning_the_processor() {
    let (_writer, mut reader) = pipe::channel(64).unwrap();
    let cpu_time = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let (before, start) = (cpu_time(), Instant::now());
    let waited = Duration::from_millis(300);
    assert_eq!(reader.read_timeout(&mut [0; 1], waited), Err(RecvError::Timeout));
    let used = cpu_time() - before;
    assert!(start.elapsed() >= waited);
    // Ten times what looking again for a while and some sleeps cost.
    assert!(used < Duration::from_millis(10), "{used:?} of processor time for doing nothing");
}
