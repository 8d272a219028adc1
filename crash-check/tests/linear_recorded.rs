//! Real runs, recorded: threads, and processes of which one is killed in the middle.
#![cfg(feature = "linear")]
#![allow(clippy::unwrap_used)]

use crash_check::linear::spec::{
    Bag, Counter, CounterOp, ItemOp, ItemRet, Register, RegisterOp, RegisterRet,
};
use crash_check::linear::{
    Checker, Condition, Error, Event, History, Lane, Process, Recorder, SharedLog,
};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that forked children share: two words.
struct Shared(*mut AtomicU64);

impl Shared {
    fn new() -> Self {
        // SAFETY: a new mapping at an address of the system's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        Self(start.cast())
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < 512);
        // SAFETY: inside the page.
        let word = unsafe { self.0.add(index) };
        // SAFETY: mapped as long as `self` lives, aligned, and touched by atomics only.
        unsafe { &*word }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; no reference outlives `self`.
        unsafe { libc::munmap(self.0.cast(), 4096) };
    }
}

/// A forked child, killed and waited for at the latest when this is dropped.
struct Child(libc::pid_t);

impl Child {
    /// Runs `body` for ever in a child. It must neither allocate nor lock: other threads of the
    /// test program may have held any lock at the moment of the fork.
    fn fork(mut body: impl FnMut()) -> Self {
        // SAFETY: the child calls only what is safe after a fork of a program with threads.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: plain system call; the child goes when the test program goes.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            loop {
                body();
            }
        }
        Self(pid)
    }

    /// Kills it, wherever it is, and waits until it is dead.
    fn kill(self) {
        drop(self);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // SAFETY: as above; nothing is written.
        let waited = unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
        assert_eq!(waited, self.0);
    }
}

/// The operation itself: one atomic access.
fn access(op: RegisterOp, word: &AtomicU64) -> RegisterRet {
    match op {
        // Acquire, Release, AcqRel: as a lock would use it; atomicity is what is tested.
        RegisterOp::Read => RegisterRet::Value(word.load(Ordering::Acquire)),
        RegisterOp::Write(value) => {
            word.store(value, Ordering::Release);
            RegisterRet::Done
        }
        RegisterOp::CompareAndSwap(expected, value) => {
            match word.compare_exchange(expected, value, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => RegisterRet::Done,
                Err(found) => RegisterRet::Value(found),
            }
        }
    }
}

/// One step of a register's user: reads, writes and swaps in turn.
fn use_register(lane: &mut Lane<'_, RegisterOp, RegisterRet>, word: &AtomicU64, turn: u64) {
    let op = match turn % 3 {
        0 => RegisterOp::Read,
        1 => RegisterOp::Write(turn % 7),
        _ => RegisterOp::CompareAndSwap(turn % 7, turn % 5),
    };
    let recorded = lane.call(op, || {
        // Yields, so that a kill is likely to find the operation open: before its effect ...
        std::thread::yield_now();
        let ret = access(op, word);
        // ... or behind it.
        std::thread::yield_now();
        ret
    });
    if recorded.is_err() {
        // The lane is full: nothing more to do but wait for the kill.
        std::thread::yield_now();
    }
}

/// Crashes of process 0 that stand right behind an invocation of it.
fn pending<Op, Ret>(history: &History<Op, Ret>) -> usize {
    let own: Vec<_> =
        history.events().iter().filter(|event| event.process() == Process(0)).collect();
    let open = |pair: &&[&Event<Op, Ret>]| matches!(pair, [Event::Invoke(..), Event::Crash(_)]);
    own.windows(2).filter(open).count()
}

#[test]
fn threads_on_an_atomic_counter_are_linearizable() {
    let recorder = Recorder::new();
    let counter = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for process in 0..4 {
            let mut actor = recorder.actor(process);
            let counter = &counter;
            scope.spawn(move || {
                for _ in 0..250 {
                    // Relaxed: atomicity is all a counter needs.
                    actor.call(CounterOp::Add(1), || {
                        counter.fetch_add(1, Ordering::Relaxed).cast_signed()
                    });
                }
            });
        }
    });
    let history = recorder.into_history();
    assert_eq!(history.events().len(), 2000);
    Checker::new(Counter, Condition::Linearizable).require(&history).unwrap();
}

