//! Which task is where: the pool's book-keeping, under one lock.
//!
//! A task is in the queue, or with one worker (`held`, in the order in which the worker will run
//! them), or done. Workers answer in order, so an answer always belongs to the first request held.
//!
//! | worker killed | found by | task |
//! |---|---|---|
//! | before it began the task | `started` = answers | runs elsewhere: it never began |
//! | between start and the whole answer | `started` > answers | policy: pure tasks run again |
//! | in a chunk, after the item was done | its result lies in the area, `finished` counts it | its result is delivered |
//! | after the answer was written | the answer is in the pipe | its result is delivered |
//! | half-way through writing the answer | the cut answer never becomes whole | as "between" |
//!
//! What a worker has not begun can be taken back ([`Member::revoke`]): to cancel it, to give it to
//! an idle worker ([`balance`]), to let the worker go.

mod balance;
mod dead;
mod doom;
mod held;
mod job;
mod member;
mod nested;
mod outcome;
mod rules;
mod suspects;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Intent;
use crate::budget::Tokens;
use crate::death::DeathNotice;
use crate::error::{PoolError, TaskError};
#[cfg(feature = "tracing")]
use crate::events::Event;
use crate::link::Link;
use crate::nested::Nested;
use crate::protocol::{FINISH, INITIALIZE};
use crate::slot::Notice;
use crate::stats::{Counts, PoolStats, WorkerStats};
use crate::task::TaskId;

pub(crate) use job::{Job, Named, Sink};
use member::{Answers, Member, Verdict};
pub(crate) use outcome::error as error_of;
pub(crate) use rules::{Call, Rules};
pub(crate) use suspects::Suspects;

/// Everything under the pool's lock.
#[derive(Debug)]
pub(crate) struct State {
    queue: VecDeque<Job>,
    /// Lost tasks that wait for their time to run again.
    delayed: Vec<(Instant, Job)>,
    /// By worker number.
    seats: Vec<Seat>,
    /// Seats beyond these are given up.
    target: usize,
    rules: Rules,
    next_ticket: u64,
    /// Smoothed time a request takes; decides how many a worker holds in advance.
    request_time: Duration,
    /// Workers that died before they were ready, without one that was in between.
    failed_starts: u32,
    /// Those of them that somebody killed: no fault of theirs, up to a point.
    killed_starts: u32,
    /// What the last initializer that failed said.
    complaint: Option<String>,
    /// Why no more tasks will run.
    ended: Option<Ended>,
    counts: Counts,
    /// What an item of a task took in the last stream that measured it.
    item_nanos: BTreeMap<TaskId, f64>,
    /// Bytes moved by workers that are gone.
    bytes_moved: u64,
    /// Bytes lent to and by workers that are gone.
    bytes_spared: u64,
    /// How many workers died, by what they were doing.
    pub deaths: BTreeMap<Intent, u64>,
    /// Whether any task ever had a limit of time: only then are clocks looked at.
    timed: bool,
    /// When an idle worker may be given what another one has.
    balance_at: Option<Instant>,
    /// Of a pool that has a thread instead of workers.
    nested: Option<Nested>,
    /// For each worker of a pool inside of a worker.
    tokens: Option<Tokens>,
    /// Signals for workers.
    signals: Vec<(usize, Signal)>,
    /// Whether the keeper has something new to do.
    pub wants_keeper: bool,
    /// What is to be done once the lock is released.
    pub notices: Vec<Notice>,
}

/// The place of a worker.
#[derive(Debug, Default)]
struct Seat {
    /// `None` while it is being started again.
    member: Option<Member>,
    /// Jobs for this one alone.
    inbox: VecDeque<Job>,
    pid: u32,
    /// How the worker ended, if none takes its place.
    gone: Option<Arc<DeathNotice>>,
}

/// Why a pool ended.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// Somebody ended it.
    Asked(String),
    /// It cannot have workers.
    NoWorkers(String),
    /// Its initializer fails.
    Initializer(String),
    /// Its workers are another program than this process.
    Differs(String),
}

impl Ended {
    pub fn reason(&self) -> &str {
        match self {
            Ended::Asked(reason) | Ended::NoWorkers(reason) => reason,
            Ended::Initializer(reason) | Ended::Differs(reason) => reason,
        }
    }

    /// What is wrong with the pool, if it was not ended on purpose.
    pub fn error(&self) -> Option<PoolError> {
        match self {
            Ended::Asked(_) => None,
            Ended::NoWorkers(reason) => {
                Some(PoolError::WorkersDoNotStart { reason: reason.clone() })
            }
            Ended::Initializer(reason) => {
                Some(PoolError::InitializerFailed { reason: reason.clone() })
            }
            Ended::Differs(reason) => Some(PoolError::WorkerDiffers { reason: reason.clone() }),
        }
    }
}

