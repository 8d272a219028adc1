//! The book-keeping of a pool that has a thread of this process instead of workers, and of one that
//! has as many workers as there are tokens.

use super::job::Job;
use super::outcome::outcome;
use super::{Call, State};
use crate::budget::Tokens;
use crate::nested::{Given, Nested, head};

impl State {
    /// The state of a pool that may have as many workers as these suffice for, if they are some: a
    /// thread of this process where they are too few.
    pub fn paid_with(mut self, tokens: Option<Tokens>) -> State {
        self.nested = tokens.as_ref().is_some_and(|t| t.workers() == 0).then(Nested::default);
        self.tokens = tokens;
        self
    }

    /// The pool's processes are gone.
    pub fn give_tokens_back(&mut self) {
        self.tokens = None;
    }

    /// How many workers there may be, of so many.
    pub(super) fn afford(&mut self, workers: usize) -> usize {
        if self.nested.is_some() {
            return 0;
        }
        match &mut self.tokens {
            Some(tokens) => {
                tokens.grow_to(workers);
                workers.min(tokens.workers())
            }
            None => workers,
        }
    }

    pub fn nested_is_ready(&mut self) {
        if let Some(nested) = &mut self.nested {
            nested.ready = true;
        }
    }

    /// Whether a nested pool has what it needs, and is not at work; so is any other.
    pub(super) fn nested_is(&self, what: fn(&Nested) -> bool) -> bool {
        self.nested.as_ref().is_none_or(what)
    }

    /// The next job for the pool's own thread.
    pub fn take_nested(&mut self) -> Option<Job> {
        let job = self.queue.pop_front()?;
        if let Some(nested) = &mut self.nested {
            nested.running += 1;
        }
        Some(job)
    }

    /// That job is done.
    pub fn give_nested(&mut self, job: Job, given: Vec<Given>, nanos: u64) {
        if let Some(nested) = &mut self.nested {
            nested.running -= 1;
        }
        let name = job.task.name;
        job.count(&head(job.items, nanos), self.counts.of(name));
        let mut number = 0;
        for given in given {
            match given {
                Given::Records(count, mut answer) => {
                    answer.head.nanos = nanos / u64::from(job.items.max(1)) * u64::from(count);
                    job.deliver_records(number, count, *answer);
                    number += count;
                }
                Given::One(answer) => {
                    let outcome = outcome(name, *answer);
                    self.counts.of(name).failed += u64::from(outcome.is_err());
                    number += 1;
                    if number == job.items {
                        return job.finish(outcome, &mut self.notices);
                    }
                    job.deliver(number - 1, outcome, &mut self.notices);
                }
            }
        }
    }

    /// The exit hook, once; none after a pool was terminated.
    pub fn take_exit_hook(&mut self) -> Option<Call> {
        self.rules.exit_hook.take()
    }
}
