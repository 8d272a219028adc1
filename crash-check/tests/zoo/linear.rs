//! Specimens for the `linear` tool: schedules played step by step, as the callers saw them.
//!
//! Each plays the same interleaving on a broken structure and on its corrected twin; nothing is
//! left to luck. Process numbers are columns of the drawing that the checker's report shows.

use super::{Specimen, judge};
use crash_check::linear::spec::{ItemOp, ItemRet, Mutex, MutexOp, MutexRet, Queue, Stack};
use crash_check::linear::{Checker, Condition, Recorder, Specification};
use std::collections::VecDeque;

type Items = Recorder<ItemOp, ItemRet>;

/// The checker's report, if the history breaks the condition.
fn report<S: Specification>(
    spec: S,
    condition: Condition,
    recorder: Recorder<S::Op, S::Ret>,
) -> Result<(), String> {
    let checker = Checker::new(spec, condition);
    checker.require(&recorder.into_history()).map_err(|error| error.to_string())
}

/// A stack of indices: `next` links, and a head that names the top one and a tag.
struct IndexStack {
    /// Index and tag.
    head: (Option<usize>, u64),
    next: [Option<usize>; 3],
    /// What each compare-and-swap of the head adds to the tag: nothing, if there is none.
    tick: u64,
}

impl IndexStack {
    /// Holds 0 on top of 1 on top of 2.
    fn new(tick: u64) -> Self {
        Self { head: (Some(0), 0), next: [Some(1), Some(2), None], tick }
    }

    fn swap_head(&mut self, seen: (Option<usize>, u64), to: Option<usize>) -> bool {
        let unchanged = self.head == seen;
        if unchanged {
            self.head = (to, seen.1 + self.tick);
        }
        unchanged
    }

    /// The first half of a pop: the head, and what would follow it.
    fn look(&self) -> ((Option<usize>, u64), Option<usize>) {
        (self.head, self.head.0.and_then(|top| self.next[top]))
    }

    fn pop(&mut self) -> ItemRet {
        let (head, next) = self.look();
        self.swap_head(head, next);
        head.0.map(|index| index as u64).into()
    }

    fn push(&mut self, index: usize) -> ItemRet {
        self.next[index] = self.head.0;
        let head = self.head;
        self.swap_head(head, Some(index));
        ItemRet::Pushed
    }
}

/// P0 stands between the two halves of a pop while P1 pops 0 and 1 and pushes 0 back: the head
/// looks the same again, but what followed it is gone.
fn aba(tick: u64) -> Result<(), String> {
    let recorder = Items::scripted();
    let mut stack = IndexStack::new(tick);
    let mut setup = recorder.actor(2);
    for index in [2, 1, 0] {
        setup.call(ItemOp::Push(index), || ItemRet::Pushed);
    }
    let (mut slow, mut quick) = (recorder.actor(0), recorder.actor(1));
    slow.invoke(ItemOp::Pop);
    let (head, next) = stack.look();
    quick.call(ItemOp::Pop, || stack.pop());
    quick.call(ItemOp::Pop, || stack.pop());
    quick.call(ItemOp::Push(0), || stack.push(0));
    let won = stack.swap_head(head, next);
    slow.returned(if won { head.0.map(|index| index as u64).into() } else { stack.pop() });
    quick.call(ItemOp::Pop, || stack.pop());
    drop((setup, slow, quick));
    report(Stack::unbounded(), Condition::Linearizable, recorder)
}

