//! What is made in a scope ends with it: at the end of a block, by a panic, by a kill.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use reexec::{Actor, listen, role, tell};
use shm_core::{Error, NamedFrozen, Scope, Segment};

fn name(what: &str) -> String {
    format!("test-scope-{what}-{}", std::process::id())
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(format!("shm-core.{name}"))
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "owner" => {
            let scope = Scope::new();
            let _segment = scope.create(&argument, 100).unwrap();
            tell("made");
            listen();
            drop(scope);
            tell("ended");
            listen();
        }
        "user" => {
            let _segment = Segment::open(&argument).unwrap();
            tell("open");
            listen();
        }
        "forker" => {
            let scope = Scope::new();
            let _segment = scope.create(&argument, 1).unwrap();
            // SAFETY: no other thread of this process uses the crate, so nothing that the child
            // needs is locked at this moment.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let opened = Segment::open(&argument).unwrap();
                drop(scope);
                drop(opened);
                tell(if path_of(&argument).exists() { "stays" } else { "gone" });
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(0) };
            }
            // SAFETY: waits for our own child; a null status is allowed.
            assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
            drop(scope);
            tell(if path_of(&argument).exists() { "stays" } else { "gone" });
        }
        "taker" => {
            // Where it stands before it takes the name of a dead scope's file away.
            let file = std::fs::File::options().read(true).write(true).open(path_of(&argument));
            let file = file.unwrap();
            [65_534, 65_535].into_iter().for_each(|byte| lock(&file, byte));
            tell("about to");
            listen();
        }
        "sweeper" => tell(&shm_core::sweep().unwrap().to_string()),
        other => panic!("{other}"),
    }
}

/// Takes the record lock of a byte, exclusively.
fn lock(file: &std::fs::File, byte: i64) {
    // SAFETY: zero is a valid value of this plain structure.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as i16, byte, 1);
    // SAFETY: a valid descriptor, and a lock to read.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) }, 0);
}

#[test]
fn who_takes_a_dead_scopes_name_away_is_not_taken_for_the_scope() {
    let name = name("taken");
    let mut owner = Actor::start("owner", &name);
    assert_eq!(owner.hear(), "made");
    owner.kill();
    let mut taker = Actor::start("taker", &name);
    assert_eq!(taker.hear(), "about to");
    let opened = Segment::open(&name);
    assert!(matches!(opened, Err(Error::Busy { .. })), "{opened:?}");
    taker.kill();
    let opened = Segment::open(&name);
    assert!(matches!(opened, Err(Error::NotFound { .. })), "{opened:?}");
    assert!(!path_of(&name).exists());
}

fn sweep_in_another_process() {
    let mut sweeper = Actor::start("sweeper", "");
    sweeper.hear();
    sweeper.finish();
}

#[test]
fn a_scope_that_ends_takes_its_names_away_from_those_who_still_use_them() {
    let (name, array) = (name("ends"), name("array"));
    let scope = Scope::new();
    let segment = scope.create(&name, 100).unwrap();
    let data = scope.publish(&array, &[1u32, 2, 3]).unwrap();
    let mut user = Actor::start("user", &name);
    assert_eq!(user.hear(), "open");
    assert!(path_of(&name).exists() && path_of(&array).exists());
    drop(scope);
    assert!(!path_of(&name).exists() && !path_of(&array).exists());
    assert!(matches!(Segment::open(&name), Err(Error::NotFound { .. })));
    assert!(matches!(NamedFrozen::<u32>::open(&array), Err(Error::NotFound { .. })));
    assert_eq!((segment.size(), data[..].iter().sum::<u32>()), (100, 6), "what is mapped stays");
    assert!(user.lives());
    // The name is free for another, and its end does not touch that one.
    let again = Segment::create(&name, 7).unwrap();
    drop(segment);
    assert_eq!(Segment::open(&name).unwrap().id(), again.id());
}

