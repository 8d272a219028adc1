//! Where a task's result waits for whoever wants it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::Thread;

use ipc_queue::bell::Doorbell;

use crate::drive::Awaited;
use crate::error::TaskError;
use crate::link::Answer;

/// What became of a task.
pub(crate) type Outcome = Result<Answer, TaskError>;

/// One task's result, set once.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    done: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    subscriber: Option<(Arc<Finished>, usize)>,
    /// Of the executor that polled last.
    waker: Option<Waker>,
    /// Threads that wait for it, parked or about to be.
    sleepers: Vec<Thread>,
    callback: Option<Callback>,
}

/// What [`TaskHandle::on_done`](crate::TaskHandle::on_done) was given, its types erased.
pub(crate) struct Callback(pub Box<dyn FnOnce(Outcome) + Send>);

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

/// Somebody else's code that is to run because a task is done: never under the pool's lock, which
/// that code may want itself.
#[derive(Debug)]
pub(crate) enum Notice {
    Wake(Waker),
    Call(Callback, Outcome),
    #[cfg(feature = "tracing")]
    Event(crate::events::Event),
}

/// Indices of tasks in the order in which they finished: what `as_completed` reads.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    order: Mutex<Order>,
    /// Bells of the pools whose tasks these are; whoever waits, listens to one of them.
    bells: Vec<Doorbell>,
}

#[derive(Debug, Default)]
struct Order {
    indices: VecDeque<usize>,
    /// The thread that waits for the next.
    sleeper: Option<Thread>,
}

impl Finished {
    pub fn new(bells: Vec<Doorbell>) -> Finished {
        Finished { order: Mutex::default(), bells }
    }

    fn push(&self, index: usize) {
        let mut order = lock(&self.order);
        order.indices.push_back(index);
        let sleeper = order.sleeper.take();
        drop(order);
        if let Some(sleeper) = sleeper {
            sleeper.unpark();
        }
        // One pool's driver rings its own bell where that is needed.
        if self.bells.len() > 1 {
            self.bells.iter().for_each(|bell| {
                bell.ring();
            });
        }
    }

    pub fn pop(&self) -> Option<usize> {
        lock(&self.order).indices.pop_front()
    }

    /// Has `thread` unparked with the next index.
    pub fn tell(&self, thread: &Thread) {
        lock(&self.order).sleeper = Some(thread.clone());
    }
}

impl Slot {
    pub fn is_done(&self) -> bool {
        // Acquire: pairs with the Release store in `set`, so that the outcome is there.
        self.done.load(Ordering::Acquire)
    }

    /// Sets the outcome. Whoever calls passes the notices on once it holds no lock.
    pub fn set(&self, outcome: Outcome, notices: &mut Vec<Notice>) {
        let mut state = lock(&self.state);
        match state.callback.take() {
            Some(callback) => notices.push(Notice::Call(callback, outcome)),
            None => state.outcome = Some(outcome),
        }
        // Release: pairs with the Acquire load in `is_done`.
        self.done.store(true, Ordering::Release);
        if let Some((finished, index)) = state.subscriber.take() {
            finished.push(index);
        }
        notices.extend(state.waker.take().map(Notice::Wake));
        state.sleepers.drain(..).for_each(|thread| thread.unpark());
    }

    /// The outcome, for the one who waits for it.
    pub fn take(&self) -> Option<Outcome> {
        lock(&self.state).outcome.take()
    }

    /// Whether the task is done and has failed; an outcome that was taken is no failure.
    pub fn has_failed(&self) -> bool {
        matches!(lock(&self.state).outcome, Some(Err(_)))
    }

    /// Whether it is done; if not, `waker` is woken when it is.
    pub fn poll(&self, waker: &Waker) -> bool {
        let mut state = lock(&self.state);
        // Relaxed: the mutex orders it; `set` stores under the same lock.
        let done = self.done.load(Ordering::Relaxed);
        if !done && !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        done
    }

    /// Has `callback` called when the task is done; gives it back when it is done already.
    pub fn call(&self, callback: Callback) -> Option<(Callback, Outcome)> {
        let mut state = lock(&self.state);
        match state.outcome.take() {
            Some(outcome) => Some((callback, outcome)),
            None => {
                state.callback = Some(callback);
                None
            }
        }
    }

    /// Adds `index` to `finished` when the task is done, which may be now.
    pub fn subscribe(&self, finished: &Arc<Finished>, index: usize) {
        let mut state = lock(&self.state);
        // Relaxed: the mutex orders it; `set` stores under the same lock.
        if self.done.load(Ordering::Relaxed) {
            finished.push(index);
        } else {
            state.subscriber = Some((Arc::clone(finished), index));
        }
    }
}

/// A thread waits for a slot.
impl Awaited for &Slot {
    fn has_come(&mut self) -> bool {
        self.is_done()
    }

    fn tell(&self, thread: &Thread) {
        let mut state = lock(&self.state);
        // Several threads may wait, each once; those whose time was over are still here.
        if !state.sleepers.iter().any(|known| known.id() == thread.id()) {
            state.sleepers.push(thread.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
