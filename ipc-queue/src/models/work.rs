//! A work queue whose submitter, worker or joiner may die.

use std::rc::Rc;

use crash_check::death::{Error, Report, World};
use shm_core::Peers;
use shm_core::primitive::{AtomicU64, Ordering, UnsafeCell, spin_loop};

use super::group::{Member, members};
use super::{check_awake, model, models, preemptions};
use crate::Side;
use crate::mpmc::shared::{Queue, Shared as RingShared, Slot as RingSlot};
use crate::mpmc::word::Word;
use crate::ring::Stop;
use crate::wait::Deadline;
use crate::work::join::join;
use crate::work::lease::Leasing;
use crate::work::shared::{Shared, Slot, Work};
use crate::work::submit::Reserving;

models![
    two_workers_never_lease_one_item,
    an_item_is_seen_whole_by_whoever_finds_it_by_an_old_hint,
    whoever_joined_sees_what_was_done,
    a_hint_that_was_put_is_found,
    an_item_of_a_dead_worker_is_leased_again_by_one_who_sleeps,
    a_submitter_that_dies_leaves_an_item_that_is_found_or_none,
    a_joiner_that_sleeps_returns_though_the_last_worker_died_after_its_ack,
    a_worker_that_is_told_of_the_end_has_missed_no_submission,
    a_worker_that_sleeps_beside_the_last_lease_is_told_of_the_end,
];

struct Ground {
    shared: Shared,
    slots: Vec<Slot<u32>>,
    ring: RingShared,
    ring_slots: Vec<RingSlot<u32>>,
}

struct Handles {
    ground: Rc<Ground>,
    peers: Member,
    submit: Reserving,
    lease: Leasing,
}

impl Ground {
    fn new(capacity: u64) -> Rc<Ground> {
        let slot = |_| Slot { word: AtomicU64::new(0), value: UnsafeCell::new(0) };
        let ring_slot = |position| RingSlot {
            word: AtomicU64::new(Word::free(position).0),
            value: UnsafeCell::new(0),
        };
        Rc::new(Ground {
            shared: Shared::new(9),
            slots: (0..capacity).map(slot).collect(),
            ring: RingShared::default(),
            ring_slots: (0..capacity).map(ring_slot).collect(),
        })
    }

    fn handles(self: &Rc<Self>, peers: &Member) -> Handles {
        let (submit, lease) = (Reserving::new(0, 1), Leasing::new(0, 1));
        Handles { ground: Rc::clone(self), peers: peers.clone(), submit, lease }
    }
}

fn work<'a>(ground: &'a Ground, peers: &'a Member) -> Work<'a, u32, Member> {
    let me = peers.me().unwrap();
    let ring = Queue { shared: &ground.ring, slots: &ground.ring_slots, peers, me };
    Work { shared: &ground.shared, slots: &ground.slots, ring }
}

impl Handles {
    fn attached(self, side: Side) -> Handles {
        self.ground.ring.attached.arrive(self.peers.me().unwrap(), side).unwrap();
        self.ground.ring.has_arrived(side);
        self
    }

    fn leave(&self, side: Side) {
        self.ground.ring.attached.leave(self.peers.me().unwrap(), side);
        self.ground.ring.ring_everybody();
    }

    fn submit(&mut self, value: u32) {
        let work = work(&self.ground, &self.peers);
        self.submit.submit(work, value, Deadline::Now).unwrap();
    }

    fn lease(&mut self, deadline: Deadline) -> Result<u32, Stop> {
        let work = work(&self.ground, &self.peers);
        self.lease.lease_until(work, deadline)?;
        // SAFETY: leased by us.
        Ok(work.slots[self.lease.index].value.with(|at| unsafe { at.read() }))
    }

    fn ack(&self) {
        self.lease.ack(work(&self.ground, &self.peers));
    }
}

/// Three threads that sleep and die: as many switches as elsewhere would take minutes.
fn check_few(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    model(victims).preemption_bound(Some(preemptions().saturating_sub(1))).check(f)
}

fn two_workers_never_lease_one_item() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [other]) = members(world, ["other"]);
        let ground = Ground::new(1);
        let (mut mine, mut theirs) = (ground.handles(&main), ground.handles(&other));
        mine.submit(1);
        // A second hint at the same item.
        ground.shared.put_back(0);
        let other = world.spawn("other", move || {
            let leased = theirs.lease(Deadline::Now);
            if leased.is_ok() {
                theirs.ack();
            }
            leased.ok()
        });
        let leased = mine.lease(Deadline::Now).ok();
        if leased.is_some() {
            mine.ack();
        }
        let got: Vec<u32> = leased.into_iter().chain(other.join().unwrap()).collect();
        assert_eq!(got, [1]);
    })
}

fn an_item_is_seen_whole_by_whoever_finds_it_by_an_old_hint() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (_, [submitter, worker]) = members(world, ["submitter", "worker"]);
        let ground = Ground::new(1);
        let (mut mine, mut theirs) = (ground.handles(&worker), ground.handles(&submitter));
        world.spawn("submitter", move || {
            theirs.submit(1);
            let work = work(&theirs.ground, &theirs.peers);
            let _ = theirs.submit.submit(work, 2, Deadline::Now);
        });
        world.spawn("worker", move || {
            mine.ground.shared.put_back(0);
            if let Ok(item) = mine.lease(Deadline::Now) {
                assert_eq!(item, 1);
                mine.ack();
            }
        });
    })
}

