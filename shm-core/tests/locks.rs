//! The locks, between threads and between processes, some of which are killed.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reexec::{Actor, Places, places, role, tell};
use shm_core::lock::{
    Barrier, Broken, Cause, Condvar, Event, LockError, Mutex, Once, Permits, RwLock, Semaphore,
};
use shm_core::{Concurrent, Group, Shared};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(5);

/// What the processes of these tests share.
type World = Shared<All>;

#[repr(C)]
struct All {
    mutex: Mutex<[u64; 2]>,
    rwlock: RwLock<[u64; 2]>,
    permits: Permits,
    signals: Semaphore,
    event: Event,
    once: Once,
    barrier: Barrier,
    changed: Condvar,
    turns: AtomicU64,
}

// SAFETY: each field is `Concurrent`, so any bytes are a valid value, and all access is atomic or
// under a lock.
unsafe impl Concurrent for All {
    const LAYOUT: shm_core::layout::Layout = shm_core::layout::Layout {
        name: "All",
        size: size_of::<All>(),
        align: align_of::<All>(),
        shape: shm_core::layout::Shape::Record { version: 0, fields: &[] },
    };
}

fn world() -> (Group, World) {
    let all = All {
        mutex: Mutex::new([0; 2]),
        rwlock: RwLock::new([0; 2]),
        permits: Permits::new(2),
        signals: Semaphore::new(0),
        event: Event::new(),
        once: Once::new(),
        barrier: Barrier::new(2),
        changed: Condvar::new(),
        turns: AtomicU64::new(0),
    };
    (Group::anonymous().unwrap(), Shared::new(all).unwrap())
}

/// Another process that holds something: it says `@ready` when it does, and waits to be killed.
fn holder(role: &str, group: &Group, world: &World) -> Actor {
    let argument = places(&[group.as_fd(), world.as_fd()]);
    let mut actor = Actor::start(role, &argument);
    assert_eq!(actor.hear(), "ready");
    actor
}

fn joined(argument: &str) -> (Group, World) {
    let mut places = Places::of(argument);
    (Group::attach(places.open_place()).unwrap(), Shared::attach(places.open()).unwrap())
}

fn wait_to_be_killed() -> ! {
    tell("ready");
    loop {
        std::thread::park();
    }
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    let (group, world) = joined(&argument);
    match role.as_str() {
        "mutex" => {
            let mut guard = world.mutex.lock(&group).unwrap();
            guard[0] += 1;
            wait_to_be_killed();
        }
        "writer" => {
            let mut guard = world.rwlock.write(&group).unwrap();
            guard[0] += 1;
            wait_to_be_killed();
        }
        "reader" => {
            let _guard = world.rwlock.read(&group).unwrap();
            wait_to_be_killed();
        }
        "permits" => {
            let _permits = world.permits.acquire(&group, 2).unwrap();
            wait_to_be_killed();
        }
        "once" => world.once.call_once(&group, |_| wait_to_be_killed()).unwrap(),
        "party" => {
            tell("ready");
            let _ = world.barrier.wait(&group);
        }
        "contender" => contend(&group, &world),
        "worker" => loop {
            let mut guard = match world.mutex.lock(&group) {
                Ok(guard) => guard,
                Err(LockError::Poisoned(poisoned)) => {
                    let mut guard = poisoned.into_inner();
                    guard[1] = guard[0];
                    world.mutex.clear_poison();
                    guard
                }
                Err(error) => panic!("{error}"),
            };
            guard[0] += 1;
            guard[1] += 1;
            drop(guard);
            if world.turns.fetch_add(1, Relaxed) == 0 {
                tell("ready");
            }
        },
        other => panic!("no role {other}"),
    }
}

#[test]
fn a_killed_holder_leaves_the_mutex_poisoned_and_to_be_mended() {
    let (group, world) = world();
    let actor = holder("mutex", &group, &world);
    assert!(matches!(world.mutex.try_lock(&group), Err(LockError::WouldBlock)));
    let waiter = std::thread::scope(|threads| {
        let waiter = threads.spawn(|| match world.mutex.lock_timeout(&group, PATIENCE) {
            Err(LockError::Poisoned(poisoned)) => {
                assert_eq!(poisoned.cause(), Cause::OwnerDied);
                let mut guard = poisoned.into_inner();
                let left = *guard;
                *guard = [5, 5];
                world.mutex.clear_poison();
                left
            }
            other => panic!("{other:?}"),
        });
        drop(actor);
        waiter.join().unwrap()
    });
    assert_eq!(waiter, [1, 0], "as the dead one left them");
    assert_eq!(*world.mutex.lock(&group).unwrap(), [5, 5]);
}

