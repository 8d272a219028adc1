//! Memory without a header: its two names live and end together, and a stranger's is left alone.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::path::{Path, PathBuf};

use reexec::{Actor, listen, role, tell};
use shm_core::{Error, RawSegment, Segment};

fn name(what: &str) -> String {
    format!("test-raw-{what}-{}", std::process::id())
}

fn raw_path(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}

fn control_path(name: &str) -> PathBuf {
    raw_path(&format!("shm-core.{name}"))
}

/// Which of the two names are there: the memory's, and that of its control file.
fn names(name: &str) -> (bool, bool) {
    (raw_path(name).exists(), control_path(name).exists())
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    let made = match role.as_str() {
        "creator" => RawSegment::create(&argument, 100),
        "user" => RawSegment::open(&argument),
        other => panic!("{other}"),
    };
    let made = made.unwrap();
    tell("ready");
    listen();
    drop(made);
    tell("left");
}

#[test]
fn the_file_is_the_data_and_nothing_else() {
    let name = name("plain");
    let ours = RawSegment::create(&name, 5000).unwrap();
    assert_eq!((ours.size(), ours.name(), ours.is_ours()), (5000, name.as_str(), true));
    // SAFETY: within the memory; nobody else writes.
    unsafe { ours.data().as_ptr().wrapping_add(4999).write(9) };
    let bytes = std::fs::read(raw_path(&name)).unwrap();
    assert_eq!(bytes.len(), 5000);
    assert_eq!((bytes[0], bytes[4999]), (0, 9));
    let again = RawSegment::open(&name).unwrap();
    assert!(again.is_ours());
    ours.validate().unwrap();
    drop(ours);
    assert_eq!(names(&name), (true, true), "used here still");
    drop(again);
    assert_eq!(names(&name), (false, false));
}

#[test]
fn the_last_process_out_takes_both_names_away() {
    let name = name("last");
    let mut creator = Actor::start("creator", &name);
    assert_eq!(creator.hear(), "ready");
    let ours = RawSegment::open(&name).unwrap();
    assert!(ours.is_ours());
    creator.say("leave");
    assert_eq!(creator.hear(), "left");
    assert_eq!(names(&name), (true, true));
    drop(ours);
    assert_eq!(names(&name), (false, false));
}

#[test]
fn after_all_users_were_killed_one_sweep_takes_both_names_away() {
    let name = name("killed");
    let mut creator = Actor::start("creator", &name);
    assert_eq!(creator.hear(), "ready");
    let mut user = Actor::start("user", &name);
    assert_eq!(user.hear(), "ready");
    creator.kill();
    shm_core::sweep().unwrap();
    assert_eq!(names(&name), (true, true), "one lives");
    user.kill();
    shm_core::sweep().unwrap();
    assert_eq!(names(&name), (false, false));
}

#[test]
fn a_sweep_never_touches_a_strangers_file() {
    let name = name("stranger");
    // Ours is unlinked by somebody, who puts a file of his own there; then we are killed.
    let mut creator = Actor::start("creator", &name);
    assert_eq!(creator.hear(), "ready");
    std::fs::remove_file(raw_path(&name)).unwrap();
    std::fs::write(raw_path(&name), "a stranger's").unwrap();
    let stranger = RawSegment::open(&name).unwrap();
    assert!(!stranger.is_ours());
    creator.kill();
    shm_core::sweep().unwrap();
    assert_eq!(names(&name), (true, false));
    drop(stranger);
    assert_eq!(std::fs::read(raw_path(&name)).unwrap(), b"a stranger's");
    let taken = RawSegment::create(&name, 1);
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
    assert_eq!(names(&name), (true, false), "the attempt left nothing");
    std::fs::remove_file(raw_path(&name)).unwrap();
}

#[test]
fn a_segment_of_the_same_name_is_no_part_of_it() {
    let name = name("same");
    let segment = Segment::create(&name, 10).unwrap();
    assert!(matches!(RawSegment::open(&name), Err(Error::NotFound { .. })));
    assert!(matches!(RawSegment::create(&name, 10), Err(Error::AlreadyExists { .. })));
    std::fs::write(raw_path(&name), [1, 2, 3]).unwrap();
    let stranger = RawSegment::open(&name).unwrap();
    assert_eq!((stranger.size(), stranger.is_ours()), (3, false));
    drop((segment, stranger));
    assert_eq!(names(&name), (true, false));
    std::fs::remove_file(raw_path(&name)).unwrap();
    // And memory without a header is no segment.
    let _raw = RawSegment::create(&name, 10).unwrap();
    assert!(matches!(Segment::open(&name), Err(Error::WrongType { .. })));
}

#[test]
fn what_can_not_be_mapped_is_refused() {
    let name = name("refused");
    assert!(matches!(RawSegment::create(&name, 0), Err(Error::BadSize { .. })));
    for bad in ["", "a/b", ".", "..", "shm-core.x", "ä"] {
        assert!(matches!(RawSegment::open(bad), Err(Error::BadName { .. })), "{bad:?}");
        assert!(matches!(RawSegment::create(bad, 1), Err(Error::BadName { .. })), "{bad:?}");
    }
    assert!(matches!(RawSegment::open(&name), Err(Error::NotFound { .. })));
    std::fs::write(raw_path(&name), "").unwrap();
    let empty = RawSegment::open(&name);
    std::fs::remove_file(raw_path(&name)).unwrap();
    assert!(matches!(empty, Err(Error::Truncated { .. })), "{empty:?}");
    std::os::unix::fs::symlink("/dev/null", raw_path(&name)).unwrap();
    let link = RawSegment::open(&name);
    std::fs::remove_file(raw_path(&name)).unwrap();
    assert!(matches!(link, Err(Error::NotASegment { .. })), "{link:?}");
}

#[test]
fn a_file_that_shrank_or_lost_its_name_is_reported() {
    let name = name("shrank");
    let ours = RawSegment::create(&name, 10_000).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(raw_path(&name)).unwrap();
    file.set_len(100).unwrap();
    assert!(matches!(ours.validate(), Err(Error::Truncated { file: 100, needed: 10_000 })));
    file.set_len(10_000).unwrap();
    ours.validate().unwrap();
    std::fs::remove_file(raw_path(&name)).unwrap();
    assert!(matches!(ours.validate(), Err(Error::NotFound { .. })));
}