#[test]
fn threads_on_a_locked_bag_are_linearizable() {
    let recorder = Recorder::new();
    let items = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for process in 0..3u32 {
            let mut actor = recorder.actor(process);
            let items = &items;
            scope.spawn(move || {
                for item in 0..100 {
                    let item = u64::from(process) * 1000 + item;
                    actor.call(ItemOp::Push(item), || {
                        items.lock().unwrap().push(item);
                        ItemRet::Pushed
                    });
                    actor.call(ItemOp::Pop, || items.lock().unwrap().pop().into());
                }
            });
        }
    });
    let history = recorder.into_history();
    Checker::new(Bag::unbounded(), Condition::Linearizable).require(&history).unwrap();
}

/// Each round a child is killed somewhere inside its operations. A register's operation is one
/// instruction, so that it took effect before the crash or never.
#[test]
fn a_register_whose_users_are_killed_in_the_middle_is_strictly_linearizable() {
    let shared = Shared::new();
    let log = SharedLog::<RegisterOp, RegisterRet>::new(2, 20_000).unwrap();
    let mut survivor = log.lane(1).unwrap();
    for round in 0..20 {
        let mut lane = log.lane(0).unwrap();
        // Relaxed: no child is alive.
        shared.word(1).store(0, Ordering::Relaxed);
        let mut turn = 0;
        let child = Child::fork(|| {
            turn += 1;
            shared.word(1).store(turn, Ordering::Release);
            use_register(&mut lane, shared.word(0), turn);
            if turn > 400 {
                loop {
                    std::hint::spin_loop();
                }
            }
        });
        for turn in 0..20 {
            use_register(&mut survivor, shared.word(0), turn);
        }
        // The child has come so far, each round a little farther.
        while shared.word(1).load(Ordering::Acquire) < 1 + round * 3 {
            std::thread::yield_now();
        }
        child.kill();
        let mut lane = log.lane(0).unwrap();
        lane.crash().unwrap();
        lane.recover().unwrap();
    }
    let history = log.history().unwrap();
    let crashes = history.events().iter().filter(|event| matches!(event, Event::Crash(_))).count();
    assert_eq!(crashes, 20);
    println!("{} of {crashes} kills found an operation open", pending(&history));
    Checker::new(Register, Condition::Strict).require(&history).unwrap();
}

/// The child marks in shared memory that it stands inside its operation, before the effect or
/// behind it, and waits there to be killed.
fn killed_inside(after_the_effect: bool) -> History<RegisterOp, RegisterRet> {
    let shared = Shared::new();
    let log = SharedLog::<RegisterOp, RegisterRet>::new(2, 100).unwrap();
    let mut lane = log.lane(0).unwrap();
    let child = Child::fork(|| {
        let _ = lane.call(RegisterOp::Write(7), || {
            if after_the_effect {
                shared.word(0).store(7, Ordering::Release);
            }
            // Release: pairs with the Acquire load below.
            shared.word(1).store(1, Ordering::Release);
            loop {
                std::hint::spin_loop();
            }
        });
    });
    // Acquire: the child is inside, and its invocation was counted.
    while shared.word(1).load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    child.kill();
    log.lane(0).unwrap().crash().unwrap();
    let mut survivor = log.lane(1).unwrap();
    let read = || RegisterRet::Value(shared.word(0).load(Ordering::Acquire));
    survivor.call(RegisterOp::Read, read).unwrap();
    log.history().unwrap()
}

#[test]
fn the_operation_that_a_process_was_killed_in_is_pending_in_its_log() {
    for (after_the_effect, read) in [(false, 0), (true, 7)] {
        let history = killed_inside(after_the_effect);
        let mut expected = History::new();
        expected.invoke(0, RegisterOp::Write(7)).crash(0);
        expected.call(1, RegisterOp::Read, RegisterRet::Value(read));
        assert_eq!(history, expected);
        Checker::new(Register, Condition::Strict).require(&history).unwrap();
    }
}