#[test]
fn a_killed_writer_poisons_and_a_killed_reader_does_not() {
    let (group, world) = world();
    let reader = holder("reader", &group, &world);
    assert!(matches!(world.rwlock.try_write(&group), Err(LockError::WouldBlock)));
    drop(world.rwlock.read(&group).unwrap());
    drop(reader);
    drop(world.rwlock.write_timeout(&group, PATIENCE).unwrap());
    let writer = holder("writer", &group, &world);
    assert!(matches!(world.rwlock.try_read(&group), Err(LockError::WouldBlock)));
    assert!(matches!(world.rwlock.read_timeout(&group, SOON), Err(LockError::TimedOut)));
    drop(writer);
    let read = world.rwlock.read_timeout(&group, PATIENCE);
    assert!(matches!(&read, Err(LockError::Poisoned(p)) if p.cause() == Cause::OwnerDied));
    drop(read);
    let mut guard = world.rwlock.write(&group).unwrap_err().into_guard().unwrap();
    guard[1] = 1;
    world.rwlock.clear_poison();
    drop(guard);
    assert_eq!(*world.rwlock.read(&group).unwrap(), [1, 1]);
}

#[test]
fn the_permits_of_the_dead_are_free_again() {
    let (group, world) = world();
    for _ in 0..3 {
        let actor = holder("permits", &group, &world);
        assert_eq!(world.permits.available(&group), 0);
        assert!(matches!(world.permits.try_acquire(&group, 1), Err(LockError::WouldBlock)));
        drop(actor);
        let both = world.permits.acquire_timeout(&group, 2, PATIENCE).unwrap();
        assert_eq!((both.count(), world.permits.available(&group)), (2, 0));
        drop(both);
        assert_eq!(world.permits.available(&group), 2, "none lost, none doubled");
    }
}

#[test]
fn an_initialiser_that_is_killed_is_run_by_the_next() {
    let (group, world) = world();
    let actor = holder("once", &group, &world);
    let mut state = None;
    std::thread::scope(|threads| {
        let next = threads.spawn(|| world.once.call_once(&group, |s| state = Some(s)));
        drop(actor);
        next.join().unwrap().unwrap();
    });
    assert!(state.unwrap().is_retry() && world.once.is_completed());
}

#[test]
fn a_dead_party_does_not_count() {
    let (group, world) = world();
    let actor = holder("party", &group, &world);
    drop(actor);
    assert_eq!(world.barrier.wait_timeout(&group, SOON), Err(Broken::TimedOut));
    std::thread::scope(|threads| {
        let other = threads.spawn(|| world.barrier.wait_timeout(&group, PATIENCE));
        let leads = world.barrier.wait_timeout(&group, PATIENCE).unwrap();
        assert_ne!(other.join().unwrap().unwrap(), leads);
    });
}

#[test]
fn counting_goes_on_under_kills() {
    let (group, world) = world();
    let rounds = 40;
    for round in 1..=rounds {
        world.turns.store(0, Relaxed);
        let actors = [holder("worker", &group, &world)];
        while world.turns.load(Relaxed) < 20 {
            std::thread::yield_now();
        }
        drop(actors);
        match world.mutex.lock_timeout(&group, PATIENCE) {
            Ok(guard) => assert_eq!(guard[0], guard[1], "round {round}"),
            Err(LockError::Poisoned(poisoned)) => {
                let mut guard = poisoned.into_inner();
                assert!(guard[0] - guard[1] <= 1, "round {round}: {guard:?}");
                guard[1] = guard[0];
                world.mutex.clear_poison();
            }
            Err(error) => panic!("round {round}: {error}"),
        }
    }
}

#[test]
fn threads_of_one_process_exclude_each_other() {
    let (group, world) = world();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..2_000 {
                    let mut guard = world.mutex.lock(&group).unwrap();
                    guard[0] += 1;
                    guard[1] += guard[0];
                }
            });
        }
    });
    assert_eq!(*world.mutex.lock(&group).unwrap(), [8_000, 8_000 * 8_001 / 2]);
}

