//! A task that is not done, or a chunk of such.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::Encoded;
use crate::error::TaskError;
use crate::inbox::{Delivery, Inbox};
use crate::link::Answer;
use crate::options::TaskOptions;
use crate::protocol::{Outcome as ResponseKind, Response};
use crate::slot::{Notice, Outcome, Slot};
use crate::stats::TaskStats;
use crate::task::{Task, TaskId};
use crate::{protocol, record};

/// What the pool must know of a task to send it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub name: &'static str,
    pub id: TaskId,
    pub pure: bool,
}

impl Named {
    pub fn of<T: Task>() -> Named {
        Named { name: T::NAME, id: T::ID, pure: T::PURE }
    }
}

/// Where results go.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    /// To the one handle.
    One(Arc<Slot>),
    /// To a stream of results, the first item's under this number.
    Many(Arc<Inbox>, usize),
}

/// Tasks that are not done and travel together: one, or a chunk.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub task: Named,
    pub input: Arc<Encoded>,
    /// How many tasks this is.
    pub items: u32,
    /// Whether the input is records.
    pub chunk: bool,
    pub sink: Sink,
    /// Whether its sender wants to know how long its items take.
    pub measured: bool,
    pub options: TaskOptions,
    /// Until when it must be done.
    pub deadline: Option<Instant>,
    /// The one worker that may run it.
    pub pin: Option<usize>,
    /// When it was submitted, where somebody wants to know how long it waited.
    pub submitted: Option<Instant>,
    /// How often it was started and lost.
    pub attempts: u32,
    /// Why it fails, whatever comes back.
    pub doom: Option<Doom>,
}

/// Why a task is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    Cancelled,
    TimeLimit(Duration),
    Deadline(Duration),
}

impl Doom {
    pub fn error(self, task: &'static str) -> TaskError {
        match self {
            Doom::Cancelled => TaskError::Cancelled { task },
            Doom::TimeLimit(limit) => TaskError::TimeLimit { task, limit },
            Doom::Deadline(limit) => TaskError::Deadline { task, limit },
        }
    }
}

impl Job {
    /// One task.
    pub fn one(task: Named, input: Encoded, sink: Sink) -> Job {
        Job {
            task,
            input: Arc::new(input),
            items: 1,
            chunk: false,
            sink,
            measured: false,
            options: TaskOptions::default(),
            deadline: None,
            pin: None,
            submitted: None,
            attempts: 0,
            doom: None,
        }
    }

    /// A chunk of `items` tasks, whose inputs are these records.
    pub fn chunk(task: Named, records: Vec<u8>, items: u32, sink: Sink) -> Job {
        let input = Encoded { bytes: records, ..Encoded::default() };
        Job { items, chunk: true, ..Job::one(task, input, sink) }
    }

    /// With these options; its time begins now.
    pub fn with(mut self, options: TaskOptions) -> Job {
        self.deadline = options.deadline.and_then(|limit| Instant::now().checked_add(limit));
        self.options = options;
        self
    }

    /// What its worker shall take the time of.
    pub fn timing(&self) -> u32 {
        let start = self.options.time_limit.map_or(0, |_| protocol::TIME_START);
        let items = if self.measured { protocol::TIME_ITEMS } else { 0 };
        start | items
    }

    /// Whether somebody must look at the clock for it.
    pub fn is_timed(&self) -> bool {
        self.deadline.is_some() || self.options.time_limit.is_some()
    }

    /// Its items from number `start` to `end`, as a job that was never started.
    pub fn part(&self, start: u32, end: u32) -> Job {
        let mut part = self.clone();
        if start == 0 && end == self.items {
            return part;
        }
        let bytes = record::slice(&self.input.bytes, start, end).to_vec();
        part.input = Arc::new(Encoded { bytes, ..Encoded::default() });
        part.items = end - start;
        part.attempts = 0;
        if let Sink::Many(_, first) = &mut part.sink {
            *first += start as usize;
        }
        part
    }

    /// Gives the result of its item `number` to whoever wants it, unless the job has another fate.
    pub fn deliver(&self, number: u32, outcome: Outcome, notices: &mut Vec<Notice>) {
        let outcome = match self.doom {
            Some(doom) => Err(doom.error(self.task.name)),
            None => outcome,
        };
        match &self.sink {
            Sink::One(slot) => slot.set(outcome, notices),
            Sink::Many(inbox, first) => {
                inbox.push(Delivery::one(first + number as usize, outcome));
            }
        }
    }

    /// Gives the results of items from `number` on, as records.
    pub fn deliver_records(&self, number: u32, count: u32, answer: Answer) {
        if let Sink::Many(inbox, first) = &self.sink {
            let first = first + number as usize;
            inbox.push(Delivery::records(first, count as usize, answer));
        }
    }

    /// Counts this answer of a worker's.
    pub fn count(&self, answer: &Response, counts: &mut TaskStats) {
        counts.answered(answer.count, answer.nanos);
        if !matches!(answer.outcome, ResponseKind::Done | ResponseKind::Records)
            || self.doom.is_some()
        {
            counts.failed += u64::from(answer.count);
        }
        if let Some(submitted) = self.submitted {
            let work = Duration::from_nanos(answer.nanos);
            counts.wait.add(submitted.elapsed().saturating_sub(work), 1);
        }
    }

    /// All its items fail. Lets go of the input first: whoever gets the outcome may want to freeze
    /// its memory.
    pub fn fail(self, notices: &mut Vec<Notice>, error: impl FnOnce(&'static str) -> TaskError) {
        let error = match self.doom {
            Some(doom) => doom.error(self.task.name),
            None => error(self.task.name),
        };
        let Job { sink, input, items, .. } = self;
        drop(input);
        match sink {
            Sink::One(slot) => slot.set(Err(error), notices),
            Sink::Many(inbox, first) => {
                inbox.push(Delivery::failed(first, items as usize, error));
            }
        }
    }

    /// Gives the result of its last item. Lets go of the input first: whoever gets the outcome may
    /// want to freeze its memory.
    pub fn finish(mut self, outcome: Outcome, notices: &mut Vec<Notice>) {
        self.input = Arc::default();
        self.deliver(self.items - 1, outcome, notices);
    }

    /// Whether its result goes to this slot.
    pub fn is_of(&self, slot: &Arc<Slot>) -> bool {
        matches!(&self.sink, Sink::One(own) if Arc::ptr_eq(own, slot))
    }

    /// Whether its results go to this stream.
    pub fn is_of_stream(&self, inbox: &Arc<Inbox>) -> bool {
        matches!(&self.sink, Sink::Many(own, _) if Arc::ptr_eq(own, inbox))
    }
}
