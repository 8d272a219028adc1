//! Known histories: the examples that tell the conditions apart, what each specification says of
//! a death, and what is refused or left undecided.
#![cfg(feature = "linear")]
#![allow(clippy::unwrap_used)]

use crash_check::linear::spec::{
    ItemOp::*, ItemRet::*, Keyed, Mutex, MutexOp, MutexRet, Queue, Register, RegisterOp,
    RegisterOp::*, RegisterRet, RegisterRet::*, Semaphore, SemaphoreOp, SemaphoreRet,
};
use crash_check::linear::{Budget, Checker, Condition, Error, History, Specification, Verdict};

/// The conditions that hold, from the strongest to the weakest.
fn holding<S: Specification + Clone>(spec: S, history: &History<S::Op, S::Ret>) -> Vec<Condition> {
    let holds = |condition: &Condition| {
        Checker::new(spec.clone(), *condition).check(history).unwrap().holds()
    };
    Condition::ALL.into_iter().filter(holds).collect()
}

#[test]
fn an_overlapping_read_may_see_the_old_or_the_new_value_but_not_the_old_after_the_new() {
    let reads = |first, second| {
        let mut history = History::new();
        history.invoke(0, Write(1));
        history.call(1, Read, Value(first)).call(1, Read, Value(second)).returned(0, Done);
        holding(Register, &history).len()
    };
    assert_eq!([reads(0, 0), reads(0, 1), reads(1, 1), reads(1, 0)], [4, 4, 4, 0]);
}

/// The kinds of queue history by which Herlihy and Wing (TOPLAS 1990) introduce the condition:
/// two that overlap and are good, one out of order, one that delivers an item twice.
#[test]
fn queue_histories_that_overlap_are_good_out_of_order_or_twice_they_are_not() {
    let (x, y) = (1, 2);
    let mut h1 = History::new();
    h1.invoke(0, Push(x)).invoke(1, Push(y)).returned(1, Pushed).returned(0, Pushed);
    h1.invoke(0, Pop).returned(0, Popped(y)).invoke(1, Pop).returned(1, Popped(x));
    let mut h2 = History::new();
    h2.call(0, Push(x), Pushed).invoke(1, Push(y)).invoke(0, Pop).returned(1, Pushed);
    h2.returned(0, Popped(x));
    let mut h3 = History::new();
    h3.call(0, Push(x), Pushed).call(1, Push(y), Pushed).call(1, Pop, Popped(y));
    let mut h4 = History::new();
    h4.invoke(0, Push(x)).invoke(1, Pop).returned(0, Pushed).returned(1, Popped(x));
    h4.call(0, Push(y), Pushed).call(0, Pop, Popped(y)).call(1, Pop, Popped(y));
    let good = [h1, h2, h3, h4].map(|history| !holding(Queue::unbounded(), &history).is_empty());
    assert_eq!(good, [true, true, false, false]);
}

#[test]
fn an_effect_before_the_crash_is_strict() {
    let mut history = History::new();
    history.invoke(0, Push(7)).call(1, Pop, Popped(7)).crash(0).call(1, Pop, Empty);
    assert_eq!(holding(Queue::unbounded(), &history), Condition::ALL);
}

/// Aguilera and Frølund's point: the value surfaces although its writer was dead before.
#[test]
fn an_effect_after_the_crash_is_linearizable_but_not_strict() {
    let mut history = History::new();
    history.invoke(0, Write(7)).crash(0).call(1, Read, Value(0)).call(1, Read, Value(7));
    use Condition::*;
    assert_eq!(holding(Register, &history), [Persistent, Recoverable, Linearizable]);
}

/// The recovered process has moved on to another object: persistent atomicity forbids that its
/// earlier write surfaces now, recoverable linearizability looks at each object alone.
#[test]
fn an_effect_after_an_operation_on_another_object_is_recoverable_but_not_persistent() {
    let mut history = History::new();
    history.invoke(0, (0, Write(7))).crash(0).recover(0).call(0, (1, Write(1)), Done);
    history.call(1, (0, Read), Value(0)).call(1, (0, Read), Value(7));
    use Condition::*;
    assert_eq!(holding(Keyed(Register), &history), [Recoverable, Linearizable]);
}

/// The process has written again since: its first write would come out of program order.
#[test]
fn an_effect_after_the_next_operation_on_the_same_object_is_linearizable_only() {
    let mut history = History::new();
    history.invoke(0, Write(7)).crash(0).recover(0).call(0, Write(8), Done);
    history.call(1, Read, Value(8)).call(1, Read, Value(7));
    assert_eq!(holding(Register, &history), [Condition::Linearizable]);
}

