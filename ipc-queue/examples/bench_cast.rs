//! Measures the broadcast ring and the ring of messages between pinned threads, beside a
//! compare-and-swap ping-pong in the same run. Rivals: `cargo xtask peers queue`.
//!
//! `cargo run --release -p ipc-queue --example bench_cast [ROUNDS [PART OF A ROW'S NAME]]`

mod measure;

use std::hint::black_box;
use std::thread;

use ipc_queue::broadcast::{self, Mode, Reader, Start};
use ipc_queue::{RecvError, message};
use measure::{Outcome, Sample, cas_round_trip, processors, row, together};

const CAPACITY: usize = 1024;

/// Receives until the producer leaves.
fn read_all(mut reader: Reader<u64>, batch: usize) {
    let mut values = vec![0; batch];
    loop {
        match reader.recv_slice(&mut values) {
            Ok(count) => _ = black_box(&values[..count]),
            Err(RecvError::Lagged(missed)) => _ = black_box(missed),
            Err(_) => return,
        }
    }
}

/// Nanoseconds from the first send of an element until all readers, on another processor, have it.
fn fan_out(readers: usize, mode: Mode, batch: usize, count: u64) -> Outcome<Sample> {
    let (mut producer, first) = broadcast::channel::<u64>(CAPACITY)?;
    let many: Result<Vec<_>, _> = (0..readers).map(|_| first.another(mode, Start::Now)).collect();
    let (many, value) = (many?, vec![7; batch]);
    drop(first);
    let (done, wait) = std::sync::mpsc::channel::<()>();
    together(
        count,
        move || {
            thread::scope(|scope| {
                for reader in many {
                    scope.spawn(move || read_all(reader, batch));
                }
            });
            drop(done);
            Ok(())
        },
        move || {
            for _ in 0..count / batch as u64 {
                match batch {
                    1 => producer.send(7).map_err(|_| "closed")?,
                    _ => producer.send_slice(&value)?,
                }
            }
            drop(producer);
            // Ends when all readers have ended.
            let _ = wait.recv();
            Ok(())
        },
    )
}

/// Nanoseconds a message of that length, copied in and copied out.
fn messages(len: usize, count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = message::channel((16 * len).max(1 << 16))?;
    together(
        count,
        move || {
            let from = vec![5; len];
            for _ in 0..count {
                producer.send(&from)?;
            }
            Ok(())
        },
        move || {
            let mut to = vec![0; len];
            for _ in 0..count {
                to.copy_from_slice(&consumer.recv()?);
                black_box(&to);
            }
            Ok(())
        },
    )
}

/// The same, lent on both sides: nothing is copied, and one word is looked at.
fn lent(len: usize, count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = message::channel((16 * len).max(1 << 16))?;
    together(
        count,
        move || {
            for number in 0..count {
                let mut room = producer.reserve(len)?;
                room[..8].copy_from_slice(&number.to_ne_bytes());
                room.commit();
            }
            Ok(())
        },
        move || {
            for _ in 0..count {
                black_box(consumer.recv()?[0]);
            }
            Ok(())
        },
    )
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(31), |text| text.parse())?.max(1);
    processors();
    println!("medians [quartiles] of the undisturbed among {rounds} rounds");
    row("compare-and-swap round trip", "ns", rounds, true, cas_round_trip)?;
    let few = rounds.div_ceil(3);
    row("broadcast 1:1, 8 B", "ns", rounds, true, || fan_out(1, Mode::Block, 1, 100_000))?;
    row("broadcast 1:1, batches of 64", "ns", rounds, true, || {
        fan_out(1, Mode::Block, 64, 640_000)
    })?;
    row("broadcast 1:8, 8 B", "ns", few, false, || fan_out(8, Mode::Block, 1, 50_000))?;
    row("broadcast 1:8, batches of 64", "ns", few, false, || fan_out(8, Mode::Block, 64, 640_000))?;
    row("broadcast 1:8, overwriting", "ns", few, false, || fan_out(8, Mode::Overwrite, 1, 50_000))?;
    row("messages 64 B", "ns", rounds, true, || messages(64, 50_000))?;
    row("messages 1 KiB", "ns", rounds, true, || messages(1024, 20_000))?;
    row("messages 64 KiB", "ns", rounds, true, || messages(1 << 16, 1_000))?;
    let speed = || messages(1 << 16, 1_000).map(|sample| sample.map(|ns| 65_536.0 / ns));
    row("messages 64 KiB, copied in and out", "GB/s", rounds, true, speed)?;
    row("messages 64 KiB, lent", "ns", rounds, true, || lent(1 << 16, 20_000))
}