/// Requests shorter than this are worth sending before the worker asks.
const SHORT: Duration = Duration::from_micros(500);
/// How many short requests a worker holds at most.
const AHEAD: usize = 32;

impl State {
    pub fn new(workers: usize, rules: Rules) -> State {
        State {
            queue: VecDeque::new(),
            delayed: Vec::new(),
            seats: (0..workers).map(|_| Seat::default()).collect(),
            target: workers,
            rules,
            next_ticket: 0,
            // Until something is known, a worker gets one task at a time.
            request_time: Duration::from_secs(1),
            failed_starts: 0,
            killed_starts: 0,
            complaint: None,
            ended: None,
            counts: Counts::default(),
            item_nanos: BTreeMap::new(),
            bytes_moved: 0,
            bytes_spared: 0,
            deaths: BTreeMap::new(),
            timed: false,
            balance_at: None,
            nested: None,
            tokens: None,
            signals: Vec::new(),
            wants_keeper: false,
            notices: Vec::new(),
        }
    }

    /// Takes a job in; it may be on its way to a worker at once.
    pub fn submit(&mut self, job: Job) {
        if self.refuses() {
            return self.refuse(job).into_iter().for_each(|job| self.take_in(job));
        }
        self.take_in(job);
    }

    fn take_in(&mut self, mut job: Job) {
        if let Some(ended) = &self.ended {
            let reason = ended.reason().to_owned();
            self.count_failed(&job);
            return job.fail(&mut self.notices, |task| TaskError::PoolEnded { task, reason });
        }
        if job.is_timed() {
            self.timed = true;
            self.wants_keeper = true;
        }
        if self.rules.timings {
            job.measured = true;
            job.submitted = (!job.chunk).then(Instant::now);
        }
        match job.pin {
            None => self.queue.push_back(job),
            Some(number) => match self.seats.get_mut(number) {
                Some(Seat { gone: Some(notice), .. }) => {
                    let notice = Arc::clone(notice);
                    dead::fail_lost(job, &notice, &mut self.notices);
                }
                Some(seat) => seat.inbox.push_back(job),
                // Only a number that this pool gave out is ever pinned.
                None => self.queue.push_back(job),
            },
        }
        self.feed();
    }

    /// Whether every task is done.
    pub fn is_idle(&self) -> bool {
        let busy = |seat: &Seat| {
            !seat.inbox.is_empty() || seat.member.as_ref().is_some_and(Member::has_pending)
        };
        let idle = self.nested_is(|nested| nested.running == 0);
        idle && self.queue.is_empty() && self.delayed.is_empty() && !self.seats.iter().any(busy)
    }

    /// How many workers have something to do.
    pub fn busy(&self) -> usize {
        self.members().filter(|member| !member.held.is_empty()).count()
    }

    /// A task fails that no worker answers.
    fn count_failed(&mut self, job: &Job) {
        let counts = self.counts.of(job.task.name);
        counts.done += u64::from(job.items);
        counts.failed += u64::from(job.items);
        #[cfg(feature = "tracing")]
        Event::Failed { task: job.task.name, items: job.items }.note(&mut self.notices);
    }

    /// Items that failed inside a chunk, which only their reader sees.
    pub fn count_failed_item(&mut self, name: &'static str) {
        self.counts.of(name).failed += 1;
    }

    /// What was done, and what stands where; workers' memory is not looked at.
    pub fn stats(&self) -> PoolStats {
        let items = |job: &Job| u64::from(job.items);
        let inboxes = self.seats.iter().flat_map(|seat| seat.inbox.iter());
        let waiting = self.queue.iter().chain(self.delayed.iter().map(|(_, job)| job));
        let live = |member: &Member| member.held.iter().map(|held| u64::from(held.live())).sum();
        let worker = |(number, seat): (usize, &Seat)| {
            let member = seat.member.as_ref()?;
            Some(WorkerStats {
                number,
                pid: seat.pid,
                ready: member.ready,
                done: member.answered.saturating_sub(member.declined),
                under_way: live(member),
                resident: 0,
                private: 0,
            })
        };
        PoolStats {
            queued: waiting.chain(inboxes).map(items).sum(),
            under_way: self.members().map(live).sum(),
            bytes_moved: self.bytes_moved(),
            bytes_spared: self.bytes_spared(),
            workers: self.seats.iter().enumerate().filter_map(worker).collect(),
            ..self.counts.snapshot()
        }
    }

    /// Bytes that went through the queues to and from workers.
    pub fn bytes_moved(&self) -> u64 {
        self.bytes_moved + self.members().map(|member| member.link.bytes_moved()).sum::<u64>()
    }

