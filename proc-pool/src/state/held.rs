//! What one worker has been given, and how much of it is answered, running, or taken back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::job::Job;

/// A request that the worker has. Its items fall into three runs, in this order: answered, to be
/// run, revoked.
#[derive(Debug)]
pub(crate) struct Held {
    pub ticket: u64,
    pub job: Job,
    /// The worker's number for the first item.
    pub first: u64,
    /// Items that were answered.
    pub done: u32,
    /// Items at the end that were taken back; the worker will decline them.
    pub revoked: u32,
}

impl Held {
    /// Items that are still to come from this worker.
    pub fn live(&self) -> u32 {
        self.job.items - self.done - self.revoked
    }

    /// The worker's number for what follows the last item.
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.job.items)
    }

    /// Where the revoked items begin.
    pub fn live_end(&self) -> u32 {
        self.job.items - self.revoked
    }

    /// Whether the worker owes nothing more for this request.
    pub fn is_over(&self) -> bool {
        self.done == self.job.items
    }

    /// Takes back its items from the worker's number `from` on; the job that runs them elsewhere.
    pub fn revoke(&mut self, from: u64) -> Option<Job> {
        let keep = u32::try_from(from.saturating_sub(self.first)).unwrap_or(u32::MAX);
        let keep = keep.max(self.done);
        if keep >= self.live_end() {
            return None;
        }
        let freed = self.job.part(keep, self.live_end());
        self.revoked = self.job.items - keep;
        if keep == self.done {
            // Whoever waits for the job may want to freeze the memory of its input.
            self.job.input = Arc::default();
        }
        Some(freed)
    }
}

/// Items that the worker has not started, given how many it has.
pub(crate) fn unstarted(held: &VecDeque<Held>, started: u64) -> u64 {
    held.iter()
        .map(|held| {
            let end = held.first + u64::from(held.live_end());
            end.saturating_sub(held.first.max(started))
        })
        .sum()
}

/// The worker's number for the first of the last `count` items that are still to come.
pub(crate) fn last_items(held: &VecDeque<Held>, mut count: u64) -> u64 {
    for held in held.iter().rev() {
        let live = u64::from(held.live());
        if live >= count {
            return held.first + u64::from(held.live_end()) - count;
        }
        count -= live;
    }
    held.front().map_or(0, |held| held.first)
}
