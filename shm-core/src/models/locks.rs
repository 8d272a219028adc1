//! Models of the locks: processes that die at each shared operation, and survivors that must go on.
//!
//! The group is modelled by what [`Peers`] promises: proofs of death that come after the last store
//! of the dead, and a count that goes up after them and wakes whoever is parked. The locks are the
//! crate's own.

use std::rc::Rc;
use std::time::Duration;

use crash_check::death::thread::JoinHandle;
use crash_check::death::{Error, Model, Proof, Report, World};

use super::models;
use crate::futex::{self, Futex, Waited};
use crate::group::{Owner, Peers, Ticket};
use crate::lock::raw::{Locking, RawLock};
use crate::lock::wait::Wait;
use crate::lock::{
    Cause, Condvar, Deadline, Event, LockError, Mutex, MutexGuard, Once, Permits, RwLock, Semaphore,
};
use crate::primitive::{AtomicU32, Ordering, System, UnsafeCell, on_a_system_where};

models![
    a_mutex_is_taken_from_the_dead_with_all_that_they_wrote,
    a_waiter_that_dies_does_not_take_the_wake_with_it,
    a_timed_waiter_leaves_the_lock_to_others,
    a_waiter_that_gives_up_hands_its_wake_to_the_next,
    whoever_woke_in_vain_is_passed_by_no_newcomer,
    a_reader_sees_whole_data_or_poison,
    a_writer_waits_for_readers_and_not_for_dead_ones,
    a_reader_that_was_woken_wakes_the_next,
    a_permit_is_held_by_one_and_not_by_the_dead,
    a_signal_is_taken_once_and_wakes_whoever_is_left,
    an_event_is_seen_by_whoever_waits,
    something_is_done_once_or_again_after_a_death,
    a_notification_is_not_lost_with_the_notified,
];

/// Two forced switches: a lock's slow path is long, and a third takes minutes.
const PREEMPTIONS: usize = 2;

fn check(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    let asked = std::env::var("LOOM_MAX_PREEMPTIONS").ok().and_then(|bound| bound.parse().ok());
    let bound = asked.unwrap_or(PREEMPTIONS).min(PREEMPTIONS);
    model(victims, bound).check(f)
}

fn model(victims: usize, bound: usize) -> Model {
    Model::new().victims(victims).preemption_bound(Some(bound))
}

const NAMES: [&str; 3] = ["main", "one", "two"];

/// The group, shared by its members.
struct Members {
    proofs: [Option<Proof>; 3],
    events: Futex,
}

/// One of them.
#[derive(Clone)]
struct Member {
    all: Rc<Members>,
    index: usize,
}

fn owner(index: usize) -> Owner {
    Owner::new(index, 1)
}

impl Peers for Member {
    fn me(&self) -> Option<Owner> {
        Some(owner(self.index))
    }

    fn is_gone(&self, owner: Owner) -> bool {
        // A dead thread's own look changes nothing.
        owner.index() != self.index
            && self.all.proofs[owner.index()].as_ref().is_some_and(Proof::is_gone)
    }

    fn ticket(&self) -> Ticket {
        // Acquire: as the group does.
        Ticket(self.all.events.word().load(Ordering::Acquire))
    }

    fn park(
        &self,
        word: &Futex,
        expected: u32,
        ticket: Ticket,
        timeout: Option<Duration>,
    ) -> Waited {
        let words = [(word, expected), (&self.all.events, ticket.0)];
        futex::wait_any(&words, timeout).unwrap_or(Waited::Woken)
    }
}

/// `main`, and the victims "one" and "two", if their deaths are to be proven.
fn members(world: &World, victims: &[usize]) -> [Member; 3] {
    let proof = |index: usize| victims.contains(&index).then(|| world.proof(NAMES[index]));
    let proofs = [proof(0), proof(1), proof(2)];
    let all = Rc::new(Members { proofs, events: Futex::new(0) });
    [0, 1, 2].map(|index| Member { all: Rc::clone(&all), index })
}

/// What the keepers do: after the end of a victim, and its proof, everybody is told.
fn keep(members: &Members, victim: JoinHandle<()>) -> bool {
    let died = victim.join().is_err();
    if died {
        // Release: pairs with the Acquire of a ticket.
        members.events.word().fetch_add(1, Ordering::Release);
        members.events.wake_all();
    }
    died
}

type Guard<'a, T> = MutexGuard<'a, T, Member>;

