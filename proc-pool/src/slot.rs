//! Where a task's result waits for whoever wants it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipc_queue::bell::Doorbell;

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
}

/// Indices of tasks in the order in which they finished: what `as_completed` reads.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    order: Mutex<VecDeque<usize>>,
    /// Bells of the pools whose tasks these are; whoever waits, listens to one of them.
    bells: Vec<Doorbell>,
}

impl Finished {
    pub fn new(bells: Vec<Doorbell>) -> Finished {
        Finished { order: Mutex::default(), bells }
    }

    fn push(&self, index: usize) {
        lock(&self.order).push_back(index);
        // One pool's driver rings its own bell where that is needed.
        if self.bells.len() > 1 {
            self.bells.iter().for_each(|bell| {
                bell.ring();
            });
        }
    }

    pub fn pop(&self) -> Option<usize> {
        lock(&self.order).pop_front()
    }
}

impl Slot {
    pub fn is_done(&self) -> bool {
        // Acquire: pairs with the Release store in `set`, so that the outcome is there.
        self.done.load(Ordering::Acquire)
    }

    pub fn set(&self, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.outcome = Some(outcome);
        // Release: pairs with the Acquire load in `is_done`.
        self.done.store(true, Ordering::Release);
        if let Some((finished, index)) = state.subscriber.take() {
            finished.push(index);
        }
    }

    /// The outcome, for the one who waits for it.
    pub fn take(&self) -> Option<Outcome> {
        lock(&self.state).outcome.take()
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
