//! One worker as the parent sees it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held::{Held, unstarted};
use super::job::Job;
use super::outcome::outcome;
use super::rules::Rules;
#[cfg(feature = "tracing")]
use crate::events::Event;
use crate::link::{Answer, Link};
use crate::protocol::{FINISH, FIRST_SPECIAL, HELLO, INITIALIZE, Outcome, Request};
use crate::slot::Notice;
use crate::stats::Counts;

/// A worker, its queue, and how it stands.
#[derive(Debug)]
pub(crate) struct Member {
    pub link: Link,
    /// Requests it has and has not answered, oldest first.
    pub held: VecDeque<Held>,
    /// Items sent to it.
    pub sent: u64,
    /// Items that it answered or declined.
    pub answered: u64,
    /// Whether it said that it is ready, and its initializer has run.
    pub ready: bool,
    /// Whether it is given tasks before that: there is no initializer.
    pub early: bool,
    /// Whether it said something that makes no sense; nothing more is read from it.
    pub broken: bool,
    /// Whether it is given nothing more: it is to be killed, or ends when it has answered.
    pub leaving: bool,
    /// When the request that it answers next was first, as far as we know.
    pub since: Instant,
    /// When it was started.
    pub born: Instant,
    /// Items that it declined.
    pub declined: u64,
    /// What its initializer said when it failed.
    pub complaint: Option<String>,
    /// In what it is another program than this process.
    pub difference: Option<String>,
}

/// What the parent should do to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// It said something that makes no sense, was built from other sources, or its initializer
    /// failed.
    Broken,
}

/// What came of looking at a worker's answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub requests: u32,
    pub took: Duration,
    pub ready: bool,
    /// What the worker declined though nobody meant it to.
    pub back: Vec<Job>,
}

impl Answers {
    pub fn is_empty(&self) -> bool {
        self.requests == 0 && !self.ready
    }
}

impl Member {
    pub fn new(link: Link, early: bool) -> Member {
        Member {
            link,
            held: VecDeque::new(),
            sent: 0,
            answered: 0,
            ready: false,
            early,
            broken: false,
            leaving: false,
            since: Instant::now(),
            born: Instant::now(),
            declined: 0,
            complaint: None,
            difference: None,
        }
    }

    /// Whether anything is still to come from this worker.
    pub fn has_pending(&self) -> bool {
        self.held.iter().any(|held| held.live() > 0)
    }

    /// Whether more than one item is still to come from it.
    pub fn has_several(&self) -> bool {
        self.held.iter().map(|held| held.live()).sum::<u32>() > 1
    }

    /// Whether it can be given more.
    pub fn takes_work(&self) -> bool {
        !self.leaving && !self.broken && (self.ready || self.early)
    }

    /// Puts a job on its way.
    pub fn hold(&mut self, job: Job, ticket: u64) {
        if self.held.is_empty() {
            self.since = Instant::now();
        }
        let request = Request {
            ticket,
            task: job.task.id.0,
            bytes: job.input.bytes.len() as u64,
            blobs: job.input.blob_len(),
            items: if job.chunk { job.items } else { 0 },
            timed: job.timing(),
            memory: job.options.memory.map_or(0, |bytes| bytes.get()),
        };
        self.link.enqueue(&request, Arc::clone(&job.input));
        let first = self.sent;
        self.sent += u64::from(job.items);
        self.held.push_back(Held { ticket, job, first, done: 0, revoked: 0 });
    }

    /// Takes back what it has not started, from its item `from` on. Exact: what is given back was
    /// not started and never will be.
    pub fn revoke(&mut self, from: u64) -> Vec<Job> {
        let Some(last) = self.held.back() else { return Vec::new() };
        if from >= last.end() {
            return Vec::new();
        }
        let certain = self.link.revoke(from..last.end(), self.answered);
        let from = certain.max(self.answered);
        self.held.iter_mut().filter_map(|held| held.revoke(from)).collect()
    }

