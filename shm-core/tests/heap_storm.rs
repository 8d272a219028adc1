//! A short storm: processes that allocate, publish, take, lease and free in one heap are killed at
//! random instants. What was published stays whole, and in the end nothing is lost.
//!
//! Two drivers, processes of their own that are no members of the group, fork the victims: a fork of
//! a small process costs a hundredth of a start of the test program. A victim has a timer of the
//! kernel that kills it (SIGKILL) some way into its work, so that nobody has to look when. With
//! `KILL_STORM=100000` the storm is as long as that; after each round of 5,000 kills everybody is
//! killed, and the heap is looked at as a whole.
#![allow(clippy::unwrap_used)]

use std::alloc::Layout;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shm_core::heap::{Block, Cell, Heap, HeapOptions, Local};
use shm_core::{Group, Peers, Segment};

const KILLS: usize = 1000;
/// Kills between two looks at the whole.
const ROUND: usize = 5000;
const DRIVERS: usize = 2;
/// Of each driver.
const VICTIMS: usize = 4;
const SIZE: usize = 4 << 20;
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
    "freeing all",
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

/// A word of the board: what a victim does. Relaxed: for a picture.
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
fn be_a_victim(segment: BorrowedFd<'_>, group: BorrowedFd<'_>, place: usize, seed: u64) {
    let mut random = Random(seed);
    // One in eight is killed while it joins, or soon after.
    let joining = random.below(8) == 0;
    if joining {
        die_after(Duration::from_nanos(random.below(400_000) as u64));
    }
    let segment = Segment::attach(segment.try_clone_to_owned().unwrap()).unwrap();
    let group = Group::attach(group).unwrap();
    let heap = Heap::attach(&segment, &group, 0).unwrap();
    let local = heap.local().unwrap();
    let say = |doing: u32| word(&segment, place).store(doing, Ordering::Relaxed);
    let cells: Vec<_> = (0..CELLS).map(|name| heap.root(&format!("{name}")).unwrap()).collect();
    let mut held = Vec::new();
    if !joining {
        die_after(Duration::from_nanos(random.below(300_000) as u64));
    }
    loop {
        let cell = cells[random.below(CELLS)];
        step(cell, &local, &mut random, &mut held, &say);
    }
}