fn whoever_joined_sees_what_was_done() -> Result<Report, Error> {
    check_awake(0, |world| {
        let (main, [worker]) = members(world, ["worker"]);
        let ground = Ground::new(1);
        let (mut mine, mut theirs) = (ground.handles(&main), ground.handles(&worker));
        mine.submit(1);
        let done = Rc::new(AtomicU64::new(0));
        let mark = Rc::clone(&done);
        world.spawn("worker", move || {
            theirs.lease(Deadline::Now).unwrap();
            // Relaxed: what brings it to the joiner is the end of the item.
            mark.store(1, Ordering::Relaxed);
            theirs.ack();
        });
        while join(work(&ground, &main), Deadline::Now).is_err() {
            spin_loop();
        }
        assert_eq!(done.load(Ordering::Relaxed), 1);
    })
}

fn a_hint_that_was_put_is_found() -> Result<Report, Error> {
    check_awake(0, |world| {
        let ground = Ground::new(1);
        let theirs = Rc::clone(&ground);
        world.spawn("other", move || theirs.shared.put_back(0));
        while ground.shared.take_returned().is_none() {
            spin_loop();
        }
    })
}

fn an_item_of_a_dead_worker_is_leased_again_by_one_who_sleeps() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim, worker]) = members(world, ["victim", "worker"]);
        let ground = Ground::new(1);
        let mut mine = ground.handles(&main).attached(Side::Producer);
        mine.submit(1);
        let (mut theirs, mut others) = (ground.handles(&victim), ground.handles(&worker));
        let victim = world.victim("victim", move || {
            let leased = theirs.lease(Deadline::Now).is_ok();
            if leased {
                theirs.ack();
            }
            leased
        });
        let worker = world.spawn("worker", move || others.lease(Deadline::Never));
        let ended = main.keep(victim);
        mine.leave(Side::Producer);
        match (ended, worker.join().unwrap()) {
            (Some(true), Err(Stop::Disconnected)) | (Some(false), Ok(1)) => {}
            // It died before or after its ack.
            (None, Ok(1) | Err(Stop::Disconnected)) => {}
            other => panic!("{other:?}"),
        }
    })
}

fn a_submitter_that_dies_leaves_an_item_that_is_found_or_none() -> Result<Report, Error> {
    check_few(1, |world| {
        let (main, [victim, worker]) = members(world, ["victim", "worker"]);
        let ground = Ground::new(1);
        let mut theirs = ground.handles(&victim).attached(Side::Producer);
        let mut others = ground.handles(&worker);
        let victim = world.victim("victim", move || {
            theirs.submit(1);
            theirs.leave(Side::Producer);
        });
        let worker = world.spawn("worker", move || {
            let leased = others.lease(Deadline::Never);
            if leased.is_ok() {
                others.ack();
            }
            leased
        });
        let ended = main.keep(victim);
        match worker.join().unwrap() {
            Ok(1) => {}
            Err(Stop::Disconnected) => assert!(ended.is_none(), "a submitted item is lost"),
            other => panic!("{other:?}"),
        }
        ground.handles(&main).submit(2);
    })
}

fn a_joiner_that_sleeps_returns_though_the_last_worker_died_after_its_ack() -> Result<Report, Error>
{
    check_few(1, |world| {
        let (main, [victim, joiner]) = members(world, ["victim", "joiner"]);
        let ground = Ground::new(1);
        let mut mine = ground.handles(&main);
        mine.submit(1);
        let (mut theirs, others) = (ground.handles(&victim), ground.handles(&joiner));
        let victim = world.victim("victim", move || {
            theirs.lease(Deadline::Now).unwrap();
            theirs.ack();
        });
        let joiner = world.spawn("joiner", move || {
            join(work(&others.ground, &others.peers), Deadline::Never).unwrap();
        });
        if main.keep(victim).is_none() && mine.lease(Deadline::Now).is_ok() {
            mine.ack();
        }
        joiner.join().unwrap();
        assert!(
            ground
                .slots
                .iter()
                .enumerate()
                .all(|(index, _)| { !work(&ground, &main).record(index).is_busy() })
        );
    })
}

fn a_worker_that_is_told_of_the_end_has_missed_no_submission() -> Result<Report, Error> {
    // Nobody sleeps, but the barriers count.
    model(0).preemption_bound(Some(preemptions())).check(|world| {
        let (main, [submitter]) = members(world, ["submitter"]);
        let ground = Ground::new(1);
        let (mut mine, mut theirs) = (ground.handles(&main), ground.handles(&submitter));
        let submitter = world.spawn("submitter", move || {
            let work = work(&theirs.ground, &theirs.peers);
            theirs.submit.submit(work, 1, Deadline::Now)
        });
        let closing = Rc::clone(&ground);
        world.spawn("closer", move || closing.ring.close());
        let mut done = 0;
        loop {
            match mine.lease(Deadline::Now) {
                Ok(_) => {
                    mine.ack();
                    done += 1;
                }
                Err(Stop::NotYet) => spin_loop(),
                Err(end) => break assert_eq!(end, Stop::Closed),
            }
        }
        let submitted = submitter.join().unwrap();
        assert_eq!(u32::from(submitted.is_ok()), done);
    })
}

fn a_worker_that_sleeps_beside_the_last_lease_is_told_of_the_end() -> Result<Report, Error> {
    check_few(0, |world| {
        let (main, [worker]) = members(world, ["worker"]);
        let ground = Ground::new(1);
        let (mut mine, mut others) = (ground.handles(&main), ground.handles(&worker));
        mine.submit(1);
        mine.lease(Deadline::Now).unwrap();
        ground.ring.close();
        let worker = world.spawn("worker", move || others.lease(Deadline::Never));
        mine.ack();
        assert_eq!(worker.join().unwrap(), Err(Stop::Closed));
    })
}
