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
use shm_core::{Group, Owner, Peers, Shared};

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
        "without futex_waitv and membarrier" => {
            refuse(&[libc::SYS_futex_waitv, libc::SYS_membarrier]);
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

/// From now on the kernel refuses these calls, as a container's filter may.
fn refuse(calls: &[libc::c_long]) {
    let instruction =
        |code: u32, jt: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    // Load the call's number; for each refused one: equal, then to the next line, else over it.
    let mut program = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for call in calls {
        let number = u32::try_from(*call).unwrap();
        let mut equal = instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, number);
        equal.jf = 1;
        program.push(equal);
        let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, refused));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    let len = program.len() as u16;
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: a live program, which the kernel copies. For all threads of this process.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const filter,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
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