fn step<'l>(
    cell: Cell<'_>,
    local: &'l Local,
    random: &mut Random,
    held: &mut Vec<Block<'l>>,
    say: &dyn Fn(u32),
) {
    match random.below(60) {
        0..=17 => {
            say(1);
            let Ok(mut block) = local.allocate(layout(random)) else {
                say(7);
                return held.clear();
            };
            fill(&mut block, random.0);
            held.push(block);
        }
        18..=28 => {
            say(2);
            let keep = random.below(held.len() + 1);
            held.truncate(keep);
        }
        29..=40 => {
            if let Some(block) = held.pop() {
                say(3);
                drop(block.publish(cell));
            }
        }
        41..=49 => {
            say(4);
            if let Some(block) = cell.take(local).unwrap() {
                check(block.bytes());
                held.push(block);
            }
        }
        50..=58 => {
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

/// A victim that was forked; killed when it is dropped.
struct Victim(libc::pid_t);

impl Victim {
    fn fork(segment: BorrowedFd<'_>, group: BorrowedFd<'_>, place: usize, seed: u64) -> Victim {
        // SAFETY: of this process's threads only this one runs (the harness's waits for it), so that
        // the child finds no lock held.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "{}", std::io::Error::last_os_error());
        if pid == 0 {
            die_with_the_parent();
            let _ = catch_unwind(AssertUnwindSafe(|| be_a_victim(segment, group, place, seed)));
            // SAFETY: ends the child without the destructors and buffers that are its parent's.
            unsafe { libc::_exit(1) };
        }
        Victim(pid)
    }

    /// Waits for the death; whether it was a kill.
    fn dies(&self) -> bool {
        let mut status = 0;
        // SAFETY: our own child, and a live variable for its status.
        let pid = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        pid == self.0 && libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // SAFETY: our own child: what was waited for is forgotten, not dropped.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        self.dies();
    }
}

/// The kernel kills this process when so much time has passed, wherever it is then.
fn die_after(time: Duration) {
    // SAFETY: plain numbers and pointers, of which zeros are a valid value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGKILL;
    let mut timer = std::ptr::null_mut();
    // SAFETY: live variables of the right types.
    let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let after = libc::timespec { tv_sec: 0, tv_nsec: time.as_nanos() as i64 + 1 };
    let once = libc::itimerspec { it_interval: never, it_value: after };
    // SAFETY: the timer was just made; live variables, and no old setting is asked for.
    let set = unsafe { libc::timer_settime(timer, 0, &once, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn die_with_the_parent() {
    // SAFETY: takes a number, and no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// The driver: a process that has nothing of the heap but the board.
#[test]
fn a_driver() {
    let Ok(argument) = std::env::var("HEAP_STORM") else { return };
    die_with_the_parent();
    let numbers: Vec<u64> = argument.split(' ').map(|number| number.parse().unwrap()).collect();
    let [file, first, kills, seconds, seed] = numbers[..] else { panic!("{argument}") };
    // SAFETY: inherited for this purpose, and open as long as this process lives.
    let file = unsafe { BorrowedFd::borrow_raw(file as i32) };
    let (stdin, mut random) = (std::io::stdin(), Random(seed));
    let board = Segment::attach(file.try_clone_to_owned().unwrap()).unwrap();
    let begin = |place: usize, random: &mut Random| {
        let place = first as usize + place;
        word(&board, place).store(0, Ordering::Relaxed);
        Victim::fork(file, stdin.as_fd(), place, random.0 | 1)
    };
    let mut victims: Vec<_> = (0..VICTIMS).map(|place| begin(place, &mut random)).collect();
    let (mut counts, end) = ([0usize; DOING.len()], Instant::now() + Duration::from_secs(seconds));
    for turn in 0..kills as usize {
        let place = turn % VICTIMS;
        assert!(victims[place].dies(), "a victim ended by itself");
        counts[word(&board, first as usize + place).load(Ordering::Relaxed) as usize] += 1;
        // Waited for: its number may be another's by now.
        std::mem::forget(std::mem::replace(&mut victims[place], begin(place, &mut random)));
        if Instant::now() > end {
            break;
        }
    }
    drop(victims);
    println!("@{}", counts.map(|count| count.to_string()).join(" "));
}

fn driver(file: BorrowedFd<'_>, group: &Group, index: usize, kills: usize, seed: u64) -> Child {
    let seconds = if kills < ROUND / DRIVERS { 10 } else { 3600 };
    let numbers = [index * VICTIMS, kills, seconds].map(|number| number.to_string()).join(" ");
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_driver", "--nocapture", "--test-threads=1"])
        .env("HEAP_STORM", format!("{} {numbers} {seed}", file.as_raw_fd()))
        .stdin(Stdio::from(group.as_fd().try_clone_to_owned().unwrap()))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// So many kills, in two drivers at once; what the victims were doing.
fn round(segment: &Segment, group: &Group, kills: usize, seed: u64) -> [usize; DOING.len()] {
    // A descriptor that the drivers inherit.
    let file = rustix::io::dup(segment.as_fd()).unwrap();
    let drivers: Vec<Child> = (0..DRIVERS)
        .map(|index| driver(file.as_fd(), group, index, kills / DRIVERS, seed + index as u64))
        .collect();
    let mut counts = [0; DOING.len()];
    for mut driver in drivers {
        let mut said = String::new();
        driver.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(driver.wait().unwrap().success(), "{said}");
        let line = said.lines().find_map(|line| line.split_once('@')).unwrap().1;
        for (count, kills) in counts.iter_mut().zip(line.split(' ')) {
            *count += kills.parse::<usize>().unwrap();
        }
    }
    counts
}

#[test]
fn a_storm_loses_nothing() {
    let segment = Segment::anonymous(SIZE).unwrap();
    let group = Group::anonymous().unwrap();
    let options = HeapOptions::default().size(HEAP).threads(32);
    let heap = Heap::create(&segment, &group, options).unwrap();
    let most = std::env::var("KILL_STORM").map_or(KILLS, |kills| kills.parse().unwrap());
    let (mut random, begin) = (Random(0x5eed), Instant::now());
    let (mut counts, mut left) = ([0usize; DOING.len()], most);
    while left > 0 {
        let kills = left.min(ROUND);
        let of_round = round(&segment, &group, kills, 1 + random.below(1 << 30) as u64);
        settles(&heap, &group);
        counts.iter_mut().zip(of_round).for_each(|(count, kills)| *count += kills);
        left -= kills;
        if most > ROUND {
            println!("{} left after {:?}", left, begin.elapsed());
        }
    }
    let kills: usize = counts.iter().sum();
    println!("{kills} kills in {:.1?} while:", begin.elapsed());
    DOING.iter().zip(counts).for_each(|(doing, kills)| println!("{kills:>6} {doing}"));
    let inside: usize = counts[1..].iter().sum();
    assert!(kills > 0 && inside * 2 > kills, "kills land inside operations: {counts:?}");
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
