//! Handles between two real processes, over a socket that carries the files.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use reexec::{Actor, role};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use shm_core::lock::Mutex;
use shm_core::{
    Array, Column, Error, Frozen, Group, NamedFrozen, Part, Peers, Shared, ShmSafe, handle,
};

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Tick {
    time: i64,
    price: f64,
}

/// A message is a letter that says what it is, and bytes; some carry a file.
fn send(socket: impl AsFd, kind: u8, bytes: &[u8], file: Option<BorrowedFd<'_>>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = file.into_iter().collect();
    if !files.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)));
    }
    let kind = [kind];
    let parts = [IoSlice::new(&kind), IoSlice::new(bytes)];
    rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL).unwrap();
}

fn receive(socket: impl AsFd) -> Option<(u8, Vec<u8>, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 1000];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags).unwrap();
    let file = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    bytes.truncate(message.bytes);
    let kind = (!bytes.is_empty()).then(|| bytes.remove(0))?;
    Some((kind, bytes, file))
}

/// The other process: takes files in, answers every handle.
#[test]
fn in_a_child() {
    if role().is_none() {
        return;
    }
    let socket = std::io::stdin();
    let mut kept = Vec::new();
    while let Some((kind, bytes, file)) = receive(&socket) {
        let answer = match kind {
            b'f' => handle::offer(file.unwrap()).map(|_| Vec::new()).map_err(|e| e.to_string()),
            b's' => sum_of(&bytes),
            b'p' => fill(&bytes),
            b'a' => add_one(&bytes),
            // Redeems the part and keeps it.
            b'k' => postcard::from_bytes::<Part<u32>>(&bytes)
                .map(|part| kept.push(part))
                .map(|()| Vec::new())
                .map_err(|e| e.to_string()),
            other => panic!("{other}"),
        };
        match answer {
            Ok(bytes) => send(&socket, b'+', &bytes, None),
            Err(error) => send(&socket, b'-', error.as_bytes(), None),
        }
    }
}

fn sum_of(bytes: &[u8]) -> Result<Vec<u8>, String> {
    // JSON: it keeps the words of an error, which postcard drops.
    let column: Column<f64> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(column.iter().sum::<f64>().to_string().into_bytes())
}

/// A number that many processes change, under its lock, and the group of those who do.
type Counter = (Shared<Mutex<u64>>, Group);

fn add_one(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (counter, group): Counter = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    *counter.lock(&group).map_err(|e| e.to_string())? += 1;
    Ok(group.members().len().to_string().into_bytes())
}

fn fill(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut part: Part<u32> = postcard::from_bytes(bytes).map_err(|e| e.to_string())?;
    let first = part.start() as u32;
    let values = part.as_mut_slice().map_err(|e| e.to_string())?;
    values.iter_mut().enumerate().for_each(|(i, value)| *value = first + i as u32);
    postcard::to_allocvec(&part).map_err(|e| e.to_string())
}

struct Worker {
    actor: Actor,
    socket: OwnedFd,
}

impl Worker {
    fn start() -> Worker {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        Worker { actor: Actor::with_file("worker", "", theirs), socket: ours }
    }

