//! The locks' futures: what they take, and what they leave when they are dropped.

use super::*;
use shm_core::lock::{
    Barrier, Broken, Cause, Condvar, Event, LockError, Permits, RwLock, Semaphore,
};
use shm_core::{Owner, Peers, Ticket, futex};

fn group() -> Group {
    Group::anonymous().unwrap()
}

/// Pending, as far as one poll tells.
fn waits<F: Future>(future: Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn tasks_and_threads_exclude_each_other() {
    let (group, mutex) = (group(), Mutex::new(0_u64));
    let add = async || {
        for _ in 0..300 {
            let mut guard = mutex.lock_async(&group).await.unwrap();
            *guard += 1;
            if *guard % 7 == 0 {
                std::thread::yield_now();
            }
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| block_on(add()));
            threads.spawn(|| pollster::block_on(add()));
        }
        threads.spawn(|| (0..300).for_each(|_| *mutex.lock(&group).unwrap() += 1));
    });
    assert_eq!(*mutex.lock(&group).unwrap(), 5 * 300);
}

#[test]
fn readers_share_with_tasks_and_writers_do_not() {
    let (group, lock) = (group(), RwLock::new([0_u32; 2]));
    let write = async || {
        for _ in 0..200 {
            let mut guard = lock.write_async(&group).await.unwrap();
            guard[0] += 1;
            std::thread::yield_now();
            guard[1] += 1;
        }
    };
    let read = async || {
        for _ in 0..200 {
            let guard = lock.read_async(&group).await.unwrap();
            assert_eq!(guard[0], guard[1]);
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(|| block_on(write()));
        threads.spawn(|| block_on(write()));
        threads.spawn(|| block_on(read()));
        threads.spawn(|| block_on(read()));
    });
    assert_eq!(*lock.read(&group).unwrap(), [400; 2]);
}

#[test]
fn signals_permits_events_and_barriers_pass_between_tasks() {
    let group = group();
    let (signals, permits) = (Semaphore::new(0), Permits::new(2));
    let (event, barrier) = (Event::new(), Barrier::new(3));
    let taken = AtomicUsize::new(0);
    let take = async || {
        for _ in 0..200 {
            signals.wait_async(&group).await.unwrap();
            let permit = permits.acquire_async(&group, 1).await.unwrap();
            taken.fetch_add(1, SeqCst);
            drop(permit);
        }
        barrier.wait_async(&group).await
    };
    std::thread::scope(|threads| {
        let takers = [(); 3].map(|()| threads.spawn(|| block_on(take())));
        threads.spawn(|| {
            block_on(event.wait_async(&group)).unwrap();
            (0..300).for_each(|_| signals.post(2).unwrap());
        });
        event.set();
        let led = takers.map(|taker| usize::from(taker.join().unwrap().unwrap()));
        assert_eq!(led.iter().sum::<usize>(), 1, "one leads");
    });
    assert_eq!(taken.load(SeqCst), 600);
    assert_eq!((signals.value(), permits.available(&group)), (0, 2));
}

#[test]
fn a_condvar_passes_turns_between_tasks() {
    let (group, turn, changed) = (group(), Mutex::new(0_u64), Condvar::new());
    let go = async |me: u64| {
        for _ in 0..100 {
            let mut guard = turn.lock_async(&group).await.unwrap();
            while *guard % 3 != me {
                guard = changed.wait_async(guard).await.unwrap();
            }
            *guard += 1;
            changed.notify_all();
        }
    };
    std::thread::scope(|threads| {
        for me in 0..3 {
            threads.spawn(move || block_on(go(me)));
        }
    });
    assert_eq!(*turn.lock(&group).unwrap(), 300);
}

#[test]
fn whoever_does_not_wait_any_longer_has_taken_nothing() {
    let group = group();
    let mutex = Mutex::new(());
    let held = mutex.lock(&group).unwrap();
    assert!(waits(pin!(mutex.lock_async(&group))));
    drop(held);
    assert!(mutex.try_lock(&group).is_ok());

    let lock = RwLock::new(());
    let reader = lock.read(&group).unwrap();
    assert!(waits(pin!(lock.write_async(&group))), "the reader is there");
    drop(lock.try_read(&group).unwrap());
    drop(reader);
    let writer = lock.write(&group).unwrap();
    assert!(waits(pin!(lock.read_async(&group))));
    drop(writer);
    assert!(lock.try_write(&group).is_ok());

    let permits = Permits::new(1);
    let held = permits.acquire(&group, 1).unwrap();
    assert!(waits(pin!(permits.acquire_async(&group, 1))));
    drop(held);
    assert_eq!(permits.available(&group), 1);

    let signals = Semaphore::new(0);
    assert!(waits(pin!(signals.wait_async(&group))));
    signals.post(1).unwrap();
    assert!(signals.try_wait(&group).is_ok());

    let barrier = Barrier::new(2);
    assert!(waits(pin!(barrier.wait_async(&group))));
    let soon = Duration::from_millis(1);
    assert_eq!(barrier.wait_timeout(&group, soon), Err(Broken::TimedOut), "taken back");
    assert!(waits(pin!(Event::new().wait_async(&group))));
}

