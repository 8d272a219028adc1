//! Making, publishing, opening, leaving, growing, punching, freezing and sweeping, with a real
//! SIGKILL at every point that others can tell apart; then one sweep leaves nothing.
#![allow(clippy::unwrap_used)]

mod kill_segments {
    pub mod victim;
}
mod reexec;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use kill_segments::victim::{Victim, traced};
use reexec::{Actor, listen, role, tell};
use shm_core::{Array, Error, Frozen, NamedFrozen, RawSegment, Scope, Segment};

const MIB: usize = 1 << 20;
const RUN: usize = 65_536;

fn name(what: &str) -> String {
    format!("test-kill-{what}-{}", std::process::id())
}

fn in_dir(file: &str) -> PathBuf {
    Path::new("/dev/shm").join(file)
}

fn control(name: &str) -> PathBuf {
    in_dir(&format!("shm-core.{name}"))
}

fn inherited() -> Segment {
    Segment::attach(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap()
}

#[test]
fn in_a_child() {
    let Some((role, name)) = role() else { return };
    match role.as_str() {
        "nothing" => traced(|| ()),
        "create" => traced(|| Segment::create(&name, 5000).unwrap()),
        "create kept" => traced(|| Segment::options().size(1).keep(true).create(&name).unwrap()),
        "publish" => traced(|| NamedFrozen::publish(&name, &[7u64; 5000]).unwrap()),
        "create raw" => traced(|| RawSegment::create(&name, 5000).unwrap()),
        "create in a scope" => {
            let scope = Scope::new();
            traced(|| scope.create(&name, 5000).unwrap());
        }
        "end a scope" => {
            let scope = Scope::new();
            let _segment = scope.create(&name, 5000).unwrap();
            traced(|| drop(scope));
        }
        "open" => traced(|| Segment::open(&name).unwrap()),
        "leave" => {
            let segment = Segment::open(&name).unwrap();
            traced(|| drop(segment));
        }
        "leave last" => {
            let segment = Segment::create(&name, 5000).unwrap();
            traced(|| drop(segment));
        }
        "leave raw last" => {
            let segment = RawSegment::create(&name, 5000).unwrap();
            traced(|| drop(segment));
        }
        "sweep" => traced(|| shm_core::sweep().unwrap()),
        "remove" => traced(|| shm_core::remove(&name)),
        "attach" => {
            let fd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            traced(|| Segment::attach(fd).unwrap());
        }
        "grow named" => {
            let segment = Segment::open(&name).unwrap();
            traced(|| segment.grow(3 * MIB).unwrap());
        }
        "grow anonymous" => {
            let segment = inherited();
            traced(|| segment.grow(3 * MIB).unwrap());
        }
        "punch" => {
            let segment = inherited();
            // SAFETY: nobody uses the memory meanwhile.
            traced(|| unsafe { segment.punch(PUNCHED) }.unwrap());
        }
        "commit" => {
            let segment = inherited();
            traced(|| segment.commit(PUNCHED).unwrap());
        }
        "freeze" => {
            let mut array = Array::<u64>::zeroed(5000).unwrap();
            array.fill(7);
            traced(|| array.freeze().unwrap());
        }
        "leaves a dead name" => {
            let _segment = Segment::create(&name, 5000).unwrap();
            tell("made");
            listen();
        }
        other => panic!("{other}"),
    }
}

/// Runs the role again and again, killed one system call later each time; `check` sees what is left
/// each time. Gives how many kills there were.
fn at_every_system_call(start: impl Fn() -> Actor, mut check: impl FnMut(usize, &str)) -> usize {
    for n in 0.. {
        let more = Victim::of(start()).kill_at_system_call(n);
        check(n, if more { "killed inside" } else { "killed after the operation" });
        if !more {
            println!("{n} system calls");
            assert!(n > 0);
            return n;
        }
    }
    unreachable!()
}

/// After a kill of whoever makes or ends `name`: nobody can open it, and one sweep leaves nothing.
fn one_sweep_leaves_nothing_of(role: &str) {
    let name = name(&role.replace(' ', "-"));
    let witness = Segment::create(&format!("{name}-witness"), 1).unwrap();
    at_every_system_call(
        || Actor::start(role, &name),
        |n, when| {
            match Segment::open(&name) {
                Err(Error::NotFound { .. } | Error::WrongType { .. }) => {}
                other => panic!("{role}, {when} {n}: {other:?}"),
            }
            shm_core::sweep().unwrap();
            assert!(!control(&name).exists(), "{role}, {when} {n}");
            assert!(!in_dir(&name).exists(), "{role}, {when} {n}");
            // Somebody else's is as it was.
            assert!(control(witness.name().unwrap()).exists());
        },
    );
}

#[test]
fn creating() {
    if !Victim::permitted() {
        return;
    }
    one_sweep_leaves_nothing_of("create");
}

#[test]
fn publishing_an_array() {
    if !Victim::permitted() {
        return;
    }
    one_sweep_leaves_nothing_of("publish");
}

#[test]
fn creating_without_a_header() {
    if !Victim::permitted() {
        return;
    }
    one_sweep_leaves_nothing_of("create raw");
}

#[test]
fn creating_in_a_scope() {
    if !Victim::permitted() {
        return;
    }
    one_sweep_leaves_nothing_of("create in a scope");
}

#[test]
fn ending_a_scope() {
    if !Victim::permitted() {
        return;
    }
    one_sweep_leaves_nothing_of("end a scope");
}

#[test]
fn leaving_as_the_last() {
    if !Victim::permitted() {
        return;
    }
    one_sweep_leaves_nothing_of("leave last");
    one_sweep_leaves_nothing_of("leave raw last");
}

#[test]
fn creating_what_is_kept_makes_it_whole_or_not_at_all() {
    if !Victim::permitted() {
        return;
    }
    let name = name("kept");
    let (mut there, mut missing) = (0, 0);
    at_every_system_call(
        || Actor::start("create kept", &name),
        |n, when| match Segment::open(&name) {
            Ok(segment) => {
                assert_eq!(segment.size(), 1);
                drop(segment);
                shm_core::remove(&name).unwrap();
                there += 1;
            }
            Err(Error::NotFound { .. }) => missing += 1,
            other => panic!("{when} {n}: {other:?}"),
        },
    );
    assert!(there > 0 && missing > 0);
    assert!(!control(&name).exists());
}

#[test]
fn removing_what_was_kept() {
    if !Victim::permitted() {
        return;
    }
    let name = name("removed");
    let make = || drop(Segment::options().size(1).keep(true).create(&name).unwrap());
    at_every_system_call(
        || {
            if !control(&name).exists() {
                make();
            }
            Actor::start("remove", &name)
        },
        |n, when| match Segment::open(&name) {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            other => panic!("{when} {n}: {other:?}"),
        },
    );
    assert!(!control(&name).exists());
}

#[test]
fn opening_and_leaving_while_others_stay() {
    if !Victim::permitted() {
        return;
    }
    let name = name("opened");
    let ours = Segment::create(&name, 5000).unwrap();
    for role in ["open", "leave"] {
        at_every_system_call(
            || Actor::start(role, &name),
            |n, when| {
                shm_core::sweep().unwrap();
                assert!(control(&name).exists(), "{role}, {when} {n}");
                assert_eq!(Segment::open(&name).unwrap().id(), ours.id());
            },
        );
    }
    drop(ours);
    assert!(!control(&name).exists());
}

#[test]
fn sweeping() {
    if !Victim::permitted() {
        return;
    }
    let name = name("swept");
    let witness = Segment::create(&format!("{name}-witness"), 1).unwrap();
    let dead = || {
        if !control(&name).exists() {
            let mut maker = Actor::start("leaves a dead name", &name);
            assert_eq!(maker.hear(), "made");
            maker.kill();
        }
        Actor::start("sweep", "")
    };
    at_every_system_call(dead, |n, when| {
        shm_core::sweep().unwrap();
        assert!(!control(&name).exists(), "{when} {n}");
        assert!(control(witness.name().unwrap()).exists(), "{when} {n}");
    });
}

#[test]
fn attaching() {
    if !Victim::permitted() {
        return;
    }
    let segment = Segment::options().size(5000).maximum(MIB).anonymous().unwrap();
    let start = || {
        let file = segment.as_fd().try_clone_to_owned().unwrap();
        Actor::with_file("attach", "", file)
    };
    at_every_system_call(start, |_, _| {
        segment.validate().unwrap();
        assert_eq!(segment.size(), 5000);
    });
}

/// What others can see of a segment: the words that change, and the file's length and memory.
fn visible(segment: &Segment) -> (Vec<u8>, i64, i64) {
    let start = segment.data().as_ptr().wrapping_sub(RUN);
    let byte = |at: usize| {
        // SAFETY: within the header area, which is mapped in front of the data; the only process
        // that changes it is stopped.
        unsafe { start.wrapping_add(at).read_volatile() }
    };
    let stat = rustix::fs::fstat(file_of(segment)).unwrap();
    ((1024..1032).chain(4096..4128).map(byte).collect(), stat.st_size, stat.st_blocks)
}

/// Of a named segment the place, of an anonymous one the file.
fn file_of(segment: &Segment) -> impl AsFd + '_ {
    segment.as_fd()
}

