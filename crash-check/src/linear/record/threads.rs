//! The recorder for threads, and for schedules that one thread plays.

use super::clock::Clock;
use super::merge::{Stamped, merge};
use crate::linear::{Event, History, Process};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// Collects what several threads saw. Each writes to a buffer of its own, which it hands over
/// when its [`Actor`] is dropped.
///
/// ```
/// use crash_check::linear::{Checker, Condition, Process, Recorder};
/// use crash_check::linear::spec::{Counter, CounterOp::Add};
/// use std::sync::atomic::{AtomicI64, Ordering};
///
/// let recorder = Recorder::new();
/// let counter = AtomicI64::new(0);
/// std::thread::scope(|scope| {
///     for number in 0..2 {
///         let mut actor = recorder.actor(Process(number));
///         let counter = &counter;
///         scope.spawn(move || {
///             for _ in 0..100 {
///                 // Relaxed: atomicity is all a counter needs.
///                 actor.call(Add(1), || counter.fetch_add(1, Ordering::Relaxed));
///             }
///         });
///     }
/// });
/// let history = recorder.into_history();
/// assert!(Checker::new(Counter, Condition::Linearizable).check(&history)?.holds());
/// # Ok::<(), crash_check::linear::Error>(())
/// ```
#[derive(Debug)]
pub struct Recorder<Op, Ret> {
    clock: Clock,
    counter: AtomicU64,
    done: Mutex<Vec<Buffer<Op, Ret>>>,
}

/// What one actor saw.
type Buffer<Op, Ret> = (Process, Vec<Stamped<Op, Ret>>);

impl<Op, Ret> Default for Recorder<Op, Ret> {
    fn default() -> Self {
        Self::with_clock(Clock::default())
    }
}

impl<Op, Ret> Recorder<Op, Ret> {
    /// A recorder for real threads: [`Clock::Monotonic`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A recorder for a schedule that is played step by step: [`Clock::Counter`].
    pub fn scripted() -> Self {
        Self::with_clock(Clock::Counter)
    }

    /// A recorder with this clock.
    pub fn with_clock(clock: Clock) -> Self {
        Self { clock, counter: AtomicU64::new(0), done: Mutex::new(Vec::new()) }
    }

    /// The pen of one process. Have at most one at a time for each process; a successor that
    /// acts under the same number may take one later.
    pub fn actor(&self, process: impl Into<Process>) -> Actor<'_, Op, Ret> {
        let events = Vec::with_capacity(1024);
        Actor { recorder: self, process: process.into(), events }
    }

    /// The history of everything recorded. All actors are gone by then: the borrow checker sees
    /// to it.
    pub fn into_history(self) -> History<Op, Ret> {
        let mut lanes: BTreeMap<Process, Vec<Stamped<Op, Ret>>> = BTreeMap::new();
        for (process, events) in self.done.into_inner().unwrap_or_else(PoisonError::into_inner) {
            lanes.entry(process).or_default().extend(events);
        }
        for lane in lanes.values_mut() {
            // Stable: events of one actor keep their order.
            lane.sort_by_key(|(stamp, _)| *stamp);
        }
        merge(lanes.into_values().collect())
    }
}

/// Records the operations of one process; see [`Recorder`].
///
/// A stamp and a push onto a buffer with room for 1,024 events an operation ends; beyond that the
/// buffer grows, outside of any interval.
#[derive(Debug)]
pub struct Actor<'a, Op, Ret> {
    recorder: &'a Recorder<Op, Ret>,
    process: Process,
    events: Vec<Stamped<Op, Ret>>,
}

impl<Op, Ret> Actor<'_, Op, Ret> {
    /// Records that the operation begins. Call it immediately before.
    pub fn invoke(&mut self, op: Op) {
        // Room for this event and the return, so that no allocation falls into the operation.
        self.events.reserve(2);
        self.events.push((0, Event::Invoke(self.process, op)));
        let stamp = self.recorder.clock.before(&self.recorder.counter);
        if let Some(last) = self.events.last_mut() {
            last.0 = stamp;
        }
    }

    /// Records that it returned. Call it immediately after.
    pub fn returned(&mut self, ret: Ret) {
        let stamp = self.recorder.clock.after(&self.recorder.counter);
        self.events.push((stamp, Event::Return(self.process, ret)));
    }

    /// Runs and records one operation.
    pub fn call(&mut self, op: Op, run: impl FnOnce() -> Ret) -> Ret
    where
        Ret: Clone,
    {
        self.invoke(op);
        let ret = run();
        self.returned(ret.clone());
        ret
    }

    /// Records that the process died. In a played schedule, or where a thread stands for a
    /// process and stops inside an operation.
    pub fn crash(&mut self) {
        let stamp = self.recorder.clock.after(&self.recorder.counter);
        self.events.push((stamp, Event::Crash(self.process)));
    }

    /// Records that the recovery after its death is complete.
    pub fn recover(&mut self) {
        let stamp = self.recorder.clock.after(&self.recorder.counter);
        self.events.push((stamp, Event::Recover(self.process)));
    }
}

impl<Op, Ret> Drop for Actor<'_, Op, Ret> {
    fn drop(&mut self) {
        let events = std::mem::take(&mut self.events);
        let mut done = self.recorder.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push((self.process, events));
    }
}