/// The guard, and whether the data are marked.
fn take<'a, T>(mutex: &'a Mutex<T>, me: &'a Member) -> (Guard<'a, T>, bool) {
    match mutex.lock(me) {
        Ok(guard) => (guard, false),
        Err(LockError::Poisoned(poisoned)) => {
            assert_eq!(poisoned.cause(), Cause::OwnerDied);
            (poisoned.into_inner(), true)
        }
        Err(error) => panic!("{error}"),
    }
}

fn a_mutex_is_taken_from_the_dead_with_all_that_they_wrote() -> Result<Report, Error> {
    check(1, |world| {
        let [main, one, two] = members(world, &[1]);
        let mutex = Rc::new(Mutex::new([0_u32; 2]));
        let theirs = Rc::clone(&mutex);
        let victim = world.victim("one", move || {
            let (mut guard, _) = take(&theirs, &one);
            guard[0] += 1;
            guard[1] += 1;
        });
        let theirs = Rc::clone(&mutex);
        let survivor = world.spawn("two", move || {
            let (mut guard, poisoned) = take(&theirs, &two);
            assert!(guard[0] == guard[1] || poisoned, "half changed, and not marked");
            *guard = [9, 9];
            theirs.clear_poison();
        });
        keep(&main.all, victim);
        survivor.join().unwrap();
    })
}

fn a_waiter_that_dies_does_not_take_the_wake_with_it() -> Result<Report, Error> {
    check(1, |world| {
        let [main, one, two] = members(world, &[1]);
        let mutex = Rc::new(Mutex::new(0_u32));
        let (held, _) = take(&mutex, &main);
        let theirs = Rc::clone(&mutex);
        let victim = world.victim("one", move || {
            *take(&theirs, &one).0 += 1;
        });
        let theirs = Rc::clone(&mutex);
        let survivor = world.spawn("two", move || {
            *take(&theirs, &two).0 += 1;
        });
        drop(held);
        keep(&main.all, victim);
        survivor.join().unwrap();
    })
}

fn a_timed_waiter_leaves_the_lock_to_others() -> Result<Report, Error> {
    on_a_system_where(System::TimePasses, || {
        check(0, |world| {
            let [main, one, two] = members(world, &[]);
            let mutex = Rc::new(Mutex::new(0_u32));
            let (held, _) = take(&mutex, &main);
            let theirs = Rc::clone(&mutex);
            let timed = world.spawn("one", move || {
                drop(theirs.lock_timeout(&one, Duration::from_secs(1)));
            });
            let theirs = Rc::clone(&mutex);
            let other = world.spawn("two", move || {
                *take(&theirs, &two).0 += 1;
            });
            drop(held);
            timed.join().unwrap();
            other.join().unwrap();
        })
    })
}

/// Its time is over when it was woken and has found the lock held again.
fn a_waiter_that_gives_up_hands_its_wake_to_the_next() -> Result<Report, Error> {
    check(0, |world| {
        let [main, one, two] = members(world, &[]);
        let lock = Rc::new(RawLock::new());
        assert!(lock.try_fast(owner(0)));
        let theirs = Rc::clone(&lock);
        let impatient = world.spawn("one", move || {
            let mut wait = Locking::new(&theirs, owner(1), 0);
            let mut sleeps = 0;
            loop {
                let ticket = one.ticket();
                if wait.look(&one, true).is_some() {
                    return theirs.unlock(owner(1));
                }
                if sleeps == 1 {
                    return wait.give_up();
                }
                if let Some(sleep) = wait.announce() {
                    sleeps += 1;
                    wait.woke(one.park(sleep.word, sleep.expected, ticket, None));
                }
            }
        });
        let theirs = Rc::clone(&lock);
        let other = world.spawn("two", move || {
            theirs.lock(&two, owner(2), Deadline::Never).unwrap();
            theirs.unlock(owner(2));
        });
        lock.unlock(owner(0));
        if lock.lock(&main, owner(0), Deadline::Now).is_ok() {
            lock.unlock(owner(0));
        }
        impatient.join().unwrap();
        other.join().unwrap();
    })
}

