//! Nobody who lives is taken for dead, and nobody who is dead for living: the cases that other
//! systems get wrong. (Stopped, zombie, and without its keeper: `tests/group.rs`.)
#![allow(clippy::unwrap_used)]

mod reexec;

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::sync::mpsc::channel;
use std::time::Duration;

use reexec::{Actor, Places, places, role, tell};
use shm_core::futex::Futex;
use shm_core::lock::{LockError, Mutex};
use shm_core::{Group, Owner, Peers, Segment, Shared};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// For what must not come: looked at this often.
const LOOKS: usize = 200;

type Lock = Shared<Mutex<u64>>;

fn ground() -> (Group, Lock) {
    (Group::anonymous().unwrap(), Shared::new(Mutex::new(0)).unwrap())
}

/// Another process, which says who it is in the group.
fn member(role: &str, group: &Group, lock: &Lock) -> (Actor, Owner) {
    let mut actor = Actor::start(role, &places(&[group.as_fd(), lock.as_fd()]));
    let owner = Owner::from_bits(actor.hear().parse().unwrap()).unwrap();
    (actor, owner)
}

fn joined(argument: &str) -> (Group, Lock) {
    let mut places = Places::of(argument);
    (Group::attach(places.open_place()).unwrap(), Shared::attach(places.open()).unwrap())
}

fn introduce(group: &Group) {
    tell(&group.me().unwrap().to_bits().to_string());
}

fn stay() -> ! {
    loop {
        std::thread::park();
    }
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    match role.as_str() {
        "member" => {
            let (group, _lock) = joined(&argument);
            introduce(&group);
            stay()
        }
        "without its main thread" => {
            let (group, _lock) = joined(&argument);
            end_main_thread();
            introduce(&group);
            stay()
        }
        "turns into another program" => {
            let (group, _lock) = joined(&argument);
            introduce(&group);
            let mut word = String::new();
            std::io::stdin().read_line(&mut word).unwrap();
            panic!("{}", std::process::Command::new("sleep").arg("60").exec());
        }
        "moves its guard" => {
            let (group, lock) = joined(&argument);
            std::thread::scope(|threads| {
                let creator = threads.spawn(|| lock.lock(&group).unwrap());
                let _guard = creator.join().unwrap();
                introduce(&group);
                stay()
            })
        }
        "in a namespace of its own" => {
            // SAFETY: changes where this process's children get their ids.
            if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
                tell("refused");
                return;
            }
            let mut inner = Actor::start("first in its namespace", &argument);
            tell(&inner.hear());
            stay()
        }
        "first in its namespace" => {
            assert_eq!(std::process::id(), 1);
            let (group, lock) = joined(&argument);
            introduce(&group);
            let _guard = lock.lock(&group);
            stay()
        }
        "reads into shared memory" => {
            let mut places = Places::of(&argument);
            let group = Group::attach(places.open_place()).unwrap();
            let segment = Segment::attach(places.open()).unwrap();
            let source = std::fs::File::from(places.open());
            introduce(&group);
            // SAFETY: within the segment; nobody else writes it.
            let whole =
                unsafe { std::slice::from_raw_parts_mut(segment.data().as_ptr(), segment.size()) };
            let _ = std::os::unix::fs::FileExt::read_at(&source, whole, 0);
            stay()
        }
        "without futex_waitv and membarrier" => {
            reexec::refuse(&[libc::SYS_futex_waitv, libc::SYS_membarrier]);
            let (group, lock) = joined(&argument);
            introduce(&group);
            let guard = lock.lock(&group).unwrap_or_else(|error| error.into_guard().unwrap());
            tell(&format!("locked {}", *guard));
        }
        other => panic!("no role {other}"),
    }
}

/// The thread that the process began with ends, and nothing else of it.
fn end_main_thread() {
    extern "C" fn end_this_thread(_: libc::c_int) {
        // SAFETY: ends the thread that runs it.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let pid = std::process::id() as i32;
    let handler = end_this_thread as extern "C" fn(libc::c_int);
    // SAFETY: a handler that makes one system call.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    // SAFETY: a signal to a thread of our own.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGUSR1) };
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{pid}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z')
    };
    while !state() {
        std::thread::yield_now();
    }
}

/// Not gone, however often it is asked.
fn assert_stays(group: &Group, owner: Owner) {
    for _ in 0..LOOKS {
        assert!(!group.is_gone(owner));
        std::thread::yield_now();
    }
}

fn wait_until_gone(group: &Group, owner: Owner) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !group.is_gone(owner) {
        assert!(std::time::Instant::now() < deadline, "{owner:?} is not gone");
        group.park(&Futex::new(0), 0, group.ticket(), Some(Duration::from_millis(5)));
    }
}

#[test]
fn a_process_whose_main_thread_ended_is_alive() {
    let (group, lock) = ground();
    let (actor, owner) = member("without its main thread", &group, &lock);
    assert_stays(&group, owner);
    assert!(group.looks_alive(owner));
    drop(actor);
    wait_until_gone(&group, owner);
}

#[test]
fn a_process_that_turns_into_another_program_is_gone() {
    let (group, lock) = ground();
    let (mut actor, owner) = member("turns into another program", &group, &lock);
    assert_stays(&group, owner);
    actor.say("go");
    wait_until_gone(&group, owner);
}

#[test]
fn a_guard_outlives_the_thread_that_made_it() {
    let (group, lock) = ground();
    let (actor, owner) = member("moves its guard", &group, &lock);
    for _ in 0..LOOKS {
        assert!(matches!(lock.try_lock(&group), Err(LockError::WouldBlock)));
    }
    assert!(!group.is_gone(owner));
    drop(actor);
    assert!(matches!(lock.lock_timeout(&group, PATIENCE), Err(LockError::Poisoned(_))));
}

