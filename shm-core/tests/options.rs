//! What a segment is asked to be, it is; what it cannot be is refused.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use reexec::{Actor, listen, role, tell};
use shm_core::{Error, Options, ReadOnlySegment, Segment};

fn name(what: &str) -> String {
    format!("test-options-{what}-{}", std::process::id())
}

fn path_of(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(format!("shm-core.{name}"))
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "keeper" => {
            let _kept = Segment::options().size(10).keep(true).create(&argument).unwrap();
            tell("made");
            listen();
        }
        "masked" => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
            let segment = Segment::create(&argument, 1).unwrap();
            tell(&format!("{:o}", rustix::fs::fstat(&segment).unwrap().st_mode & 0o7777));
        }
        "reader of another user" => read_as_nobody(&argument),
        "writes where it may only read" => {
            let segment = ReadOnlySegment::open(&argument).unwrap();
            tell("open");
            let byte = segment.data().cast_mut();
            // SAFETY: not sound, on purpose: the process is expected to end here.
            unsafe { byte.write_volatile(1) };
            tell("it could write");
        }
        other => panic!("{other}"),
    }
}

fn read_as_nobody(argument: &str) {
    // SAFETY: takes a number; changes the user of this whole process.
    if unsafe { libc::setuid(65_534) } != 0 {
        return tell("skipped: changing the user is not permitted");
    }
    let (name, owner) = argument.split_once(' ').unwrap();
    let owner = owner.parse().unwrap();
    let stranger = Segment::open(name);
    assert!(matches!(stranger, Err(Error::NotASegment { .. })), "{stranger:?}");
    let mut trusting = Options::default();
    trusting.owner(owner);
    let opened = trusting.open(name);
    assert!(matches!(opened, Err(Error::ReadOnly { .. })), "{opened:?}");
    let segment = trusting.open_read_only(name).unwrap();
    // SAFETY: within the segment, which nobody writes any more.
    let byte = unsafe { segment.data().read() };
    tell(&format!("read {byte}"));
    listen();
    drop(segment);
    tell("left");
}

#[test]
fn what_only_a_maker_or_an_opener_can_say_is_refused_to_the_other() {
    let name = name("refused");
    let options = |say: fn(&mut Options) -> &mut Options| {
        let mut options = Options::default();
        say(&mut options);
        options
    };
    let refused = |result: Result<Segment, Error>, named: &str| match result {
        Err(Error::BadOption { option, .. }) => assert_eq!(option, named),
        other => panic!("{named}: {other:?}"),
    };
    refused(options(|o| o).anonymous(), "size");
    refused(options(|o| o.size(10).maximum(9)).anonymous(), "maximum");
    refused(options(|o| o.size(10).keep(true)).anonymous(), "keep");
    refused(options(|o| o.size(10).mode(0o600)).anonymous(), "mode");
    refused(options(|o| o.size(10).owner(0)).create(&name), "owner");
    refused(options(|o| o.size(10).mode(0o400)).create(&name), "mode");
    refused(options(|o| o.size(10).mode(0o700)).create(&name), "mode");
    refused(options(|o| o.size(10).mode(0o1600)).create(&name), "mode");
    refused(options(|o| o.size(10)).open(&name), "size");
    refused(options(|o| o.maximum(10)).open(&name), "maximum");
    refused(options(|o| o.mode(0o600)).open(&name), "mode");
    refused(options(|o| o.keep(true)).open(&name), "keep");
    let fd = || Segment::anonymous(1).unwrap().as_fd().try_clone_to_owned().unwrap();
    refused(options(|o| o.owner(0)).attach(fd()), "owner");
    let large = options(|o| o.size(10).maximum(usize::MAX)).anonymous();
    assert!(matches!(large, Err(Error::BadSize { .. })), "{large:?}");
    assert!(!path_of(&name).exists());
}

#[test]
fn a_file_has_the_permissions_that_were_asked_for_whatever_the_umask() {
    let name = name("mode");
    let segment = Segment::options().size(1).mode(0o664).create(&name).unwrap();
    assert_eq!(path_of(&name).metadata().unwrap().mode() & 0o7777, 0o664);
    drop(segment);
    let mut masked = Actor::start("masked", &name);
    assert_eq!(masked.hear(), "600");
    masked.finish();
}