/// The next operation has begun but its own effect is still to come: an order by invocation
/// permits the pending effect here, a bound at the next invocation does not.
#[test]
fn an_effect_inside_the_next_operation_is_recoverable_but_not_persistent() {
    let mut history = History::new();
    history.invoke(0, Write(7)).crash(0).recover(0).invoke(0, Write(8));
    history.call(1, Read, Value(0)).call(1, Read, Value(7)).returned(0, Done);
    use Condition::*;
    assert_eq!(holding(Register, &history), [Recoverable, Linearizable]);
}

/// Nesting-safe recoverable linearizability: the recovery code returns what the operation
/// returned, so that it is an operation like any other, save that strictness wants the effect
/// before the crash.
#[test]
fn an_operation_that_its_recovery_completes_must_have_taken_effect() {
    let with_reads = |first, second| {
        let mut history = History::new();
        history.invoke(0, Write(7)).crash(0).call(1, Read, Value(first)).recover(0);
        history.returned(0, Done).call(1, Read, Value(second));
        holding(Register, &history).len()
    };
    assert_eq!([with_reads(7, 7), with_reads(0, 7), with_reads(0, 0)], [4, 3, 0]);
}

#[test]
fn an_operation_still_open_at_the_end_may_or_may_not_have_taken_effect() {
    let read = |value| {
        let mut history = History::new();
        history.invoke(0, Write(7)).call(1, Read, Value(value));
        holding(Register, &history).len()
    };
    assert_eq!([read(0), read(7), read(8)], [4, 4, 0]);
}

#[test]
fn the_lock_of_a_live_process_is_never_broken_and_that_of_a_dead_one_is() {
    let lock = |dies: bool| {
        let mut history = History::new();
        history.call(0, MutexOp::Lock, MutexRet::Locked);
        if dies {
            history.crash(0);
        }
        history.call(1, MutexOp::Lock, MutexRet::OwnerDied);
        !holding(Mutex, &history).is_empty()
    };
    assert_eq!([lock(true), lock(false)], [true, false]);
}

#[test]
fn a_lock_is_free_when_the_recovery_of_its_holder_is_complete() {
    let mut history = History::new();
    history.call(0, MutexOp::Lock, MutexRet::Locked).crash(0);
    history.call(1, MutexOp::TryLock, MutexRet::Busy);
    assert_eq!(holding(Mutex, &history), Condition::ALL, "recovery may take its time");
    history.recover(0).call(1, MutexOp::TryLock, MutexRet::Busy);
    assert_eq!(holding(Mutex, &history), [], "but not after it said that it was done");
}

#[test]
fn permits_of_the_dead_return() {
    use SemaphoreOp::*;
    let mut history = History::new();
    history.call(0, Acquire(2), SemaphoreRet::Done).crash(0);
    history.call(1, TryAcquire(1), SemaphoreRet::Unavailable).recover(0);
    history.call(1, TryAcquire(2), SemaphoreRet::Done);
    assert_eq!(holding(Semaphore::new(2), &history), Condition::ALL);
    history.call(2, TryAcquire(1), SemaphoreRet::Done);
    assert_eq!(holding(Semaphore::new(2), &history), [], "they return once");
}

#[test]
fn malformed_histories_are_refused_and_say_where() {
    let check = |build: fn(&mut History<RegisterOp, RegisterRet>)| {
        let mut history = History::new();
        build(&mut history);
        Checker::new(Register, Condition::Strict).check(&history).unwrap_err()
    };
    let overlap = check(|history| {
        history.invoke(0, Read).invoke(0, Read);
    });
    assert!(matches!(overlap, Error::Overlap { event: 1, .. }));
    let unasked = check(|history| {
        history.returned(3, Done);
    });
    assert!(matches!(unasked, Error::ReturnWithoutInvoke { event: 0, .. }));
    let undead = check(|history| {
        history.crash(0).invoke(0, Read);
    });
    assert!(matches!(undead, Error::ActsAfterCrash { event: 1, .. }));
    let alive = check(|history| {
        history.recover(0);
    });
    assert!(matches!(alive, Error::RecoverWithoutCrash { event: 0, .. }));
}

/// Thirty writes at once and a read of a value that none wrote: two to the thirty sets.
#[test]
fn a_budget_that_runs_out_is_an_unknown_and_not_a_hang() {
    let mut history = History::new();
    for process in 0..30 {
        history.invoke(process, Write(process.into()));
    }
    history.call(30, Read, Value(99));
    for process in 0..30 {
        history.returned(process, Done);
    }
    let budget = Budget { steps: 10_000, configurations: 1_000 };
    let checker = Checker::new(Register, Condition::Linearizable).budget(budget);
    let Verdict::Unknown(unknown) = checker.check(&history).unwrap() else {
        panic!("decided within a millionth of what it takes")
    };
    assert!(unknown.to_string().contains("ran out"), "{unknown}");
    assert!(matches!(checker.require(&history), Err(Error::Undecided { .. })));
}
