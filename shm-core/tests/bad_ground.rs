//! A full, a read-only and a foreign `/dev/shm`: errors that say what to do, and nothing left.
//!
//! Each test runs in a process of its own with a `/dev/shm` of its own (a mount namespace), or as
//! another user; where this process may not do that, the test says so in a line and ends.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reexec::{Actor, listen, role, tell};
use shm_core::{Error, NamedFrozen, RawSegment, ReadOnlySegment, Scope, Segment, barrier};

const NOBODY: u32 = 65_534;

/// One test at a time: any creation sweeps, and some of these tests leave what a sweep takes.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "full" => with_own_directory(full),
        "read-only" => with_own_directory(read_only),
        "nobody" => as_nobody(&argument),
        "room" => with_own_directory(room_taken_by_another),
        "kept" => with_own_directory(kept_on_read_only_ground),
        "descriptors" => with_few_descriptors(),
        "file limit" => with_a_file_limit(),
        "no membarrier" => without_membarrier(),
        "shrunk" => touch_what_is_no_longer_there(&argument),
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

/// What was given back is another's: an error when it is asked for again, and never a fault.
fn room_taken_by_another() {
    let mut options = Segment::options();
    let segment = options.size(512 << 10).maximum(8 << 20).create("first").unwrap();
    assert!(matches!(segment.grow(4 << 20), Err(Error::NoSpace { .. })));
    assert_eq!(segment.size(), 512 << 10);
    let runs = 0..4 * segment.run_size();
    // SAFETY: nobody uses the memory, and it is not touched until it is committed.
    unsafe { segment.punch(runs.clone()) }.unwrap();
    let taker = RawSegment::create("taker", 600 << 10).unwrap();
    match segment.commit(runs.clone()) {
        Err(Error::NoSpace { size, .. }) => assert_eq!(size, 256 << 10),
        other => panic!("{other:?}"),
    }
    assert!(!segment.is_committed(runs.clone()).unwrap());
    let scope = Scope::new();
    assert!(matches!(scope.segment(600 << 10), Err(Error::NoSpace { .. })));
    assert!(matches!(RawSegment::create("more", 600 << 10), Err(Error::NoSpace { .. })));
    drop(taker);
    segment.commit(runs).unwrap();
    for at in (0..segment.size()).step_by(4096) {
        // SAFETY: within the segment, which only this thread knows.
        unsafe { segment.data().as_ptr().wrapping_add(at).write(1) };
    }
    segment.grow(600 << 10).unwrap();
    assert_eq!(files(), 1);
    drop(segment);
    assert_eq!(files(), 0);
}

fn kept_on_read_only_ground() {
    let made = Segment::options().size(100).keep(true).create("kept").unwrap();
    // SAFETY: within the segment, which only this thread knows.
    unsafe { made.data().write(3) };
    drop(made);
    mount(c"none", c"/dev/shm", c"", libc::MS_REMOUNT | libc::MS_RDONLY, c"");
    assert!(matches!(Segment::open("kept"), Err(Error::ReadOnly { .. })));
    let segment = ReadOnlySegment::open("kept").unwrap();
    // SAFETY: within the segment, which nobody writes.
    assert_eq!(unsafe { segment.data().read() }, 3);
    drop(segment);
    assert!(shm_core::remove("kept").is_err());
    assert_eq!(shm_core::sweep().unwrap(), 0);
}

fn limit(what: libc::__rlimit_resource_t, to: u64) {
    let limit = libc::rlimit { rlim_cur: to, rlim_max: to };
    // SAFETY: one valid `rlimit`; lowers a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(what, &raw const limit) }, 0);
}