#[test]
fn a_kept_name_outlives_its_users_and_their_deaths_until_it_is_removed() {
    let name = name("kept");
    let mut keeper = Actor::start("keeper", &name);
    assert_eq!(keeper.hear(), "made");
    keeper.kill();
    shm_core::sweep().unwrap();
    let segment = Segment::open(&name).unwrap();
    assert_eq!(segment.size(), 10);
    assert!(matches!(shm_core::remove(&name), Err(Error::InUse { .. })));
    drop(segment);
    drop(ReadOnlySegment::open(&name).unwrap());
    assert!(path_of(&name).exists());
    let again = Segment::create(&name, 1);
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    shm_core::remove(&name).unwrap();
    assert!(!path_of(&name).exists());
    assert!(matches!(shm_core::remove(&name), Err(Error::NotFound { .. })));
}

#[test]
fn a_name_in_use_by_another_process_is_not_removed() {
    let name = name("in-use");
    let mut keeper = Actor::start("keeper", &name);
    assert_eq!(keeper.hear(), "made");
    let refused = shm_core::remove(&name);
    keeper.kill();
    shm_core::remove(&name).unwrap();
    assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
}

#[test]
fn a_reader_of_another_user_reads_what_it_was_let_to_and_no_more() {
    let name = name("readable");
    let segment = Segment::options().size(1).mode(0o644).create(&name).unwrap();
    // SAFETY: within the segment; the reader waits until it is opened.
    unsafe { segment.data().write(42) };
    let own = rustix::process::geteuid().as_raw();
    let mut reader = Actor::start("reader of another user", &format!("{name} {own}"));
    let word = reader.hear();
    if word.starts_with("skipped") {
        return println!("{word}");
    }
    assert_eq!(word, "read 42");
    // Its lock counts: we are not the last one out. It can not take the name away; a sweep can.
    drop(segment);
    assert!(path_of(&name).exists());
    reader.say("leave");
    assert_eq!(reader.hear(), "left");
    reader.finish();
    shm_core::sweep().unwrap();
    assert!(!path_of(&name).exists());
}

#[test]
fn a_store_through_a_read_only_segment_is_a_fault_there() {
    let name = name("fault");
    let segment = Segment::create(&name, 1).unwrap();
    let mut writer = Actor::start("writes where it may only read", &name);
    assert_eq!(writer.hear(), "open");
    while writer.lives() {
        std::thread::yield_now();
    }
    // SAFETY: within the segment; the other process has ended.
    assert_eq!(unsafe { segment.data().read() }, 0);
}

#[test]
fn a_descriptor_for_reading_alone_is_enough_to_read() {
    let segment = Segment::options().size(100).maximum(10_000).anonymous().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&segment.as_fd()));
    let fd = || std::fs::File::open(&path).unwrap().into();
    let reader = ReadOnlySegment::attach(fd()).unwrap();
    assert_eq!((reader.size(), reader.id()), (100, segment.id()));
    let writer = Segment::attach(fd());
    assert!(matches!(writer, Err(Error::System { call: "mmap", .. })), "{writer:?}");
}

/// Of this process's mapping of the segment: the figures of `/proc/self/smaps` by name.
fn figure(segment: &Segment, of: &str) -> String {
    let start = format!("{:x}-", segment.data().as_ptr().addr() - 65_536);
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
    let line = lines.find(|line| line.starts_with(of)).unwrap();
    line[of.len() + 1..].trim().to_owned()
}

#[test]
fn prefaulted_memory_is_there_and_the_rest_of_the_maximum_is_not() {
    let mut options = Segment::options();
    options.size(1 << 20).maximum(1 << 26).prefault(true);
    let segment = options.anonymous().unwrap();
    let kib: usize = figure(&segment, "Rss").trim_end_matches(" kB").parse().unwrap();
    assert!((1024..1100).contains(&kib), "{kib}");
    let fd = segment.as_fd().try_clone_to_owned().unwrap();
    let reader = Options::default().prefault(true).attach_read_only(fd).unwrap();
    assert_eq!(reader.size(), 1 << 20);
}

#[test]
fn core_dumps_leave_out_what_they_are_told_to() {
    let dumped = Segment::anonymous(4096).unwrap();
    let secret = Segment::options().size(4096).core_dump(false).anonymous().unwrap();
    let flag = |segment| figure(segment, "VmFlags").split(' ').any(|flag| flag == "dd");
    assert!(!flag(&dumped));
    assert!(flag(&secret));
}

#[test]
fn permissions_changed_by_hand_are_reported_as_what_they_are() {
    let name = name("by-hand");
    let mut keeper = Actor::start("keeper", &name);
    assert_eq!(keeper.hear(), "made");
    std::fs::set_permissions(path_of(&name), PermissionsExt::from_mode(0o000)).unwrap();
    let opened = Segment::open(&name).map(|segment| segment.size());
    keeper.kill();
    std::fs::remove_file(path_of(&name)).unwrap();
    // Root may open everything.
    assert!(matches!(opened, Ok(10) | Err(Error::System { call: "open", .. })), "{opened:?}");
}
