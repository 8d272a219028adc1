//! One element, once; and the two-way pipe.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use ipc_queue::duplex::{self, Which};
use ipc_queue::{Error, RecvError, SendError, mpmc, oneshot};
use shm_core::{Group, Segment};

#[test]
fn the_element_arrives_once() {
    let (sender, mut receiver) = oneshot::channel::<u64>().unwrap();
    assert_eq!(receiver.try_recv(), Err(RecvError::Empty));
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(RecvError::Timeout));
    sender.send(7).unwrap();
    assert_eq!(receiver.try_recv(), Ok(7));
    assert_eq!(receiver.try_recv(), Err(RecvError::Closed));
}

#[test]
fn a_sleeping_receiver_is_woken_by_the_element_or_by_the_end_of_the_sender() {
    for sends in [true, false] {
        let (sender, receiver) = oneshot::channel::<u64>().unwrap();
        let thread = thread::spawn(move || receiver.recv());
        if sends {
            sender.send(7).unwrap();
        } else {
            drop(sender);
        }
        let expected = if sends { Ok(7) } else { Err(RecvError::Disconnected) };
        assert_eq!(thread.join().unwrap(), expected);
    }
}

#[test]
fn nothing_is_sent_to_nobody_and_nothing_twice() {
    let (sender, receiver) = oneshot::channel::<u64>().unwrap();
    drop(receiver);
    assert_eq!(sender.send(7), Err(SendError::Disconnected(7)));

    let segment = Segment::anonymous(oneshot::required_size::<u64>().unwrap()).unwrap();
    let group = Group::anonymous().unwrap();
    oneshot::create::<u64>(&segment, 0).unwrap();
    let sender = || oneshot::attach_sender::<u64>(&segment, 0, &group).unwrap();
    let (first, second) = (sender(), sender());
    first.send(1).unwrap();
    assert_eq!(second.send(2), Err(SendError::Closed(2)));
    let receiver = oneshot::attach_receiver::<u64>(&segment, 0, &group).unwrap();
    assert_eq!(receiver.recv(), Ok(1));
    let other = mpmc::attach_producer::<u64>(&segment, 0, &group).map(drop);
    assert!(matches!(other, Err(Error::Kind { .. })));
}

#[test]
fn bytes_go_both_ways_at_once() {
    let (here, mut there) = duplex::channel(64).unwrap();
    let echo = thread::spawn(move || {
        let mut buffer = [0; 48];
        loop {
            match there.read(&mut buffer).unwrap() {
                0 => return,
                count => there.write_all(&buffer[..count]).unwrap(),
            }
        }
    });
    let (mut reader, mut writer) = here.split();
    let sent: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
    let sending = sent.clone();
    let sender = thread::spawn(move || writer.write_all(&sending).unwrap());
    let mut got = vec![0; sent.len()];
    reader.read_exact(&mut got).unwrap();
    assert!(got == sent);
    sender.join().unwrap();
    echo.join().unwrap();
}

#[test]
fn an_end_is_held_by_one_and_closing_it_ends_the_other() {
    let segment = Segment::anonymous(duplex::required_size(100).unwrap()).unwrap();
    duplex::create(&segment, 0, 100).unwrap();
    let attach = |which| duplex::attach(&segment, 0, 100, which);
    let first = attach(Which::First).unwrap();
    assert!(matches!(attach(Which::First), Err(Error::RoleTaken { .. })));
    let mut second = attach(Which::Second).unwrap();
    second.write_all(&[1]).unwrap();
    drop(first);
    assert_eq!(second.write_all(&[1]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(second.read(&mut [0]).unwrap(), 0);
}
