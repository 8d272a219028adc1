//! Groups: members come and go, die and are missed.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::channel;
use std::time::Duration;

use reexec::{Actor, role, tell};
use shm_core::futex::Futex;
use shm_core::{Error, Group, MAX_MEMBERS, Owner, Peers};

/// How long a test waits for what must come; a hang is a failure, not a wait for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Another process, with the group as its descriptor 0.
fn member(role: &str, group: &Group) -> Actor {
    Actor::with_file(role, "", group.as_fd().try_clone_to_owned().unwrap())
}

fn wait_until_joined(actor: &mut Actor) -> Owner {
    Owner::from_bits(actor.hear().parse().unwrap()).unwrap()
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
    let Some((role, _)) = role() else { return };
    match role.as_str() {
        "stays" => {
            let group = Group::attach(std::io::stdin()).unwrap();
            introduce(&group);
            stay()
        }
        "loses its keeper" => lose_the_keeper(),
        "comes and goes" => come_and_go(),
        "comes to a full group" => {
            let refused = Group::attach(std::io::stdin());
            assert!(matches!(refused, Err(Error::GroupFull { max: MAX_MEMBERS })), "{refused:?}");
        }
        other => panic!("no role {other}"),
    }
}

/// A member whose keeper thread ends, alone, when another member dies.
fn lose_the_keeper() -> ! {
    let group = Group::attach(std::io::stdin()).unwrap();
    // Runs on the keeper thread, and ends it without a word.
    let _watch = group.on_death(|_| {
        // SAFETY: ends the calling thread; what it held is not needed again.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    introduce(&group);
    // Members park now and then; that is when a keeper is missed.
    let word = Futex::new(0);
    while group.stats().deaths < 2 {
        group.park(&word, 0, group.ticket(), Some(Duration::from_millis(10)));
    }
    introduce(&group);
    stay()
}

/// Joins and leaves until it is killed.
fn come_and_go() -> ! {
    let place = std::io::stdin();
    let mut first = true;
    loop {
        let group = Group::attach(&place).unwrap();
        if std::mem::take(&mut first) {
            introduce(&group);
        }
    }
}

#[test]
fn a_process_is_one_member_however_often_it_attaches() {
    let group = Group::anonymous().unwrap();
    let again = Group::attach(group.as_fd()).unwrap();
    assert_eq!(group.me(), again.me());
    assert_eq!(group.members().len(), 1);
    drop(group);
    assert!(!again.is_gone(again.me().unwrap()));
}

#[test]
fn threads_that_attach_at_once_are_one_member() {
    for _ in 0..20 {
        let group = Group::anonymous().unwrap();
        let place = group.as_fd().try_clone_to_owned().unwrap();
        let me = group.me();
        drop(group);
        std::thread::scope(|threads| {
            let all: Vec<_> =
                (0..4).map(|_| threads.spawn(|| Group::attach(&place).unwrap())).collect();
            let all: Vec<Group> = all.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(all.windows(2).all(|two| two[0].me() == two[1].me()));
            assert_eq!(all[0].members().len(), 1, "first was {me:?}");
        });
    }
}

#[test]
fn whoever_leaves_and_joins_again_is_another_owner() {
    let group = Group::anonymous().unwrap();
    let place = group.as_fd().try_clone_to_owned().unwrap();
    let before = group.me().unwrap();
    drop(group);
    let group = Group::attach(&place).unwrap();
    assert_ne!(group.me(), Some(before));
    assert!(group.is_gone(before));
}

#[test]
fn a_killed_member_is_reported_and_its_place_is_free_again() {
    let group = Group::anonymous().unwrap();
    let (tell, told) = channel();
    let _watch = group.on_death(move |owner| tell.send(owner).unwrap());
    for round in 1..=5 {
        let mut child = member("stays", &group);
        let owner = wait_until_joined(&mut child);
        assert!(!group.is_gone(owner) && group.looks_alive(owner));
        assert_eq!(group.members().len(), 2);
        drop(child);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(owner));
        assert!(group.is_gone(owner) && !group.looks_alive(owner));
        assert_eq!(owner.index(), 1, "the same place in each round");
        assert_eq!(group.stats().deaths, round);
    }
}

#[test]
fn a_death_wakes_whoever_is_parked() {
    let group = Group::anonymous().unwrap();
    let mut child = member("stays", &group);
    let owner = wait_until_joined(&mut child);
    let (parked, word) = (channel(), Futex::new(0));
    let waiter = {
        let (group, tell) = (group.clone(), parked.0);
        std::thread::spawn(move || {
            let mut looks = 0;
            loop {
                let ticket = group.ticket();
                if group.is_gone(owner) {
                    return looks;
                }
                looks += 1;
                let _ = tell.send(());
                group.park(&word, 0, ticket, None);
            }
        })
    };
    parked.1.recv_timeout(PATIENCE).unwrap();
    drop(child);
    assert!(waiter.join().unwrap() >= 1);
}

#[test]
fn a_stopped_member_is_not_gone() {
    let group = Group::anonymous().unwrap();
    let mut child = member("stays", &group);
    let owner = wait_until_joined(&mut child);
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: signals to our own child, which has not been waited for.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    let mut status = 0;
    // SAFETY: as above, and a live variable for the status.
    unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) };
    assert!(libc::WIFSTOPPED(status));
    assert!(!group.is_gone(owner) && group.looks_alive(owner));
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    drop(child);
}

