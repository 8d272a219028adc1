//! A short storm: processes that allocate, publish, take, lease and free in one heap are killed at
//! random instants. What was published stays whole, and in the end nothing is lost.
#![allow(clippy::unwrap_used)]

use std::alloc::Layout;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shm_core::heap::{Block, Heap, HeapOptions, Local};
use shm_core::{Group, Peers, Segment};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

const KILLS: usize = 200;
const VICTIMS: usize = 3;
const SIZE: usize = 8 << 20;
const CELLS: usize = 16;
/// The board of what each victim is doing lies in the segment, behind the heap.
const HEAP: usize = SIZE - 4096;
const DOING: [&str; 9] = [
    "starting",
    "allocating",
    "freeing",
    "publishing",
    "taking",
    "leasing",
    "acknowledging",
    "freeing another's",
    "large",
];

/// A small generator (xorshift): the same storm from the same seed, as far as the kernel allows.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

/// Words of the board: what a victim does, and how many steps it has done. Relaxed: for a picture.
fn word(segment: &Segment, index: usize) -> &AtomicU32 {
    let place = segment.data().as_ptr().wrapping_add(HEAP + index * 4);
    // SAFETY: within the segment, aligned, used as an atomic only.
    unsafe { AtomicU32::from_ptr(place.cast()) }
}

/// Fills a block so that a torn or foreign one shows: both ends of large ones.
fn fill(block: &mut Block<'_>, number: u64) {
    let bytes = block.bytes_mut();
    let last = bytes.len() / 8 - 1;
    for at in (0..last.min(16)).chain([last]) {
        let value = number.wrapping_add(at as u64);
        bytes[at * 8..][..8].copy_from_slice(&value.to_ne_bytes());
    }
}

fn check(bytes: &[u8]) {
    let number = |at: usize| u64::from_ne_bytes(bytes[at * 8..][..8].try_into().unwrap());
    let last = bytes.len() / 8 - 1;
    for at in (0..last.min(16)).chain([last]) {
        assert_eq!(number(at), number(0).wrapping_add(at as u64), "a block is torn at {at}");
    }
}

fn layout(random: &mut Random) -> Layout {
    let most = [64, 300, 2000, 30_000][random.below(4)];
    Layout::from_size_align(8 + random.below(most), 8).unwrap()
}

/// The victim: joins, and does everything for ever.
#[test]
fn a_victim() {
    let Ok(argument) = std::env::var("HEAP_STORM") else { return };
    let numbers: Vec<u64> = argument.split(' ').map(|number| number.parse().unwrap()).collect();
    let [segment, place, seed] = numbers[..] else { panic!("{argument}") };
    // SAFETY: inherited for this purpose, and owned by nobody else here.
    let file = unsafe { OwnedFd::from_raw_fd(segment as i32) };
    let segment = Segment::attach(file).unwrap();
    let group = Group::attach(std::io::stdin()).unwrap();
    let heap = Heap::attach(&segment, &group, 0).unwrap();
    let local = heap.local().unwrap();
    let say = |doing: u32| {
        word(&segment, place as usize * 2).store(doing, Ordering::Relaxed);
        word(&segment, place as usize * 2 + 1).fetch_add(1, Ordering::Relaxed);
    };
    let (mut random, mut held) = (Random(seed), Vec::new());
    loop {
        step(&heap, &local, &mut random, &mut held, &say);
    }
}

fn step<'l>(
    heap: &Heap,
    local: &'l Local,
    random: &mut Random,
    held: &mut Vec<Block<'l>>,
    say: &dyn Fn(u32),
) {
    let cell = heap.root(&format!("{}", random.below(CELLS))).unwrap();
    match random.below(20) {
        0..=5 => {
            say(1);
            let Ok(mut block) = local.allocate(layout(random)) else { return held.clear() };
            fill(&mut block, random.0);
            held.push(block);
        }
        6..=8 => {
            say(2);
            let keep = random.below(held.len() + 1);
            held.truncate(keep);
        }
        9..=12 => {
            if let Some(block) = held.pop() {
                say(3);
                drop(block.publish(cell));
            }
        }
        13..=15 => {
            say(4);
            if let Some(block) = cell.take(local).unwrap() {
                check(block.bytes());
                held.push(block);
            }
        }
        16..=18 => {
            say(5);
            if let Some(lease) = cell.lease(local).unwrap() {
                check(lease.bytes());
                say(6);
                if random.below(2) == 0 {
                    lease.acknowledge().unwrap();
                }
            }
        }
        _ => {
            say(8);
            let large = Layout::from_size_align(40_000 + random.below(200_000), 8).unwrap();
            if let Ok(mut block) = local.allocate(large) {
                fill(&mut block, random.0);
                say(3);
                drop(block.publish(cell));
            }
        }
    }
    if held.len() > 200 {
        say(7);
        held.clear();
    }
}

