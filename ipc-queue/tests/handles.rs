//! Queues sent to another process as values, through a pipe that is itself in shared memory.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use ipc_queue::handle::Handle;
use ipc_queue::{Error, mpmc, pipe, spsc, work};
use shm_core::{Group, Segment, handle, push};

const ROLE: &str = "IPC_QUEUE_TEST_HANDLES";

/// A child that inherits the pipe's segment and a socket for files.
fn run_child(segment: &Segment, socket: UnixStream) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture"])
        .env(ROLE, "child")
        .stdin(segment.as_fd().try_clone_to_owned().unwrap())
        .stdout(Stdio::null())
        .stderr(std::os::fd::OwnedFd::from(socket))
        .spawn()
        .unwrap()
}

fn read_frame(reader: &mut pipe::Reader) -> Vec<u8> {
    let mut length = [0; 4];
    reader.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_ne_bytes(length) as usize];
    reader.read_exact(&mut bytes).unwrap();
    bytes
}

fn write_frame(writer: &mut pipe::Writer, bytes: &[u8]) {
    writer.write_all(&(bytes.len() as u32).to_ne_bytes()).unwrap();
    writer.write_all(bytes).unwrap();
}

/// What the other process does; as a test of its own it does nothing.
#[test]
fn child_process() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let stdin = std::io::stdin();
    let segment = Segment::attach(stdin.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let mut reader = pipe::attach_reader(&segment, 0).unwrap();
    let bytes = read_frame(&mut reader);
    // The files have not come yet.
    assert!(postcard::from_bytes::<Vec<Handle>>(&bytes).is_err());
    let stderr = std::io::stderr();
    while push::receive(stderr.as_fd()).unwrap().is_some() {}
    let handles: Vec<Handle> = postcard::from_bytes(&bytes).unwrap();
    let [ring, jobs, answers] = &handles[..] else { panic!("three handles were sent") };
    let mut numbers = ring.attach(spsc::attach_consumer::<u64>).unwrap();
    let mut worker = jobs.attach_in(work::attach_worker::<u64>).unwrap();
    let mut answers = answers.attach_in(mpmc::attach_producer::<u64>).unwrap();
    assert_eq!(ring.attach_in(mpmc::attach_producer::<u64>).err(), Some(Error::NoGroup));
    answers.send(numbers.iter().sum()).unwrap();
    while let Ok(lease) = worker.lease() {
        answers.send(*lease * 10).unwrap();
        lease.ack();
    }
}

#[test]
fn queues_of_three_kinds_travel_through_a_pipe_to_another_process() {
    let control = Segment::anonymous(pipe::required_size(4096).unwrap()).unwrap();
    pipe::create(&control, 0, 4096).unwrap();
    let mut writer = pipe::attach_writer(&control, 0).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = run_child(&control, theirs);

    let segment = Segment::anonymous(1 << 16).unwrap();
    let group = Group::anonymous().unwrap();
    let offsets = [0, 4096, 3 << 13];
    spsc::create::<u64>(&segment, offsets[0], 16).unwrap();
    work::create::<u64>(&segment, offsets[1], 16, 1).unwrap();
    mpmc::create::<u64>(&segment, offsets[2], 16).unwrap();
    let handles = [
        Handle::new(&segment, offsets[0], None).unwrap(),
        Handle::new(&segment, offsets[1], Some(&group)).unwrap(),
        Handle::new(&segment, offsets[2], Some(&group)).unwrap(),
    ];
    let (bytes, files) = handle::collect(|| postcard::to_allocvec(&handles.to_vec()));
    write_frame(&mut writer, &bytes.unwrap());
    let mut seen = Vec::new();
    for file in &files {
        if !seen.contains(&file.id()) {
            push::send(&ours, file).unwrap();
            seen.push(file.id());
        }
    }
    assert_eq!(seen.len(), 2, "a segment and a group");
    drop(ours);

    let mut numbers = spsc::attach_producer::<u64>(&segment, offsets[0]).unwrap();
    let mut jobs = work::attach_submitter::<u64>(&segment, offsets[1], &group).unwrap();
    let mut answers = mpmc::attach_consumer::<u64>(&segment, offsets[2], &group).unwrap();
    numbers.send_slice(&[1, 2, 3]).unwrap();
    drop(numbers);
    assert_eq!(answers.recv(), Ok(6));
    for job in 1..=3 {
        jobs.submit(job).unwrap();
    }
    jobs.close();
    assert_eq!(answers.iter().collect::<Vec<_>>(), [10, 20, 30]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_handle_says_when_it_is_not_what_one_takes_it_for() {
    let segment = Segment::anonymous(8192).unwrap();
    assert_eq!(Handle::new(&segment, 0, None).err(), Some(Error::NotAQueue(0)));
    spsc::create::<u64>(&segment, 0, 8).unwrap();
    spsc::create::<u64>(&segment, 4096, 16).unwrap();
    let first = Handle::new(&segment, 0, None).unwrap();
    let wrong_type = first.attach(spsc::attach_consumer::<[u32; 2]>);
    assert!(matches!(wrong_type, Err(Error::ElementType { .. })), "{wrong_type:?}");
    let wrong_kind = first.attach(pipe::attach_reader);
    assert!(matches!(wrong_kind, Err(Error::Kind { .. })), "{wrong_kind:?}");
    // Changed on its way: another place, whose capacity differs; then a place outside.
    let text = serde_json::to_string(&first).unwrap();
    assert!(serde_json::from_str::<Handle>(&text).is_ok());
    let says = |from: &str, to: &str| {
        serde_json::from_str::<Handle>(&text.replace(from, to)).unwrap_err().to_string()
    };
    let moved = says("\"offset\":0", "\"offset\":4096");
    assert!(moved.contains("not the one that the handle was made of"), "{moved}");
    let outside = says("\"offset\":0", "\"offset\":18446744073709551615");
    assert!(outside.contains("do not lie in a segment"), "{outside}");
}

#[test]
fn a_handle_of_another_boot_is_named_as_one() {
    let segment = Segment::anonymous(8192).unwrap();
    spsc::create::<u64>(&segment, 0, 8).unwrap();
    let handle = Handle::new(&segment, 0, None).unwrap();
    let text = serde_json::to_string(&handle).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = boot.trim().replace('-', "");
    assert!(text.contains(&boot), "{text}");
    let of_another = text.replace(&boot, &"7".repeat(32));
    let error = serde_json::from_str::<Handle>(&of_another).unwrap_err().to_string();
    assert!(error.contains("of another boot") && error.contains(&boot), "{error}");
    // Where neither is known, nothing is said.
    assert!(serde_json::from_str::<Handle>(&text.replace(&boot, &"0".repeat(32))).is_ok());
    // It is told before anything is looked up: its segment need not be there.
    drop((handle, segment));
    let error = serde_json::from_str::<Handle>(&of_another).unwrap_err().to_string();
    assert!(error.contains("of another boot"), "{error}");
}
