//! The bell by itself.

use std::rc::Rc;

use crash_check::death::{Error, Report};
use shm_core::primitive::{AtomicU32, Ordering, System, on_a_system_where, spin_loop};

use super::{check, model, models, preemptions};
use crate::bell::Bell;

models![
    two_ringers_wake_one_waiter_for_both_changes,
    one_ring_wakes_two_waiters,
    a_cancelled_listen_leaves_later_sleeps_under_the_bit,
    a_cancelled_listen_costs_the_next_ring_nothing,
    a_waiter_that_is_killed_takes_no_wake_from_another,
    a_supervisor_wakes_both_waiters_of_a_ringer_that_died,
    a_bounded_sleep_ends_beside_a_change_whose_ringer_died,
    whoever_listened_and_died_is_rung_for_once,
];

/// Waits until `condition`, the way that the documentation of [`Bell`] shows.
fn wait_for(bell: &Bell, condition: impl Fn() -> bool) {
    while !condition() {
        let ticket = bell.listen();
        if condition() {
            return;
        }
        bell.wait(ticket, None);
    }
}

/// A bell and two words that it is rung for.
///
/// Relaxed everywhere: the bell is to make a change visible in time.
struct Parts {
    bell: Bell,
    first: AtomicU32,
    second: AtomicU32,
}

impl Parts {
    fn new() -> Rc<Self> {
        let word = AtomicU32::default;
        Rc::new(Parts { bell: Bell::new(), first: word(), second: word() })
    }

    fn change_first(&self, value: u32) {
        self.first.store(value, Ordering::Relaxed);
        self.bell.ring();
    }

    fn first(&self) -> u32 {
        self.first.load(Ordering::Relaxed)
    }

    fn second(&self) -> u32 {
        self.second.load(Ordering::Relaxed)
    }
}

fn two_ringers_wake_one_waiter_for_both_changes() -> Result<Report, Error> {
    check(0, |world| {
        let parts = Parts::new();
        let theirs = Rc::clone(&parts);
        world.spawn("first", move || theirs.change_first(1));
        let theirs = Rc::clone(&parts);
        world.spawn("second", move || {
            theirs.second.store(1, Ordering::Relaxed);
            theirs.bell.ring();
        });
        wait_for(&parts.bell, || parts.first() + parts.second() == 2);
    })
}

fn one_ring_wakes_two_waiters() -> Result<Report, Error> {
    check(0, |world| {
        let parts = Parts::new();
        let theirs = Rc::clone(&parts);
        world.spawn("waiter", move || wait_for(&theirs.bell, || theirs.first() == 1));
        let theirs = Rc::clone(&parts);
        world.spawn("ringer", move || theirs.change_first(1));
        wait_for(&parts.bell, || parts.first() == 1);
    })
}

fn a_cancelled_listen_leaves_later_sleeps_under_the_bit() -> Result<Report, Error> {
    check(0, |world| {
        let parts = Parts::new();
        let theirs = Rc::clone(&parts);
        world.spawn("ringer", move || {
            theirs.change_first(1);
            theirs.change_first(2);
        });
        let ticket = parts.bell.listen();
        if parts.first() > 0 {
            parts.bell.cancel();
        } else {
            parts.bell.wait(ticket, None);
        }
        wait_for(&parts.bell, || parts.first() == 2);
    })
}

fn a_cancelled_listen_costs_the_next_ring_nothing() -> Result<Report, Error> {
    check(0, |_| {
        let bell = Bell::new();
        let _ticket = bell.listen();
        bell.cancel();
        assert!(!bell.ring());
    })
}

fn a_waiter_that_is_killed_takes_no_wake_from_another() -> Result<Report, Error> {
    check(1, |world| {
        let parts = Parts::new();
        let theirs = Rc::clone(&parts);
        world.victim("waiter", move || wait_for(&theirs.bell, || theirs.first() == 1));
        let theirs = Rc::clone(&parts);
        world.spawn("ringer", move || theirs.change_first(1));
        wait_for(&parts.bell, || parts.first() == 1);
    })
}

fn a_supervisor_wakes_both_waiters_of_a_ringer_that_died() -> Result<Report, Error> {
    // Four threads: as many switches as elsewhere would take minutes.
    model(1).preemption_bound(Some((preemptions().saturating_sub(1)).min(2))).check(|world| {
        let parts = Parts::new();
        let theirs = Rc::clone(&parts);
        let ringer = world.victim("ringer", move || theirs.change_first(1));
        let theirs = Rc::clone(&parts);
        world.spawn("waiter", move || {
            wait_for(&theirs.bell, || theirs.first() + theirs.second() > 0);
        });
        let theirs = Rc::clone(&parts);
        world.spawn("supervisor", move || {
            if ringer.join().is_err() {
                theirs.second.store(1, Ordering::Relaxed);
                theirs.bell.ring();
            }
        });
        wait_for(&parts.bell, || parts.first() + parts.second() > 0);
    })
}

fn a_bounded_sleep_ends_beside_a_change_whose_ringer_died() -> Result<Report, Error> {
    on_a_system_where(System::TimePasses, || {
        check(1, |world| {
            let parts = Parts::new();
            let life = world.life("ringer");
            let theirs = Rc::clone(&parts);
            world.victim("ringer", move || theirs.change_first(1));
            wait_for(&parts.bell, || {
                // Another sleep, after time has passed: old news of the living is outdated.
                spin_loop();
                parts.first() == 1 || life.is_dead()
            });
        })
    })
}

fn whoever_listened_and_died_is_rung_for_once() -> Result<Report, Error> {
    check(1, |world| {
        let parts = Parts::new();
        let theirs = Rc::clone(&parts);
        let waiter = world.victim("waiter", move || {
            wait_for(&theirs.bell, || theirs.first() == 1);
        });
        parts.change_first(1);
        if waiter.join().is_err() {
            parts.bell.ring();
            assert!(!parts.bell.ring(), "a dead listener costs every ring a wake");
        }
    })
}