fn victim(segment: &Segment, group: &Group, place: usize, seed: u64) -> Child {
    let file = rustix::io::dup(segment.as_fd()).unwrap();
    word(segment, place * 2).store(0, Ordering::Relaxed);
    word(segment, place * 2 + 1).store(0, Ordering::Relaxed);
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_victim", "--nocapture"])
        .env("HEAP_STORM", format!("{} {place} {seed}", file.as_raw_fd()))
        .stdin(Stdio::from(group.as_fd().try_clone_to_owned().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[test]
fn a_storm_loses_nothing() {
    let segment = Segment::anonymous(SIZE).unwrap();
    let group = Group::anonymous().unwrap();
    let options = HeapOptions::default().size(HEAP).threads(16);
    let heap = Heap::create(&segment, &group, options).unwrap();
    let mut random = Random(0x5eed);
    let mut kills = [0usize; DOING.len()];
    let mut victims: Vec<Child> = (0..VICTIMS)
        .map(|place| victim(&segment, &group, place, random.0 + place as u64))
        .collect();
    let end = Instant::now() + Duration::from_secs(12);
    let most = std::env::var("KILL_STORM").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut round = 0;
    while round < most && (most > KILLS || Instant::now() < end) {
        let place = random.below(VICTIMS);
        // It is at work, and some way into it.
        let wanted = 20 + random.below(500) as u32;
        while word(&segment, place * 2 + 1).load(Ordering::Relaxed) < wanted {
            if let Some(status) = victims[place].try_wait().unwrap() {
                panic!("a victim ended by itself: {status}");
            }
            std::thread::yield_now();
        }
        victims[place].kill().unwrap();
        victims[place].wait().unwrap();
        kills[word(&segment, place * 2).load(Ordering::Relaxed) as usize] += 1;
        victims[place] = victim(&segment, &group, place, random.0 | 1);
        round += 1;
    }
    for mut victim in victims {
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    println!("{round} kills while: ");
    DOING.iter().zip(kills).for_each(|(doing, kills)| println!("{kills:>6} {doing}"));
    let inside: usize = kills[1..].iter().sum();
    assert!(inside * 2 > round, "kills land inside operations: {kills:?}");
    settles(&heap, &group);
}

fn settles(heap: &Heap, group: &Group) {
    // The keeper may be at it; whoever comes second finds nothing to do.
    let patience = Instant::now() + Duration::from_secs(20);
    while group.members().len() > 1 || heap.stats().threads + heap.stats().unrecovered > 0 {
        assert!(Instant::now() < patience, "{:?} {:?}", group.members(), heap.stats());
        heap.recover();
        std::thread::yield_now();
    }
    assert!(group.me().is_some());
    heap.validate_settled(0).unwrap();
    let local = heap.local().unwrap();
    for name in 0..CELLS {
        let cell = heap.root(&format!("{name}")).unwrap();
        if let Some(block) = cell.take(&local).unwrap() {
            check(block.bytes());
        }
        assert!(cell.is_empty(), "{cell:?}");
    }
    // Orphans are collected by whoever runs out of room.
    let all = Layout::from_size_align(SIZE, 8).unwrap();
    assert!(local.allocate(all).is_err());
    let most = Layout::from_size_align(HEAP / 65536 * 65536 - 3 * 65536, 8).unwrap();
    drop(local.allocate(most).unwrap());
    drop(local);
    heap.validate_settled(0).unwrap();
    let stats = heap.stats();
    assert_eq!((stats.free_spans, stats.blocks), (stats.spans, 0), "{stats:?}");
}
