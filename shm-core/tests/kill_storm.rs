//! A short storm: processes that create, open, grow and leave named segments of all kinds in a loop
//! are killed at random instants. One sweep afterwards leaves nothing of theirs.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use reexec::{Actor, role};
use shm_core::{Error, RawSegment, Scope, Segment};

const KILLS: u32 = 200;
const NAMES: u32 = 3;
const MAXIMUM: usize = 300_000;
const DOING: [&str; 8] = [
    "starting",
    "creating",
    "opening",
    "leaving",
    "sweeping",
    "between",
    "growing",
    "without header",
];

/// Two words that a victim keeps in shared memory: what it is doing, and how many steps it did.
///
/// Relaxed everywhere: the words are read for a choice and for a picture; no data hangs on them.
struct Progress<'a> {
    doing: &'a AtomicU32,
    steps: &'a AtomicU32,
}

impl<'a> Progress<'a> {
    fn of(segment: &'a Segment) -> Progress<'a> {
        let words = segment.data().cast::<u32>();
        // SAFETY: mapped for as long as `segment` is borrowed, aligned, used as atomics only.
        let doing = unsafe { AtomicU32::from_ptr(words.as_ptr()) };
        // SAFETY: within the segment's 8 bytes.
        let second = unsafe { words.add(1) };
        // SAFETY: as for the first word.
        let steps = unsafe { AtomicU32::from_ptr(second.as_ptr()) };
        Progress { doing, steps }
    }

    fn now(&self, what: u32) {
        self.doing.store(what, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// A small generator (xorshift): the same storm from the same seed, as far as the kernel allows.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as u32 % n
    }
}

#[test]
fn in_a_child() {
    let Some((_, argument)) = role() else { return };
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let board = Segment::attach(stdin).unwrap();
    let progress = Progress::of(&board);
    let (names, seed) = argument.split_once(' ').unwrap();
    let mut random = Random(seed.parse().unwrap());
    loop {
        let name = format!("{names}{}", random.below(NAMES));
        let scope = Scope::new();
        let made = match random.below(6) {
            0 | 1 => {
                progress.now(2);
                Segment::open(&name)
            }
            2 => {
                progress.now(1);
                scope.create_with(&name, Segment::options().size(5000).maximum(MAXIMUM))
            }
            3 => {
                progress.now(7);
                leave_raw(&name, &progress);
                continue;
            }
            _ => {
                progress.now(1);
                Segment::options().size(5000).maximum(MAXIMUM).create(&name)
            }
        };
        progress.now(5);
        match made {
            Ok(segment) => {
                progress.now(6);
                segment.grow(5000 + random.below(MAXIMUM as u32 - 5000) as usize).unwrap();
                segment.validate().unwrap();
                progress.now(3);
                drop(segment);
                drop(scope);
            }
            // The other victim was there first, or left just before.
            Err(Error::AlreadyExists { .. } | Error::NotFound { .. }) => {}
            // It is without header, or its maker was killed before it was whole.
            Err(Error::WrongType { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if random.below(8) == 0 {
            progress.now(4);
            shm_core::sweep().unwrap();
        }
        progress.now(5);
    }
}

fn leave_raw(name: &str, progress: &Progress<'_>) {
    match RawSegment::create(name, 5000) {
        Ok(raw) => {
            progress.now(3);
            drop(raw);
        }
        Err(Error::AlreadyExists { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// The names of ours in the directory.
fn left_over(names: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|file| file.trim_start_matches("shm-core.").starts_with(names))
        .collect()
}

fn kill_one(names: &str, random: &mut Random) -> u32 {
    let board = Segment::anonymous(8).unwrap();
    let progress = Progress::of(&board);
    let fd = board.as_fd().try_clone_to_owned().unwrap();
    let seed = u64::from(random.below(u32::MAX)) + 1;
    let mut victim = Actor::with_file("victim", &format!("{names} {seed}"), fd);
    let steps = 1 + random.below(200);
    while progress.steps.load(Ordering::Relaxed) < steps {
        std::thread::yield_now();
        assert!(victim.lives(), "a victim ended by itself");
    }
    for _ in 0..random.below(20_000) {
        std::hint::spin_loop();
    }
    victim.kill();
    progress.doing.load(Ordering::Relaxed)
}

#[test]
fn after_a_storm_of_kills_one_sweep_leaves_no_name_of_the_dead() {
    let names = format!("test-storm-{}-", std::process::id());
    let held = Segment::create(&format!("test-held-{}", std::process::id()), 1).unwrap();
    let mut histogram = [0u32; DOING.len()];
    std::thread::scope(|scope| {
        let storms: Vec<_> = (1..=2)
            .map(|seed| {
                let names = &names;
                scope.spawn(move || {
                    let mut random = Random(0x9e37_79b9 * seed);
                    (0..KILLS / 2).map(|_| kill_one(names, &mut random)).collect::<Vec<_>>()
                })
            })
            .collect();
        for storm in storms {
            storm.join().unwrap().into_iter().for_each(|doing| histogram[doing as usize] += 1);
        }
    });
    let before = left_over(&names);
    shm_core::sweep().unwrap();
    assert_eq!(left_over(&names), Vec::<String>::new(), "of these: {before:?}");

    println!("{KILLS} killed; what they were doing:");
    for (what, count) in DOING.iter().zip(histogram) {
        println!("{count:>5} {what}");
    }
    println!("{} names were left for the sweep", before.len());
    let inside: u32 = histogram[1..5].iter().chain(&histogram[6..]).sum();
    assert!(inside > 0, "no kill landed inside an operation");

    let path = format!("shm-core.test-held-{}", std::process::id());
    let file = Path::new("/dev/shm").join(path);
    assert!(file.exists(), "the victims' sweeps took away a segment in use");
    drop(held);
    assert!(!file.exists());
}
