//! The command `shm`, and the figures behind it: who holds what, how big, how old.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use reexec::{Actor, listen, role, tell};
use serde_json::Value;
use shm_core::inspect::{self, Content, Stays};
use shm_core::{Error, NamedFrozen, RawSegment, Scope, Segment};

fn name(what: &str) -> String {
    format!("test-command-{what}-{}", std::process::id())
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(format!("shm-core.{name}"))
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "user" => {
            let _segment = Segment::open(&argument).unwrap();
            tell("open");
            listen();
        }
        "creator" => {
            let _segment = Segment::create(&argument, 5000).unwrap();
            tell("made");
            listen();
        }
        "asker" => {
            // Somebody who has it open, and asks: its lock must survive the asking.
            let _segment = Segment::open(&argument).unwrap();
            inspect::one(&argument).unwrap();
            inspect::list().unwrap();
            tell("asked");
            listen();
        }
        other => panic!("{other}"),
    }
}

fn shm(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_shm")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn json(arguments: &[&str]) -> Value {
    let (good, text) = shm(arguments);
    assert!(good, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn each_segment_is_listed_with_its_size_and_its_users() {
    let name = name("listed");
    let ours = Segment::options().size(5000).maximum(1 << 20).create(&name).unwrap();
    ours.grow(100_000).unwrap();
    let mut user = Actor::start("user", &name);
    assert_eq!(user.hear(), "open");
    let all = json(&["ls", "--json"]);
    let found = all.as_array().unwrap().iter().find(|one| one["name"] == *name).unwrap();
    assert_eq!(found["size_bytes"], 100_000);
    assert_eq!(found["maximum_bytes"], 1 << 20);
    assert!(found["resident_bytes"].as_u64().unwrap() >= 165_536);
    assert_eq!((&found["content"], &found["stays"]), (&"memory".into(), &"while used".into()));
    assert_eq!((&found["mode"], &found["dead"]), (&"600".into(), &false.into()));
    assert_eq!(found["creator_pid"], std::process::id());
    assert_eq!(found["creator_lives"], true);
    let users: Vec<_> = found["users"].as_array().unwrap().iter().map(|u| &u["pid"]).collect();
    assert!(users.contains(&&std::process::id().into()), "{users:?}");
    assert_eq!(users.len(), 2);
    let (good, text) = shm(&["inspect", &name]);
    assert!(good && text.contains("100000 of at most 1048576 bytes"), "{text}");
    let (good, text) = shm(&["ls"]);
    assert!(good && text.contains(&name), "{text}");
}

#[test]
fn each_kind_of_segment_is_told_apart() {
    let names = ["array", "raw", "kept", "scoped"].map(name);
    let _array = NamedFrozen::publish(&names[0], &[1u64, 2]).unwrap();
    let _raw = RawSegment::create(&names[1], 70_000).unwrap();
    drop(Segment::options().size(1).keep(true).create(&names[2]).unwrap());
    let scope = Scope::new();
    drop(scope.create(&names[3], 1).unwrap());
    let found = names.each_ref().map(|name| inspect::one(name).unwrap());
    assert_eq!((found[0].content, found[0].size), (Content::Array, 16));
    assert_eq!((found[1].content, found[1].size), (Content::Raw, 70_000));
    assert!(found[1].resident >= 70_000);
    assert_eq!((found[2].stays, found[2].is_dead()), (Stays::UntilRemoved, false));
    assert!(found[2].users.is_empty());
    assert_eq!((found[3].stays, found[3].is_dead()), (Stays::WithScope, false));
    assert_eq!(found[3].scope.as_ref().unwrap().pid, std::process::id());
    let (good, text) = shm(&["rm", &names[2]]);
    assert!(good, "{text}");
    assert!(!path_of(&names[2]).exists());
    let (good, text) = shm(&["rm", &names[3]]);
    assert!(!good && text.contains("in use"), "{text}");
}

#[test]
fn what_the_dead_left_is_called_dead_until_it_is_swept() {
    let name = name("dead");
    let mut creator = Actor::start("creator", &name);
    assert_eq!(creator.hear(), "made");
    creator.kill();
    // Another test's sweep may be faster.
    match inspect::one(&name) {
        Ok(found) => assert!(found.is_dead() && !found.creator_lives),
        Err(error) => assert!(matches!(error, Error::NotFound { .. }), "{error}"),
    }
    assert!(json(&["--json", "sweep"])["removed"].is_u64());
    assert!(!path_of(&name).exists());
    let (good, text) = shm(&["inspect", &name]);
    assert!(!good && text.contains("no segment named"), "{text}");
}

#[test]
fn asking_does_not_end_the_askers_own_claim_to_the_name() {
    let name = name("asked");
    let mut creator = Actor::start("creator", &name);
    assert_eq!(creator.hear(), "made");
    let mut asker = Actor::start("asker", &name);
    assert_eq!(asker.hear(), "asked");
    creator.kill();
    shm_core::sweep().unwrap();
    assert_eq!(Segment::open(&name).unwrap().size(), 5000);
}

#[test]
fn a_foreign_file_is_listed_with_what_is_wrong_with_it() {
    let name = name("foreign");
    std::fs::write(path_of(&name), [b'x'; 100_000]).unwrap();
    let listed = inspect::list().unwrap();
    let all = json(&["ls", "--json"]);
    let (good, _) = shm(&["ls"]);
    std::fs::remove_file(path_of(&name)).unwrap();
    let found = &listed.iter().find(|one| one.name == name).unwrap().found;
    assert!(matches!(found, Err(Error::NotASegment { .. })), "{found:?}");
    let found = all.as_array().unwrap().iter().find(|one| one["name"] == *name).unwrap();
    assert!(found["error"].as_str().unwrap().contains("not a segment"));
    assert!(good);
}

#[test]
fn a_segments_age_is_counted_from_when_it_was_made() {
    let name = name("age");
    let before = SystemTime::now();
    let _segment = Segment::create(&name, 1).unwrap();
    let created = inspect::one(&name).unwrap().created;
    assert!(created >= before && created <= SystemTime::now());
}
