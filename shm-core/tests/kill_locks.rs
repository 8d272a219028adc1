//! The locks, killed at every instruction of each operation: whoever comes next goes on.
//!
//! A group cannot be stepped (its keeper is a second thread), so its members are played by what
//! `Peers` promises: an owner is gone when the kit says that its process is dead. The locks are the
//! crate's own.
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod every_lock;

use std::error::Error;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crash_check::step::{Region, Scenario};
use every_lock::All;
use shm_core::futex::{Futex, Waited};
use shm_core::lock::{LockError, MutexGuard};
use shm_core::{Owner, Peers, Ticket};

type Said = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(3);
/// Owners as words: index + 1, and stay 1.
const VICTIM: u32 = 1 << 6 | 1;
const SURVIVOR: u32 = 1 << 6 | 2;
/// Gone before the operation began.
const LONG_DEAD: u32 = 1 << 6 | 3;
/// Where the victim notes its thread id, and where the locks begin.
const TID: usize = 0;
const LOCKS: usize = 64;

/// One user of the region.
struct Member<'a> {
    region: &'a Region,
    me: u32,
}

impl Peers for Member<'_> {
    fn me(&self) -> Option<Owner> {
        Owner::from_bits(self.me)
    }

    fn is_gone(&self, owner: Owner) -> bool {
        match owner.to_bits() {
            LONG_DEAD => true,
            VICTIM => self.region.is_dead(self.region.u32_at(TID).load(Relaxed)),
            _ => false,
        }
    }

    fn ticket(&self) -> Ticket {
        Ticket(0)
    }

    fn park(&self, word: &Futex, expected: u32, _: Ticket, timeout: Option<Duration>) -> Waited {
        // Instead of the wake that follows a death in a group: a short sleep.
        let short = Duration::from_millis(1);
        match word.wait(expected, Some(timeout.map_or(short, |timeout| timeout.min(short)))) {
            Waited::TimedOut if timeout.is_none_or(|timeout| timeout > short) => Waited::Woken,
            waited => waited,
        }
    }
}

fn all(region: &Region) -> &All {
    let place = region.as_ptr().wrapping_add(LOCKS).cast::<All>();
    // SAFETY: aligned, within the region, any bytes are a valid value, and all access is atomic or
    // under a lock.
    unsafe { &*place }
}

fn victim(region: &Region) -> Member<'_> {
    Member { region, me: VICTIM }
}

fn survivor(region: &Region) -> Member<'_> {
    Member { region, me: SURVIVOR }
}