fn whoever_woke_in_vain_is_passed_by_no_newcomer() -> Result<Report, Error> {
    check(0, |world| {
        let [main, one, _] = members(world, &[]);
        // How often the newcomer has had the lock: counted under it, and looked at without.
        let shared = Rc::new((RawLock::new(), AtomicU32::new(1)));
        assert!(shared.0.try_fast(owner(0)));
        let theirs = Rc::clone(&shared);
        let sleeper = world.spawn("one", move || {
            let mut wait = Locking::new(&theirs.0, owner(1), 0);
            let mut before = None;
            loop {
                let ticket = one.ticket();
                if wait.look(&one, true).is_some() {
                    let now = theirs.1.load(Ordering::Relaxed);
                    theirs.0.unlock(owner(1));
                    // One: the hold that it met may not have been counted yet.
                    assert!(before.is_none_or(|before| now - before <= 1), "passed by a newcomer");
                    return;
                }
                if let Some(sleep) = wait.announce() {
                    if wait.in_vain {
                        before = before.or_else(|| Some(theirs.1.load(Ordering::Relaxed)));
                    }
                    wait.woke(one.park(sleep.word, sleep.expected, ticket, None));
                }
            }
        });
        shared.0.unlock(owner(0));
        for _ in 0..3 {
            shared.0.lock(&main, owner(0), Deadline::Never).unwrap();
            shared.1.fetch_add(1, Ordering::Relaxed);
            shared.0.unlock(owner(0));
        }
        sleeper.join().unwrap();
    })
}

fn a_reader_sees_whole_data_or_poison() -> Result<Report, Error> {
    check(1, |world| {
        let [main, one, two] = members(world, &[1]);
        let lock = Rc::new(RwLock::new([0_u32; 2]));
        let theirs = Rc::clone(&lock);
        let victim = world.victim("one", move || {
            if let Ok(mut guard) = theirs.write(&one) {
                guard[0] += 1;
                guard[1] += 1;
            }
        });
        let theirs = Rc::clone(&lock);
        let reader = world.spawn("two", move || match theirs.read(&two) {
            Ok(guard) => assert_eq!(guard[0], guard[1]),
            Err(error) => assert!(matches!(error, LockError::Poisoned(_))),
        });
        keep(&main.all, victim);
        reader.join().unwrap();
    })
}

fn a_writer_waits_for_readers_and_not_for_dead_ones() -> Result<Report, Error> {
    check(1, |world| {
        let [main, one, two] = members(world, &[1]);
        let lock = Rc::new(RwLock::new(0_u32));
        let theirs = Rc::clone(&lock);
        let victim = world.victim("one", move || {
            let seen = *theirs.read(&one).unwrap();
            assert!(seen <= 1);
        });
        let theirs = Rc::clone(&lock);
        let writer = world.spawn("two", move || *theirs.write(&two).unwrap() += 1);
        keep(&main.all, victim);
        writer.join().unwrap();
    })
}

fn a_reader_that_was_woken_wakes_the_next() -> Result<Report, Error> {
    check(1, |world| {
        let [main, one, two] = members(world, &[1]);
        let lock = Rc::new(RwLock::new(0_u32));
        let mut held = lock.write(&main).unwrap();
        let theirs = Rc::clone(&lock);
        let victim = world.victim("one", move || assert_eq!(*theirs.read(&one).unwrap(), 1));
        let theirs = Rc::clone(&lock);
        let reader = world.spawn("two", move || assert_eq!(*theirs.read(&two).unwrap(), 1));
        *held += 1;
        drop(held);
        keep(&main.all, victim);
        reader.join().unwrap();
    })
}

fn a_permit_is_held_by_one_and_not_by_the_dead() -> Result<Report, Error> {
    check(1, |world| {
        let [main, one, two] = members(world, &[1]);
        // What the permit allows: loom reports a race if two hold it.
        let permits = Rc::new((Permits::new(1), UnsafeCell::new(0_u32)));
        let theirs = Rc::clone(&permits);
        let victim = world.victim("one", move || {
            let _permit = theirs.0.acquire(&one, 1).unwrap();
            // SAFETY: the permit is ours; the model checks that.
            theirs.1.with_mut(|value| unsafe { *value += 1 });
        });
        let theirs = Rc::clone(&permits);
        let survivor = world.spawn("two", move || {
            let permit = theirs.0.acquire(&two, 1).unwrap();
            // SAFETY: as above.
            theirs.1.with_mut(|value| unsafe { *value += 1 });
            drop(permit);
        });
        keep(&main.all, victim);
        survivor.join().unwrap();
        assert_eq!(permits.0.available(&main), 1, "none lost, none doubled");
    })
}

