//! Which task is where: the pool's book-keeping, under one lock.
//!
//! A task is in the queue, or with one worker (`held`, in the order in which the worker will run
//! them), or done. Workers answer in order, so an answer always belongs to the first held task.
//!
//! | worker killed | found by | task |
//! |---|---|---|
//! | before it read the task | `started` = answers | runs elsewhere: it never began |
//! | between start and the whole answer | `started` > answers | policy: pure tasks run again |
//! | after the answer was written | the answer is in the pipe | its result is delivered |
//! | half-way through writing the answer | the cut answer never becomes whole | as "between" |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::{self, Arrived, Encoded};
use crate::error::{Death, TaskError};
use crate::link::{Answer, Link};
use crate::protocol::{self, HELLO};
use crate::slot::{Notice, Outcome, Slot};
use crate::task::TaskId;
use crate::worker::PanicReport;

/// A task that is not done.
#[derive(Debug)]
pub(crate) struct Job {
    pub name: &'static str,
    pub id: TaskId,
    pub pure: bool,
    pub input: Arc<Encoded>,
    pub slot: Arc<Slot>,
    /// How often it was started and lost.
    pub attempts: u32,
}

impl Job {
    fn fail(self, notices: &mut Vec<Notice>, error: impl FnOnce(&'static str) -> TaskError) {
        let error = error(self.name);
        self.finish(Err(error), notices);
    }

    /// Lets go of the input first: whoever gets the outcome may want to freeze its memory.
    fn finish(self, outcome: Outcome, notices: &mut Vec<Notice>) {
        let Job { slot, input, .. } = self;
        drop(input);
        slot.set(outcome, notices);
    }
}

/// A worker as the parent sees it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub link: Link,
    /// Tasks it has, with their tickets, oldest first.
    held: VecDeque<(u64, Job)>,
    /// Tasks it has answered.
    answered: u64,
    /// Whether it said that it is ready.
    ready: bool,
    /// Whether it said something that makes no sense; nothing more is read from it.
    broken: bool,
    /// When the task that it answers next was first, as far as we know.
    since: Instant,
}

/// What the parent should do to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// It said something that makes no sense, or was built from other sources.
    Broken,
}

/// Everything under the pool's lock.
#[derive(Debug)]
pub(crate) struct State {
    queue: VecDeque<Job>,
    /// By worker number; `None` while that worker is being started again.
    workers: Vec<Option<Worker>>,
    fingerprint: u64,
    max_attempts: u32,
    next_ticket: u64,
    /// Smoothed time a task takes; decides how many a worker holds in advance.
    task_time: Duration,
    /// Workers that died before they were ready, without one that was in between.
    failed_starts: u32,
    /// Those of them that somebody killed: no fault of theirs, up to a point.
    killed_starts: u32,
    /// Why no more tasks will run.
    ended: Option<String>,
    /// Bytes moved by workers that are gone.
    bytes_moved: u64,
    /// What is to be done once the lock is released.
    pub notices: Vec<Notice>,
}

/// Tasks shorter than this are worth sending before the worker asks.
const SHORT: Duration = Duration::from_micros(500);
/// How many short tasks a worker holds.
const AHEAD: usize = 32;
/// Workers in a row that may end by themselves before they are ready.
const FAILED_STARTS: u32 = 3;
/// Workers in a row that may be killed (SIGKILL) before they are ready.
const KILLED_STARTS: u32 = 100;

impl State {
    pub fn new(workers: usize, fingerprint: u64, max_attempts: u32) -> State {
        State {
            queue: VecDeque::new(),
            workers: (0..workers).map(|_| None).collect(),
            fingerprint,
            max_attempts,
            next_ticket: 0,
            // Until something is known, a worker gets one task at a time.
            task_time: Duration::from_secs(1),
            failed_starts: 0,
            killed_starts: 0,
            ended: None,
            bytes_moved: 0,
            notices: Vec::new(),
        }
    }