/// The row of an operation in a state that `prepare` makes.
fn row(
    operation: Scenario,
    state: &str,
    prepare: impl Fn(&All) + 'static,
    dies: impl Fn(&All, &Member<'_>) + 'static,
    goes_on: impl Fn(&All, &Member<'_>) -> Said + 'static,
) {
    operation
        .state(state)
        .region(LOCKS + size_of::<All>())
        .init(move |region| {
            let place = region.as_ptr().wrapping_add(LOCKS).cast::<All>();
            // SAFETY: aligned, within the region, and nobody else's yet.
            unsafe { place.write(All::new(1)) };
            prepare(all(region));
        })
        .operation_with(
            // SAFETY: a system call without arguments.
            |region| region.u32_at(TID).store(unsafe { libc::gettid() }.unsigned_abs(), Relaxed),
            move |region, ()| dies(all(region), &victim(region)),
        )
        .validate(|region| names_known_owners(all(region)))
        .continuation(move |region| goes_on(all(region), &survivor(region)))
        .run()
        .unwrap()
        .assert_clean();
}

fn first_word<T>(lock: &T) -> &AtomicU32 {
    let place = std::ptr::from_ref(lock).cast::<AtomicU32>();
    // SAFETY: each lock of this crate begins with its word.
    unsafe { &*place }
}

fn word_of<T>(lock: &T) -> u32 {
    first_word(lock).load(Relaxed)
}

fn set_word<T>(lock: &T, word: u32) {
    first_word(lock).store(word, Relaxed);
}

/// A lock word names one of those who were there, or nobody.
fn names_known_owners(all: &All) -> Said {
    let [mutex, rwlock] = [word_of(&all.mutex), word_of(&all.rwlock)];
    for word in [mutex, rwlock] {
        let known = [VICTIM, SURVIVOR, LONG_DEAD].map(Owner::from_bits);
        let owner = Owner::from_bits(word);
        if owner.is_some() && !known.contains(&owner) {
            return Err(format!("the lock word is {word:#x}").into());
        }
    }
    Ok(())
}

const WAITERS: u32 = 1 << 31;
const HANDOFF: u32 = 1 << 30;

fn add(guard: &mut MutexGuard<'_, [u64; 2], Member<'_>>) {
    guard[0] += 1;
    guard[1] += 1;
}

/// The next locks, mends if it is told to, and finds whole data otherwise; twice.
fn mutex_goes_on(all: &All, me: &Member<'_>) -> Said {
    match all.mutex.lock_timeout(me, PATIENCE) {
        Ok(guard) if guard[0] != guard[1] => return Err("half changed, and not marked".into()),
        Ok(_) => {}
        Err(LockError::Poisoned(poisoned)) => {
            let mut guard = poisoned.into_inner();
            guard[1] = guard[0];
            all.mutex.clear_poison();
        }
        Err(error) => return Err(error.to_string().into()),
    }
    all.mutex.try_lock(me).map(drop).map_err(|error| error.to_string().into())
}

#[test]
fn mutexes() {
    let use_it = |all: &All, me: &Member<'_>| {
        let locked = all.mutex.lock(me);
        add(&mut locked.or_else(LockError::into_guard).unwrap());
    };
    let states: [(&str, u32); 4] = [
        ("free", 0),
        ("held by the dead, others wait", LONG_DEAD | WAITERS),
        ("left to those who have slept", WAITERS | HANDOFF),
        ("held by the dead, to be handed over", LONG_DEAD | WAITERS | HANDOFF),
    ];
    for (state, word) in states {
        let lock = Scenario::new("shm_core::lock::Mutex::lock");
        row(lock, state, move |all| set_word(&all.mutex, word), use_it, mutex_goes_on);
    }
    row(
        Scenario::new("shm_core::lock::Mutex::try_lock"),
        "held by the dead",
        |all| set_word(&all.mutex, LONG_DEAD),
        |all, me| add(&mut all.mutex.try_lock(me).or_else(LockError::into_guard).unwrap()),
        mutex_goes_on,
    );
    row(
        Scenario::new("shm_core::lock::Mutex::lock_timeout"),
        "held by a living one",
        |all| set_word(&all.mutex, SURVIVOR),
        |all, me| {
            assert!(matches!(
                all.mutex.lock_timeout(me, Duration::from_micros(1)),
                Err(LockError::TimedOut)
            ));
        },
        |all, me| {
            // The holder goes on and unlocks, and others come.
            set_word(&all.mutex, 0);
            mutex_goes_on(all, me)
        },
    );
    row(
        Scenario::new("shm_core::lock::Mutex::clear_poison"),
        "held",
        |_| {},
        |all, me| {
            let mut guard = all.mutex.lock(me).unwrap();
            add(&mut guard);
            all.mutex.clear_poison();
        },
        mutex_goes_on,
    );
}

/// The next writes and then reads.
fn rwlock_goes_on(all: &All, me: &Member<'_>) -> Said {
    match all.rwlock.read_timeout(me, PATIENCE) {
        Ok(guard) if guard[0] != guard[1] => return Err("half changed, and not marked".into()),
        Ok(_) | Err(LockError::Poisoned(_)) => {}
        Err(error) => return Err(error.to_string().into()),
    }
    match all.rwlock.write_timeout(me, PATIENCE).or_else(LockError::into_guard) {
        Ok(mut guard) => {
            guard[1] = guard[0];
            all.rwlock.clear_poison();
        }
        Err(error) => return Err(error.to_string().into()),
    }
    all.rwlock.try_read(me).map(drop).map_err(|error| error.to_string())?;
    all.rwlock.try_write(me).map(drop).map_err(|error| error.to_string().into())
}

#[test]
fn rwlocks() {
    row(
        Scenario::new("shm_core::lock::RwLock::read"),
        "free",
        |_| {},
        |all, me| assert_eq!(all.rwlock.read(me).unwrap()[0], 0),
        rwlock_goes_on,
    );
    row(
        Scenario::new("shm_core::lock::RwLock::read_timeout"),
        "written to by the dead, others wait",
        |all| set_word(&all.rwlock, LONG_DEAD | WAITERS),
        |all, me| assert!(all.rwlock.read_timeout(me, PATIENCE).is_err()),
        rwlock_goes_on,
    );
    row(
        Scenario::new("shm_core::lock::RwLock::try_read"),
        "another reads",
        |_| {},
        |all, me| {
            let one = all.rwlock.try_read(me).unwrap();
            assert_eq!(all.rwlock.try_read(me).unwrap()[1], one[1]);
        },
        rwlock_goes_on,
    );
    let write = |all: &All, me: &Member<'_>| {
        let locked = all.rwlock.write(me).or_else(LockError::into_guard);
        let mut guard = locked.unwrap();
        guard[0] += 1;
        guard[1] += 1;
    };
    let lock = Scenario::new("shm_core::lock::RwLock::write");
    row(lock, "free", |_| {}, write, rwlock_goes_on);
    let lock = Scenario::new("shm_core::lock::RwLock::write");
    let prepare = |all: &All| set_word(&all.rwlock, LONG_DEAD | WAITERS);
    row(lock, "written to by the dead, others wait", prepare, write, rwlock_goes_on);
    row(
        Scenario::new("shm_core::lock::RwLock::write_timeout"),
        "the caller reads",
        |_| {},
        |all, me| {
            let _read = all.rwlock.read(me).unwrap();
            assert!(matches!(
                all.rwlock.write_timeout(me, Duration::from_micros(1)),
                Err(LockError::TimedOut)
            ));
        },
        rwlock_goes_on,
    );
    row(
        Scenario::new("shm_core::lock::RwLock::try_write"),
        "free",
        |_| {},
        |all, me| {
            all.rwlock.try_write(me).unwrap()[0] += 0;
            all.rwlock.clear_poison();
        },
        rwlock_goes_on,
    );
}