#[test]
fn readers_share_and_writers_do_not() {
    let (group, world) = world();
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                for _ in 0..2_000 {
                    let guard = world.rwlock.read(&group).unwrap();
                    assert_eq!(guard[0], guard[1]);
                }
            });
        }
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..1_000 {
                    let mut guard = world.rwlock.write(&group).unwrap();
                    guard[0] += 1;
                    guard[1] += 1;
                }
            });
        }
    });
    assert_eq!(*world.rwlock.read(&group).unwrap(), [2_000; 2]);
}

#[test]
fn a_panic_poisons_as_std_does() {
    let (group, world) = world();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = world.mutex.lock(&group).unwrap();
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(world.mutex.poison(), Some(Cause::Panicked));
    let poisoned = world.mutex.lock(&group);
    assert!(matches!(poisoned, Err(LockError::Poisoned(_))));
    drop(poisoned);
    world.mutex.clear_poison();
    assert!(world.mutex.lock(&group).is_ok());
}

#[test]
fn signals_permits_and_events_pass_between_threads() {
    let (group, world) = world();
    let taken = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                for _ in 0..1_000 {
                    world.signals.wait(&group).unwrap();
                    let _permit = world.permits.acquire(&group, 1).unwrap();
                    taken.fetch_add(1, Relaxed);
                }
            });
        }
        threads.spawn(|| {
            world.event.wait(&group).unwrap();
            for _ in 0..1_500 {
                world.signals.post(2).unwrap();
            }
        });
        assert!(matches!(world.event.wait_timeout(&group, SOON), Err(LockError::TimedOut)));
        world.event.set();
    });
    assert_eq!(taken.load(Relaxed), 3_000);
    assert_eq!((world.signals.value(), world.permits.available(&group)), (0, 2));
    assert!(matches!(world.signals.try_wait(&group), Err(LockError::WouldBlock)));
    assert!(matches!(world.signals.wait_timeout(&group, SOON), Err(LockError::TimedOut)));
    assert!(world.signals.post(Semaphore::MAX).is_ok() && world.signals.post(1).is_err());
}

#[test]
fn a_condvar_passes_turns_between_threads() {
    let (group, world) = world();
    std::thread::scope(|threads| {
        for me in 0..3_u64 {
            let (group, world) = (&group, &world);
            threads.spawn(move || {
                for _ in 0..500 {
                    let guard = world.mutex.lock(group).unwrap();
                    let mut guard =
                        world.changed.wait_while(guard, |turn| turn[0] % 3 != me).unwrap();
                    guard[0] += 1;
                    world.changed.notify_all();
                }
            });
        }
    });
    let guard = world.mutex.lock(&group).unwrap();
    assert_eq!(guard[0], 1_500);
    let (_guard, timed_out) =
        world.changed.wait_timeout_while(guard, SOON, |turn| turn[0] == 1_500).unwrap();
    assert!(timed_out);
}

#[test]
fn a_barrier_separates_rounds_and_can_be_aborted() {
    let (group, world) = world();
    let count = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                for round in 1..=300 {
                    count.fetch_add(1, Relaxed);
                    world.barrier.wait(&group).unwrap();
                    assert_eq!(count.load(Relaxed), 2 * round);
                    world.barrier.wait(&group).unwrap();
                }
            });
        }
    });
    std::thread::scope(|threads| {
        let waiter = threads.spawn(|| world.barrier.wait_timeout(&group, PATIENCE));
        // Until the other has come, there is nobody to abort.
        loop {
            world.barrier.abort(&group).unwrap();
            if waiter.is_finished() {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), Err(Broken::Aborted));
    });
}

/// Contenders of `nobody_is_passed_over_for_ever`, and how often they take the lock in all.
const CONTENDERS: usize = 4;
const ACQUISITIONS: u64 = 3_000;
/// How long each holds it.
const HOLD: Duration = Duration::from_micros(100);
/// The bound, in holds by others, where nobody waits for a processor.
const MOST_HOLDS: u64 = 50;

/// One wait for the lock, in the count of all acquisitions.
#[derive(Clone, Copy)]
struct Contention {
    began: u64,
    taken: u64,
    /// Nanoseconds in which the waiter could have run and did not.
    delayed: u64,
}

