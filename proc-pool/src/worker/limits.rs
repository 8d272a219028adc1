//! What a worker may take: memory, and which processor at what priority.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::protocol::Status;

/// Sets priority and processor as the parent wants them; what the system refuses is left as it is.
pub(super) fn apply(status: &Status) {
    // Relaxed, both: written before the parent sent us the segment in a message.
    let increment = status.parent.nice.load(Ordering::Relaxed);
    let processor = status.parent.processor.load(Ordering::Relaxed);
    if increment != 0
        && let Err(errno) = nice(increment)
    {
        eprintln!("proc-pool worker: a nice value {increment} higher: {errno}");
    }
    if processor != 0 {
        let mut set = CpuSet::new();
        set.set(processor as usize - 1);
        if let Err(errno) = sched_setaffinity(None, &set) {
            eprintln!("proc-pool worker: to processor {}: {errno}", processor - 1);
        }
    }
}

/// The limit of a task's data, until it is dropped.
pub(super) struct DataLimit {
    before: Option<Rlimit>,
}

impl DataLimit {
    /// `bytes` more than this process has now; 0 for no limit.
    pub fn set(bytes: u64) -> DataLimit {
        let now = (bytes > 0).then(data_bytes).flatten();
        let Some(now) = now else { return DataLimit { before: None } };
        let before = getrlimit(Resource::Data);
        let wanted = now.saturating_add(bytes);
        let current = before.maximum.map_or(wanted, |maximum| wanted.min(maximum));
        let limit = Rlimit { current: Some(current), maximum: before.maximum };
        let set = setrlimit(Resource::Data, limit).is_ok();
        DataLimit { before: set.then_some(before) }
    }
}

impl Drop for DataLimit {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            // Raising a soft limit to what it was is always allowed.
            let _ = setrlimit(Resource::Data, before);
        }
    }
}

/// Whether the process has become too large, looked at now and then.
pub(super) struct Growth {
    status: &'static Status,
    limit: u64,
    statm: Option<File>,
    looked: Option<Instant>,
}

/// How often the resident size is looked at, at most: it costs some microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Growth {
    pub fn new(status: &'static Status) -> Growth {
        // Relaxed: written before the parent sent us the segment in a message.
        let limit = status.parent.resident_limit.load(Ordering::Relaxed);
        let statm = if limit > 0 { File::open("/proc/self/statm").ok() } else { None };
        Growth { status, limit, statm, looked: None }
    }

    /// Tells the parent once the limit is exceeded.
    pub fn look(&mut self) {
        let Some(statm) = &self.statm else { return };
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now - looked < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        if pages(statm, 1).is_some_and(|resident| resident * page() > self.limit) {
            // Relaxed: a hint.
            self.status.worker.grown.store(1, Ordering::Relaxed);
        }
    }
}

fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// Bytes that count against `RLIMIT_DATA`: private writable mappings and the heap, stacks apart.
fn data_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// A number of `statm`, which counts pages.
fn pages(statm: &File, field: usize) -> Option<u64> {
    let mut text = [0; 128];
    let length = statm.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    text.split(' ').nth(field)?.parse().ok()
}
