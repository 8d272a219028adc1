//! A full, a read-only and a foreign `/dev/shm`: errors that say what to do, and nothing left.
//!
//! Each test runs in a process of its own with a `/dev/shm` of its own (a mount namespace), or as
//! another user; where this process may not do that, the test says so in a line and ends.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::ffi::CStr;
use std::path::Path;

use reexec::{Actor, listen, role, tell};
use shm_core::{Error, NamedFrozen, Segment};

const NOBODY: u32 = 65_534;

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "full" => with_own_directory(full),
        "read-only" => with_own_directory(read_only),
        "nobody" => as_nobody(&argument),
        other => panic!("{other}"),
    }
}

/// Runs `test` with an empty `/dev/shm` of 1 MiB that only this thread and its children see.
fn with_own_directory(test: fn()) {
    // SAFETY: takes flags; gives this thread a mount namespace of its own.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return tell("skipped: a mount namespace is not permitted");
    }
    mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"");
    mount(c"tmpfs", c"/dev/shm", c"tmpfs", 0, c"size=1m");
    test();
    tell("passed");
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong, data: &CStr) {
    let (source, target, kind) = (source.as_ptr(), target.as_ptr(), kind.as_ptr());
    // SAFETY: four strings that end in zero and outlive the call.
    let result = unsafe { libc::mount(source, target, kind, flags, data.as_ptr().cast()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn files() -> usize {
    std::fs::read_dir("/dev/shm").unwrap().count()
}

fn full() {
    const MIB: u64 = 1 << 20;
    match Segment::create("too-large", 8 << 20) {
        Err(Error::NoSpace { size, available, dir }) => {
            assert_eq!(size, (8 << 20) + 65_536);
            assert!(available <= MIB && available > MIB / 2, "{available}");
            assert_eq!(dir, Path::new("/dev/shm"));
        }
        other => panic!("{other:?}"),
    }
    let first = Segment::create("first", 600_000).unwrap();
    let second = NamedFrozen::publish("second", &vec![1u64; 75_000]);
    match second {
        Err(Error::NoSpace { available, .. }) => assert!(available < MIB / 2, "{available}"),
        other => panic!("{other:?}"),
    }
    // All of what was granted can be touched.
    for at in (0..first.size()).step_by(4096) {
        // SAFETY: within the segment, which only this thread knows.
        unsafe { first.data().as_ptr().wrapping_add(at).write(1) };
    }
    assert_eq!(files(), 1);
    drop(first);
    assert_eq!(files(), 0);
    drop(Segment::create("first", 600_000).unwrap());
    // No room for even a file: still a clear error.
    mount(c"none", c"/dev/shm", c"tmpfs", libc::MS_REMOUNT, c"size=1m,nr_inodes=1");
    assert!(matches!(Segment::create("one", 1), Err(Error::NoSpace { .. })));
}

fn read_only() {
    mount(c"none", c"/dev/shm", c"", libc::MS_REMOUNT | libc::MS_RDONLY, c"");
    let error = Segment::create("one", 1).unwrap_err().to_string();
    assert!(error.contains("/dev/shm") && error.contains("Read-only"), "{error}");
    assert!(matches!(Segment::open("one"), Err(Error::NotFound { .. })));
    assert_eq!(shm_core::sweep().unwrap(), 0);
}

/// As another user: meets the test's segment, and leaves one behind.
fn as_nobody(name: &str) {
    // SAFETY: takes a number; changes the user of this whole process.
    if unsafe { libc::setuid(NOBODY) } != 0 {
        return tell("skipped: changing the user is not permitted");
    }
    shm_core::sweep().unwrap();
    assert!(path_of(name).exists(), "the sweep took away another user's file");
    let opened = Segment::open(name);
    assert!(matches!(opened, Err(Error::System { call: "open", .. })), "{opened:?}");
    assert!(matches!(Segment::create(name, 1), Err(Error::AlreadyExists { .. })));
    let _own = Segment::create(&format!("{name}-own"), 1).unwrap();
    tell("ready");
    listen();
}

fn path_of(name: &str) -> std::path::PathBuf {
    Path::new("/dev/shm").join(format!("shm-core.{name}"))
}

fn passes(role: &str) {
    let mut child = Actor::start(role, "");
    let verdict = child.hear();
    if verdict != "passed" {
        println!("{role}: {verdict}");
        assert!(verdict.starts_with("skipped"), "{verdict}");
    }
    child.finish();
}

#[test]
fn a_full_directory_is_an_error_with_sizes_and_never_a_later_fault() {
    passes("full");
}

#[test]
fn a_read_only_directory_is_an_error_for_those_who_create() {
    passes("read-only");
}

#[test]
fn files_of_another_user_are_left_alone() {
    let name = format!("test-user-{}", std::process::id());
    // Dead by our rules (nobody holds its lock), complete, and readable by its owner alone.
    let template = format!("{name}-template");
    let segment = Segment::create(&template, 1).unwrap();
    std::fs::copy(path_of(&template), path_of(&name)).unwrap();
    drop(segment);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o400);
    std::fs::set_permissions(path_of(&name), mode).unwrap();

    let mut other = Actor::start("nobody", &name);
    let verdict = other.hear();
    if verdict == "ready" {
        let theirs = format!("{name}-own");
        other.kill();
        shm_core::sweep().unwrap();
        let opened = Segment::open(&theirs);
        let kept = path_of(&theirs).exists();
        std::fs::remove_file(path_of(&theirs)).unwrap();
        assert!(kept, "root's sweep took away another user's file");
        assert!(matches!(opened, Err(Error::NotASegment { .. })), "{opened:?}");
    } else {
        println!("another user: {verdict}");
        assert!(verdict.starts_with("skipped"), "{verdict}");
        std::fs::remove_file(path_of(&name)).unwrap();
        return;
    }
    assert!(!path_of(&name).exists(), "our own file was dead, and our sweep took it");
}