/// A lock whose waiters may break it when its holder is dead, as `believed` judges.
fn break_lock(believed_dead: bool) -> Result<(), String> {
    let recorder = Recorder::scripted();
    let (mut holder, mut waiter) = (recorder.actor(0), recorder.actor(1));
    let mut owner = None;
    holder.call(MutexOp::Lock, || {
        owner = Some(0);
        MutexRet::Locked
    });
    // The holder is stopped, not dead: a timeout has passed, its proof of death has not come.
    waiter.call(MutexOp::TryLock, || match owner {
        Some(_) if believed_dead => {
            owner = Some(1);
            MutexRet::OwnerDied
        }
        Some(_) => MutexRet::Busy,
        None => MutexRet::Locked,
    });
    holder.call(MutexOp::Unlock, || {
        if owner == Some(0) { MutexRet::Unlocked } else { MutexRet::NotOwner }
    });
    drop((holder, waiter));
    report(Mutex, Condition::Strict, recorder)
}

/// A queue whose producers announce their item before they link it, so that others can help.
#[derive(Default)]
struct HelpedQueue {
    announced: Option<u64>,
    linked: VecDeque<u64>,
}

impl HelpedQueue {
    fn help(&mut self) {
        self.linked.extend(self.announced.take());
    }

    /// The broken one looks first and helps afterwards.
    fn pop(&mut self, help_first: bool) -> ItemRet {
        if help_first {
            self.help();
        }
        let item = self.linked.pop_front();
        self.help();
        item.into()
    }
}

/// A producer dies after its announcement. A survivor sees the queue empty, and then, helping,
/// completes the dead one's push: linearizable, not strict. The twin settles what the dead have
/// announced before it looks.
fn help_after_crash(help_first: bool, condition: Condition) -> Result<(), String> {
    let recorder = Items::scripted();
    let mut queue = HelpedQueue::default();
    let (mut dead, mut survivor) = (recorder.actor(0), recorder.actor(1));
    dead.invoke(ItemOp::Push(7));
    queue.announced = Some(7);
    dead.crash();
    survivor.call(ItemOp::Pop, || queue.pop(help_first));
    survivor.call(ItemOp::Pop, || queue.pop(help_first));
    drop((dead, survivor));
    report(Queue::unbounded(), condition, recorder)
}

/// Two producers take the tail, then write their item; P1 reads the tail before P0 has moved it
/// on, so that both write the same slot. The twin takes a place by one fetch-and-add.
fn lost_item(claims_at_once: bool) -> Result<(), String> {
    let recorder = Items::scripted();
    let (mut first, mut second) = (recorder.actor(0), recorder.actor(1));
    let mut slots = [None; 4];
    let mut tail = 0;
    let claim = |slot: usize| if claims_at_once { slot + 1 } else { slot };
    first.invoke(ItemOp::Push(1));
    let slot_of_first = tail;
    tail = claim(tail);
    second.invoke(ItemOp::Push(2));
    let slot_of_second = tail;
    tail = claim(tail);
    for (actor, slot, item) in [(&mut first, slot_of_first, 1), (&mut second, slot_of_second, 2)] {
        slots[slot] = Some(item);
        tail = tail.max(slot + 1);
        actor.returned(ItemRet::Pushed);
    }
    let mut consumer = recorder.actor(2);
    let mut taken = slots[..tail].iter().copied();
    for _ in 0..3 {
        consumer.call(ItemOp::Pop, || taken.next().flatten().into());
    }
    drop((first, second, consumer));
    report(Queue::unbounded(), Condition::Linearizable, recorder)
}

/// An item record: queued, leased to a process, or done with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Record {
    Queued,
    Leased(u32),
    Done,
}

impl Record {
    fn lease(&mut self, by: u32) -> ItemRet {
        if *self != Self::Queued {
            return ItemRet::Empty;
        }
        *self = Self::Leased(by);
        ItemRet::Popped(7)
    }

    /// Gives what the dead one had leased back; the broken recovery goes by its own note of the
    /// lease, which says nothing of the acknowledgement.
    fn recover(&mut self, dead: u32, noted: bool, trusts_the_note: bool) {
        if *self == Self::Leased(dead) || (noted && trusts_the_note) {
            *self = Self::Queued;
        }
    }
}

