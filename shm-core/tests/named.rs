//! The life of a name: several real processes open it, leave it, and are killed.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use reexec::{Actor, listen, role, tell};
use shm_core::{Error, NamedFrozen, Segment};

/// A name of this test run only. The file is removed at the end, whatever happened.
struct Name(String);

impl Name {
    fn new() -> Name {
        // Relaxed: only has to give each caller another number.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Name(format!("test-named-{}-{next}", std::process::id()))
    }

    fn path(&self) -> PathBuf {
        path_of(&self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(format!("shm-core.{name}"))
}

fn exists(name: &Name) -> bool {
    std::fs::symlink_metadata(name.path()).is_ok()
}

/// Whether another process says that we hold a record lock on the file.
fn we_hold_a_lock_on(path: &Path) -> bool {
    let mut asker = Actor::start("asker", path.to_str().unwrap());
    let holder = asker.hear();
    asker.finish();
    holder == std::process::id().to_string()
}

/// In an actor: the process, other than this one, that holds a lock on the file's first byte.
fn holder_of(file: &File) -> i32 {
    // SAFETY: `flock` is plain data; all-zero is one of its values.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_len = 1;
    // SAFETY: a valid descriptor and one `flock`, which the call fills.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    assert_eq!(result, 0);
    if lock.l_type == libc::F_UNLCK as libc::c_short { 0 } else { lock.l_pid }
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "holder" => {
            let segment = Segment::open(&argument).unwrap();
            // Never closed: closing it would release the segment's lock.
            let witness = ManuallyDrop::new(File::open(path_of(&argument)).unwrap());
            tell("open");
            while listen() == "who" {
                tell(&holder_of(&witness).to_string());
            }
            drop(segment);
            tell("left");
        }
        "asker" => tell(&holder_of(&File::open(&argument).unwrap()).to_string()),
        "creator" => {
            let _segment = Segment::create(&argument, 100).unwrap();
            tell("created");
            listen();
        }
        "leaver" => leave_again_and_again(&argument),
        "sweeper" => tell(&shm_core::sweep().unwrap().to_string()),
        "forker" => {
            let _segment = Segment::create(&argument, 100).unwrap();
            // SAFETY: the child calls nothing but `pause` and `_exit`.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                sleep_until_killed();
            }
            tell(&pid.to_string());
            listen();
        }
        "adopter" => {
            let _segment = Segment::create(&argument, 100).unwrap();
            // SAFETY: no other thread of this process uses the crate, so nothing that the child
            // needs is locked at this moment.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let _opened = Segment::open(&argument).unwrap();
                tell(&std::process::id().to_string());
                sleep_until_killed();
            }
            listen();
        }
        other => panic!("{other}"),
    }
}

/// Which round it is, and how many have opened, may leave, and have left in it.
struct Board<'a> {
    words: [&'a AtomicU32; 4],
}