    /// Bytes that were lent to workers and by them, by handle.
    fn bytes_spared(&self) -> u64 {
        self.bytes_spared + self.members().map(|member| member.link.bytes_spared()).sum::<u64>()
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.seats.iter().filter_map(|seat| seat.member.as_ref())
    }

    /// What an item of this task took, as the last stream measured it.
    pub fn item_nanos(&self, task: TaskId) -> Option<f64> {
        self.item_nanos.get(&task).copied()
    }

    /// An item of this task takes so long.
    pub fn remember(&mut self, task: TaskId, nanos: f64) {
        self.item_nanos.insert(task, nanos);
    }

    /// How many workers there should be.
    pub fn target(&self) -> usize {
        self.target
    }

    pub fn pids(&self) -> Vec<u32> {
        self.seats.iter().map(|seat| seat.pid).filter(|&pid| pid != 0).collect()
    }

    /// Whether every worker that there should be is ready.
    pub fn all_ready(&self) -> bool {
        let ready = |seat: &Seat| seat.member.as_ref().is_some_and(|member| member.ready);
        self.nested_is(|nested| nested.ready) && self.seats.iter().take(self.target).all(ready)
    }

    /// A new process has the place of worker `number`.
    pub fn worker_started(&mut self, number: usize, pid: u32, link: Link) {
        let mut member = Member::new(link, self.rules.initializer.is_none());
        if let Some(call) = &self.rules.initializer {
            member.link.enqueue(&call.request(INITIALIZE), Arc::clone(&call.input));
        }
        self.counts.started += 1;
        #[cfg(feature = "tracing")]
        Event::Started { worker: number, pid }.note(&mut self.notices);
        self.seats[number].pid = pid;
        self.seats[number].gone = None;
        let member = self.seats[number].member.insert(member);
        if self.ended.is_some() || number >= self.target {
            member.leaving = true;
            member.link.close_when_sent();
        }
        self.feed();
    }

    /// Takes answers, hands out tasks.
    pub fn pump(&mut self) -> bool {
        let mut progress = false;
        for number in 0..self.seats.len() {
            let Some(member) = self.seats[number].member.as_mut() else { continue };
            let (answers, verdict) =
                member.take_answers(&self.rules, &mut self.counts, &mut self.notices);
            if verdict == Verdict::Broken && !std::mem::replace(&mut member.broken, true) {
                let difference = member.difference.take();
                self.kill(number);
                self.end_by_difference(difference);
            }
            progress |= !answers.is_empty() || !answers.back.is_empty();
            self.note(answers);
            self.recycle(number);
        }
        self.feed();
        progress
    }

    /// Ends the pool when a worker is another program: no other worker would be another one.
    fn end_by_difference(&mut self, difference: Option<String>) {
        if let Some(why) = difference {
            self.end(Ended::Differs(format!("the worker cannot be used: {why}")));
        }
    }

    fn note(&mut self, answers: Answers) {
        if answers.ready {
            self.failed_starts = 0;
            self.killed_starts = 0;
        }
        if answers.requests > 0 {
            let each = answers.took / answers.requests;
            self.request_time = (self.request_time * 3 + each) / 4;
        }
        self.give_back(answers.back);
    }

    /// Puts jobs at the front again, in their order.
    fn give_back(&mut self, jobs: Vec<Job>) {
        for job in jobs.into_iter().rev() {
            match job.pin.and_then(|number| self.seats.get_mut(number)) {
                Some(seat) => seat.inbox.push_front(job),
                None => self.queue.push_front(job),
            }
        }
    }

    /// How many requests a worker may hold. Not a matter of degree: on a busy machine requests seem
    /// to take longer, and a worker that holds fewer would make that true.
    fn depth(&self) -> usize {
        if self.request_time < SHORT { AHEAD } else { 1 }
    }

    /// Hands tasks from the queue to the workers that hold the fewest.
    fn feed(&mut self) {
        let depth = self.depth();
        self.feed_inboxes(depth);
        while !self.queue.is_empty() {
            let limit = self.rules.recycle_after.unwrap_or(u64::MAX);
            let free = (self.seats.iter_mut())
                .filter_map(|seat| seat.member.as_mut())
                .filter(|m| m.takes_work() && m.held.len() < depth && m.sent < limit)
                .min_by_key(|member| member.held.len());
            let Some(member) = free else { break };
            let Some(job) = self.queue.pop_front() else { break };
            #[cfg(feature = "tracing")]
            Event::Given { task: job.task.name, items: job.items }.note(&mut self.notices);
            member.hold(job, self.next_ticket);
            self.next_ticket += 1;
        }
        if self.queue.is_empty() {
            self.balance();
        }
        for seat in &mut self.seats {
            if let Some(member) = &mut seat.member {
                member.link.flush();
            }
        }
    }

