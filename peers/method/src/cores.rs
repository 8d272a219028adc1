//! The processors that this program may use, and keeping a thread on one of them.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// Processors that this program could use when it first asked.
pub fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).ok();
        let of = |set: CpuSet| (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
        set.map(of).unwrap_or_default()
    })
}

/// Keeps the calling thread on one processor until dropped.
#[derive(Debug)]
pub struct Pinned(CpuSet);

impl Pinned {
    /// To the `index`-th processor that this program may use.
    ///
    /// # Errors
    /// When there is no such processor, or the system refuses.
    pub fn to(index: usize) -> Outcome<Pinned> {
        let cpu = *allowed().get(index).ok_or("two processors are needed: only one is allowed")?;
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one)?;
        Ok(Pinned(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A failure leaves the thread where it is: still able to run.
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// Processor time of the calling thread.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Processor time of the calling process.
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
