//! Measures messages from 8 bytes to 1 MiB: the ring for one producer, the mailbox for one and for two
//! of each, and a Unix socket. Every byte is written by the sender and read by the receiver.
//!
//! `cargo run --release -p ipc-queue --example bench_message [ROUNDS [PART OF A ROW'S NAME]]`

mod measure;

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use ipc_queue::{mailbox, message};
use measure::{Outcome, Sample, cas_round_trip, processors, row, together};

const SIZES: [(&str, usize); 5] =
    [("8 B", 8), ("64 B", 64), ("1 KiB", 1024), ("64 KiB", 1 << 16), ("1 MiB", 1 << 20)];

/// As many messages as keep a sample short.
fn count_for(size: usize) -> u64 {
    (64 << 20 >> size.ilog2()).clamp(32, 20_000)
}

/// Reads every byte.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: u64 = words.iter().map(|word| u64::from_ne_bytes(*word)).fold(0, u64::wrapping_add);
    rest.iter().fold(words, |sum, &byte| sum.wrapping_add(byte.into()))
}

/// Nanoseconds a message.
fn ring(size: usize) -> Outcome<Sample> {
    let count = count_for(size);
    let (mut producer, mut consumer) = message::channel((4 * size).max(1 << 16))?;
    together(
        count,
        move || {
            for number in 0..count {
                let mut room = producer.reserve(size)?;
                room.fill(number as u8);
                room.commit();
            }
            Ok(())
        },
        move || {
            for _ in 0..count {
                black_box(sum(&consumer.recv()?));
            }
            Ok(())
        },
    )
}

fn send_all(mut producer: mailbox::Producer, size: usize, count: u64) -> Outcome<()> {
    for number in 0..count {
        let mut room = producer.reserve(size)?;
        room.fill(number as u8);
        room.commit()?;
    }
    Ok(())
}

/// Nanoseconds a message, of `lanes` producers on one processor and as many consumers on another.
fn boxed(size: usize, lanes: u64) -> Outcome<Sample> {
    let count = count_for(size) / lanes;
    let (producer, consumer) = mailbox::channel(256, (16 * size).max(1 << 20))?;
    let producers: Result<Vec<_>, _> = (0..lanes).map(|_| producer.try_clone()).collect();
    let consumers: Result<Vec<_>, _> = (0..lanes).map(|_| consumer.try_clone()).collect();
    let (producers, consumers) = (producers?, consumers?);
    drop((producer, consumer));
    together(
        count * lanes,
        move || {
            thread::scope(|scope| {
                let send = |producer| scope.spawn(move || send_all(producer, size, count));
                let all: Vec<_> = producers.into_iter().map(send).collect();
                all.into_iter().try_for_each(|one| one.join().map_err(|_| "a sender panicked")?)
            })
        },
        move || {
            thread::scope(|scope| {
                for mut consumer in consumers {
                    scope.spawn(move || consumer.for_each(|found| _ = black_box(sum(found))));
                }
            });
            Ok(())
        },
    )
}

/// The same through a stream, each message behind its length.
fn socket(size: usize) -> Outcome<Sample> {
    let count = count_for(size);
    let (mut there, mut here) = UnixStream::pair()?;
    together(
        count,
        move || {
            let mut message = vec![0; 8 + size];
            message[..8].copy_from_slice(&(size as u64).to_ne_bytes());
            for number in 0..count {
                message[8..].fill(number as u8);
                there.write_all(&message)?;
            }
            Ok(())
        },
        move || {
            let mut message = Vec::new();
            for _ in 0..count {
                let mut len = [0; 8];
                here.read_exact(&mut len)?;
                message.resize(u64::from_ne_bytes(len) as usize, 0);
                here.read_exact(&mut message)?;
                black_box(sum(&message));
            }
            Ok(())
        },
    )
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(15), |text| text.parse())?.max(1);
    processors();
    println!("medians [quartiles] of the undisturbed among {rounds} rounds");
    row("compare-and-swap round trip", "ns", rounds, true, cas_round_trip)?;
    for (name, size) in SIZES {
        row(&format!("ring {name}, 1:1"), "ns", rounds, true, || ring(size))?;
        row(&format!("mailbox {name}, 1:1"), "ns", rounds, true, || boxed(size, 1))?;
        row(&format!("mailbox {name}, 2:2"), "ns", rounds, true, || boxed(size, 2))?;
        row(&format!("unix socket {name}, 1:1"), "ns", rounds, false, || socket(size))?;
    }
    Ok(())
}
