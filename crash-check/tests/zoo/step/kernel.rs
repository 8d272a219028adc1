//! Deaths in which the kernel has a part: sleepers, and robust lists.
//!
//! Orderings: in these small structures a Release store publishes what precedes it to the Acquire
//! load of the same word; Relaxed words have one writer, or are guarded by another word.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crash_check::step::{
    FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, LifeWords, Liveness, Region, Scenario, Victim,
};

use super::{WATCHDOG, futex_wait, futex_wake, judge, me, verdict};
use crate::Specimen;

const LOCK: usize = 0;
/// A live holder whose id is no thread's: above every possible `pid_max`.
const HOLDER: u32 = 0x3fff_fffe;

fn lock(r: &Region) {
    let word = r.u32_at(LOCK);
    // Acquire: pairs with the Release in `unlock`.
    if word.compare_exchange(0, me(), Acquire, Relaxed).is_ok() {
        return;
    }
    // Having slept, it cannot know who else sleeps: it keeps the waiters' flag.
    while word.compare_exchange(0, me() | FUTEX_WAITERS, Acquire, Relaxed).is_err() {
        // Relaxed: the flag guards nothing but the wake-up.
        let held = word.fetch_or(FUTEX_WAITERS, Relaxed);
        if held & FUTEX_TID_MASK != 0 {
            futex_wait(word, held | FUTEX_WAITERS);
        } else {
            // Freed or stamped since: the flag alone must not stay.
            let _ = word.compare_exchange(FUTEX_WAITERS, 0, Relaxed, Relaxed);
        }
    }
}

fn unlock(r: &Region) {
    // Release: pairs with the Acquire in `lock`.
    if r.u32_at(LOCK).swap(0, Release) & FUTEX_WAITERS != 0 {
        futex_wake(r.u32_at(LOCK), 1);
    }
}

fn recover(rings_everybody: bool) -> impl Fn(&Region) {
    move |r| {
        let word = r.u32_at(LOCK);
        let held = word.load(Acquire);
        let died = held & FUTEX_OWNER_DIED != 0;
        // AcqRel: takes over what the dead owner wrote, hands it to the next.
        if died && word.compare_exchange(held, 0, AcqRel, Relaxed).is_ok() {
            futex_wake(word, 1);
        }
        if rings_everybody {
            futex_wake(word, i32::MAX);
        }
    }
}

fn woken(rings_everybody: bool) -> Result<(), String> {
    let scenario = Scenario::new("futex lock: lock, unlock")
        .state("held, another waits")
        .liveness(LifeWords::at(&[LOCK]))
        .watchdog(WATCHDOG)
        .init(|r| r.u32_at(LOCK).store(HOLDER, Relaxed))
        .operation(|r| {
            lock(r);
            unlock(r);
        })
        .waker(unlock)
        .peer(|r| {
            lock(r);
            unlock(r);
        })
        .recovery(recover(rings_everybody))
        .validate(|r| match r.u32_at(LOCK).load(Acquire) {
            0 => Ok(()),
            held => Err(format!("still locked: {held:#x}")),
        });
    verdict(scenario)
}

#[test]
fn wake_swallowed_by_a_killed_waiter_is_found() {
    judge(&Specimen {
        name: "wake swallowed by a killed waiter",
        bug: "the one that was woken dies before it takes the lock: the lock is free, all sleep",
        broken: || woken(false),
        fixed: || woken(true),
    });
}

/// Both are the first process of their own pid namespace.
const TID_OF_BOTH: u32 = 1;
/// A's and B's indices as participants.
const A: u32 = 10;
const B: u32 = 11;
/// B's `list_op_pending` (private to B in truth), and the life words of A and B.
const PENDING: usize = 64;
const LIFE: [usize; 2] = [128, 132];

/// What the kernel does at B's death: it knows B by its id in B's namespace.
#[derive(Debug)]
struct OtherNamespace;

impl Liveness for OtherNamespace {
    fn stamp(&self, _: &Victim, image: &mut [u8]) {
        let word = |image: &[u8], at: usize| {
            image[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        let pending = word(image, PENDING) == 1;
        for (listed, at) in [(pending, LOCK), (true, LIFE[1])] {
            if listed && word(image, at) & FUTEX_TID_MASK == TID_OF_BOTH {
                image[at..at + 4].copy_from_slice(&FUTEX_OWNER_DIED.to_ne_bytes());
            }
        }
    }
}

/// B tries a lock that A holds.
fn try_lock(name: u32, on_robust_list: bool) -> impl Fn(&Region) {
    move |r| {
        // Relaxed: only the kernel reads it, at the death of this thread.
        r.u32_at(PENDING).store(u32::from(on_robust_list), Relaxed);
        // Acquire: pairs with an owner's Release; there is none here, the lock is held.
        let got = r.u32_at(LOCK).compare_exchange(0, name, Acquire, Relaxed);
        assert!(got.is_err(), "A holds it");
        r.u32_at(PENDING).store(0, Relaxed);
    }
}

fn namespaces(on_robust_list: bool) -> Result<(), String> {
    let (a, b) = if on_robust_list { (TID_OF_BOTH, TID_OF_BOTH) } else { (A, B) };
    let scenario = Scenario::new("robust lock: try_lock")
        .state("held by a live process of another pid namespace")
        .liveness(OtherNamespace)
        // The kernel would have to run two namespaces for it; the stamp is a model.
        .real_kills(0)
        .init(move |r| {
            r.u32_at(LOCK).store(a, Relaxed);
            LIFE.iter().for_each(|life| r.u32_at(*life).store(TID_OF_BOTH, Relaxed));
        })
        .operation(try_lock(b, on_robust_list))
        .validate(move |r| match r.u32_at(LOCK).load(Acquire) {
            FUTEX_OWNER_DIED => Err("a live owner's lock is marked dead: two will be in"),
            held if held == a => Ok(()),
            _ => Err("A lost its lock"),
        });
    verdict(scenario)
}

#[test]
fn robust_list_across_pid_namespaces_is_found() {
    judge(&Specimen {
        name: "robust-list lock across pid namespaces",
        bug: "the kernel stamps the lock of a live owner whose thread id equals the dead one's",
        broken: || namespaces(true),
        fixed: || namespaces(false),
    });
}
