//! The typed ring between threads: order, errors that give the value back, roles, ends.

#![cfg(not(loom))]
// Helpers outside the test functions unwrap too.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ipc_queue::{Error, Monitor, RecvError, SendError, Side, pipe, spsc};
use shm_core::Segment;

fn segment_for(capacity: usize) -> Segment {
    Segment::anonymous(spsc::required_size::<u64>(capacity).unwrap()).unwrap()
}

#[test]
fn a_million_elements_arrive_once_and_in_order() {
    for capacity in [1, 2, 1024] {
        let count = if capacity == 1024 { 1_000_000 } else { 10_000 };
        let (mut producer, mut consumer) = spsc::channel::<u64>(capacity).unwrap();
        let thread = std::thread::spawn(move || {
            for number in 0..count {
                producer.send(number).unwrap();
            }
            producer.sent()
        });
        for expected in 0..count {
            assert_eq!(consumer.recv(), Ok(expected));
        }
        assert_eq!(consumer.recv(), Err(RecvError::Closed));
        assert_eq!(thread.join().unwrap(), count);
        assert_eq!(consumer.received(), count);
    }
}

#[test]
fn parking_at_every_turn_loses_nothing() {
    let (mut producer, mut consumer) = spsc::channel::<u64>(1).unwrap();
    producer.set_spin_limit(0);
    consumer.set_spin_limit(0);
    let thread = std::thread::spawn(move || {
        for number in 0..5_000 {
            producer.send(number).unwrap();
        }
        producer.stats()
    });
    for expected in 0..5_000 {
        assert_eq!(consumer.recv_timeout(Duration::from_secs(20)), Ok(expected));
    }
    let (sent, received) = (thread.join().unwrap(), consumer.stats());
    assert!(sent.parks + received.parks > 0, "{sent:?} {received:?}");
    assert!(sent.wakes + received.wakes > 0, "{sent:?} {received:?}");
}

#[test]
fn a_full_a_closed_and_a_dead_ring_give_the_value_back() {
    let segment = segment_for(2);
    spsc::create::<u64>(&segment, 0, 2).unwrap();
    let mut producer = spsc::attach_producer::<u64>(&segment, 0).unwrap();
    let consumer = spsc::attach_consumer::<u64>(&segment, 0).unwrap();
    producer.send_slice(&[1, 2]).unwrap();
    let limit = Duration::from_millis(2);
    assert_eq!(producer.try_send(3), Err(SendError::Full(3)));
    assert_eq!(producer.send_timeout(4, limit), Err(SendError::Timeout(4)));
    assert_eq!(producer.send_slice_timeout(&[5, 6], limit), Err(SendError::Timeout(0)));
    drop(consumer);
    assert_eq!(producer.send(8), Err(SendError::Closed(8)));
    assert_eq!(producer.try_send_slice(&[9]), Err(SendError::Closed(())));
}

#[test]
fn a_batch_that_is_cut_short_tells_how_much_was_sent() {
    let (mut producer, mut consumer) = spsc::channel::<u64>(4).unwrap();
    let thread = std::thread::spawn(move || producer.send_slice(&[7; 100]));
    let mut values = [0; 10];
    let mut got = 0;
    while got < 10 {
        got += consumer.recv_slice(&mut values[got..]).unwrap();
    }
    consumer.close();
    let sent = match thread.join().unwrap() {
        Err(SendError::Closed(sent)) => sent,
        other => panic!("{other:?}"),
    };
    assert_eq!(sent, 10 + consumer.drain().count());
}

