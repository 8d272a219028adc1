//! For the kill rows: a worker's loop, and what its parent makes of the memory that it leaves when
//! it dies, without processes. The code is that of a pool; only who starts and buries is left out.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ipc_queue::{Monitor, Side, pipe};
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
    /// From which item on the parent takes them back before the worker looks.
    pub revoked: Option<u64>,
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
        connect(segment)?;
        Dispatch::begin(self, segment)?.run();
        Ok(())
    }

    /// As [`prepare`](Work::prepare), up to where the request is about to be sent.
    ///
    /// # Errors
    ///
    /// What is wrong with the memory.
    pub fn dispatch(&self, segment: &Segment) -> Said<Dispatch> {
        connect(segment)?;
        Dispatch::begin(self, segment)
    }

    /// The parent is dead, wherever it was in its dispatch: its worker runs what was wholly sent and
    /// not revoked, and then ends.
    ///
    /// # Errors
    ///
    /// What is wrong with the memory, or the worker.
    pub fn outlive(&self, segment: &'static Segment) -> Said<()> {
        let mut worker = Loop::attach(segment)?;
        let monitor = Monitor::attach(segment, places()?.requests).map_err(text)?;
        match monitor.holder(Side::Producer) {
            Some(parent) => monitor.disconnect(parent).map_err(text)?,
            // It died after it had left the pipe.
            None => monitor.close(),
        }
        while let Ok(true) = worker.0.serve() {}
        Ok(())
    }

    fn state(&self) -> Said<State> {
        let rules = Rules {
            build: crate::build::own(&Registry::collect().map_err(text)?),
            attempts: self.attempts,
            quarantine: None,
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
        if let Some(from) = self.revoked {
            state.take_back(0, from);
        }
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

/// A parent that is about to send its request to a worker: what is stepped of its side.
#[derive(Debug)]
pub struct Dispatch {
    state: State,
    job: Job,
    revoked: Option<u64>,
    _socket: OwnedFd,
}

impl Dispatch {
    fn begin<T: Task>(work: &Work<T>, segment: &Segment) -> Said<Dispatch> {
        let (mut state, job) = (work.state()?, work.job(&Arc::default())?);
        // As the pool does it; nobody answers, so its link stays as it is.
        let (link, socket) = link(segment)?;
        state.worker_started(0, 1, link);
        Ok(Dispatch { state, job, revoked: work.revoked, _socket: socket })
    }

    /// Sends it, and takes back what is to be taken back.
    pub fn run(self) {
        let Dispatch { mut state, job, revoked, _socket } = self;
        state.submit(job);
        if let Some(from) = revoked {
            state.take_back(0, from);
        }
        state.leave();
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

fn link(segment: &Segment) -> Said<(Link, OwnedFd)> {
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
