//! A parent sends numbers to a child over a typed ring; the child writes its answer into a pipe.
//! Then a second child is killed in the middle of its work, and the parent is told, not stuck.
//!
//! `cargo run -p ipc-queue --example two_processes`

use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command};

use ipc_queue::{Monitor, RecvError, Side, pipe, spsc};
use shm_core::Segment;

const RING: usize = 0;
const NUMBERS: usize = 256;
const PIPE_BYTES: usize = 4096;

/// Where the pipe lies: behind the ring, at the next multiple of 128.
fn pipe_offset() -> Result<usize, ipc_queue::Error> {
    Ok(spsc::required_size::<u64>(NUMBERS)?.next_multiple_of(128))
}

/// The same program again, with the segment as its standard input.
fn child(what: &str, segment: &Segment) -> std::io::Result<Child> {
    let fd = segment.as_fd().try_clone_to_owned()?;
    Command::new(std::env::current_exe()?).arg(what).stdin(fd).spawn()
}

fn shared() -> Result<Segment, Box<dyn Error>> {
    let segment = Segment::anonymous(pipe_offset()? + pipe::required_size(PIPE_BYTES)?)?;
    spsc::create::<u64>(&segment, RING, NUMBERS)?;
    pipe::create(&segment, pipe_offset()?, PIPE_BYTES)?;
    Ok(segment)
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("sum") => return sum(),
        Some("endless") => return endless(),
        _ => {}
    }

    let segment = shared()?;
    let mut numbers = spsc::attach_producer::<u64>(&segment, RING)?;
    let mut answer = pipe::attach_reader(&segment, pipe_offset()?)?;
    let mut worker = child("sum", &segment)?;
    for number in 1..=100_000 {
        numbers.send(number)?;
    }
    drop(numbers); // closes the ring: the child stops when it is drained
    let mut text = String::new();
    answer.read_to_string(&mut text)?;
    worker.wait()?;
    println!("the child says: {text}");

    let segment = shared()?;
    let mut numbers = spsc::attach_consumer::<u64>(&segment, RING)?;
    let mut worker = child("endless", &segment)?;
    for _ in 0..10_000 {
        numbers.recv()?;
    }
    worker.kill()?;
    worker.wait()?; // reaped: the proof that it is dead
    let monitor = Monitor::attach(&segment, RING)?;
    monitor.disconnect(monitor.holder(Side::Producer).ok_or("nobody holds it")?)?;
    let rest = numbers.iter().count();
    assert_eq!(numbers.recv(), Err(RecvError::PeerDead));
    println!("killed; {rest} numbers that it had sent were still there, then: peer dead");
    Ok(())
}

fn inherited() -> Result<Segment, Box<dyn Error>> {
    Ok(Segment::attach(std::io::stdin().as_fd().try_clone_to_owned()?)?)
}

fn sum() -> Result<(), Box<dyn Error>> {
    let segment = inherited()?;
    let mut numbers = spsc::attach_consumer::<u64>(&segment, RING)?;
    let mut answer = pipe::attach_writer(&segment, pipe_offset()?)?;
    let sum: u64 = numbers.iter().sum();
    write!(answer, "{} numbers, sum {sum}", numbers.received())?;
    Ok(())
}

fn endless() -> Result<(), Box<dyn Error>> {
    let mut numbers = spsc::attach_producer::<u64>(&inherited()?, RING)?;
    loop {
        numbers.send(numbers.sent())?;
    }
}