/// Until there are none left: a clear error, nothing lost, and no lock given up.
fn with_few_descriptors() {
    limit(libc::RLIMIT_NOFILE, 64);
    let name = |n: usize| format!("test-fd-{}-{n}", std::process::id());
    let no_more = |error: Error| match error {
        Error::System { source, .. } => assert_eq!(source.raw_os_error(), Some(libc::EMFILE)),
        other => panic!("{other}"),
    };
    let mut anonymous = Vec::new();
    no_more(loop {
        match Segment::anonymous(100) {
            Ok(segment) => anonymous.push(segment),
            Err(error) => break error,
        }
    });
    assert!(anonymous.len() > 40, "{}", anonymous.len());
    no_more(Segment::create(&name(0), 100).unwrap_err());
    no_more(Segment::open(&name(0)).unwrap_err());
    no_more(RawSegment::create(&name(0), 100).unwrap_err());
    no_more(shm_core::sweep().unwrap_err());
    anonymous.truncate(anonymous.len() - 4);
    let mut named = Vec::new();
    no_more(loop {
        match Segment::create(&name(named.len()), 100) {
            Ok(segment) => named.push(segment),
            Err(error) => break error,
        }
    });
    assert!(!named.is_empty());
    while let Ok(segment) = Segment::anonymous(100) {
        anonymous.push(segment);
    }
    // No descriptor left for its place: what is shown instead is not the file itself.
    let place = named[0].as_fd();
    let shown = rustix::fs::fstat(place).unwrap();
    assert_ne!(shown.st_ino, std::fs::metadata(path_of(named[0].name().unwrap())).unwrap().ino());
    anonymous.truncate(anonymous.len() - 2);
    drop(place.try_clone_to_owned().unwrap());
    let names: Vec<String> = named.iter().map(|one| one.name().unwrap().to_owned()).collect();
    tell(&names.join(" "));
    assert_eq!(listen(), "all in use");
    drop(anonymous);
    drop(named);
    assert!(names.iter().all(|name| !path_of(name).exists()));
    tell("passed");
}

/// The kernel ends a process that makes a file longer than its limit, unless we ask first.
fn with_a_file_limit() {
    limit(libc::RLIMIT_FSIZE, 1 << 20);
    let too_large = |result: Result<(), Error>| match result {
        Err(Error::System { call: "RLIMIT_FSIZE", source }) => {
            assert_eq!(source.raw_os_error(), Some(libc::EFBIG));
        }
        other => panic!("{other:?}"),
    };
    let name = format!("test-limit-{}", std::process::id());
    too_large(Segment::anonymous(2 << 20).map(drop));
    too_large(Segment::create(&name, 2 << 20).map(drop));
    too_large(RawSegment::create(&name, 2 << 20).map(drop));
    too_large(NamedFrozen::publish(&name, &vec![0u8; 2 << 20]).map(drop));
    for segment in [
        Segment::options().size(100).maximum(4 << 20).anonymous().unwrap(),
        Segment::options().size(100).maximum(4 << 20).create(&name).unwrap(),
    ] {
        too_large(segment.grow(2 << 20));
        assert_eq!(segment.size(), 100);
        segment.grow(500 << 10).unwrap();
    }
    assert!(!path_of(&name).exists());
    tell("passed");
}

/// Every `membarrier` is refused from here on.
fn without_membarrier() {
    let filter = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let refuse = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap();
    let call = u32::try_from(libc::SYS_membarrier).unwrap();
    let mut rules = [
        // The number of the system call, at offset 0 of `struct seccomp_data`.
        filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, 0, 1),
        filter(libc::BPF_RET | libc::BPF_K, refuse, 0, 0),
        filter(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: rules.as_mut_ptr() };
    // SAFETY: takes numbers; this process can gain no privileges any more.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: a valid program of four rules, which the kernel copies.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    if set != 0 {
        return tell("skipped: a seccomp filter is not permitted");
    }
    assert_eq!(barrier::mode(), barrier::Mode::Fences);
    barrier::light_barrier();
    assert_eq!(barrier::heavy_barrier(), barrier::Mode::Fences);
    let name = format!("test-seccomp-{}", std::process::id());
    drop(Segment::create(&name, 100).unwrap());
    drop(Segment::anonymous(100).unwrap());
    tell("passed");
}