#[test]
fn permits_and_signals() {
    let all_free = |all: &All, me: &Member<'_>| -> Said {
        drop(all.permits.acquire_timeout(me, 2, PATIENCE).map_err(|error| error.to_string())?);
        match all.permits.available(me) {
            2 => Ok(()),
            free => Err(format!("{free} of 2 permits are free").into()),
        }
    };
    row(
        Scenario::new("shm_core::lock::Permits::acquire"),
        "free",
        |_| {},
        |all, me| drop(all.permits.acquire(me, 2).unwrap()),
        all_free,
    );
    row(
        Scenario::new("shm_core::lock::Permits::try_acquire"),
        "one is left",
        |_| {},
        |all, me| {
            let _one = all.permits.try_acquire(me, 1).unwrap();
            let _two = all.permits.try_acquire(me, 1).unwrap();
            assert!(all.permits.try_acquire(me, 1).is_err());
        },
        all_free,
    );
    row(
        Scenario::new("shm_core::lock::Permits::acquire_timeout"),
        "none is left",
        |_| {},
        |all, me| {
            let _both = all.permits.acquire(me, 2).unwrap();
            assert!(all.permits.acquire_timeout(me, 1, Duration::from_micros(1)).is_err());
        },
        all_free,
    );
    row(
        Scenario::new("shm_core::lock::Semaphore::post"),
        "others may sleep",
        |all| set_word(&all.signals, WAITERS),
        |all, _| all.signals.post(1).unwrap(),
        |all, me| {
            // Posted or not, never half: what is posted now comes beside it.
            let before = all.signals.value();
            all.signals.post(1)?;
            for _ in 0..=before {
                all.signals.wait_timeout(me, PATIENCE).map_err(|error| error.to_string())?;
            }
            if all.signals.value() == 0 && before <= 1 { Ok(()) } else { Err("lost count".into()) }
        },
    );
    row(
        Scenario::new("shm_core::lock::Semaphore::wait"),
        "one is posted",
        |all| set_word(&all.signals, 1),
        |all, me| all.signals.wait(me).unwrap(),
        |all, _| if all.signals.value() <= 1 { Ok(()) } else { Err("made of nothing".into()) },
    );
    row(
        Scenario::new("shm_core::lock::Semaphore::wait_timeout"),
        "none is posted",
        |_| {},
        |all, me| assert!(all.signals.wait_timeout(me, Duration::from_micros(1)).is_err()),
        |all, me| {
            all.signals.post(1)?;
            all.signals.try_wait(me).map_err(|error| error.to_string().into())
        },
    );
    row(
        Scenario::new("shm_core::lock::Semaphore::try_wait"),
        "two are posted, others may sleep",
        |all| set_word(&all.signals, 2 | WAITERS),
        |all, me| all.signals.try_wait(me).unwrap(),
        |all, me| all.signals.wait_timeout(me, PATIENCE).map_err(|error| error.to_string().into()),
    );
}