fn a_signal_is_taken_once_and_wakes_whoever_is_left() -> Result<Report, Error> {
    check(1, |world| {
        let [main, one, two] = members(world, &[1]);
        let signals = Rc::new((Semaphore::new(0), UnsafeCell::new(0_u32)));
        let take = |signals: &(Semaphore, UnsafeCell<u32>), me: &Member| {
            signals.0.wait(me).unwrap();
            // SAFETY: written before the signal; the model checks that.
            assert_eq!(signals.1.with(|value| unsafe { *value }), 7);
        };
        let theirs = Rc::clone(&signals);
        let victim = world.victim("one", move || take(&theirs, &one));
        let theirs = Rc::clone(&signals);
        let survivor = world.spawn("two", move || take(&theirs, &two));
        // SAFETY: nobody reads it before the signal; the model checks that.
        signals.1.with_mut(|value| unsafe { *value = 7 });
        signals.0.post(1).unwrap();
        signals.0.post(1).unwrap();
        keep(&main.all, victim);
        survivor.join().unwrap();
        assert!(signals.0.value() <= 1);
    })
}

fn an_event_is_seen_by_whoever_waits() -> Result<Report, Error> {
    check(1, |world| {
        let [main, _, two] = members(world, &[1]);
        let event = Rc::new((Event::new(), UnsafeCell::new(0_u32)));
        let theirs = Rc::clone(&event);
        let victim = world.victim("one", move || {
            // SAFETY: nobody reads it before the event is set; the model checks that.
            theirs.1.with_mut(|value| unsafe { *value = 7 });
            theirs.0.set();
        });
        let theirs = Rc::clone(&event);
        let looker = Rc::clone(&event);
        world.spawn("looker", move || {
            if looker.0.is_set() {
                // SAFETY: nobody writes it any more; the model checks that.
                assert_eq!(looker.1.with(|value| unsafe { *value }), 7);
            }
        });
        let waiter = world.spawn("two", move || {
            theirs.0.wait(&two).unwrap();
            // SAFETY: nobody writes it any more; the model checks that.
            theirs.1.with(|value| unsafe { *value })
        });
        if keep(&main.all, victim) && !event.0.is_set() {
            // It died before it could: somebody else must.
            // SAFETY: as above.
            event.1.with_mut(|value| unsafe { *value = 7 });
            event.0.set();
        }
        assert_eq!(waiter.join().unwrap(), 7);
    })
}

fn something_is_done_once_or_again_after_a_death() -> Result<Report, Error> {
    check(1, |world| {
        let [main, one, two] = members(world, &[1]);
        let once = Rc::new((Once::new(), UnsafeCell::new(0_u32)));
        let theirs = Rc::clone(&once);
        let run = |cell: &UnsafeCell<u32>| {
            // SAFETY: one runs at a time; the model checks that.
            cell.with_mut(|value| unsafe { *value += 1 });
        };
        let victim = world.victim("one", move || {
            theirs.0.call_once(&one, |_| run(&theirs.1)).unwrap();
        });
        let theirs = Rc::clone(&once);
        let survivor = world.spawn("two", move || {
            let mut retry = false;
            let init = |state: crate::lock::OnceState| {
                retry = state.is_retry();
                run(&theirs.1);
            };
            theirs.0.call_once(&two, init).unwrap();
            // SAFETY: completed, so nobody writes it any more; the model checks that.
            let runs = theirs.1.with(|value| unsafe { *value });
            assert!(runs == 1 || retry && runs == 2, "{runs} runs, retry: {retry}");
        });
        keep(&main.all, victim);
        survivor.join().unwrap();
    })
}

fn a_notification_is_not_lost_with_the_notified() -> Result<Report, Error> {
    // Four threads that all sleep: one forced switch takes seconds, two take a minute.
    model(1, 1).check(|world| {
        let [main, one, two] = members(world, &[1]);
        let work = Rc::new((Mutex::new(0_u32), Condvar::new()));
        let take_one = |work: &(Mutex<u32>, Condvar), me: &Member| {
            let mut guard = take(&work.0, me).0;
            while *guard == 0 {
                guard = match work.1.wait(guard) {
                    Ok(guard) => guard,
                    Err(error) => error.into_guard().unwrap(),
                };
            }
            *guard -= 1;
        };
        let theirs = Rc::clone(&work);
        let victim = world.victim("one", move || take_one(&theirs, &one));
        let theirs = Rc::clone(&work);
        let survivor = world.spawn("two", move || take_one(&theirs, &two));
        // Not by this thread, which must be free to tell of the death.
        let all = Rc::clone(&main.all);
        let theirs = Rc::clone(&work);
        let notifier = world.spawn("notifier", move || {
            *take(&theirs.0, &main).0 += 2;
            theirs.1.notify_one();
            theirs.1.notify_one();
        });
        keep(&all, victim);
        notifier.join().unwrap();
        survivor.join().unwrap();
    })
}