    /// Items that it has not started, as far as can be seen from here.
    pub fn unstarted(&self) -> u64 {
        unstarted(&self.held, self.link.started().max(self.answered))
    }

    /// Takes what it answered.
    pub fn take_answers(
        &mut self,
        rules: &Rules,
        counts: &mut Counts,
        notices: &mut Vec<Notice>,
    ) -> (Answers, Verdict) {
        let mut answers = Answers::default();
        let verdict = loop {
            if self.broken {
                return (answers, Verdict::Broken);
            }
            match self.link.poll() {
                Ok(Some(answer)) if answer.head.ticket >= FIRST_SPECIAL => {
                    if !self.take_special(answer, rules, &mut answers) {
                        break Verdict::Broken;
                    }
                    if answers.ready {
                        counts.starts.add(self.born.elapsed(), 1);
                    }
                }
                Ok(Some(answer)) => {
                    if self.take_answer(answer, &mut answers, counts, notices).is_none() {
                        break Verdict::Broken;
                    }
                }
                Ok(None) => break Verdict::Fine,
                Err(_nonsense) => break Verdict::Broken,
            }
        };
        if answers.requests > 0 {
            let now = Instant::now();
            answers.took = now - self.since;
            self.since = now;
        }
        (answers, verdict)
    }

    /// An answer to no task; whether it is as it should be.
    fn take_special(&mut self, answer: Answer, rules: &Rules, answers: &mut Answers) -> bool {
        match answer.head.ticket {
            HELLO if answer.body != rules.build => {
                self.difference = crate::build::difference(&rules.build, &answer.body);
                return false;
            }
            HELLO if rules.initializer.is_some() => return true,
            HELLO => {}
            INITIALIZE => {
                if let Err(complaint) = rules.initializer_result(answer) {
                    self.complaint = Some(complaint);
                    return false;
                }
            }
            // Whatever became of the exit hook, the worker ends.
            FINISH => return true,
            _ => return false,
        }
        self.ready = true;
        answers.ready = true;
        true
    }

    /// An answer to the first request; `None` when it makes no sense, in which case what it was
    /// to answer stays held.
    fn take_answer(
        &mut self,
        answer: Answer,
        answers: &mut Answers,
        counts: &mut Counts,
        notices: &mut Vec<Notice>,
    ) -> Option<()> {
        let held = self.held.front_mut().filter(|held| held.ticket == answer.head.ticket)?;
        let count = answer.head.count;
        let left = held.job.items - held.done;
        if count == 0 || count > left {
            return None;
        }
        let declined = answer.head.outcome == Outcome::Declined;
        let fits = if declined { count == left && count >= held.revoked } else { true };
        let fits = fits && (declined || count <= held.live());
        let records = answer.head.outcome == Outcome::Records;
        if !fits || (!records && !declined && count != 1) || (records && !held.job.chunk) {
            return None;
        }
        let number = held.done;
        self.answered += u64::from(count);
        held.done += count;
        if declined {
            self.declined += u64::from(count);
        } else {
            counts.suspects.clear(&held.job, number, count);
            held.job.count(&answer.head, counts.of(held.job.task.name));
            #[cfg(feature = "tracing")]
            {
                let (task, nanos) = (held.job.task.name, answer.head.nanos);
                Event::Answered { task, items: count, nanos }.note(notices);
            }
        }
        let over = held.is_over();
        if declined {
            let (start, end) = (number, held.job.items - held.revoked);
            if start < end {
                answers.back.push(held.job.part(start, end));
            }
        } else if records {
            held.job.deliver_records(number, count, answer);
        } else if over {
            let held = self.held.pop_front()?;
            let outcome = outcome(held.job.task.name, answer);
            held.job.finish(outcome, notices);
            answers.requests += 1;
            return Some(());
        } else {
            held.job.deliver(number, outcome(held.job.task.name, answer), notices);
        }
        if over {
            self.held.pop_front();
            answers.requests += 1;
        }
        Some(())
    }
}
