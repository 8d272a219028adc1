//! A segment that becomes larger under its users, and memory that is given back and taken again.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::os::fd::AsFd;

use reexec::{Actor, listen, role, tell};
use shm_core::{Error, ReadOnlySegment, Segment};

const MIB: usize = 1 << 20;

fn name(what: &str) -> String {
    format!("test-grow-{what}-{}", std::process::id())
}

fn blocks(segment: &Segment) -> i64 {
    rustix::fs::fstat(segment).unwrap().st_blocks
}

fn write(segment: &Segment, at: usize, value: u8) {
    assert!(at < segment.size());
    // SAFETY: within the segment, which the test's processes use one at a time.
    unsafe { segment.data().as_ptr().wrapping_add(at).write_volatile(value) };
}

fn read(segment: &Segment, at: usize) -> u8 {
    assert!(at < segment.size());
    // SAFETY: as above.
    unsafe { segment.data().as_ptr().wrapping_add(at).read_volatile() }
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "reader" => {
            let segment = Segment::open(&argument).unwrap();
            let place = segment.data();
            tell(&segment.size().to_string());
            while listen() == "look" {
                let size = segment.size();
                tell(&format!("{size} {}", read(&segment, size - 1)));
            }
            assert_eq!(place, segment.data());
        }
        "grower" => {
            let memory = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            let segment = Segment::attach(memory).unwrap();
            for size in (MIB..=32 * MIB).step_by(4096) {
                segment.grow(size).unwrap();
                write(&segment, size - 1, 1);
            }
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_process_that_is_attached_sees_the_growth_where_it_always_looked() {
    let name = name("seen");
    let ours = Segment::options().size(100).maximum(8 * MIB).create(&name).unwrap();
    let mut other = Actor::start("reader", &name);
    assert_eq!(other.hear(), "100");
    let place = ours.data();
    write(&ours, 99, 1);
    for (size, value) in [(101, 2), (4096, 3), (5 * MIB + 1, 4), (8 * MIB, 5)] {
        ours.grow(size).unwrap();
        assert_eq!((ours.size(), ours.data()), (size, place));
        assert_eq!(read(&ours, size - 1), 0, "what is new is zero");
        write(&ours, size - 1, value);
        other.say("look");
        assert_eq!(other.hear(), format!("{size} {value}"));
        assert_eq!(read(&ours, 99), 1, "what was there stays");
    }
    other.say("leave");
    other.finish();
}

#[test]
fn growth_beyond_the_maximum_is_refused_and_to_less_is_nothing() {
    let segment = Segment::options().size(1000).maximum(2000).anonymous().unwrap();
    assert!(matches!(segment.grow(2001), Err(Error::BadSize { size: 2001, max: 2000 })));
    segment.grow(10).unwrap();
    assert_eq!(segment.size(), 1000);
    let fixed = Segment::anonymous(1000).unwrap();
    assert_eq!(fixed.maximum(), 1000);
    assert!(matches!(fixed.grow(1001), Err(Error::BadSize { .. })));
    fixed.validate().unwrap();
}

#[test]
fn a_terabyte_of_address_space_takes_no_memory() {
    let segment = match Segment::options().size(4096).maximum(1 << 40).anonymous() {
        Err(Error::System { call: "mmap", .. }) => {
            return println!("skipped: this process may not reserve a terabyte");
        }
        made => made.unwrap(),
    };
    segment.grow(MIB).unwrap();
    write(&segment, MIB - 1, 1);
    assert!(blocks(&segment) <= 64, "{}", blocks(&segment));
    // An opener who comes later finds the size that it has now.
    let again = Segment::attach(segment.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!((again.size(), again.maximum()), (MIB, 1 << 40));
    let reader = ReadOnlySegment::attach(segment.as_fd().try_clone_to_owned().unwrap()).unwrap();
    segment.grow(2 * MIB).unwrap();
    assert_eq!((again.size(), reader.size()), (2 * MIB, 2 * MIB));
    reader.validate().unwrap();
}

#[test]
fn two_that_grow_at_once_never_make_the_segment_smaller() {
    let segment = Segment::options().size(1).maximum(32 * MIB).anonymous().unwrap();
    let file = || segment.as_fd().try_clone_to_owned().unwrap();
    let actors: Vec<Actor> = (0..2).map(|_| Actor::with_file("grower", "", file())).collect();
    let mut last = 0;
    while last < 32 * MIB {
        let size = segment.size();
        assert!(size >= last);
        // What is said to be there can be touched.
        read(&segment, size - 1);
        last = size;
        std::thread::yield_now();
    }
    actors.into_iter().for_each(Actor::finish);
    assert_eq!(segment.size(), 32 * MIB);
    segment.validate().unwrap();
}

#[test]
fn a_named_segment_has_taken_what_it_has_grown_to() {
    let name = name("taken");
    let segment = Segment::options().size(4096).maximum(64 * MIB).create(&name).unwrap();
    let before = blocks(&segment);
    assert!(before * 512 < MIB as i64, "the maximum takes nothing");
    segment.grow(4 * MIB).unwrap();
    assert!(blocks(&segment) * 512 >= 4 * MIB as i64);
}

#[test]
fn memory_that_was_given_back_is_called_missing_until_it_is_taken_again() {
    let name = name("punched");
    for segment in [Segment::create(&name, 8 * MIB).unwrap(), Segment::anonymous(8 * MIB).unwrap()]
    {
        let run = segment.run_size();
        assert_eq!(run, 65_536);
        segment.commit(0..8 * MIB).unwrap();
        let full = blocks(&segment);
        assert!(full * 512 >= 8 * MIB as i64);
        for at in [2 * run - 1, 2 * run, 5 * run] {
            write(&segment, at, 7);
        }
        // SAFETY: nobody else uses the segment, and nothing is touched until it is committed.
        unsafe { segment.punch(2 * run..5 * run) }.unwrap();
        assert_eq!((full - blocks(&segment)) * 512, 3 * run as i64);
        for (range, there) in [(0..2, true), (1..3, false), (4..5, false), (5..128, true)] {
            let range = range.start * run..range.end * run;
            assert_eq!(segment.is_committed(range.clone()).unwrap(), there, "{range:?}");
        }
        segment.commit(2 * run..5 * run).unwrap();
        assert!(segment.is_committed(0..8 * MIB).unwrap());
        assert_eq!(blocks(&segment), full);
        let read = |at| read(&segment, at);
        assert_eq!((read(2 * run - 1), read(2 * run), read(5 * run)), (7, 0, 7));
    }
}

#[test]
fn only_whole_runs_of_the_segment_are_given_back() {
    let segment = Segment::options().size(3 * 65_536 + 5).maximum(MIB).anonymous().unwrap();
    let run = segment.run_size();
    // SAFETY: nobody uses the segment.
    let punch = |range| unsafe { segment.punch(range) };
    assert!(matches!(punch(1..run), Err(Error::Misaligned { at: 1, .. })));
    assert!(matches!(punch(0..run + 1), Err(Error::Misaligned { .. })));
    assert!(matches!(punch(0..4 * run), Err(Error::OutOfBounds { .. })));
    let reversed = punch(2 * run..run);
    assert!(matches!(reversed, Err(Error::OutOfBounds { .. })));
    assert!(segment.is_committed(0..segment.size()).unwrap());
    punch(run..run).unwrap();
    punch(3 * run..segment.size()).unwrap();
    assert!(!segment.is_committed(3 * run..segment.size()).unwrap());
    segment.commit(3 * run..segment.size()).unwrap();
    assert!(segment.is_committed(0..segment.size()).unwrap());
}