    /// Takes a task in; it may be on its way to a worker at once.
    pub fn submit(&mut self, job: Job) {
        match &self.ended {
            None => {
                self.queue.push_back(job);
                self.feed();
            }
            Some(reason) => {
                let reason = reason.clone();
                job.fail(&mut self.notices, |task| TaskError::PoolEnded { task, reason });
            }
        }
    }

    /// Tasks that are not done.
    pub fn pending(&self) -> usize {
        self.queue.len() + self.workers.iter().flatten().map(|w| w.held.len()).sum::<usize>()
    }

    /// Bytes that went through the queues to and from workers.
    pub fn bytes_moved(&self) -> u64 {
        let living: u64 = self.workers.iter().flatten().map(|w| w.link.bytes_moved()).sum();
        self.bytes_moved + living
    }

    /// A new process has the place of worker `number`.
    pub fn worker_started(&mut self, number: usize, mut link: Link) {
        if self.ended.is_some() {
            link.close();
        }
        self.workers[number] = Some(Worker {
            link,
            held: VecDeque::new(),
            answered: 0,
            ready: false,
            broken: false,
            since: Instant::now(),
        });
        self.feed();
    }

    /// Takes answers, hands out tasks. `broken` gets the numbers of workers to be killed.
    pub fn pump(&mut self, broken: &mut Vec<usize>) -> bool {
        let mut progress = false;
        for number in 0..self.workers.len() {
            let Some(worker) = self.workers[number].as_mut() else { continue };
            let (answers, verdict) = worker.take_answers(self.fingerprint, &mut self.notices);
            if verdict == Verdict::Broken && !std::mem::replace(&mut worker.broken, true) {
                broken.push(number);
            }
            self.note_answers(&answers);
            progress |= !answers.is_empty();
        }
        self.feed();
        progress
    }

    fn note_answers(&mut self, answers: &Answers) {
        if answers.ready {
            self.failed_starts = 0;
            self.killed_starts = 0;
        }
        if answers.tasks > 0 {
            let each = answers.took / answers.tasks;
            self.task_time = (self.task_time * 3 + each) / 4;
        }
    }

    /// Hands tasks from the queue to the workers that hold the fewest.
    fn feed(&mut self) {
        let depth = if self.task_time < SHORT { AHEAD } else { 1 };
        loop {
            let free = self
                .workers
                .iter_mut()
                .flatten()
                .filter(|worker| worker.held.len() < depth)
                .min_by_key(|worker| worker.held.len());
            let Some(worker) = free else { break };
            let Some(job) = self.queue.pop_front() else { break };
            worker.hold(job, self.next_ticket);
            self.next_ticket += 1;
        }
        for worker in self.workers.iter_mut().flatten() {
            worker.link.flush();
        }
    }

    /// Worker `number` is proven dead: its answers are taken, its tasks go elsewhere or fail.
    /// Whether another process should take its place.
    pub fn worker_died(&mut self, number: usize, death: Death) -> bool {
        let Some(mut worker) = self.workers[number].take() else { return false };
        let (answers, _) = worker.take_answers(self.fingerprint, &mut self.notices);
        self.note_answers(&answers);
        self.bytes_moved += worker.link.bytes_moved();
        match death {
            _ if worker.ready => {}
            Death::Signal(9) if !worker.broken => self.killed_starts += 1,
            _ => self.failed_starts += 1,
        }
        let running = worker.link.started() > worker.answered;
        if running && let Some((_, job)) = worker.held.pop_front() {
            self.lost(job, death);
        }
        // The rest never began. It goes back to the front, in order.
        while let Some((_, job)) = worker.held.pop_back() {
            self.queue.push_front(job);
        }
        if self.failed_starts >= FAILED_STARTS || self.killed_starts >= KILLED_STARTS {
            self.end(format!("workers die before they are ready: the last one {death}"));
        }
        if let Some(reason) = self.ended.clone() {
            self.fail_queue(&reason);
        }
        self.feed();
        self.ended.is_none()
    }