impl<'a> Board<'a> {
    fn of(segment: &'a Segment) -> Board<'a> {
        let start = segment.data().cast::<u32>().as_ptr();
        // SAFETY: the segment has 16 bytes, aligned, mapped while it is borrowed, and used as
        // these atomics only.
        let word = |at| unsafe { AtomicU32::from_ptr(start.wrapping_add(at)) };
        Board { words: [word(0), word(1), word(2), word(3)] }
    }

    fn wait(&self, word: usize, value: u32) {
        // SeqCst here and below: a test's clock, not its subject.
        while self.words[word].load(Ordering::SeqCst) != value {
            std::hint::spin_loop();
            std::thread::yield_now();
        }
    }

    /// Without giving way, for as long as the others take to come to the same point.
    fn wait_awake(&self, word: usize, value: u32) {
        for _ in 0..20_000 {
            if self.words[word].load(Ordering::SeqCst) == value {
                return;
            }
            std::hint::spin_loop();
        }
        self.wait(word, value);
    }

    fn set(&self, word: usize, value: u32) {
        self.words[word].store(value, Ordering::SeqCst);
    }

    fn count(&self, word: usize) {
        self.words[word].fetch_add(1, Ordering::SeqCst);
    }
}

const ROUND: usize = 0;
const OPENED: usize = 1;
const GO: usize = 2;
const LEFT: usize = 3;

fn leave_again_and_again(prefix: &str) {
    let memory = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let memory = Segment::attach(memory).unwrap();
    let board = Board::of(&memory);
    for round in 1.. {
        board.wait(ROUND, round);
        let segment = Segment::open(&format!("{prefix}-{round}")).unwrap();
        board.count(OPENED);
        board.wait_awake(GO, round);
        drop(segment);
        board.count(LEFT);
    }
}

fn sleep_until_killed() -> ! {
    loop {
        // SAFETY: no arguments, waits for a signal.
        unsafe { libc::pause() };
    }
}

fn sweep_in_another_process() {
    let mut sweeper = Actor::start("sweeper", "");
    sweeper.hear();
    sweeper.finish();
}

#[test]
fn the_last_one_out_removes_the_name() {
    let name = Name::new();
    let segment = Segment::create(&name.0, 4096).unwrap();
    let mut other = Actor::start("holder", &name.0);
    assert_eq!(other.hear(), "open");
    drop(segment);
    assert!(exists(&name), "the other process still uses it");
    other.say("leave");
    assert_eq!(other.hear(), "left");
    assert!(!exists(&name));
}

#[test]
fn a_name_whose_users_were_all_killed_is_gone_after_one_new_create() {
    let (name, another) = (Name::new(), Name::new());
    let mut creator = Actor::start("creator", &name.0);
    assert_eq!(creator.hear(), "created");
    let mut holder = Actor::start("holder", &name.0);
    assert_eq!(holder.hear(), "open");
    holder.kill();
    creator.kill();
    let _new = Segment::create(&another.0, 1).unwrap();
    assert!(!exists(&name));
}

#[test]
fn the_same_name_can_be_created_again_after_its_users_were_killed() {
    let name = Name::new();
    let mut creator = Actor::start("creator", &name.0);
    assert_eq!(creator.hear(), "created");
    assert!(matches!(Segment::create(&name.0, 1), Err(Error::AlreadyExists { .. })));
    creator.kill();
    let again = Segment::create(&name.0, 7).unwrap();
    assert_eq!(again.size(), 7);
}

#[test]
fn what_the_dead_left_can_not_be_opened_and_is_removed_by_the_attempt() {
    let name = Name::new();
    let mut creator = Actor::start("creator", &name.0);
    assert_eq!(creator.hear(), "created");
    creator.kill();
    assert!(matches!(Segment::open(&name.0), Err(Error::NotFound { .. })));
    assert!(!exists(&name));
}

#[test]
fn two_that_leave_at_once_never_leave_the_name_behind() {
    let prefix = Name::new();
    let memory = Segment::anonymous(16).unwrap();
    let board = Board::of(&memory);
    let file = memory.as_fd().try_clone_to_owned().unwrap();
    let _other = Actor::with_file("leaver", &prefix.0, file);
    for round in 1..=1000 {
        let name = Name(format!("{}-{round}", prefix.0));
        let segment = Segment::create(&name.0, 1).unwrap();
        board.set(ROUND, round);
        board.wait(OPENED, round);
        board.set(GO, round);
        // Another offset each round, so that some round meets the other's narrow step.
        for _ in 0..round % 100 {
            std::hint::spin_loop();
        }
        drop(segment);
        board.wait(LEFT, round);
        assert!(!exists(&name), "round {round}");
    }
}

#[test]
fn a_forked_child_that_opens_what_it_inherited_is_a_user_of_its_own() {
    let name = Name::new();
    let mut adopter = Actor::start("adopter", &name.0);
    let grandchild: i32 = adopter.hear().parse().unwrap();
    adopter.kill();
    let opened = Segment::open(&name.0).map(|segment| segment.size());
    // SAFETY: ends the process that the adopter left behind for us.
    unsafe { libc::kill(grandchild, libc::SIGKILL) };
    assert_eq!(opened.unwrap(), 100);
}

#[test]
fn one_thread_leaving_does_not_release_the_lock_of_another_that_opens() {
    let name = Name::new();
    let first = Segment::create(&name.0, 1).unwrap();
    let mut other = Actor::start("holder", &name.0);
    assert_eq!(other.hear(), "open");
    let mut ours = first;
    let barrier = Barrier::new(2);
    for round in 0..400 {
        let again = std::thread::scope(|scope| {
            let opener = scope.spawn(|| {
                barrier.wait();
                Segment::open(&name.0).unwrap()
            });
            barrier.wait();
            drop(ours);
            opener.join().unwrap()
        });
        other.say("who");
        assert_eq!(other.hear(), std::process::id().to_string(), "round {round}");
        ours = again;
    }
}

#[test]
fn closing_a_duplicate_of_its_descriptor_does_not_give_up_the_name() {
    let name = Name::new();
    let segment = Segment::create(&name.0, 1).unwrap();
    drop(segment.as_fd().try_clone_to_owned().unwrap());
    let attached = Segment::attach(segment.as_fd().try_clone_to_owned().unwrap());
    assert!(attached.is_err(), "{attached:?}");
    assert!(we_hold_a_lock_on(&name.path()));
    sweep_in_another_process();
    assert!(exists(&name));
}

#[test]
fn of_a_name_opened_twice_one_end_leaves_the_other_its_claim() {
    let name = Name::new();
    let mut creator = Actor::start("creator", &name.0);
    assert_eq!(creator.hear(), "created");
    let first = Segment::open(&name.0).unwrap();
    let second = Segment::open(&name.0).unwrap();
    creator.kill();
    drop(first);
    // Refused as what it is not: that, too, opened and closed nothing of the file.
    assert!(NamedFrozen::<u64>::open(&name.0).is_err());
    assert!(shm_core::ReadOnlySegment::open(&name.0).is_ok());
    assert!(we_hold_a_lock_on(&name.path()));
    sweep_in_another_process();
    assert_eq!(Segment::open(&name.0).unwrap().id(), second.id());
    drop(second);
    assert!(!exists(&name));
}

#[test]
fn our_own_sweep_does_not_release_our_own_lock() {
    let name = Name::new();
    let _segment = Segment::create(&name.0, 1).unwrap();
    let _array = NamedFrozen::publish(&format!("{}-b", name.0), &[1u8]).unwrap();
    shm_core::sweep().unwrap();
    assert!(we_hold_a_lock_on(&name.path()));
    assert!(we_hold_a_lock_on(&path_of(&format!("{}-b", name.0))));
}

#[test]
fn a_hard_link_to_a_segment_in_use_is_refused_and_does_not_release_its_lock() {
    let (name, link) = (Name::new(), Name::new());
    let _segment = Segment::create(&name.0, 1).unwrap();
    std::fs::hard_link(name.path(), link.path()).unwrap();
    let opened = Segment::open(&link.0);
    assert!(matches!(opened, Err(Error::NotASegment { .. })), "{opened:?}");
    shm_core::sweep().unwrap();
    assert!(we_hold_a_lock_on(&name.path()));
}

#[test]
fn a_forked_child_that_drops_what_it_inherited_takes_nothing_away() {
    let name = Name::new();
    let segment = Segment::create(&name.0, 1).unwrap();
    // SAFETY: the child only drops the segment (two system calls) and ends without running
    // anything of the test harness.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(segment);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for our own child; a null status is allowed.
    assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
    assert!(exists(&name));
    assert!(we_hold_a_lock_on(&name.path()));
}

#[test]
fn a_forked_child_that_lives_on_does_not_keep_the_name() {
    let name = Name::new();
    let mut forker = Actor::start("forker", &name.0);
    let grandchild: i32 = forker.hear().parse().unwrap();
    forker.kill();
    let opened = Segment::open(&name.0).map(|_| ());
    // SAFETY: ends the process that the forker left behind for us.
    unsafe { libc::kill(grandchild, libc::SIGKILL) };
    assert!(matches!(opened, Err(Error::NotFound { .. })), "{opened:?}");
}

#[test]
fn a_foreign_file_under_our_prefix_is_neither_opened_nor_removed() {
    let name = Name::new();
    std::fs::write(name.path(), "somebody's notes").unwrap();
    assert!(matches!(Segment::open(&name.0), Err(Error::Truncated { .. })));
    std::fs::write(name.path(), [b'x'; 100_000]).unwrap();
    assert!(matches!(Segment::open(&name.0), Err(Error::NotASegment { .. })));
    assert!(matches!(Segment::create(&name.0, 1), Err(Error::AlreadyExists { .. })));
    shm_core::sweep().unwrap();
    assert!(exists(&name));
}

#[test]
fn a_link_a_pipe_and_a_directory_are_refused_at_once() {
    let (target, link) = (Name::new(), Name::new());
    let _segment = Segment::create(&target.0, 1).unwrap();
    std::os::unix::fs::symlink(target.path(), link.path()).unwrap();
    let opened = Segment::open(&link.0);
    assert!(matches!(opened, Err(Error::NotASegment { .. })), "{opened:?}");

    let pipe = Name::new();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, pipe.path(), mode).unwrap();
    let opened = Segment::open(&pipe.0);
    assert!(matches!(opened, Err(Error::NotASegment { .. })), "{opened:?}");