#[test]
fn a_closed_ring_is_drained_before_it_ends() {
    let (mut producer, mut consumer) = spsc::channel::<u32>(8).unwrap();
    producer.send_slice(&[1, 2, 3]).unwrap();
    producer.close();
    assert_eq!(producer.try_send(4), Err(SendError::Closed(4)));
    assert!(consumer.is_closed());
    assert_eq!(consumer.len(), 3);
    assert_eq!(consumer.iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(consumer.try_recv(), Err(RecvError::Closed));
}

#[test]
fn each_side_has_one_holder_at_a_time() {
    let segment = segment_for(4);
    spsc::create::<u64>(&segment, 0, 4).unwrap();
    let pid = std::process::id();
    let producer = spsc::attach_producer::<u64>(&segment, 0).unwrap();
    let consumer = spsc::attach_consumer::<u64>(&segment, 0).unwrap();
    let taken = |side| Error::RoleTaken { side, pid };
    assert_eq!(spsc::attach_producer::<u64>(&segment, 0).unwrap_err(), taken(Side::Producer));
    assert_eq!(spsc::attach_consumer::<u64>(&segment, 0).unwrap_err(), taken(Side::Consumer));
    let monitor = Monitor::attach(&segment, 0).unwrap();
    let first = monitor.holder(Side::Producer).unwrap();
    producer.detach();
    assert_eq!(monitor.holder(Side::Producer), None);
    assert!(!monitor.is_closed());
    let _second = spsc::attach_producer::<u64>(&segment, 0).unwrap();
    // SAFETY: it fails: the holder named is not the holder any more.
    let refused = unsafe { spsc::take_over_producer::<u64>(&segment, 0, first) };
    assert_eq!(refused.unwrap_err(), Error::RoleChanged { side: Side::Producer });
    drop(consumer);
    assert!(monitor.is_closed());
}

#[test]
fn a_ring_can_be_closed_by_a_supervisor() {
    let segment = segment_for(4);
    spsc::create::<u64>(&segment, 0, 4).unwrap();
    let mut consumer = spsc::attach_consumer::<u64>(&segment, 0).unwrap();
    let thread = std::thread::spawn(move || consumer.recv());
    Monitor::attach(&segment, 0).unwrap().close();
    assert_eq!(thread.join().unwrap(), Err(RecvError::Closed));
}

#[test]
fn attaching_to_something_else_is_refused_by_name() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    assert_eq!(spsc::attach_producer::<u64>(&segment, 0).unwrap_err(), Error::NotAQueue(0));
    spsc::create::<u64>(&segment, 0, 100).unwrap();
    assert_eq!(spsc::create::<u64>(&segment, 0, 100), Err(Error::Exists(0)));
    assert!(matches!(
        spsc::attach_consumer::<[u64; 2]>(&segment, 0),
        Err(Error::ElementType { found_size: 8, size: 16, .. })
    ));
    assert!(matches!(
        spsc::attach_consumer::<[u32; 2]>(&segment, 0),
        Err(Error::ElementType { found_align: 8, align: 4, .. })
    ));
    assert_eq!(
        pipe::attach_reader(&segment, 0).unwrap_err(),
        Error::Kind { found: "typed ring", expected: "byte pipe" }
    );
    assert!(matches!(spsc::attach_consumer::<u64>(&segment, 4), Err(Error::Misaligned { .. })));
    assert!(matches!(
        spsc::attach_consumer::<u64>(&segment, 1 << 20),
        Err(Error::OutOfBounds { .. })
    ));
    assert_eq!(spsc::attach_consumer::<u64>(&segment, 0).unwrap().capacity(), 128);
}

#[test]
fn impossible_capacities_are_errors() {
    let segment = Segment::anonymous(4096).unwrap();
    for capacity in [0, usize::MAX, usize::MAX / 8, isize::MAX as usize / 8] {
        assert_eq!(spsc::required_size::<u64>(capacity), Err(Error::Capacity(capacity)));
        assert_eq!(spsc::create::<u64>(&segment, 0, capacity), Err(Error::Capacity(capacity)));
    }
    assert!(matches!(
        spsc::create::<u64>(&segment, 0, 1000),
        Err(Error::OutOfBounds { offset: 0, .. })
    ));
}

