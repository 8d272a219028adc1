//! Groups: members are killed at every instruction of joining, of looking after the dead, of leaving
//! and of a sleep. Nobody's place is lost, whoever sleeps goes on, and the living stay.
//!
//! What a keeper thread does is done here by the thread that joins, with the keeper's functions
//! (`shm_core::seat`). Deaths are real: the kernel stamps the word and lets go of the record lock.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;

use crash_check::step::{Region, Scenario};
use shm_core::futex::Futex;
use shm_core::seat::{Door, Seat, control_file};
use shm_core::{MAX_MEMBERS, Owner};

use crate::ground::{Said, is_long, run};
use crate::reexec::{Actor, tell};

/// In the other file: a word that sleepers sleep on, and who the victim was.
const WORD: usize = 0;
const VICTIM: usize = 64;

fn door(region: &Region) -> Door {
    Door::open(region.fd()).unwrap()
}

/// Joins, and notes who it is.
fn seated(region: &Region) -> Seat {
    let seat = door(region).join().unwrap();
    region.other(0).u32_at(VICTIM).store(seat.me().to_bits(), Relaxed);
    seat
}

fn word(region: &Region) -> &Futex {
    // SAFETY: aligned, within the file, and any bytes are a valid one.
    unsafe { &*region.other(0).as_ptr().wrapping_add(WORD).cast::<Futex>() }
}

/// What a keeper does until everybody's end is known.
fn look_around(seat: &Seat) {
    while !seat.look() {
        std::thread::yield_now();
    }
}

/// So many places, each held by a thread of this process until it ends.
fn take_places(door: Door, count: usize) {
    let (tell, told) = channel();
    for _ in 0..count {
        let tell = tell.clone();
        std::thread::spawn(move || {
            let seat = door.join().unwrap();
            tell.send(seat.me().index()).unwrap();
            loop {
                std::thread::park();
            }
        });
        told.recv().unwrap();
    }
}

/// In a process of its own: stays in so many places of the group behind its descriptor 0.
pub fn stay_in(places: &str) {
    take_places(Door::open(std::io::stdin().as_fd()).unwrap(), places.parse().unwrap());
    tell("ready");
    loop {
        std::thread::park();
    }
}

/// A group with so many dead in it, and nobody else.
fn group(operation: &str, state: &str, dead: usize) -> Scenario {
    among(operation, state, dead, 0, control_file().unwrap())
}

/// A group with so many dead, and so many places that living ones hold and keep.
fn among(operation: &str, state: &str, dead: usize, living: usize, file: OwnedFd) -> Scenario {
    Scenario::new(operation)
        .state(state)
        .only_real_kills()
        .region_of(file)
        .another_file(128)
        .init(move |region| take_places(door(region), dead))
        .recovery_with(
            |region| Some(door(region).join().unwrap()),
            |_, seat| {
                if let Some(seat) = seat.take() {
                    look_around(&seat);
                    seat.leave();
                }
            },
        )
        .validate(move |region| {
            let door = door(region);
            door.validate()?;
            let there = door.members();
            if there.len() == living && there.iter().all(|member| member.is_armed) {
                return Said::Ok(());
            }
            Err(format!("{living} live, but these are there: {there:?}").into())
        })
        .continuation(move |region| {
            let seat = door(region).join()?;
            look_around(&seat);
            let there: Vec<Owner> = door(region).members().iter().map(|one| one.owner).collect();
            if there.len() != living + 1 || there.iter().any(|one| seat.is_gone(*one)) {
                return Err(format!("beside {:?}: {there:?}", seat.me()).into());
            }
            let victim = Owner::from_bits(region.other(0).u32_at(VICTIM).load(Relaxed));
            if victim.is_some_and(|victim| !seat.is_gone(victim)) {
                return Err("the dead one is not gone".into());
            }
            seat.leave();
            door(region).validate()?;
            Said::Ok(())
        })
}

#[test]
fn kill_group_join() {
    for (state, dead) in [("empty", 0), ("a dead member", 1)] {
        let joining = group("shm_core::Group::attach", state, dead)
            .operation_with(door, |_, door| door.join().map(drop));
        run(joining);
    }
}

/// The newcomer recovers the dead from the place in reserve, and touches none of the living.
#[test]
fn kill_group_join_where_every_place_is_taken() {
    if !is_long() {
        // Half a minute: every look is at all places.
        eprintln!("run in the long form: not checked");
        return;
    }
    let file = control_file().unwrap();
    let living = MAX_MEMBERS - 1;
    let theirs = file.try_clone().unwrap();
    let mut crowd = Actor::with_file("crowd", &living.to_string(), theirs);
    assert_eq!(crowd.hear(), "ready");
    let joining = among("shm_core::Group::attach", "one place, of the dead", 1, living, file)
        .operation_with(door, |_, door| door.join().map(drop));
    joining.depth(1).run().unwrap().assert_clean();
}

#[test]
fn kill_group_leave() {
    for (state, dead) in [("alone", 0), ("a dead member", 1)] {
        let leaving = group("shm_core::Group::drop", state, dead).operation_with(
            |region| Some(seated(region)),
            |_, seat| {
                if let Some(seat) = seat.take() {
                    seat.leave();
                }
            },
        );
        run(leaving);
    }
}

#[test]
fn kill_group_recovery() {
    let looking = group("shm_core::Group: recovery by a keeper", "two dead members", 2)
        .operation_with(seated, |_, seat| look_around(seat));
    run(looking);
}

/// A live member sleeps until the victim is gone: it is told, whoever dies on the way.
#[test]
fn kill_group_park() {
    let sleeping = group("shm_core::Group::park", "asleep, and woken", 0)
        .operation_with(seated, |region, seat| {
            let ticket = seat.ticket();
            let _ = seat.park(word(region), 0, ticket);
        })
        .waker(|region| {
            word(region).word().store(1, Relaxed);
            word(region).wake(1);
        })
        .peer(|region| {
            let victim = Owner::from_bits(region.other(0).u32_at(VICTIM).load(Relaxed));
            let seat = door(region).join()?;
            let bystander = Futex::new(0);
            loop {
                let ticket = seat.ticket();
                if victim.is_none_or(|victim| seat.is_gone(victim)) {
                    seat.leave();
                    return Said::Ok(());
                }
                let _ = seat.park(&bystander, 0, ticket);
            }
        });
    run(sleeping);
}