    let folder = Name::new();
    std::fs::create_dir(folder.path()).unwrap();
    let opened = Segment::open(&folder.0);
    std::fs::remove_dir(folder.path()).unwrap();
    assert!(matches!(opened, Err(Error::NotASegment { .. })), "{opened:?}");
    shm_core::sweep().unwrap();
    assert!(exists(&link) && exists(&pipe));
}

#[test]
fn after_a_name_was_removed_by_hand_the_next_segment_of_that_name_is_found() {
    let name = Name::new();
    let old = Segment::create(&name.0, 10).unwrap();
    std::fs::remove_file(name.path()).unwrap();
    assert!(matches!(Segment::open(&name.0), Err(Error::NotFound { .. })));
    let mut creator = Actor::start("creator", &name.0);
    assert_eq!(creator.hear(), "created");
    let new = Segment::open(&name.0).unwrap();
    assert_ne!(old.id(), new.id());
    drop(old);
    creator.kill();
    assert!(we_hold_a_lock_on(&name.path()));
    let same = Segment::open(&name.0).unwrap();
    assert_eq!(same.id(), new.id());
}

#[test]
fn opening_as_another_kind_of_segment_leaves_it_to_its_users() {
    let name = Name::new();
    let _array = NamedFrozen::publish(&name.0, &[1u32, 2]).unwrap();
    assert!(matches!(Segment::open(&name.0), Err(Error::WrongType { .. })));
    assert!(matches!(NamedFrozen::<f32>::open(&name.0), Err(Error::WrongType { .. })));
    assert_eq!(NamedFrozen::<u32>::open(&name.0).unwrap()[..], [1, 2]);
    assert!(we_hold_a_lock_on(&name.path()));
}