/// Everything in the preamble and the positions, with every kind of nonsense: never a crash, and
/// what is not refused works within the ring's bounds.
#[test]
fn a_corrupted_ring_is_an_error_and_never_read_outside() {
    let size = spsc::required_size::<u64>(8).unwrap();
    for at in (0..512).step_by(4) {
        for nonsense in [1_u32, 3, 0xFF, 0x8000_0000, u32::MAX] {
            let segment = Segment::anonymous(size).unwrap();
            spsc::create::<u64>(&segment, 0, 8).unwrap();
            let word = segment.data().as_ptr().wrapping_add(at).cast::<u32>();
            // SAFETY: within the segment, aligned to 4, and nobody else is attached.
            unsafe { word.write(nonsense) };
            let limit = Duration::from_millis(1);
            if let Ok(mut producer) = spsc::attach_producer::<u64>(&segment, 0) {
                let _ = producer.send_slice_timeout(&[1; 20], limit);
                let _ = producer.len();
            }
            if let Ok(mut consumer) = spsc::attach_consumer::<u64>(&segment, 0) {
                let _ = consumer.recv_slice_timeout(&mut [0; 20], limit);
                let _ = consumer.recv_timeout(limit);
            }
        }
    }
}

#[test]
fn a_position_corrupted_behind_our_back_is_an_error() {
    let segment = segment_for(8);
    spsc::create::<u64>(&segment, 0, 8).unwrap();
    let mut producer = spsc::attach_producer::<u64>(&segment, 0).unwrap();
    let mut consumer = spsc::attach_consumer::<u64>(&segment, 0).unwrap();
    producer.send_slice(&[1; 8]).unwrap();
    for (at, position) in [(256, 9_u64), (384, 99)] {
        let word = segment.data().as_ptr().wrapping_add(at).cast::<u64>();
        // SAFETY: within the segment and aligned; this thread holds both sides.
        unsafe { word.write(position) };
    }
    assert_eq!(producer.try_send(2), Err(SendError::Corrupted(2)));
    assert_eq!(consumer.recv(), Err(RecvError::Corrupted));
    let taken = spsc::attach_consumer::<u64>(&segment, 0).unwrap_err();
    assert!(matches!(taken, Error::RoleTaken { .. }));
    consumer.detach();
    assert!(matches!(spsc::attach_consumer::<u64>(&segment, 0), Err(Error::Corrupted(_))));
}

#[test]
fn several_rings_lie_in_one_segment() {
    let each = spsc::required_size::<u64>(4).unwrap().next_multiple_of(128);
    let segment = Segment::anonymous(3 * each).unwrap();
    for ring in 0..3 {
        spsc::create::<u64>(&segment, ring * each, 4).unwrap();
    }
    for ring in 0..3 {
        let mut producer = spsc::attach_producer(&segment, ring * each).unwrap();
        producer.send_slice(&[ring as u64; 4]).unwrap();
    }
    for ring in 0..3 {
        let mut consumer = spsc::attach_consumer::<u64>(&segment, ring * each).unwrap();
        assert!(consumer.iter().eq([ring as u64; 4]));
    }
}

#[test]
fn a_report_of_a_death_names_who_died_and_does_not_mean_its_successor() {
    let segment = Segment::anonymous(spsc::required_size::<u64>(4).unwrap()).unwrap();
    spsc::create::<u64>(&segment, 0, 4).unwrap();
    let mut producer = spsc::attach_producer::<u64>(&segment, 0).unwrap();
    // Stands for a process that was killed.
    std::mem::forget(spsc::attach_consumer::<u64>(&segment, 0).unwrap());
    let monitor = Monitor::attach(&segment, 0).unwrap();
    let dead = monitor.holder(Side::Consumer).unwrap();
    assert_eq!(monitor.disconnect(dead), Ok(()));
    assert_eq!(producer.send(7), Err(SendError::PeerDead(7)));
    assert_eq!(monitor.holder(Side::Consumer), Some(dead), "named as before");
    assert_eq!(monitor.disconnect(dead), Ok(()), "may be repeated");
    // SAFETY: no thread uses what was forgotten.
    let mut heir = unsafe { spsc::take_over_consumer::<u64>(&segment, 0, dead) }.unwrap();
    let late = monitor.disconnect(dead);
    assert_eq!(late, Err(Error::NotHeld { pid: std::process::id() }));
    assert_eq!(producer.send(8), Ok(()));
    assert_eq!(heir.recv(), Ok(8));
}
