//! Which arguments ended the workers that met them, again and again: those are refused.
//!
//! A *suspect* is a task with one argument whose worker died while it ran. It is cleared when it is
//! answered, and condemned when it has ended as many workers in a row as the rules allow. While
//! there is no suspect, nothing here is asked for a task more than whether there is one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::State;
use super::job::Job;
use crate::codec::Encoded;
use crate::death::DeathNotice;
use crate::error::TaskError;
use crate::quarantine::Quarantined;
use crate::record;
use crate::task::TaskId;

/// So many suspects are remembered; then those that are not condemned are forgotten.
const MOST: usize = 4096;

/// A task's argument, by a hash of its bytes.
type Key = (TaskId, u64);

#[derive(Debug)]
struct Suspect {
    task: &'static str,
    /// Workers that died with it since it was answered last.
    deaths: u32,
    condemned: bool,
    /// Submissions that were refused.
    refused: u64,
    last: Arc<DeathNotice>,
}

/// Tasks whose workers died, by argument.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    by_argument: HashMap<Key, Suspect>,
    condemned: usize,
}

/// The arguments of a job's items from number `first` on.
fn keys(job: &Job, first: u32, count: u32) -> Vec<Key> {
    let key = |hash| (job.task.id, hash);
    if !job.chunk {
        return vec![key(hash_of(&job.input))];
    }
    let mut rest = record::slice(&job.input.bytes, first, first + count);
    let records = std::iter::from_fn(|| record::next(&mut rest));
    records.map(|(_, bytes)| key(hash([bytes]))).collect()
}

/// As that of a record with the same argument, where there is nothing beside the bytes.
fn hash_of(input: &Encoded) -> u64 {
    hash(std::iter::once(&*input.bytes).chain(input.blobs.iter().map(|blob| blob.content())))
}

fn hash<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    pieces.into_iter().for_each(|piece| hasher.write(piece));
    hasher.finish()
}

impl Suspects {
    /// The worker died that ran this job, of one item. `limit` deaths in a row condemn it.
    pub fn accuse(&mut self, job: &Job, notice: &Arc<DeathNotice>, limit: u32) {
        let Some(&key) = keys(job, 0, 1).first() else { return };
        if self.by_argument.len() >= MOST && !self.by_argument.contains_key(&key) {
            self.by_argument.retain(|_, suspect| suspect.condemned);
            if self.by_argument.len() >= MOST {
                return;
            }
        }
        let suspect = self.by_argument.entry(key).or_insert_with(|| Suspect {
            task: job.task.name,
            deaths: 0,
            condemned: false,
            refused: 0,
            last: Arc::clone(notice),
        });
        suspect.deaths += 1;
        suspect.last = Arc::clone(notice);
        if suspect.deaths >= limit && !suspect.condemned {
            suspect.condemned = true;
            self.condemned += 1;
        }
    }

    /// These items were answered by a worker that lives: whatever became of them, they are cleared.
    /// (One that was condemned meanwhile stays so: it may have been lucky.)
    #[inline]
    pub fn clear(&mut self, job: &Job, first: u32, count: u32) {
        if self.by_argument.len() > self.condemned {
            self.clear_items(job, first, count);
        }
    }

    #[cold]
    fn clear_items(&mut self, job: &Job, first: u32, count: u32) {
        if !self.by_argument.keys().any(|(task, _)| *task == job.task.id) {
            return;
        }
        for key in keys(job, first, count) {
            if self.by_argument.get(&key).is_some_and(|suspect| !suspect.condemned) {
                self.by_argument.remove(&key);
            }
        }
    }

    /// Whether any argument of this task is refused.
    #[inline]
    fn refuses_some_of(&self, task: TaskId) -> bool {
        self.condemned > 0
            && self.by_argument.iter().any(|((id, _), suspect)| *id == task && suspect.condemned)
    }

    /// Why this argument is refused, if it is.
    fn refusal(&mut self, argument: &Key) -> Option<(u32, Arc<DeathNotice>)> {
        let suspect = self.by_argument.get_mut(argument).filter(|suspect| suspect.condemned)?;
        suspect.refused += 1;
        Some((suspect.deaths, Arc::clone(&suspect.last)))
    }

    pub fn list(&self) -> Vec<Quarantined> {
        let condemned = self.by_argument.iter().filter(|(_, suspect)| suspect.condemned);
        let show = |(&(_, argument), suspect): (&Key, &Suspect)| Quarantined {
            task: suspect.task,
            argument,
            deaths: suspect.deaths,
            refused: suspect.refused,
            last: DeathNotice::clone(&suspect.last),
        };
        let mut list: Vec<_> = condemned.map(show).collect();
        list.sort_by_key(|entry| (entry.task, entry.argument));
        list
    }

    /// Forgets those of which this is true, and all that is known against them; how many of them
    /// were condemned.
    pub fn lift(&mut self, which: impl Fn(TaskId, u64) -> bool) -> usize {
        let before = self.condemned;
        self.by_argument.retain(|&(task, argument), suspect| {
            let stays = !which(task, argument);
            self.condemned -= usize::from(suspect.condemned && !stays);
            stays
        });
        before - self.condemned
    }

    /// As [`lift`](Suspects::lift), of one argument.
    pub fn lift_one(&mut self, task: TaskId, input: &Encoded) -> bool {
        let wanted = hash_of(input);
        self.lift(|id, argument| (id, argument) == (task, wanted)) > 0
    }
}

impl State {
    /// The worker that ran this job of one item died by itself, or was killed from outside.
    pub(super) fn accuse(&mut self, job: &Job, notice: &Arc<DeathNotice>) {
        // An actor's state is to blame as much as the call's argument; a limit of memory has a
        // remedy of its own.
        let excused = job.pin.is_some() || job.doom.is_some() || notice.ran_out_of(&job.options);
        if !excused && self.ended.is_none() {
            let limit = self.rules.quarantine.unwrap_or(self.rules.attempts);
            let limit = limit.max(self.rules.attempts_of(job));
            self.counts.suspects.accuse(job, notice, limit);
        }
    }

    /// Fails what is refused of this job; gives the rest.
    pub(super) fn refuse(&mut self, job: Job) -> Vec<Job> {
        if job.pin.is_some() || !self.counts.suspects.refuses_some_of(job.task.id) {
            return vec![job];
        }
        let (mut rest, mut start) = (Vec::new(), 0);
        for (item, key) in (0..job.items).zip(keys(&job, 0, job.items)) {
            let Some((deaths, notice)) = self.counts.suspects.refusal(&key) else { continue };
            if start < item {
                rest.push(job.part(start, item));
            }
            start = item + 1;
            let refused = job.part(item, item + 1);
            self.count_failed(&refused);
            refused.fail(&mut self.notices, |task| TaskError::Quarantined { task, deaths, notice });
        }
        if start < job.items {
            rest.push(job.part(start, job.items));
        }
        rest
    }

    /// Whether anything is refused at all.
    #[inline]
    pub(super) fn refuses(&self) -> bool {
        self.counts.suspects.condemned > 0
    }

    /// Those that are refused.
    pub fn suspects(&mut self) -> &mut Suspects {
        &mut self.counts.suspects
    }
}