    fn feed_inboxes(&mut self, depth: usize) {
        for Seat { member, inbox, .. } in &mut self.seats {
            let Some(member) = member.as_mut().filter(|member| member.takes_work()) else {
                continue;
            };
            while member.held.len() < depth {
                let Some(job) = inbox.pop_front() else { break };
                #[cfg(feature = "tracing")]
                Event::Given { task: job.task.name, items: job.items }.note(&mut self.notices);
                member.hold(job, self.next_ticket);
                self.next_ticket += 1;
            }
        }
    }

    /// Replaces a worker that has run enough, or has grown too large.
    fn recycle(&mut self, number: usize) {
        let Some(member) = &self.seats[number].member else { return };
        let spent = self.rules.recycle_after.is_some_and(|limit| member.answered >= limit);
        if !member.leaving && member.ready && (spent || member.link.has_grown()) {
            self.dismiss(number);
        }
    }

    /// Lets a worker end once it has done what it began.
    fn dismiss(&mut self, number: usize) {
        let Some(member) = self.seats[number].member.as_mut() else { return };
        if std::mem::replace(&mut member.leaving, true) {
            return;
        }
        let freed = member.revoke(0);
        if let Some(call) = &self.rules.exit_hook {
            member.link.enqueue(&call.request(FINISH), Arc::clone(&call.input));
        }
        member.link.close_when_sent();
        self.give_back(freed);
    }

    /// From now on this many workers.
    pub fn resize(&mut self, workers: usize) {
        let workers = self.afford(workers);
        self.target = workers;
        while self.seats.len() < workers {
            self.seats.push(Seat::default());
        }
        for number in workers..self.seats.len() {
            self.dismiss(number);
        }
        self.wants_keeper = true;
        self.feed();
    }

    /// Forgets jobs of a stream that nobody reads any more, as far as no worker has them.
    pub fn abandon(&mut self, inbox: &Arc<crate::inbox::Inbox>) {
        self.queue.retain(|job| !job.is_of_stream(inbox));
        self.delayed.retain(|(_, job)| !job.is_of_stream(inbox));
    }

    /// Has the keeper kill this worker.
    pub fn kill(&mut self, number: usize) {
        self.signal(number, Signal::KILL);
    }

    /// Has the keeper send a signal to this worker.
    pub fn signal(&mut self, number: usize, signal: Signal) {
        self.signals.push((number, signal));
        self.wants_keeper = true;
    }

    pub fn take_signals(&mut self) -> Vec<(usize, Signal)> {
        std::mem::take(&mut self.signals)
    }

    /// Workers that are given nothing more, but do what they have, and then end.
    pub fn let_all_go(&mut self) {
        for seat in &mut self.seats {
            if let Some(member) = &mut seat.member {
                member.leaving = true;
                member.link.close_when_sent();
            }
        }
    }

    /// The process id of a worker, while it lives.
    pub fn pid_of(&self, number: usize) -> Option<u32> {
        self.seats.get(number).map(|seat| seat.pid).filter(|&pid| pid != 0)
    }

    /// How a worker ended that nobody follows.
    pub fn end_of(&self, number: usize) -> Option<&Arc<DeathNotice>> {
        self.seats.get(number)?.gone.as_ref()
    }

    /// No more tasks are run: what waits fails, workers end when they have answered.
    pub fn end(&mut self, ended: Ended) {
        self.fail_waiting(ended.reason());
        self.ended.get_or_insert(ended);
        for seat in &mut self.seats {
            let Some(member) = &mut seat.member else { continue };
            if std::mem::replace(&mut member.leaving, true) {
                continue;
            }
            if let Some(call) = &self.rules.exit_hook {
                member.link.enqueue(&call.request(FINISH), Arc::clone(&call.input));
            }
            member.link.close_when_sent();
        }
    }

    /// As [`end`](State::end), without exit hooks.
    pub fn terminate(&mut self, ended: Ended) {
        self.rules.exit_hook = None;
        self.end(ended);
    }

    /// Lets go of all workers without a word: others go on with their memory.
    pub fn leave(self) {
        self.seats.into_iter().filter_map(|seat| seat.member).for_each(|m| m.link.leave());
    }

    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Everything that no worker has fails.
    fn fail_waiting(&mut self, reason: &str) {
        let mut waiting: Vec<Job> = self.queue.drain(..).collect();
        waiting.extend(self.delayed.drain(..).map(|(_, job)| job));
        waiting.extend(self.seats.iter_mut().flat_map(|seat| seat.inbox.drain(..)));
        for job in waiting {
            self.count_failed(&job);
            let reason = reason.to_owned();
            job.fail(&mut self.notices, |task| TaskError::PoolEnded { task, reason });
        }
    }
}
