//! Where results of a stream arrive.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use crate::drive::Awaited;
use crate::error::TaskError;
use crate::link::Answer;
use crate::slot::Outcome;

/// Results of some tasks with consecutive numbers.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub first: usize,
    pub count: usize,
    pub what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// Of one task.
    One(Box<Answer>),
    /// Records.
    Records(Box<Answer>),
    /// All of them failed so.
    Failed(Box<TaskError>),
    /// Results that were given to whoever wanted them.
    Used,
}

impl Delivery {
    pub fn one(number: usize, outcome: Outcome) -> Delivery {
        match outcome {
            Ok(answer) => Delivery { first: number, count: 1, what: What::One(Box::new(answer)) },
            Err(error) => Delivery::failed(number, 1, error),
        }
    }

    pub fn records(first: usize, count: usize, answer: Answer) -> Delivery {
        Delivery { first, count, what: What::Records(Box::new(answer)) }
    }

    pub fn failed(first: usize, count: usize, error: TaskError) -> Delivery {
        Delivery { first, count, what: What::Failed(Box::new(error)) }
    }
}

/// Deliveries that nobody has read yet, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    deliveries: VecDeque<Delivery>,
    /// The thread that waits for the next.
    sleeper: Option<Thread>,
}

impl Inbox {
    pub fn push(&self, delivery: Delivery) {
        let mut contents = self.lock();
        contents.deliveries.push_back(delivery);
        let sleeper = contents.sleeper.take();
        drop(contents);
        if let Some(sleeper) = sleeper {
            sleeper.unpark();
        }
    }

    pub fn pop(&self) -> Option<Delivery> {
        self.lock().deliveries.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // Nothing under this lock panics.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next delivery, which one thread waits for.
#[derive(Debug)]
pub(crate) struct NextDelivery<'a> {
    inbox: &'a Inbox,
    pub delivery: Option<Delivery>,
}

impl NextDelivery<'_> {
    pub fn of(inbox: &Inbox) -> NextDelivery<'_> {
        NextDelivery { inbox, delivery: None }
    }
}

impl Awaited for NextDelivery<'_> {
    fn has_come(&mut self) -> bool {
        if self.delivery.is_none() {
            self.delivery = self.inbox.pop();
        }
        self.delivery.is_some()
    }

    fn tell(&self, thread: &Thread) {
        self.inbox.lock().sleeper = Some(thread.clone());
    }
}