    /// What becomes of a task whose worker died while it ran.
    fn lost(&mut self, mut job: Job, death: Death) {
        job.attempts += 1;
        let attempts = job.attempts;
        if job.pure && attempts < self.max_attempts && self.ended.is_none() {
            for file in &job.input.files {
                // SAFETY: the input went to this worker alone, which is proven dead: its pidfd was
                // readable. Its answer did not arrive whole, so nothing in it is redeemed.
                unsafe { file.recall() };
            }
            self.queue.push_front(job);
        } else {
            job.fail(&mut self.notices, |task| TaskError::WorkerDied { task, death, attempts });
        }
    }

    /// No more tasks are run: what waits fails, workers end when they have answered.
    pub fn end(&mut self, reason: String) {
        self.fail_queue(&reason);
        self.ended.get_or_insert(reason);
        for worker in self.workers.iter_mut().flatten() {
            worker.link.close();
        }
    }

    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    fn fail_queue(&mut self, reason: &str) {
        for job in self.queue.drain(..) {
            let reason = reason.to_owned();
            job.fail(&mut self.notices, |task| TaskError::PoolEnded { task, reason });
        }
    }
}

/// What came of looking at a worker's answers.
#[derive(Debug, Default)]
struct Answers {
    tasks: u32,
    took: Duration,
    ready: bool,
}

impl Answers {
    fn is_empty(&self) -> bool {
        self.tasks == 0 && !self.ready
    }
}

impl Worker {
    fn hold(&mut self, job: Job, ticket: u64) {
        if self.held.is_empty() {
            self.since = Instant::now();
        }
        self.link.enqueue(ticket, job.id, Arc::clone(&job.input));
        self.held.push_back((ticket, job));
    }

    fn take_answers(&mut self, fingerprint: u64, notices: &mut Vec<Notice>) -> (Answers, Verdict) {
        let mut answers = Answers::default();
        if self.broken {
            return (answers, Verdict::Broken);
        }
        loop {
            match self.link.poll() {
                Ok(Some(answer)) if answer.head.ticket == HELLO => {
                    if answer.body != fingerprint.to_ne_bytes() {
                        return (answers, Verdict::Broken);
                    }
                    self.ready = true;
                    answers.ready = true;
                }
                Ok(Some(answer)) => {
                    // Looked at first: a task whose answer makes no sense stays held.
                    let next = self.held.front().map(|(ticket, _)| *ticket);
                    if next != Some(answer.head.ticket) {
                        return (answers, Verdict::Broken);
                    }
                    let Some((_, job)) = self.held.pop_front() else { break };
                    self.answered += 1;
                    answers.tasks += 1;
                    let outcome = outcome(job.name, answer);
                    job.finish(outcome, notices);
                }
                Ok(None) => break,
                Err(_nonsense) => return (answers, Verdict::Broken),
            }
        }
        if answers.tasks > 0 {
            let now = Instant::now();
            answers.took = now - self.since;
            self.since = now;
        }
        (answers, Verdict::Fine)
    }
}

/// An answer as a result or the error it reports.
fn outcome(task: &'static str, answer: Answer) -> Outcome {
    let text = |answer: &Answer| String::from_utf8_lossy(&answer.body).into_owned();
    match answer.head.outcome {
        protocol::Outcome::Done => Ok(answer),
        protocol::Outcome::Panicked => {
            let report = codec::decode(&answer.body, &mut Arrived { rest: &[] });
            let PanicReport { message, location } = report.unwrap_or_else(|reason| PanicReport {
                message: reason,
                location: "unknown".to_owned(),
            });
            Err(TaskError::Panicked { task, message, location })
        }
        protocol::Outcome::BadInput => {
            Err(TaskError::Decode { task, reason: format!("its input: {}", text(&answer)) })
        }
        protocol::Outcome::BadOutput => {
            Err(TaskError::Decode { task, reason: format!("its result: {}", text(&answer)) })
        }
        protocol::Outcome::Unknown => Err(TaskError::Unknown { task }),
    }
}