    /// Sends a message; the answer, or the error in words.
    fn ask(&self, kind: u8, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> Result<Vec<u8>, String> {
        send(&self.socket, kind, bytes, file);
        match receive(&self.socket).expect("the worker is gone") {
            (b'+', bytes, _) => Ok(bytes),
            (_, bytes, _) => Err(String::from_utf8(bytes).unwrap()),
        }
    }

    fn push(&self, files: &[handle::Reachable]) {
        for file in files {
            self.ask(b'f', &[], Some(file.as_fd())).unwrap();
        }
    }

    fn finish(self) {
        drop(self.socket);
        self.actor.finish();
    }
}

fn prices() -> Column<f64> {
    let ticks: Vec<Tick> = (0..100).map(|i| Tick { time: i, price: i as f64 / 2.0 }).collect();
    assert_eq!(ticks[99].time, 99);
    Frozen::copy_of(&ticks).unwrap().column("price").unwrap()
}

#[test]
fn a_handle_whose_file_was_pushed_first_is_redeemed() {
    let worker = Worker::start();
    let column = prices();
    for part in column.split(3) {
        let (bytes, files) = handle::collect(|| serde_json::to_vec(&part).unwrap());
        worker.push(&files);
        let sum = worker.ask(b's', &bytes, None).unwrap();
        assert_eq!(sum, part.iter().sum::<f64>().to_string().into_bytes());
    }
    worker.finish();
}

fn is_counted_by_a_worker(counter: &Counter) {
    let worker = Worker::start();
    for round in 1..=2 {
        let (bytes, files) = handle::collect(|| serde_json::to_vec(counter).unwrap());
        worker.push(&files);
        assert_eq!(worker.ask(b'a', &bytes, None).unwrap(), b"2", "members");
        assert_eq!(*counter.0.lock(&counter.1).unwrap(), round);
    }
    worker.finish();
}

#[test]
fn a_lock_and_its_group_travel_together() {
    let counter = (Shared::new(Mutex::new(0)).unwrap(), Group::anonymous().unwrap());
    is_counted_by_a_worker(&counter);
    let (bytes, files) = handle::collect(|| serde_json::to_vec(&counter).unwrap());
    assert_eq!(files.len(), 2);
    let again: Counter = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(again.1.me(), counter.1.me(), "one process is one member");
}

#[test]
fn what_has_a_name_travels_by_it() {
    let name = format!("handles-{}", std::process::id());
    let counter = Shared::create(&name, Mutex::new(0)).unwrap();
    let counter = (counter, Group::create(&format!("{name}-group")).unwrap());
    let (bytes, files) = handle::collect(|| serde_json::to_vec(&counter).unwrap());
    assert!(files.is_empty(), "nothing to push");
    is_counted_by_a_worker(&counter);
    drop(counter);
    let error = serde_json::from_slice::<Counter>(&bytes).unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
    let _other = Shared::create(&name, Mutex::new(0u64)).unwrap();
    let error = serde_json::from_slice::<Counter>(&bytes).unwrap_err().to_string();
    assert!(error.contains("is not reachable"), "{error}");
}

#[test]
fn a_handle_of_another_type_is_refused() {
    let counter = Shared::new(Mutex::new(0u64)).unwrap();
    let bytes = postcard::to_allocvec(&counter).unwrap();
    assert!(postcard::from_bytes::<Shared<Mutex<[u32; 2]>>>(&bytes).is_err());
}

#[test]
fn a_handle_that_comes_before_its_file_is_not_reachable_and_good_afterwards() {
    let worker = Worker::start();
    let (bytes, files) = handle::collect(|| serde_json::to_vec(&prices()).unwrap());
    let error = worker.ask(b's', &bytes, None).unwrap_err();
    assert!(error.contains("is not reachable from this process"), "{error}");
    worker.push(&files);
    assert_eq!(worker.ask(b's', &bytes, None).unwrap(), b"2475");
    worker.finish();
}

#[test]
fn parts_are_filled_in_place_by_another_process_and_come_back() {
    let worker = Worker::start();
    let (parts, remains) = Array::<u32>::zeroed(1000).unwrap().into_parts(7);
    let mut back: Vec<Part<u32>> = Vec::new();
    for part in parts {
        let (bytes, files) = handle::collect(|| postcard::to_allocvec(&part).unwrap());
        worker.push(&files);
        let returned = worker.ask(b'p', &bytes, None).unwrap();
        assert!(worker.ask(b'p', &bytes, None).is_err(), "its handle was redeemed before");
        back.push(postcard::from_bytes(&returned).unwrap());
        assert!(postcard::from_bytes::<Part<u32>>(&returned).is_err());
    }
    let array = remains.join(back).unwrap();
    assert!(array.iter().enumerate().all(|(i, &value)| value == i as u32));
    worker.finish();
    assert_eq!(array.freeze().unwrap().len(), 1000);
}

#[test]
fn a_part_whose_holder_was_killed_is_missing_and_can_not_be_taken_again() {
    let mut worker = Worker::start();
    let (parts, remains) = Array::<u32>::zeroed(10).unwrap().into_parts(2);
    let (bytes, files) = handle::collect(|| postcard::to_allocvec(&parts[1]).unwrap());
    worker.push(&files);
    worker.ask(b'k', &bytes, None).unwrap();
    worker.actor.kill();
    assert!(postcard::from_bytes::<Part<u32>>(&bytes).is_err());
    let joined = remains.join(parts);
    assert!(matches!(joined, Err(Error::PartsMissing { .. })), "{joined:?}");
}

#[test]
fn a_handle_is_redeemed_once_in_one_process_too() {
    let (mut parts, remains) = Array::<u32>::zeroed(10).unwrap().into_parts(2);
    let bytes = postcard::to_allocvec(&parts[0]).unwrap();
    assert!(matches!(parts[0].as_mut_slice(), Err(Error::AlreadyHandedOver)));
    assert!(postcard::to_allocvec(&parts[0]).is_err());
    let mut first: Part<u32> = postcard::from_bytes(&bytes).unwrap();
    assert!(postcard::from_bytes::<Part<u32>>(&bytes).is_err());
    first.as_mut_slice().unwrap().fill(5);
    assert!(matches!(parts[0].as_mut_slice(), Err(Error::AlreadyHandedOver)));
    let last = parts.pop().unwrap();
    let array = remains.join([last, first]).unwrap();
    assert_eq!(array[..], [5, 5, 5, 5, 5, 0, 0, 0, 0, 0]);

    // Cut anew, the old handle is still spent.
    let (_parts, _remains) = array.into_parts(2);
    assert!(postcard::from_bytes::<Part<u32>>(&bytes).is_err());
}

#[test]
fn parts_of_another_array_or_type_or_place_are_refused() {
    let (mut ours, remains) = Array::<u32>::zeroed(10).unwrap().into_parts(2);
    let (mut others, _kept) = Array::<u32>::zeroed(10).unwrap().into_parts(2);
    let mixed = remains.join([ours.remove(0), others.remove(1)]);
    assert!(matches!(mixed, Err(Error::PartsMissing { .. })), "{mixed:?}");

    let bytes = postcard::to_allocvec(&others[0]).unwrap();
    assert!(postcard::from_bytes::<Part<f32>>(&bytes).is_err());
    assert!(postcard::from_bytes::<Part<u32>>(&bytes).is_ok(), "the wrong type spent nothing");
}

#[test]
fn handles_that_lie_are_refused() {
    let data = Frozen::copy_of(&[1.0f64, 2.0, 3.0]).unwrap();
    let lie = |start: u64, len: u64| postcard::to_allocvec(&(data.id(), start, len)).unwrap();
    let redeem = |start, len| postcard::from_bytes::<Frozen<f64>>(&lie(start, len));
    assert_eq!(redeem(8, 2).unwrap()[..], [2.0, 3.0]);
    for (start, len) in
        [(0, 4), (8, 3), (24, 1), (4, 1), (1, 1), (u64::MAX, 1), (0, u64::MAX), (8, u64::MAX / 8)]
    {
        assert!(redeem(start, len).is_err(), "{start} {len}");
    }
    let column = |offset: u64, stride: u64, len: u64| {
        let bytes = (data.id(), 0u64, 24u64);
        let lie = postcard::to_allocvec(&(bytes, offset, stride, len)).unwrap();
        postcard::from_bytes::<Column<f64>>(&lie)
    };
    assert_eq!(column(8, 8, 2).unwrap().iter().sum::<f64>(), 5.0);
    for (offset, stride, len) in [
        (0, 0, 2),
        (0, 0, u64::MAX),
        (0, 7, 2),
        (17, 8, 1),
        (0, 8, 4),
        (u64::MAX, 8, 1),
        (0, u64::MAX, 2),
        (8, u64::MAX / 2, 3),
    ] {
        assert!(column(offset, stride, len).is_err(), "{offset} {stride} {len}");
    }
}

#[test]
fn more_parts_than_can_travel_are_an_error_only_for_those_that_try() {
    let (parts, remains) = Array::<u8>::zeroed(20_000).unwrap().into_parts(10_000);
    let refused = postcard::to_allocvec(&parts[9_999]);
    assert!(refused.is_err());
    drop(remains);
    let sent = postcard::to_allocvec(&parts[100]).unwrap();
    assert_eq!(postcard::from_bytes::<Part<u8>>(&sent).unwrap().start(), 200);
}

#[test]
fn named_data_has_no_handle() {
    let name = format!("test-handle-{}", std::process::id());
    let named = NamedFrozen::publish(&name, &[1u8]).unwrap();
    assert!(postcard::to_allocvec(&named.to_bytes()).is_err());
}