impl Contention {
    /// Holds by others meanwhile.
    fn passed(&self) -> u64 {
        self.taken - self.began
    }

    fn overlaps(&self, other: &Contention) -> bool {
        self.began <= other.taken && other.began <= self.taken
    }
}

/// How long this thread has waited for a processor, in all; `None` where the kernel does not count.
fn run_delay() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// In a contender: takes the lock again and again, as fast as it can.
fn contend(group: &Group, world: &World) {
    tell("ready");
    world.event.wait(group).unwrap();
    let mut waits = String::new();
    loop {
        let (began, before) = (world.turns.load(Relaxed), run_delay().unwrap_or(0));
        let guard = world.mutex.lock(group).unwrap();
        let taken = world.turns.fetch_add(1, Relaxed);
        if taken >= ACQUISITIONS {
            break;
        }
        let delayed = run_delay().unwrap_or(0) - before;
        waits += &format!("{began} {taken} {delayed} ");
        let start = Instant::now();
        while start.elapsed() < HOLD {
            std::hint::spin_loop();
        }
        drop(guard);
    }
    tell(&waits);
}

/// Others hold the lock at most so often while one of four processes waits for it, and as often
/// again as fits into the time in which a woken contender had no processor. Counted, not timed.
#[test]
fn nobody_is_passed_over_for_ever() {
    let (group, world) = world();
    let mut actors: Vec<Actor> =
        (0..CONTENDERS).map(|_| holder("contender", &group, &world)).collect();
    world.event.set();
    let mut waits: Vec<Contention> = Vec::new();
    for actor in &mut actors {
        let heard = actor.hear();
        let numbers: Vec<u64> = heard.split(' ').map(|word| word.parse().unwrap()).collect();
        waits.extend(numbers.chunks(3).map(|wait| Contention {
            began: wait[0],
            taken: wait[1],
            delayed: wait[2],
        }));
    }
    assert_eq!(waits.len() as u64, ACQUISITIONS);
    if run_delay().is_none() {
        println!("SKIPPED: this kernel does not tell how long a thread waits for a processor");
        return;
    }
    // Each hold takes at least so long: this many fit into the delays of all who waited meanwhile.
    let allowed = |wait: &Contention| {
        let delays = waits.iter().filter(|other| other.overlaps(wait)).map(|other| other.delayed);
        MOST_HOLDS + delays.sum::<u64>() / HOLD.as_nanos() as u64
    };
    let worst = waits.iter().max_by_key(|wait| wait.passed()).unwrap();
    println!("at most {} holds by others; {} allowed", worst.passed(), allowed(worst));
    for wait in &waits {
        let (passed, allowed) = (wait.passed(), allowed(wait));
        assert!(passed <= allowed, "one waited for {passed} holds by others, {allowed} at most");
    }
}

#[test]
fn a_forked_child_is_no_member() {
    let (group, world) = world();
    let held = world.mutex.lock(&group).unwrap();
    // SAFETY: the child touches the lock and its guard, both of which refuse at once, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = matches!(world.rwlock.read(&group), Err(LockError::NotAMember));
        drop(held);
        let still = matches!(world.mutex.try_lock(&group), Err(LockError::NotAMember));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!refused || !still)) };
    }
    let mut status = 0;
    // SAFETY: our own child, and a live variable for its status.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    assert!(matches!(world.mutex.try_lock(&group), Err(LockError::WouldBlock)));
    drop(held);
    assert!(world.mutex.try_lock(&group).is_ok());
}

#[test]
fn an_object_of_another_type_is_refused() {
    let (_group, world) = world();
    let fd = world.as_fd().try_clone_to_owned().unwrap();
    let other = Shared::<Mutex<[u64; 2]>>::attach(fd);
    assert!(matches!(other, Err(shm_core::Error::WrongType { .. })));
    let segment = shm_core::Segment::anonymous(64).unwrap();
    let fd = segment.as_fd().try_clone_to_owned().unwrap();
    assert!(Shared::<Event>::attach(fd).is_err());
    let name = format!("locks-test-{}", std::process::id());
    let ours = Shared::create(&name, Event::new()).unwrap();
    let theirs = Shared::<Event>::open(&name).unwrap();
    ours.set();
    assert!(theirs.is_set());
}