/// Long after its keeper was stamped, another thread of a killed process may be inside `read(2)`, and
/// the kernel finishes the copy. It is gone when that has ended, and not before.
#[test]
fn a_killed_process_that_still_writes_is_not_gone() {
    const LENGTH: usize = 64 << 20;
    let group = Group::anonymous().unwrap();
    let target = Segment::anonymous(LENGTH).unwrap();
    let source = Segment::anonymous(LENGTH).unwrap();
    // SAFETY: within the segment, which nobody else has yet.
    unsafe { source.data().as_ptr().write_bytes(0xff, LENGTH) };
    let argument = places(&[group.as_fd(), target.as_fd(), source.as_fd()]);
    let mut actor = Actor::start("reads into shared memory", &argument);
    let owner = Owner::from_bits(actor.hear().parse().unwrap()).unwrap();
    // The first page of the source is its header, which is zeros from some byte on.
    let at = |offset: usize| {
        // SAFETY: within the segment, which its other user writes at most once.
        unsafe { target.data().as_ptr().wrapping_add(offset).read_volatile() == 0xff }
    };
    let pages: Vec<usize> = (0..LENGTH).step_by(4096).collect();
    let written = || pages.partition_point(|page| *page < 1 << 17 || at(*page));
    while !at(1 << 17) {
        std::hint::spin_loop();
    }
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(i32::try_from(actor.id()).unwrap(), libc::SIGKILL) };
    let (mut stamped, mut looks) = (0, 0_u64);
    while !group.is_gone(owner) {
        looks += 1;
        stamped += u64::from(!group.looks_alive(owner));
    }
    let when_gone = written();
    println!("stamped, and not gone, in {stamped} of {looks} looks; {when_gone} pages written");
    drop(actor);
    for _ in 0..LOOKS {
        assert_eq!(written(), when_gone, "it wrote after it was gone");
        std::thread::yield_now();
    }
}

/// Another process with this id, until it is killed; `None` where the system does not let us choose.
fn process_with_id(id: u32) -> Option<i32> {
    let wanted = id as libc::pid_t;
    // `struct clone_args`: what is not named is 0.
    let mut arguments = [0_u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    arguments[8] = (&raw const wanted).addr() as u64;
    arguments[9] = 1;
    let size = size_of_val(&arguments);
    // SAFETY: as `fork`: the child has a copy of everything, and only waits.
    let child = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size) };
    if child == 0 {
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    (child > 0).then_some(child as i32)
}

#[test]
fn a_dead_member_is_gone_though_another_process_has_got_its_id() {
    let (group, lock) = ground();
    let (actor, owner) = member("moves its guard", &group, &lock);
    let id = actor.id();
    drop(actor);
    let Some(other) = process_with_id(id) else {
        println!("SKIPPED: this system does not let us choose a process's id");
        return;
    };
    assert_eq!(other as u32, id);
    wait_until_gone(&group, owner);
    assert!(matches!(lock.lock_timeout(&group, PATIENCE), Err(LockError::Poisoned(_))));
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(other, libc::SIGKILL) };
    // SAFETY: our own child; no status is asked for.
    unsafe { libc::waitpid(other, std::ptr::null_mut(), 0) };
}

#[test]
fn equal_thread_ids_in_two_pid_namespaces_are_two_members() {
    let (group, lock) = ground();
    let start = || {
        let argument = places(&[group.as_fd(), lock.as_fd()]);
        let mut actor = Actor::start("in a namespace of its own", &argument);
        let heard = actor.hear();
        (heard != "refused").then(|| (actor, Owner::from_bits(heard.parse().unwrap()).unwrap()))
    };
    let (Some((first, one)), Some((second, two))) = (start(), start()) else {
        println!("SKIPPED: this system does not let us make pid namespaces");
        return;
    };
    let pids: Vec<u32> = group.members().iter().map(|member| member.pid).collect();
    assert_eq!(pids.iter().filter(|pid| **pid == 1).count(), 2, "{pids:?}");
    assert!(matches!(
        lock.lock_timeout(&group, Duration::from_millis(5)),
        Err(LockError::TimedOut)
    ));
    let (tell, told) = channel();
    let _watch = group.on_death(move |owner| tell.send(owner).unwrap());
    drop(first);
    // The one whose parent died goes with it or not; the other namespace has nothing to do with it.
    kill_namespace(&group, one);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(one));
    assert_stays(&group, two);
    drop(second);
    kill_namespace(&group, two);
    wait_until_gone(&group, two);
}

/// Kills the process that is called 1 in its own namespace and has this place in the group.
fn kill_namespace(group: &Group, owner: Owner) {
    let Some(member) = group.members().into_iter().find(|member| member.owner == owner) else {
        return;
    };
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let namespace = std::fs::metadata(format!("/proc/{pid}/ns/pid"));
        let inode = |meta: std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(&meta);
        if namespace.is_ok_and(|meta| inode(meta) == member.pid_namespace) {
            // SAFETY: a signal to a process that this test started.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

#[test]
fn where_the_kernel_refuses_to_watch_two_words_waiters_go_on_all_the_same() {
    let (group, lock) = ground();
    let held = lock.lock(&group).unwrap();
    let (mut filtered, _) = member("without futex_waitv and membarrier", &group, &lock);
    drop(held);
    assert_eq!(filtered.hear(), "locked 0");
    // And when the holder dies instead of unlocking:
    let (holder, _) = member("moves its guard", &group, &lock);
    let (mut filtered, _) = member("without futex_waitv and membarrier", &group, &lock);
    drop(holder);
    assert_eq!(filtered.hear(), "locked 0");
}