/// The group, in which a sleep that nobody ends is a failure, and not a second's delay.
struct Impatient<'a>(&'a Group);

impl Peers for Impatient<'_> {
    fn me(&self) -> Option<Owner> {
        self.0.me()
    }

    fn is_gone(&self, owner: Owner) -> bool {
        self.0.is_gone(owner)
    }

    fn ticket(&self) -> Ticket {
        self.0.ticket()
    }

    fn park(
        &self,
        word: &Futex,
        expected: u32,
        _ticket: Ticket,
        timeout: Option<Duration>,
    ) -> Waited {
        let bound = timeout.unwrap_or(PATIENCE);
        let waited = futex::wait_any(&[(word, expected)], Some(bound)).unwrap();
        assert!(timeout.is_some() || waited != Waited::TimedOut, "a wake was swallowed");
        waited
    }
}

/// Two tasks and a thread wait; the tasks are dropped around the time when one of the three is
/// woken. `wait_async` and `wait` take, after `hold` and until `give` in vain.
fn dropped_tasks_leave_the_wake_to_the_thread<F: Future>(
    hold: impl Fn(),
    give: impl Fn(),
    wait_async: impl Fn() -> F,
    wait: impl Fn() + Sync,
) {
    for round in 0..300 {
        hold();
        std::thread::scope(|threads| {
            let mut first = Box::pin(wait_async());
            assert!(waits(first.as_mut()));
            let thread = threads.spawn(&wait);
            let mut second = Box::pin(wait_async());
            assert!(waits(second.as_mut()));
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            give();
            if round % 3 == 0 {
                std::thread::yield_now();
            }
            drop((first, second));
            thread.join().unwrap();
        });
    }
}

#[test]
fn a_dropped_task_swallows_no_unlock() {
    let (group, mutex) = (group(), Mutex::new(0_u64));
    let impatient = Impatient(&group);
    let held = std::cell::Cell::new(None);
    dropped_tasks_leave_the_wake_to_the_thread(
        || held.set(Some(mutex.lock(&impatient).unwrap())),
        || {
            // Free, and held again by a newcomer at once: whoever is woken may find it held.
            drop(held.take());
            drop(mutex.lock(&impatient).unwrap());
        },
        || mutex.lock_async(&group),
        || *mutex.lock(&impatient).unwrap() += 1,
    );
}

#[test]
fn a_dropped_task_swallows_no_signal() {
    let (group, signals) = (group(), Semaphore::new(0));
    let impatient = Impatient(&group);
    dropped_tasks_leave_the_wake_to_the_thread(
        || {},
        || signals.post(1).unwrap(),
        || signals.wait_async(&group),
        || signals.wait(&impatient).unwrap(),
    );
    assert_eq!(signals.value(), 0);
}

/// The mutex is not contended here, so that it is the notification that counts.
#[test]
fn a_dropped_task_swallows_no_notification() {
    let (group, work, more) = (group(), Mutex::new(0_u64), Condvar::new());
    let impatient = Impatient(&group);
    dropped_tasks_leave_the_wake_to_the_thread(
        || {},
        || {
            *work.lock(&impatient).unwrap() += 1;
            more.notify_one();
        },
        || more.wait_async(work.lock(&group).unwrap()),
        || {
            let guard = work.lock(&impatient).unwrap();
            *more.wait_while(guard, |work| *work == 0).unwrap() -= 1;
        },
    );
}

#[test]
fn a_task_takes_the_lock_from_the_dead() {
    let group = group();
    let mutex = Shared::new(Mutex::new(0_u64)).unwrap();
    let argument = places(&[group.as_fd(), mutex.as_fd()]);
    let mut holder = Actor::start("holder", &argument);
    assert_eq!(holder.hear(), "ready");
    let mut waiting = pin!(mutex.lock_async(&group));
    assert!(waits(waiting.as_mut()));
    holder.kill();
    match block_on(waiting) {
        Err(LockError::Poisoned(poisoned)) => assert_eq!(poisoned.cause(), Cause::OwnerDied),
        other => panic!("{other:?}"),
    }
}
