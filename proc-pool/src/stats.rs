//! What a pool has done and does: numbers to look at, or to hand to a monitor.

use std::time::Duration;

use crate::histogram::Histogram;
use crate::state::Suspects;

/// What a pool has done since it began, and what it does just now; from
/// [`Pool::stats`](crate::Pool::stats).
///
/// Counts are kept by whoever drives the pool, in private memory: a worker's death falsifies none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// By task, in the order in which they were first done or lost.
    pub tasks: Vec<TaskStats>,
    /// Tasks that no worker has been given: the depth of the queue.
    pub queued: u64,
    /// Tasks that workers have and have not answered.
    pub under_way: u64,
    /// Bytes that went to the workers and came from them; shared memory handed over is not in it.
    pub bytes_moved: u64,
    /// Bytes that tasks and results named by handle: what copies of those slices and parts would
    /// have been, each time that one was sent. Whole segments are not in it, since nobody says how
    /// much of them is read, nor what a pool inside of a worker runs there.
    pub bytes_spared: u64,
    /// Workers that ended though nobody had asked them to: killed, crashed, exited.
    pub deaths: u64,
    /// Workers that were started, the first ones included.
    pub started: u64,
    /// From a worker's start until it was ready to work.
    pub starts: Histogram,
    /// Those that exist just now.
    pub workers: Vec<WorkerStats>,
}

/// One task's part of [`PoolStats`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskStats {
    /// The task's name.
    pub name: &'static str,
    /// How often its result was delivered; those that failed are in it.
    pub done: u64,
    /// How often its result was an error: it panicked, its worker died, it was stopped. Items of a
    /// stream that panicked count once they are read.
    pub failed: u64,
    /// How often it was lost with its worker and run again.
    pub retries: u64,
    /// From submission until the result was there, less the work. Of single tasks, and only with
    /// [`Builder::timings`](crate::Builder::timings).
    pub wait: Histogram,
    /// What it took inside the worker. Of streams always, as the mean of a chunk; of single tasks
    /// with [`Builder::timings`](crate::Builder::timings).
    pub work: Histogram,
}

/// One worker's part of [`PoolStats`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its number; a worker that takes the place of another has its number.
    pub number: usize,
    /// Its process id.
    pub pid: u32,
    /// Whether it has said that it is ready.
    pub ready: bool,
    /// Tasks that it has done since it began.
    pub done: u64,
    /// Tasks that it has been given and has not answered.
    pub under_way: u64,
    /// Bytes that it has resident, shared memory that it has touched included; 0 when it is gone.
    pub resident: u64,
    /// Those of them that are its own.
    pub private: u64,
}

/// The counts of all tasks.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    tasks: Vec<TaskStats>,
    /// Where the task was that was asked for last.
    last: usize,
    pub deaths: u64,
    pub started: u64,
    pub starts: Histogram,
    pub suspects: Suspects,
}

impl Counts {
    /// The counts of the task of this name.
    pub fn of(&mut self, name: &'static str) -> &mut TaskStats {
        // A name is one text of the program: the address says it, as a rule.
        let same = |task: &TaskStats| std::ptr::eq(task.name, name) || task.name == name;
        if !self.tasks.get(self.last).is_some_and(same) {
            self.last = self.tasks.iter().position(same).unwrap_or_else(|| {
                self.tasks.push(TaskStats::new(name));
                self.tasks.len() - 1
            });
        }
        &mut self.tasks[self.last]
    }

    pub fn snapshot(&self) -> PoolStats {
        PoolStats {
            tasks: self.tasks.clone(),
            deaths: self.deaths,
            started: self.started,
            starts: self.starts.clone(),
            ..PoolStats::default()
        }
    }
}

impl TaskStats {
    fn new(name: &'static str) -> TaskStats {
        let (wait, work) = (Histogram::new(), Histogram::new());
        TaskStats { name, done: 0, failed: 0, retries: 0, wait, work }
    }

    /// A worker's answer: `count` items that took `nanos` together, if somebody measured.
    pub(crate) fn answered(&mut self, count: u32, nanos: u64) {
        self.done += u64::from(count);
        if nanos > 0 && count > 0 {
            self.work.add(Duration::from_nanos(nanos / u64::from(count)), u64::from(count));
        }
    }
}

/// Resident and private bytes of a process; zeros when it is gone.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = text.split(' ').skip(1).map(|field| field.parse().unwrap_or(0u64));
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    let page = rustix::param::page_size() as u64;
    (resident * page, resident.saturating_sub(shared) * page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_counted_by_name() {
        let mut counts = Counts::default();
        counts.of("one").answered(3, 300);
        counts.of("two").answered(1, 0);
        counts.of("one").answered(1, 50);
        let stats = counts.snapshot();
        assert_eq!(stats.tasks.len(), 2);
        assert_eq!((stats.tasks[0].name, stats.tasks[0].done), ("one", 4));
        assert_eq!(stats.tasks[0].work.mean(), Duration::from_nanos(87));
        assert_eq!((stats.tasks[1].done, stats.tasks[1].work.count()), (1, 0));
    }

    #[test]
    fn this_process_has_memory() {
        let (resident, private) = memory(std::process::id());
        assert!(resident > private && private > 0, "{resident} {private}");
        assert_eq!(memory(u32::MAX), (0, 0));
    }
}