/// A consumer pops an item, finishes and acknowledges it, and dies.
fn redelivery(trusts_the_note: bool) -> Result<(), String> {
    let recorder = Items::scripted();
    let (mut dead, mut survivor) = (recorder.actor(0), recorder.actor(1));
    survivor.call(ItemOp::Push(7), || ItemRet::Pushed);
    let mut record = Record::Queued;
    dead.call(ItemOp::Pop, || record.lease(0));
    let noted = record == Record::Leased(0);
    record = Record::Done;
    dead.crash();
    record.recover(0, noted, trusts_the_note);
    dead.recover();
    survivor.call(ItemOp::Pop, || record.lease(1));
    drop((dead, survivor));
    report(Queue::unbounded(), Condition::Recoverable, recorder)
}

/// A lock word: the owner, and whether anybody waits for it.
struct Lock {
    owner: Option<u32>,
    contended: bool,
    abandoned: bool,
}

impl Lock {
    fn try_lock(&mut self, by: u32) -> MutexRet {
        if self.owner.is_some() {
            self.contended = true;
            return MutexRet::Busy;
        }
        self.owner = Some(by);
        if self.abandoned { MutexRet::OwnerDied } else { MutexRet::Locked }
    }

    /// Frees the lock of the dead one. The broken recovery compares the whole word, and misses a
    /// lock for which somebody waits.
    fn recover(&mut self, dead: u32, compares_the_whole_word: bool) {
        let missed = compares_the_whole_word && self.contended;
        if self.owner == Some(dead) && !missed {
            self.owner = None;
            self.abandoned = true;
        }
    }
}

/// A holder dies while another one waits; after the recovery the lock is tried again.
fn held_for_ever(compares_the_whole_word: bool) -> Result<(), String> {
    let recorder = Recorder::scripted();
    let (mut holder, mut waiter) = (recorder.actor(0), recorder.actor(1));
    let mut lock = Lock { owner: None, contended: false, abandoned: false };
    holder.call(MutexOp::Lock, || lock.try_lock(0));
    waiter.call(MutexOp::TryLock, || lock.try_lock(1));
    holder.crash();
    lock.recover(0, compares_the_whole_word);
    holder.recover();
    waiter.call(MutexOp::TryLock, || lock.try_lock(1));
    drop((holder, waiter));
    report(Mutex, Condition::Strict, recorder)
}

const SPECIMENS: [Specimen; 6] = [
    Specimen {
        name: "aba",
        bug: "an index stack without a tag hands one item to two owners",
        broken: || aba(0),
        fixed: || aba(1),
    },
    Specimen {
        name: "false suspicion",
        bug: "a live holder is judged dead by a timeout, and its lock broken",
        broken: || break_lock(true),
        fixed: || break_lock(false),
    },
    Specimen {
        name: "help after crash",
        bug: "a survivor completes a dead producer's push after the queue was seen empty",
        broken: || help_after_crash(false, Condition::Strict),
        fixed: || help_after_crash(true, Condition::Strict),
    },
    Specimen {
        name: "lost item",
        bug: "two producers write the same slot, and one item is gone",
        broken: || lost_item(false),
        fixed: || lost_item(true),
    },
    Specimen {
        name: "redelivered",
        bug: "recovery hands out again what the dead consumer had finished",
        broken: || redelivery(true),
        fixed: || redelivery(false),
    },
    Specimen {
        name: "held for ever",
        bug: "the recovery of a dead holder ends with its lock still held",
        broken: || held_for_ever(true),
        fixed: || held_for_ever(false),
    },
];

#[test]
fn linear_finds_each_of_its_specimens_and_is_quiet_on_the_twins() {
    for specimen in &SPECIMENS {
        judge("linear", specimen);
    }
}

/// Help after the crash is no bug where plain linearizability is promised: it is the strict
/// promise that it breaks.
#[test]
fn help_after_a_crash_is_linearizable() {
    assert_eq!(help_after_crash(false, Condition::Linearizable), Ok(()));
}