#[test]
fn a_panic_ends_a_scope() {
    let name = name("panics");
    let result = std::panic::catch_unwind(|| {
        let scope = Scope::new();
        let _segment = scope.create(&name, 1).unwrap();
        assert!(!path_of(&name).exists(), "the panic that is tested");
    });
    assert!(result.is_err());
    assert!(!path_of(&name).exists());
}

#[test]
fn while_a_scope_lives_its_names_stay_though_nobody_uses_them() {
    let name = name("stays");
    let mut owner = Actor::start("owner", &name);
    assert_eq!(owner.hear(), "made");
    drop(Segment::open(&name).unwrap());
    shm_core::sweep().unwrap();
    assert!(matches!(shm_core::remove(&name), Err(Error::InUse { .. })));
    assert_eq!(Segment::open(&name).unwrap().size(), 100);
    let taken = Segment::create(&name, 1);
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
    owner.say("end");
    assert_eq!(owner.hear(), "ended");
    assert!(!path_of(&name).exists());
}

#[test]
fn a_killed_scope_is_taken_away_by_the_next_sweep_though_others_use_its_names() {
    let name = name("killed");
    let mut owner = Actor::start("owner", &name);
    assert_eq!(owner.hear(), "made");
    let mut user = Actor::start("user", &name);
    assert_eq!(user.hear(), "open");
    let ours = Segment::open(&name).unwrap();
    owner.kill();
    sweep_in_another_process();
    assert!(!path_of(&name).exists());
    assert!(user.lives());
    assert_eq!(ours.size(), 100);
}

#[test]
fn an_opener_finds_out_that_the_scope_was_killed() {
    let name = name("opened");
    let mut owner = Actor::start("owner", &name);
    assert_eq!(owner.hear(), "made");
    owner.kill();
    assert!(matches!(Segment::open(&name), Err(Error::NotFound { .. })));
    assert!(!path_of(&name).exists());
}

#[test]
fn a_forked_child_does_not_end_the_scope_that_it_inherited() {
    let name = name("forked");
    let scope = Scope::new();
    let _segment = scope.create(&name, 1).unwrap();
    // SAFETY: the child only drops the scope, which does nothing there, and ends without running
    // anything of the test harness.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(scope);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for our own child; a null status is allowed.
    assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
    assert!(path_of(&name).exists());
    sweep_in_another_process();
    assert!(path_of(&name).exists());
}

#[test]
fn a_forked_child_that_opens_a_scopes_name_does_not_own_the_scope() {
    let mut forker = Actor::start("forker", &name("forker"));
    assert_eq!(forker.hear(), "stays");
    assert_eq!(forker.hear(), "gone");
}

#[test]
fn what_is_made_in_a_scope_cannot_be_kept() {
    let refused = Scope::new().create_with("never", Segment::options().size(1).keep(true));
    assert!(matches!(refused, Err(Error::BadOption { option: "keep", .. })), "{refused:?}");
}

#[cfg(feature = "serde")]
#[test]
fn handles_of_a_scopes_data_can_be_redeemed_as_long_as_it_lives() {
    let scope = Scope::new();
    let handle = {
        let data = scope.frozen(&[1.0f64, 2.0]).unwrap();
        postcard::to_stdvec(&data).unwrap()
    };
    let redeemed: shm_core::Frozen<f64> = postcard::from_bytes(&handle).unwrap();
    assert_eq!(redeemed[..], [1.0, 2.0]);
    drop(redeemed);
    drop(scope);
    assert!(postcard::from_bytes::<shm_core::Frozen<f64>>(&handle).is_err());
}

#[test]
fn a_segment_of_a_scope_grows_under_its_users() {
    let scope = Scope::new();
    let name = name("grows");
    let ours = scope.create_with(&name, Segment::options().size(4096).maximum(1 << 20)).unwrap();
    let theirs = Segment::open(&name).unwrap();
    theirs.grow(1 << 18).unwrap();
    assert_eq!((ours.size(), ours.maximum()), (1 << 18, 1 << 20));
    drop(scope);
    ours.grow(1 << 20).unwrap();
    assert_eq!(theirs.size(), 1 << 20, "also when the name is gone");
}
