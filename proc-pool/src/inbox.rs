//! Where results of a stream arrive.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

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
    deliveries: Mutex<VecDeque<Delivery>>,
}

impl Inbox {
    pub fn push(&self, delivery: Delivery) {
        self.lock().push_back(delivery);
    }

    pub fn pop(&self) -> Option<Delivery> {
        self.lock().pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Delivery>> {
        // Nothing under this lock panics.
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
