//! For the kill rows: a worker's loop, and what its parent makes of the memory that it leaves when
//! it dies, without processes. The code is that of a pool; only who starts and buries is left out.

use std::sync::Arc;
use std::time::Duration;

use ipc_queue::pipe;
use shm_core::Segment;

use crate::codec;
use crate::death::{Death, DeathNotice};
use crate::error::TaskError;
use crate::future::decode;
use crate::imap::decode_record;
use crate::inbox::{Delivery, Inbox, What};
use crate::link::Link;
use crate::protocol::{self, Places};
use crate::state::{Job, Named, Rules, Sink, State};
use crate::task::{Registry, Task};
use crate::worker::Worker;
use crate::{record, socket};

type Said<T> = Result<T, String>;

/// Bytes of each pipe: few, so that a kill row compares little memory.
const PIPE: usize = 4096;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn places() -> Said<Places> {
    Places::with(PIPE).map_err(text)
}

/// Bytes that a worker's segment takes here.
///
/// # Errors
///
/// What is wrong with it.
pub fn size() -> Said<usize> {
    Ok(places()?.size)
}

/// Tasks of one request: `chunked`, or the one alone.
#[derive(Clone, Debug)]
pub struct Work<T: Task> {
    /// The inputs; one where it is no chunk.
    pub inputs: Vec<T::Input>,
    /// Whether they travel as a chunk.
    pub chunked: bool,
    /// How often a pure task is started.
    pub attempts: u32,
}

impl<T: Task> Work<T> {
    fn job(&self, inbox: &Arc<Inbox>) -> Said<Job> {
        let (task, sink) = (Named::of::<T>(), Sink::Many(Arc::clone(inbox), 0));
        if !self.chunked {
            let input = self.inputs.first().ok_or("no input")?;
            return Ok(Job::one(task, codec::encode(input)?, sink));
        }
        let mut records = Vec::new();
        for input in &self.inputs {
            if codec::append_record(input, &mut records)?.is_some() {
                return Err("an input that is no record".to_owned());
            }
        }
        Ok(Job::chunk(task, records, self.inputs.len() as u32, sink))
    }

    /// Makes the pipes, and sends the request.
    ///
    /// # Errors
    ///
    /// What is wrong with the memory.
    pub fn prepare(&self, segment: &Segment) -> Said<()> {
        let job = self.job(&Arc::default())?;
        let (mut state, inbox) = (self.state()?, Arc::default());
        connect(segment)?;
        // As the pool does it; nobody answers, so its link stays as it is.
        let (link, _socket) = link(segment)?;
        state.worker_started(0, 1, link);
        state.submit(Job { sink: Sink::Many(inbox, 0), ..job });
        state.leave();
        Ok(())
    }

    fn state(&self) -> Said<State> {
        let rules = Rules {
            build: crate::build::own(&Registry::collect().map_err(text)?),
            attempts: self.attempts,
            backoff: Duration::ZERO,
            initializer: None,
            exit_hook: None,
            recycle_after: None,
            timings: false,
            replace: true,
        };
        Ok(State::new(1, rules))
    }

    /// What a parent does once the worker is proven dead: takes what it left, and has another worker
    /// do the rest. Gives every item's outcome.
    ///
    /// # Errors
    ///
    /// An item without an outcome, or with two; what is wrong with the memory.
    pub fn bury(&self, segment: &Segment) -> Said<Vec<Result<T::Output, TaskError>>> {
        let inbox = Arc::default();
        let (mut state, job) = (self.state()?, self.job(&inbox)?);
        let (link_to_dead, _socket) = link(segment)?;
        state.worker_started(0, 1, link_to_dead);
        state.submit(job);
        let notice = DeathNotice::new(1, Death::Signal(libc::SIGKILL), 0, false);
        if !state.worker_died(0, notice) {
            return Err("the dead worker is not replaced".to_owned());
        }
        let next = Segment::anonymous(size()?).map_err(text)?;
        let next: &'static Segment = Box::leak(Box::new(next));
        connect(next)?;
        let (link_to_next, _socket) = link(next)?;
        state.worker_started(0, 2, link_to_next);
        let mut worker = Loop::attach(next)?;
        while !state.is_idle() {
            worker.0.serve()?;
            state.pump();
        }
        self.outcomes(&inbox)
    }

    fn outcomes(&self, inbox: &Inbox) -> Said<Vec<Result<T::Output, TaskError>>> {
        let mut outcomes: Vec<Option<_>> = self.inputs.iter().map(|_| None).collect();
        while let Some(Delivery { first, count, what }) = inbox.pop() {
            let mut results = results::<T>(what, count).into_iter();
            for (number, place) in outcomes.iter_mut().enumerate().skip(first).take(count) {
                if place.is_some() {
                    return Err(format!("item {number} has two outcomes"));
                }
                *place = results.next();
            }
        }
        let missing = |(number, outcome): (usize, Option<_>)| {
            outcome.ok_or_else(|| format!("item {number} has no outcome"))
        };
        outcomes.into_iter().enumerate().map(missing).collect()
    }
}

fn results<T: Task>(what: What, count: usize) -> Vec<Result<T::Output, TaskError>> {
    match what {
        What::One(answer) => vec![decode::<T>(Ok(*answer))],
        What::Failed(error) => (0..count).map(|_| Err(TaskError::clone(&error))).collect(),
        What::Records(answer) => {
            let mut rest = answer.body.as_slice();
            (0..count).map(|_| decode_record::<T>(record::next(&mut rest))).collect()
        }
        What::Used => Vec::new(),
    }
}

fn connect(segment: &Segment) -> Said<()> {
    let places = places()?;
    pipe::create(segment, places.requests, PIPE).map_err(text)?;
    pipe::create(segment, places.responses, PIPE).map_err(text)
}

fn link(segment: &Segment) -> Said<(Link, std::os::fd::OwnedFd)> {
    let (ours, theirs) = socket::pair().map_err(text)?;
    Ok((Link::over(segment.clone(), &places()?, ours).map_err(text)?, theirs))
}

/// A worker's loop.
pub struct Loop(Worker);

impl std::fmt::Debug for Loop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loop")
    }
}

impl Loop {
    /// Becomes a worker of the parent that made this segment.
    ///
    /// # Errors
    ///
    /// What is wrong with the memory.
    pub fn attach(segment: &'static Segment) -> Said<Loop> {
        let bell = Segment::anonymous(4096).map_err(text)?;
        let status = protocol::status(segment);
        Ok(Loop(Worker::attach(segment, status, &bell, &places()?)?))
    }

    /// Says hello, takes the request, runs it, answers: what is stepped.
    ///
    /// # Errors
    ///
    /// What ends a worker.
    pub fn run(&mut self) -> Said<()> {
        // Whether the builds are the same is the parent's to say here.
        let _ = self.0.greet()?;
        self.0.serve().map(|_| ())
    }
}