/// A correct queue in shared memory: slots claimed by one fetch-add, so that a push is done when
/// its slot is written. One consumer pops in order; producers are killed. A slot that was claimed
/// and never written is a push that never took effect: the consumer steps over it once its
/// producer is dead. Not FIFO then (a slot behind may be popped earlier), hence a bag.
#[test]
fn a_queue_whose_producers_are_killed_loses_nothing_that_was_pushed() {
    const TAIL: usize = 0;
    const SLOTS: std::ops::Range<usize> = 8..500;
    let shared = Shared::new();
    let log = SharedLog::<ItemOp, ItemRet>::new(3, 2_000).unwrap();
    let producer = |process: u32| {
        let mut lane = log.lane(process).unwrap();
        let mut item = u64::from(process) * 1000;
        let shared = &shared;
        Child::fork(move || {
            item += 1;
            let _ = lane.call(ItemOp::Push(item), || {
                // Relaxed: claims a slot, publishes nothing.
                let slot = SLOTS.start + shared.word(TAIL).fetch_add(1, Ordering::Relaxed) as usize;
                if slot >= SLOTS.end {
                    loop {
                        std::hint::spin_loop();
                    }
                }
                // Release: pairs with the consumer's Acquire swap.
                shared.word(slot).store(item, Ordering::Release);
                ItemRet::Pushed
            });
        })
    };
    let children = [producer(1), producer(2)];
    let mut consumer = log.lane(0).unwrap();
    let mut pop = |slot: usize| {
        consumer.invoke(&ItemOp::Pop).unwrap();
        // Acquire: pairs with the producer's Release store.
        while shared.word(slot).load(Ordering::Acquire) == 0 {
            std::hint::spin_loop();
        }
        consumer.returned(&ItemRet::Popped(shared.word(slot).swap(0, Ordering::Acquire))).unwrap();
    };
    (SLOTS.start..SLOTS.start + 50).for_each(&mut pop);
    for (child, process) in children.into_iter().zip(1..) {
        child.kill();
        log.lane(process).unwrap().crash().unwrap();
    }
    // What is written by now was pushed by the dead.
    for slot in SLOTS.start + 50..SLOTS.end {
        if shared.word(slot).load(Ordering::Acquire) != 0 {
            pop(slot);
        }
    }
    consumer.call(ItemOp::Pop, || ItemRet::Empty).unwrap();
    let history = log.history().unwrap();
    Checker::new(Bag::unbounded(), Condition::Strict).require(&history).unwrap();
}

#[test]
fn a_log_is_read_through_its_descriptor_and_nothing_else_passes_for_one() {
    let log = SharedLog::<ItemOp, ItemRet>::new(1, 10).unwrap();
    log.lane(0).unwrap().call(ItemOp::Push(7), || ItemRet::Pushed).unwrap();
    let file: OwnedFd = log.as_fd().try_clone_to_owned().unwrap();
    let other = SharedLog::<ItemOp, ItemRet>::open(file).unwrap();
    assert_eq!(other.history().unwrap(), log.history().unwrap());
    // A response of a queue that is no truth value.
    log.lane(0).unwrap().call(ItemOp::Pop, || ItemRet::Popped(7)).unwrap();
    let file: OwnedFd = log.as_fd().try_clone_to_owned().unwrap();
    let foreign = SharedLog::<CounterOp, bool>::open(file).unwrap();
    assert!(matches!(foreign.history(), Err(Error::NotALog { .. })));
    let null = std::fs::File::open("/dev/null").unwrap().into();
    let refused = SharedLog::<ItemOp, ItemRet>::open(null);
    assert!(matches!(refused, Err(Error::NotALog { .. })), "{refused:?}");
}

#[test]
fn a_full_lane_refuses_the_operation_before_it_runs() {
    let log = SharedLog::<ItemOp, ItemRet>::new(1, 5).unwrap();
    let mut lane = log.lane(0).unwrap();
    lane.call(ItemOp::Push(1), || ItemRet::Pushed).unwrap();
    // Two events are there; an invocation, its end, a crash and a recovery would make six.
    let refused = lane.call(ItemOp::Pop, || panic!("it must not run"));
    assert!(matches!(refused, Err(Error::LogFull { capacity: 5, .. })), "{refused:?}");
    assert_eq!(log.history().unwrap().events().len(), 2);
    assert!(matches!(log.lane(1), Err(Error::NoSuchLane { lanes: 1, .. })));
}