#[test]
fn a_zombie_is_gone() {
    let group = Group::anonymous().unwrap();
    let (tell, told) = channel();
    let _watch = group.on_death(move |owner| tell.send(owner).unwrap());
    let mut child = member("stays", &group);
    let owner = wait_until_joined(&mut child);
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGKILL) };
    // Not waited for: it is a zombie, its pid is taken.
    assert_eq!(told.recv_timeout(PATIENCE), Ok(owner));
    assert!(group.is_gone(owner));
    drop(child);
}

#[test]
fn a_member_that_lost_its_keeper_is_not_gone_and_gets_another() {
    let group = Group::anonymous().unwrap();
    let (tell, told) = channel();
    let _watch = group.on_death(move |owner| tell.send(owner).unwrap());
    let mut lossy = member("loses its keeper", &group);
    let owner = wait_until_joined(&mut lossy);
    for _ in 0..2 {
        // The first death costs the member its keeper, the second is seen by the new one.
        let mut victim = member("stays", &group);
        let dead = wait_until_joined(&mut victim);
        drop(victim);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(dead));
        assert!(!group.is_gone(owner));
    }
    assert_eq!(wait_until_joined(&mut lossy), owner, "the same stay");
    drop(lossy);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(owner));
}

/// Three processes come and go all the time, and are killed at random: in joining, in leaving, in
/// recovering each other. Afterwards every place is free but ours, and can be taken.
#[test]
fn comings_and_goings_under_kills_lose_no_place() {
    let group = Group::anonymous().unwrap();
    let start = || {
        let mut child = member("comes and goes", &group);
        wait_until_joined(&mut child);
        child
    };
    let mut children: Vec<Actor> = (0..3).map(|_| start()).collect();
    // A fixed sequence of pauses: which instruction the kill meets is the scheduler's choice.
    let mut seed = 0x9e37_79b9_u32;
    for round in 0..60 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for _ in 0..seed >> 19 {
            std::hint::spin_loop();
        }
        let victim = round % children.len();
        let dead = std::mem::replace(&mut children[victim], start());
        drop(dead);
    }
    drop(children);
    let deadline = std::time::Instant::now() + PATIENCE;
    while group.members().len() > 1 {
        assert!(std::time::Instant::now() < deadline, "left behind: {:?}", group.members());
        let ticket = group.ticket();
        group.park(&Futex::new(0), 0, ticket, Some(Duration::from_millis(1)));
    }
    let mut all: Vec<Actor> = (1..MAX_MEMBERS).map(|_| member("stays", &group)).collect();
    for child in &mut all {
        wait_until_joined(child);
    }
    assert_eq!(group.members().len(), MAX_MEMBERS);
    drop(all);
}

#[test]
fn a_full_group_says_so() {
    let group = Group::anonymous().unwrap();
    let mut children: Vec<Actor> = (1..MAX_MEMBERS).map(|_| member("stays", &group)).collect();
    for child in &mut children {
        wait_until_joined(child);
    }
    member("comes to a full group", &group).finish();
    drop(children);
}

#[test]
fn a_named_group_is_gone_with_its_last_member() {
    let name = format!("group-test-{}", std::process::id());
    let group = Group::create(&name).unwrap();
    let same = Group::open(&name).unwrap();
    assert_eq!(group.me(), same.me());
    drop((group, same));
    assert!(matches!(Group::open(&name), Err(Error::NotFound { .. })));
}

#[test]
fn what_is_no_group_is_refused() {
    let segment = shm_core::Segment::anonymous(1 << 20).unwrap();
    assert!(matches!(Group::attach(&segment), Err(Error::WrongType { .. })));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(Group::attach(&file).is_err());
    let group = Group::anonymous().unwrap();
    let place = group.as_fd().try_clone_to_owned().unwrap();
    assert!(shm_core::Segment::attach(place).is_err());
    assert!(group.as_fd().as_raw_fd() > 0);
}
