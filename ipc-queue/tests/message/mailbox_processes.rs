//! Real producers and consumers of a mailbox, killed again and again without a supervisor: nothing
//! that was sent is lost or torn, each producer's messages come in order, and no memory is lost.

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{
    AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release,
};

use ipc_queue::mailbox::{self, Options};
use ipc_queue::{RecvError, SendError};
use shm_core::{Group, Segment};

use crate::LONG;

const ROLE: &str = "IPC_QUEUE_TEST_MAILBOX";
const PRODUCERS: usize = 12;
const EACH: usize = 50_000;
/// In front of the mailbox: what each producer has sent, and how often each message was received.
const SEEN: usize = 64 * PRODUCERS;
const MAILBOX: usize = (SEEN + PRODUCERS * EACH).next_multiple_of(4096);

fn options() -> Options {
    Options::new(8, 1 << 20)
}

fn sent(segment: &Segment, who: usize) -> &AtomicU64 {
    // SAFETY: within the segment, aligned, and used as this atomic only.
    unsafe { &*segment.data().as_ptr().wrapping_add(64 * who).cast() }
}

fn seen(segment: &Segment, who: usize, which: usize) -> &AtomicU8 {
    assert!(who < PRODUCERS && which < EACH);
    // SAFETY: as above.
    unsafe { &*segment.data().as_ptr().wrapping_add(SEEN + who * EACH + which).cast() }
}

/// Now and then a long one, of several spans.
fn message(who: u64, which: u64) -> Vec<u8> {
    let len = match which % 50 {
        49 => 100_000,
        few => few * 37,
    };
    let body = (0..len).map(|at| (who ^ which).wrapping_add(at) as u8);
    [who, which].into_iter().flat_map(u64::to_ne_bytes).chain(body).collect()
}

/// Who sent it, and which of his it is.
fn parts(found: &[u8]) -> (usize, usize) {
    let word = |at: usize| u64::from_ne_bytes(found[at..at + 8].try_into().unwrap());
    let (who, which) = (word(0), word(8));
    assert!(found == message(who, which), "torn: {who} {which}");
    (who as usize, which as usize)
}

fn run_child(role: &str, segment: &Segment, group: &Group) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "mailbox_processes::child_process", "--nocapture"])
        .env(ROLE, role)
        .stdin(segment.as_fd().try_clone_to_owned().unwrap())
        .stdout(Stdio::null())
        .stderr(group.as_fd().try_clone_to_owned().unwrap())
        .spawn()
        .unwrap()
}

/// What the other processes do; as a test of its own it does nothing.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let segment = Segment::attach(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
    let group = Group::attach(std::io::stderr().as_fd()).unwrap();
    if let Ok(who) = role.parse::<u64>() {
        let mut producer = mailbox::attach_producer(&segment, MAILBOX, &group).unwrap();
        for which in 0..EACH as u64 {
            if producer.send(&message(who, which)).is_err() {
                return;
            }
            sent(&segment, who as usize).store(which + 1, Release);
        }
        return;
    }
    let mut consumer = mailbox::attach_consumer(&segment, MAILBOX, &group).unwrap();
    let mut last = [None; PRODUCERS];
    consumer.for_each(|found| {
        let (who, which) = parts(found);
        // One that comes again is of the dead, and may be older.
        let before = seen(&segment, who, which).fetch_add(1, AcqRel);
        assert!(last[who] < Some(which) || before > 0, "out of order");
        last[who] = last[who].max(Some(which));
    });
}

fn ground() -> (Segment, Group) {
    let size = MAILBOX + mailbox::required_size(&options()).unwrap();
    let (segment, group) = (Segment::anonymous(size).unwrap(), Group::anonymous().unwrap());
    mailbox::create(&segment, MAILBOX, &group, &options()).unwrap();
    (segment, group)
}

fn is_clean(consumer: &mailbox::Consumer) {
    consumer.validate().unwrap();
    assert_eq!(consumer.used(), mailbox::channel(8, 1).unwrap().0.used(), "a block is lost");
}

#[test]
fn producers_killed_again_and_again_lose_nothing_that_they_had_sent() {
    let (segment, group) = ground();
    let mut consumer = mailbox::attach_consumer(&segment, MAILBOX, &group).unwrap();
    let mut last = [None; PRODUCERS];
    let mut receive = |consumer: &mut mailbox::Consumer| -> Result<(), RecvError> {
        let (who, which) = parts(&consumer.recv_timeout(LONG)?);
        assert_eq!(last[who].map_or(0, |last| last + 1), which, "lost, or out of order");
        last[who] = Some(which);
        Ok(())
    };
    let mut children: Vec<(usize, Child)> = Vec::new();
    for who in 0..PRODUCERS {
        children.push((who, run_child(&who.to_string(), &segment, &group)));
        if children.len() < 3 {
            continue;
        }
        for _ in 0..200 + 37 * who {
            receive(&mut consumer).unwrap();
        }
        let (_, mut child) = children.remove(0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for (_, mut child) in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let end = loop {
        if let Err(end) = receive(&mut consumer) {
            break end;
        }
    };
    assert_eq!(end, RecvError::Disconnected);
    for (who, last) in last.into_iter().enumerate() {
        let (sent, received) = (sent(&segment, who).load(Acquire), last.map_or(0, |last| last + 1));
        // One may have been sent by a producer that was killed before it said so.
        assert!((sent..=sent + 1).contains(&(received as u64)), "{sent} sent, {received} received");
    }
    is_clean(&consumer);
}

#[test]
fn consumers_killed_again_and_again_lose_nothing() {
    let (segment, group) = ground();
    let mut producer = mailbox::attach_producer(&segment, MAILBOX, &group).unwrap();
    let mut children = Vec::new();
    let mut next = 0;
    for round in 0..10 {
        children.push(run_child("consumer", &segment, &group));
        if children.len() < 2 {
            continue;
        }
        let enough = next + 100 + 41 * round;
        while next < enough {
            match producer.send_timeout(&message(0, next), LONG) {
                Ok(()) => next += 1,
                // Before the first has come.
                Err(error) => assert_eq!(error, SendError::Disconnected(())),
            }
        }
        let mut child = children.remove(0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    producer.close();
    for mut child in children {
        assert!(child.wait().unwrap().success(), "lost, torn or out of order");
    }
    // What the last of the killed had in hand may have come back after the end.
    let mut consumer = mailbox::attach_consumer(&segment, MAILBOX, &group).unwrap();
    let end = consumer.for_each(|found| {
        let (who, which) = parts(found);
        seen(&segment, who, which).fetch_add(1, AcqRel);
    });
    assert_eq!(end, RecvError::Closed);
    let twice = (0..next as usize).filter(|&which| {
        let times = seen(&segment, 0, which).load(Acquire);
        assert!(times > 0, "{which} is lost");
        times > 1
    });
    assert!(twice.count() <= 9, "more came again than there were deaths");
    is_clean(&consumer);
}

#[test]
fn sleepers_learn_without_a_supervisor_that_all_others_were_killed() {
    let (segment, group) = ground();
    let mut consumer = mailbox::attach_consumer(&segment, MAILBOX, &group).unwrap();
    consumer.set_spin_limit(0);
    let mut child = run_child("0", &segment, &group);
    while consumer.recv_timeout(LONG).is_err() {}
    let killer = std::thread::spawn(move || {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    assert_eq!(consumer.for_each(|_| {}), RecvError::Disconnected);
    killer.join().unwrap();
    is_clean(&consumer);
}
