//! What becomes of a dead worker's tasks.

use std::sync::Arc;
use std::time::Instant;

use super::held::Held;
use super::member::Member;
use super::{Ended, Job, State};
use crate::death::{Death, DeathNotice};
use crate::error::TaskError;
#[cfg(feature = "tracing")]
use crate::events::Event;
use crate::slot::Notice;
use crate::stats::Counts;

/// Workers in a row that may end by themselves before they are ready.
const FAILED_STARTS: u32 = 3;
/// Workers in a row that may be killed (SIGKILL) before they are ready.
const KILLED_STARTS: u32 = 100;

impl State {
    /// Worker `number` is proven dead: its answers are taken, its tasks go elsewhere or fail.
    /// Whether another process should take its place.
    pub fn worker_died(&mut self, number: usize, mut notice: DeathNotice) -> bool {
        // Nobody who takes this one's place is killed for it.
        self.signals.retain(|(other, _)| *other != number);
        self.seats[number].pid = 0;
        let Some(mut member) = self.seats[number].member.take() else { return false };
        let (answers, _) = member.take_answers(&self.rules, &mut self.counts, &mut self.notices);
        let ready = member.ready;
        self.note(answers);
        self.bytes_moved += member.link.bytes_moved();
        self.bytes_spared += member.link.bytes_spared();
        notice.complete(&member.link);
        self.counts.deaths += u64::from(!member.leaving);
        #[cfg(feature = "tracing")]
        {
            let (pid, how, asked) = (notice.pid, notice.to_string(), member.leaving);
            Event::Died { worker: number, pid, asked, how }.note(&mut self.notices);
        }
        self.end_by_difference(member.difference.take());
        *self.deaths.entry(member.link.intent()).or_insert(0) += 1;
        if !ready {
            self.count_failed_start(&member, &notice);
        }
        let notice = Arc::new(notice);
        crate::arena::forget_process(notice.pid);
        self.settle(&mut member, &notice);
        self.end_without_workers(&notice);
        if let Some(ended) = self.ended.clone() {
            self.fail_waiting(ended.reason());
        }
        let replace = self.ended.is_none() && self.rules.replace && number < self.target;
        if !replace {
            self.give_up_seat(number, &notice);
        }
        self.feed();
        replace
    }

    fn count_failed_start(&mut self, member: &Member, notice: &DeathNotice) {
        match notice.death {
            Death::Signal(9) if !member.broken => self.killed_starts += 1,
            _ => self.failed_starts += 1,
        }
        if let Some(complaint) = &member.complaint {
            self.complaint = Some(complaint.clone());
        } else if self.rules.initializer.is_some() && member.link.started_initializer() {
            self.complaint = Some(format!("the worker that ran it {}", notice.death));
        }
    }

    /// Ends the pool when its workers keep dying before they are ready.
    fn end_without_workers(&mut self, notice: &DeathNotice) {
        let failures = if self.rules.replace { FAILED_STARTS } else { 1 };
        let kills = if self.rules.replace { KILLED_STARTS } else { 1 };
        if self.failed_starts < failures && self.killed_starts < kills {
            return;
        }
        let ended = match (&self.complaint, &self.rules.initializer) {
            (Some(complaint), Some(call)) => Ended::Initializer(format!(
                "the initializer {} failed (workers in a row: {failures}): {complaint}",
                call.task.name
            )),
            _ => {
                let death = notice.death;
                let words = notice.last_words.as_deref().unwrap_or_default();
                let words = if words.is_empty() { String::new() } else { format!(": {words}") };
                Ended::NoWorkers(format!(
                    "workers die before they are ready: the last one {death}{words}"
                ))
            }
        };
        self.end(ended);
    }

    /// Delivers what the worker had finished, decides about what it was running, and puts the rest
    /// back in front.
    fn settle(&mut self, member: &mut Member, notice: &Arc<DeathNotice>) {
        salvage(member, &mut self.counts);
        let running = member.link.started() > member.answered;
        let mut rest = Vec::new();
        let mut lost = None;
        for held in member.held.drain(..) {
            let Held { job, done, revoked, first, .. } = held;
            let (mut start, end) = (done, job.items - revoked);
            let began = running && first + u64::from(start) == member.answered;
            if began && start < end {
                lost = Some(job.part(start, start + 1));
                start += 1;
            }
            if start < end {
                rest.push(job.part(start, end));
            }
        }
        self.give_back(rest);
        if let Some(job) = lost {
            self.lost(job, notice);
        }
    }

    /// What becomes of a task whose worker died while it ran.
    fn lost(&mut self, mut job: Job, notice: &Arc<DeathNotice>) {
        job.attempts += 1;
        self.accuse(&job, notice);
        let again = job.task.pure
            && job.doom.is_none()
            && job.attempts < self.rules.attempts_of(&job)
            && self.ended.is_none();
        if !again {
            self.count_failed(&job);
            return fail_lost(job, notice, &mut self.notices);
        }
        self.counts.of(job.task.name).retries += 1;
        #[cfg(feature = "tracing")]
        {
            let (task, notice) = (job.task.name, Arc::clone(notice));
            Event::Retry { task, attempt: job.attempts + 1, notice }.note(&mut self.notices);
        }
        for file in &job.input.files {
            // SAFETY: the input went to this worker alone, which is proven dead: its pidfd was
            // readable. Its answer did not arrive whole, so nothing in it is redeemed.
            unsafe { file.recall() };
        }
        if notice.ran_out_of(&job.options) {
            let factor = u64::from(job.options.memory_factor.max(1));
            job.options.memory = job
                .options
                .memory
                .and_then(|bytes| std::num::NonZero::new(bytes.get().saturating_mul(factor)));
        }
        let pause = self.rules.pause_of(&job);
        if pause.is_zero() {
            self.give_back(vec![job]);
        } else {
            self.delayed.push((Instant::now() + pause, job));
            self.wants_keeper = true;
        }
    }

    /// Nobody takes this worker's place: what only it could run fails.
    fn give_up_seat(&mut self, number: usize, notice: &Arc<DeathNotice>) {
        let seat = &mut self.seats[number];
        seat.gone = Some(Arc::clone(notice));
        let inbox = std::mem::take(&mut seat.inbox);
        for job in inbox {
            self.count_failed(&job);
            fail_lost(job, notice, &mut self.notices);
        }
    }
}

/// The results of a chunk's items that the worker had finished and not sent yet.
fn salvage(member: &mut Member, counts: &mut Counts) {
    let Some(held) = member.held.front_mut().filter(|held| held.job.chunk) else { return };
    let count = member.link.finished().saturating_sub(member.answered);
    let count = count.min(u64::from(held.live())) as u32;
    if count == 0 {
        return;
    }
    held.job.deliver_records(held.done, count, member.link.salvage(count));
    held.done += count;
    counts.of(held.job.task.name).done += u64::from(count);
    member.answered += u64::from(count);
}

/// The task fails: its worker died, and it may not run again.
pub(super) fn fail_lost(job: Job, notice: &Arc<DeathNotice>, notices: &mut Vec<Notice>) {
    let (attempts, options) = (job.attempts, job.options);
    job.fail(notices, |task| match options.memory {
        Some(limit) if notice.ran_out_of(&options) => {
            TaskError::MemoryLimit { task, limit: limit.get(), attempts }
        }
        _ => TaskError::WorkerDied {
            task,
            death: notice.death,
            attempts,
            notice: Arc::clone(notice),
        },
    });
}