/// What nobody can promise anything about: a named file that another program truncates.
fn touch_what_is_no_longer_there(name: &str) {
    let segment = match Segment::open(name) {
        Ok(segment) => segment,
        Err(error) => return tell(&format!("refused: {error}")),
    };
    tell("open");
    listen();
    assert!(matches!(segment.validate(), Err(Error::Truncated { .. })));
    tell("truncated");
    // SAFETY: within the segment as it was; the process is expected to end here.
    unsafe { segment.data().as_ptr().wrapping_add(99_999).read_volatile() };
    tell("it could read");
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
    let _alone = alone();
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
    let _alone = alone();
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

#[test]
fn room_that_another_took_is_an_error_and_never_a_fault() {
    passes("room");
}

#[test]
fn what_is_kept_on_a_read_only_directory_can_still_be_read() {
    passes("kept");
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_the_end_of_the_process() {
    passes("file limit");
}

#[test]
fn where_membarrier_is_refused_fences_take_its_place() {
    passes("no membarrier");
}

#[test]
fn a_process_without_descriptors_is_told_so_and_loses_no_name() {
    let _alone = alone();
    let mut child = Actor::start("descriptors", "");
    let names = child.hear();
    // From here its locks are seen: none was given up.
    shm_core::sweep().unwrap();
    for name in names.split(' ') {
        assert!(path_of(name).exists(), "{name}");
    }
    child.say("all in use");
    assert_eq!(child.hear(), "passed");
    child.finish();
}

#[test]
fn a_file_that_shrinks_under_a_mapping_ends_who_touches_it_and_nobody_else() {
    let _alone = alone();
    let name = format!("test-shrunk-{}", std::process::id());
    let ours = Segment::create(&name, 100_000).unwrap();
    let mut other = Actor::start("shrunk", &name);
    assert_eq!(other.hear(), "open");
    let file = std::fs::OpenOptions::new().write(true).open(path_of(&name)).unwrap();
    file.set_len(70_000).unwrap();
    // Closing it here would end this process's own claim to the name.
    std::mem::forget(file);
    other.say("look");
    assert_eq!(other.hear(), "truncated");
    assert_eq!(other.signal(), Some(libc::SIGBUS));
    assert!(matches!(ours.validate(), Err(Error::Truncated { needed: 165_536, .. })));
    // Nobody else attaches to it any more, and its name goes like any other.
    let mut newcomer = Actor::start("shrunk", &name);
    assert!(newcomer.hear().starts_with("refused: the segment is truncated"));
    newcomer.finish();
    drop(ours);
    assert!(!path_of(&name).exists());
}

#[test]
fn a_truncated_segment_of_the_dead_is_swept_like_any_other() {
    let _alone = alone();
    let name = format!("test-truncated-{}", std::process::id());
    let template = format!("{name}-template");
    let segment = Segment::create(&template, 100_000).unwrap();
    for length in [150_000, 136] {
        std::fs::copy(path_of(&template), path_of(&name)).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .open(path_of(&name))
            .and_then(|file| file.set_len(length))
            .unwrap();
        assert!(matches!(Segment::open(&name), Err(Error::Truncated { .. })));
        shm_core::sweep().unwrap();
        assert!(!path_of(&name).exists());
    }
    // The copies had another inode: our own claim is untouched.
    segment.validate().unwrap();
}

#[test]
fn nobody_can_shrink_an_anonymous_segment() {
    let segment = Segment::anonymous(100_000).unwrap();
    let file = std::fs::File::from(segment.as_fd().try_clone_to_owned().unwrap());
    assert!(file.set_len(70_000).is_err());
    segment.validate().unwrap();
}

#[test]
fn a_name_that_is_too_long_is_refused_before_anything_is_made() {
    let _alone = alone();
    let name = "x".repeat(201);
    assert!(matches!(Segment::create(&name, 1), Err(Error::BadName { .. })));
    assert!(matches!(Segment::open(&name), Err(Error::BadName { .. })));
    assert!(matches!(RawSegment::create(&name, 1), Err(Error::BadName { .. })));
    assert!(matches!(shm_core::remove(&name), Err(Error::BadName { .. })));
    let longest = format!("{:x<200}", format!("test-long-{}-", std::process::id()));
    drop(Segment::create(&longest, 1).unwrap());
}
