//! The memory of a pool's processes and tasks, through the crate `profiling`.

use std::collections::BTreeMap;

use profiling::heap::Profile;
use profiling::{Error, Ledger, ProcessMemory, Snapshot};

use crate::pool::Pool;

/// The most bytes of a scope's name in a heap profile.
const SCOPE: usize = 48;

/// The name that a task's allocations are put down to: the end of its own, which tells most.
pub(crate) fn scope_of(task: &str) -> &str {
    let start = task.len().saturating_sub(SCOPE);
    let start = (start..=task.len()).find(|&at| task.is_char_boundary(at)).unwrap_or(task.len());
    &task[start..]
}

/// The memory of a pool just now; from [`Pool::memory`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolMemory {
    /// This process and everything below it: each process's memory, and each shared segment
    /// **once**. [`Snapshot::total`] is what all of them take together.
    pub tree: Snapshot,
    /// The workers' part of it, by their numbers.
    pub workers: Vec<(usize, ProcessMemory)>,
    /// The heap of each task that ran in a worker which lives, the largest first. Empty where
    /// the program's allocator is no [`profiling::heap::Profiler`], or that is off.
    pub tasks: Vec<TaskMemory>,
}

/// What one task has allocated, in all workers that live; estimated as
/// [`profiling::heap::Estimate`] says, exact in the profiler's exact mode.
///
/// The input and the result are in it while the task's worker makes them. What the task allocates
/// in a [`profiling::heap::scope`] of its own, or on threads that it starts, is not.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskMemory {
    /// The task's name; of a long one the last 48 bytes.
    pub task: String,
    /// Bytes that are live.
    pub live_bytes: f64,
    /// Bytes ever allocated.
    pub allocated_bytes: f64,
    /// Blocks ever allocated.
    pub allocated_blocks: f64,
}

impl Pool {
    /// The memory of the pool's processes, and what each task has on the heap.
    ///
    /// Cost: a walk over the page tables of all processes below this one (a millisecond for some
    /// 100 MiB resident), and a copy of each worker's heap profile if there is one. No worker is
    /// stopped.
    ///
    /// ```standalone_crate
    /// use proc_pool::{Pool, task, worker_state};
    /// use profiling::heap::{Mode, Profiler};
    ///
    /// #[global_allocator]
    /// static HEAP: Profiler<std::alloc::System> = Profiler::new(std::alloc::System, Mode::Exact);
    ///
    /// #[task]
    /// fn keep(bytes: usize) {
    ///     worker_state::set(vec![1_u8; bytes]);
    /// }
    ///
    /// #[proc_pool::main]
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     pool.submit(keep, 3 << 20).wait()?;
    ///     let memory = pool.memory()?;
    ///     let kept = memory.tasks.iter().find(|task| task.task.ends_with("::keep"));
    ///     assert!(kept.is_some_and(|task| task.live_bytes >= f64::from(3 << 20)));
    ///     assert!(memory.workers[0].1.anonymous > 3 << 20);
    ///     assert!(memory.tree.total() > memory.workers[0].1.charged());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// What `profiling` says when `/proc` cannot be read. A worker that ends meanwhile, or has no
    /// heap profile, is left out.
    pub fn memory(&self) -> Result<PoolMemory, Error> {
        let tree = Ledger::of(std::process::id())?.full();
        let workers = self.shared().lock().stats().workers;
        let of = |pid: u32| tree.processes.iter().find(|process| process.pid == pid).cloned();
        let mut tasks = BTreeMap::new();
        for worker in &workers {
            add_heap(worker.pid, &mut tasks);
        }
        let mut tasks: Vec<TaskMemory> = tasks.into_values().collect();
        tasks.sort_by(|a, b| b.live_bytes.total_cmp(&a.live_bytes));
        let workers = workers.iter().filter_map(|w| Some((w.number, of(w.pid)?))).collect();
        Ok(PoolMemory { tree, workers, tasks })
    }
}

/// Adds what this worker's tasks have.
fn add_heap(pid: u32, tasks: &mut BTreeMap<String, TaskMemory>) {
    let Ok(heap) = Profile::of_process(pid).and_then(|profile| profile.snapshot()) else { return };
    for site in heap.sites {
        let Some(name) = site.tag.and_then(|tag| heap.tags.get(tag as usize)) else { continue };
        let task = tasks.entry(name.clone()).or_insert_with(|| TaskMemory {
            task: name.clone(),
            live_bytes: 0.0,
            allocated_bytes: 0.0,
            allocated_blocks: 0.0,
        });
        task.live_bytes += site.live.bytes;
        task.allocated_bytes += site.allocated.bytes;
        task.allocated_blocks += site.allocated.blocks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_known_by_its_end() {
        assert_eq!(scope_of("a::b"), "a::b");
        let long = format!("{}::task", "ä".repeat(40));
        let scope = scope_of(&long);
        assert!(scope.ends_with("ä::task") && scope.len() <= SCOPE && scope.len() > SCOPE - 2);
    }
}