#[test]
fn events_conditions_barriers_and_what_is_done_once() {
    let set_and_seen = |all: &All, me: &Member<'_>| -> Said {
        all.event.set();
        all.event.wait_timeout(me, PATIENCE).map_err(|error| error.to_string().into())
    };
    row(
        Scenario::new("shm_core::lock::Event::set"),
        "others wait",
        |all| set_word(&all.event, 2),
        |all, _| all.event.set(),
        set_and_seen,
    );
    row(
        Scenario::new("shm_core::lock::Event::clear"),
        "set",
        |all| set_word(&all.event, 1),
        |all, _| all.event.clear(),
        set_and_seen,
    );
    row(
        Scenario::new("shm_core::lock::Event::wait"),
        "set",
        |all| set_word(&all.event, 1),
        |all, me| all.event.wait(me).unwrap(),
        set_and_seen,
    );
    row(
        Scenario::new("shm_core::lock::Event::wait_timeout"),
        "not set",
        |_| {},
        |all, me| assert!(all.event.wait_timeout(me, Duration::from_micros(1)).is_err()),
        set_and_seen,
    );
    for (state, word) in [("not begun", 0), ("begun by the dead, others wait", LONG_DEAD | WAITERS)]
    {
        row(
            Scenario::new("shm_core::lock::Once::call_once"),
            state,
            move |all| set_word(&all.once, word),
            |all, me| all.once.call_once(me, |_| add_for_once(all)).unwrap(),
            |all, me| {
                all.once.call_once(me, |_| add_for_once(all)).map_err(|error| error.to_string())?;
                if all.once.is_completed() { Ok(()) } else { Err("never done".into()) }
            },
        );
    }
    row(
        Scenario::new("shm_core::lock::Barrier::wait"),
        "the last to come",
        |_| {},
        |all, me| assert!(all.barrier.wait(me).unwrap()),
        |all, me| all.barrier.wait_timeout(me, PATIENCE).map(drop).map_err(Into::into),
    );
    row(
        Scenario::new("shm_core::lock::Barrier::wait_timeout"),
        "the last to come",
        |_| {},
        |all, me| assert!(all.barrier.wait_timeout(me, PATIENCE).unwrap()),
        |all, me| all.barrier.wait_timeout(me, PATIENCE).map(drop).map_err(Into::into),
    );
    row(
        Scenario::new("shm_core::lock::Barrier::abort"),
        "nobody waits",
        |_| {},
        |all, me| all.barrier.abort(me).unwrap(),
        |all, me| all.barrier.wait_timeout(me, PATIENCE).map(drop).map_err(Into::into),
    );
    let condvar_goes_on = |all: &All, me: &Member<'_>| -> Said {
        all.changed.notify_all();
        mutex_goes_on(all, me)
    };
    row(
        Scenario::new("shm_core::lock::Condvar::notify_one"),
        "others wait",
        |all| set_word(&all.changed, 3),
        |all, _| all.changed.notify_one(),
        condvar_goes_on,
    );
    row(
        Scenario::new("shm_core::lock::Condvar::notify_all"),
        "others wait",
        |all| set_word(&all.changed, 3),
        |all, _| all.changed.notify_all(),
        condvar_goes_on,
    );
    row(
        Scenario::new("shm_core::lock::Condvar::wait_timeout_while"),
        "nobody notifies",
        |_| {},
        |all, me| {
            let guard = all.mutex.lock(me).unwrap();
            let soon = Duration::from_micros(1);
            drop(all.changed.wait_timeout_while(guard, soon, |_| true).unwrap());
        },
        condvar_goes_on,
    );
    row(
        Scenario::new("shm_core::lock::Condvar::wait_while"),
        "true after a sleep",
        |_| {},
        |all, me| {
            let guard = all.mutex.lock(me).unwrap();
            let mut looks = 0;
            let again = |_: &mut [u64; 2]| {
                looks += 1;
                looks < 2
            };
            drop(all.changed.wait_while(guard, again).unwrap());
        },
        condvar_goes_on,
    );
    row(
        Scenario::new("shm_core::lock::Condvar::wait"),
        "for no reason",
        |_| {},
        |all, me| drop(all.changed.wait(all.mutex.lock(me).unwrap()).unwrap()),
        condvar_goes_on,
    );
}

/// What is done once, in a place that a death can leave half done.
fn add_for_once(all: &All) {
    set_word(&all.signals, 0);
    set_word(&all.signals, 5);
}
