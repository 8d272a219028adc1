//! Tasks that are stopped: cancelled, or out of time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::State;
use super::held::Held;
use super::job::{Doom, Job};
use super::member::Member;
use crate::link;
use crate::slot::Slot;

impl State {
    /// Stops the task of this slot. Whether it was stopped: it will not give a result any more.
    pub fn cancel(&mut self, slot: &Arc<Slot>) -> bool {
        if let Some(job) = self.take_waiting(|job| job.is_of(slot)) {
            self.fail_doomed(job, Doom::Cancelled);
            return true;
        }
        let Some(number) = self.holder(|job| job.is_of(slot)) else { return false };
        self.stop_held(number, |job, _| job.is_of(slot).then_some(Doom::Cancelled))
    }

    fn fail_doomed(&mut self, mut job: Job, doom: Doom) {
        job.doom = Some(doom);
        self.count_failed(&job);
        job.fail(&mut self.notices, |task| doom.error(task));
    }

    /// Takes a job that no worker has out of where it waits.
    fn take_waiting(&mut self, is_it: impl Fn(&Job) -> bool) -> Option<Job> {
        if let Some(at) = self.queue.iter().position(&is_it) {
            return self.queue.remove(at);
        }
        if let Some(at) = self.delayed.iter().position(|(_, job)| is_it(job)) {
            return Some(self.delayed.swap_remove(at).1);
        }
        self.seats.iter_mut().find_map(|seat| {
            let at = seat.inbox.iter().position(&is_it)?;
            seat.inbox.remove(at)
        })
    }

    /// The worker that has this job and has not answered it.
    fn holder(&self, is_it: impl Fn(&Job) -> bool) -> Option<usize> {
        let has = |held: &Held| held.live() > 0 && is_it(&held.job);
        self.seats
            .iter()
            .position(|seat| seat.member.as_ref().is_some_and(|m| m.held.iter().any(has)))
    }

    /// Stops those jobs of a worker's that are doomed; `doom_of` is told whether the job runs and
    /// its time is over. What the worker has not begun is taken back, and what is not doomed of
    /// that runs elsewhere; if a doomed job is running, its worker is killed, which by then has
    /// nothing else. Whether a job was stopped.
    fn stop_held(&mut self, number: usize, doom_of: impl Fn(&Job, bool) -> Option<Doom>) -> bool {
        let Some(member) = self.seats[number].member.as_mut() else { return false };
        let freed = member.revoke(0);
        // After the revocation: nothing starts any more, so whoever runs now is the last to.
        let kill = stop_running(member, &doom_of);
        let stopped = kill | self.stop_freed(freed, &doom_of);
        if kill {
            self.kill(number);
        }
        self.feed();
        stopped
    }

    /// Fails those that are doomed of what was taken back; the others run elsewhere.
    fn stop_freed(
        &mut self,
        freed: Vec<Job>,
        doom_of: impl Fn(&Job, bool) -> Option<Doom>,
    ) -> bool {
        let before = freed.len();
        let mut innocent = Vec::new();
        for job in freed {
            match doom_of(&job, false) {
                Some(doom) => self.fail_doomed(job, doom),
                None => innocent.push(job),
            }
        }
        let stopped = innocent.len() < before;
        self.give_back(innocent);
        stopped
    }

    /// Looks at the clock: what is overdue is stopped, what was to run again now does.
    pub fn tick(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        self.delayed.retain(|(at, job)| {
            let is_due = *at <= now;
            if is_due {
                due.push(job.clone());
            }
            !is_due
        });
        self.queue.extend(due);
        if self.timed {
            self.stop_overdue(now);
        }
        self.feed();
    }

    fn stop_overdue(&mut self, now: Instant) {
        let late = |job: &Job| job.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(job) = self.take_waiting(late) {
            let doom = Doom::Deadline(job.options.deadline.unwrap_or_default());
            self.fail_doomed(job, doom);
        }
        for number in 0..self.seats.len() {
            let Some(member) = &self.seats[number].member else { continue };
            let overdue = |held: &Held| {
                held.job.doom.is_none()
                    && held.live() > 0
                    && (late(&held.job) || time_left(member, held) == Some(Duration::ZERO))
            };
            if !member.held.iter().any(overdue) {
                continue;
            }
            self.stop_held(number, |job, overtime| {
                if late(job) {
                    return job.options.deadline.map(Doom::Deadline);
                }
                job.options.time_limit.filter(|_| overtime).map(Doom::TimeLimit)
            });
        }
    }

    /// When [`tick`](State::tick) should be called next.
    pub fn next_tick(&self) -> Option<Instant> {
        let now = Instant::now();
        let delayed = self.delayed.iter().map(|(at, _)| *at);
        let mut next: Vec<Instant> = delayed.chain(self.balance_at).collect();
        if self.timed {
            let waiting = self.queue.iter().chain(self.delayed.iter().map(|(_, job)| job));
            let waiting = waiting.chain(self.seats.iter().flat_map(|seat| &seat.inbox));
            next.extend(waiting.filter_map(|job| job.deadline));
            for member in self.members() {
                let doomed = |held: &&Held| held.job.doom.is_none();
                let held = member.held.iter().filter(doomed);
                next.extend(held.clone().filter_map(|held| held.job.deadline));
                next.extend(held.filter_map(|held| time_left(member, held)).map(|left| now + left));
            }
        }
        next.into_iter().min()
    }
}

/// Condemns the job that runs, if it is doomed, and its worker; whether it did.
fn stop_running(member: &mut Member, doom_of: impl Fn(&Job, bool) -> Option<Doom>) -> bool {
    let started = member.link.started();
    let Some(at) = member.held.iter().position(|held| held.live() > 0) else { return false };
    let held = &member.held[at];
    if started <= held.first {
        return false;
    }
    let overtime = time_left(member, held) == Some(Duration::ZERO);
    let Some(doom) = doom_of(&held.job, overtime) else { return false };
    // Its answer may be on its way: then its worker dies idle.
    member.held[at].job.doom = Some(doom);
    member.leaving = true;
    true
}

/// How long a held job may still run; its whole time if it has not begun.
fn time_left(member: &Member, held: &Held) -> Option<Duration> {
    let limit = held.job.options.time_limit?;
    if held.live() == 0 {
        return None;
    }
    if member.link.started() <= held.first {
        return Some(limit);
    }
    let ran = link::monotonic_nanos().saturating_sub(member.link.since());
    Some(limit.saturating_sub(Duration::from_nanos(ran)))
}