fn touch_all(segment: &Segment) {
    for at in (0..segment.size()).step_by(4096) {
        // SAFETY: within the segment, which nobody else uses.
        unsafe { segment.data().as_ptr().wrapping_add(at).write_volatile(1) };
    }
}

#[test]
fn growing() {
    if !Victim::permitted() {
        return;
    }
    let name = name("grown");
    for role in ["grow anonymous", "grow named"] {
        let mut sizes = Vec::new();
        for n in 0.. {
            let mut options = Segment::options();
            options.size(MIB).maximum(4 * MIB);
            let (segment, actor) = if role == "grow named" {
                let segment = options.create(&name).unwrap();
                (segment, Actor::start(role, &name))
            } else {
                let segment = options.anonymous().unwrap();
                let file = segment.as_fd().try_clone_to_owned().unwrap();
                (segment, Actor::with_file(role, "", file))
            };
            let more = Victim::of(actor).kill_at_change(n, || visible(&segment));
            segment.validate().unwrap();
            let size = segment.size();
            assert!(size == MIB || size == 3 * MIB, "{role}, change {n}: {size}");
            touch_all(&segment);
            segment.grow(2 * MIB).unwrap();
            touch_all(&segment);
            segment.grow(4 * MIB).unwrap();
            touch_all(&segment);
            segment.validate().unwrap();
            if !more {
                break;
            }
            sizes.push(size);
        }
        // Before, a longer file, and the word that says so.
        println!("{role}: {sizes:?}");
        assert!(sizes.len() >= 3 && sizes.is_sorted());
        assert_eq!((sizes[0], sizes[sizes.len() - 1]), (MIB, 3 * MIB));
    }
    assert!(!control(&name).exists());
}

/// Runs whose bits lie in three words.
const PUNCHED: std::ops::Range<usize> = 60 * RUN..140 * RUN;

/// Memory that is not called missing is there; and what is missing can be taken again.
fn committed_is_there(segment: &Segment, what: &str) -> bool {
    let page = |at: usize| at..at + RUN;
    let blocks = || rustix::fs::fstat(segment).unwrap().st_blocks;
    let called = PUNCHED.step_by(RUN).filter(|at| segment.is_committed(page(*at)).unwrap()).count();
    let outside = (segment.size() - PUNCHED.len()) / 512;
    let there = (blocks() as usize).saturating_sub(outside + 2 * RUN / 512) * 512;
    assert!(called * RUN <= there + 4 * RUN, "{what}: {called} runs, {there} bytes");
    let all = segment.is_committed(PUNCHED).unwrap();
    segment.commit(PUNCHED).unwrap();
    assert!(segment.is_committed(0..segment.size()).unwrap(), "{what}");
    assert!(blocks() as usize * 512 >= segment.size(), "{what}");
    touch_all(segment);
    all
}

#[test]
fn punching_and_committing() {
    if !Victim::permitted() {
        return;
    }
    for role in ["punch", "commit"] {
        let mut all_there = Vec::new();
        for n in 0.. {
            let segment = Segment::anonymous(150 * RUN).unwrap();
            segment.commit(0..150 * RUN).unwrap();
            if role == "commit" {
                // SAFETY: nobody uses the memory.
                unsafe { segment.punch(PUNCHED) }.unwrap();
            }
            let file = segment.as_fd().try_clone_to_owned().unwrap();
            let victim = Victim::of(Actor::with_file(role, "", file));
            let more = victim.kill_at_change(n, || visible(&segment));
            all_there.push(committed_is_there(&segment, &format!("{role}, change {n}")));
            if !more {
                break;
            }
        }
        println!("{role}: {all_there:?}");
        // At least before, three words of bits, and the memory.
        assert!(all_there.len() >= 5, "{role}");
        let (first, last) = (all_there[0], all_there[all_there.len() - 1]);
        assert_eq!((first, last), if role == "punch" { (true, false) } else { (false, true) });
    }
}

/// The memfd of a stopped process.
fn memfd_of(process: u32) -> OwnedFd {
    let folder = format!("/proc/{process}/fd");
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let link = |path: &Path| std::fs::read_link(path).unwrap().to_string_lossy().into_owned();
    let mut files = entries.map(|entry| entry.path());
    let path = files.find(|path| link(path).starts_with("/memfd:shm-core")).unwrap();
    File::open(path).unwrap().into()
}

#[test]
fn freezing() {
    if !Victim::permitted() {
        return;
    }
    let (mut frozen, mut not_yet) = (0, 0);
    for n in 0.. {
        let victim = Victim::of(Actor::start("freeze", ""));
        let file = memfd_of(victim.id());
        let more = victim.kill_at_system_call(n);
        match Frozen::<u64>::attach(file) {
            Ok(data) => {
                assert_eq!(data[..], [7; 5000]);
                frozen += 1;
            }
            Err(Error::NotFrozen { .. }) => not_yet += 1,
            Err(error) => panic!("system call {n}: {error}"),
        }
        if !more {
            break;
        }
    }
    println!("killed before it was frozen: {not_yet}, after: {frozen}");
    assert!(frozen > 0 && not_yet > 0);
}
