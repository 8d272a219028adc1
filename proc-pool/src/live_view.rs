//! A live view of a pool on the terminal (feature `live-view`).

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use crate::PoolError;
use crate::shared::Shared;
use crate::stats::{PoolStats, TaskStats, WorkerStats};

/// How often it is drawn anew.
const EVERY: Duration = Duration::from_millis(200);
/// Workers that are shown, at most.
const WORKERS: usize = 32;

/// Draws a pool's numbers on standard error until it is dropped; from
/// [`Pool::live_view`](crate::Pool::live_view).
#[derive(Debug)]
pub struct LiveView {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LiveView {
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<LiveView, PoolError> {
        let (stop, stopped) = channel();
        let shared = Arc::downgrade(shared);
        let run = move || {
            let mut screen = Screen::default();
            while screen.draw(&shared)
                && stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout)
            {}
            screen.draw(&shared);
            screen.clear();
        };
        let thread = std::thread::Builder::new()
            .name("proc-pool view".to_owned())
            .spawn(run)
            .map_err(PoolError::system("starting a thread"))?;
        Ok(LiveView { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panicked thread has said so on standard error.
            let _ = thread.join();
        }
    }
}

/// Lines on the terminal; none where standard error is no terminal.
#[derive(Default)]
struct Screen {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Screen {
    /// Whether there is anything to draw any more.
    fn draw(&mut self, shared: &Weak<Shared>) -> bool {
        let Some(shared) = shared.upgrade() else { return false };
        let texts = lines(&shared.stats());
        while self.lines.len() > texts.len() {
            self.lines.pop().into_iter().for_each(|line| self.all.remove(&line));
        }
        while self.lines.len() < texts.len() {
            let style = ProgressStyle::with_template("{wide_msg}");
            let line = ProgressBar::new_spinner();
            let line =
                style.map_or_else(|_| ProgressBar::new_spinner(), |style| line.with_style(style));
            self.lines.push(self.all.add(line));
        }
        for (line, text) in self.lines.iter().zip(texts) {
            line.set_message(text);
            line.tick();
        }
        true
    }

    /// Leaves the terminal as it was.
    fn clear(&mut self) {
        self.lines.drain(..).for_each(|line| line.finish_and_clear());
        // Fails when the terminal is gone.
        let _ = self.all.clear();
    }
}

/// The view as text: the pool, its tasks, its workers.
fn lines(stats: &PoolStats) -> Vec<String> {
    let (queued, under_way) = (HumanCount(stats.queued), HumanCount(stats.under_way));
    let mut lines = vec![format!(
        "{} workers   {queued} queued   {under_way} under way   {} moved   {} deaths",
        stats.workers.len(),
        BinaryBytes(stats.bytes_moved),
        HumanCount(stats.deaths),
    )];
    lines.extend(stats.tasks.iter().map(task_line));
    lines.extend(stats.workers.iter().take(WORKERS).map(worker_line));
    if stats.workers.len() > WORKERS {
        lines.push(format!("  … and {} workers more", stats.workers.len() - WORKERS));
    }
    lines
}

fn task_line(task: &TaskStats) -> String {
    let (done, failed) = (HumanCount(task.done), HumanCount(task.failed));
    let mut line = format!("  {}   {done} done   {failed} failed", task.name);
    if task.retries > 0 {
        line += &format!("   {} run again", HumanCount(task.retries));
    }
    if task.work.count() > 0 {
        let (half, most) = (task.work.quantile(0.5), task.work.quantile(0.99));
        line += &format!("   half within {half:.1?}, 99 % within {most:.1?}");
    }
    line
}

fn worker_line(worker: &WorkerStats) -> String {
    let what = match (worker.ready, worker.under_way) {
        (false, _) => "starting",
        (true, 0) => "idle",
        (true, _) => "busy",
    };
    format!(
        "  worker {} (process {})   {what}   {} done   {} of its own",
        worker.number,
        worker.pid,
        HumanCount(worker.done),
        BinaryBytes(worker.private),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_names_tasks_and_workers() {
        let worker = WorkerStats {
            number: 3,
            pid: 77,
            ready: true,
            done: 1200,
            under_way: 1,
            resident: 5 << 20,
            private: 3 << 20,
        };
        let stats = PoolStats { queued: 5000, workers: vec![worker; 40], ..PoolStats::default() };
        let found = lines(&stats);
        assert!(found[0].starts_with("40 workers   5,000 queued   0 under way"), "{}", found[0]);
        assert_eq!(found[1], "  worker 3 (process 77)   busy   1,200 done   3.00 MiB of its own");
        assert_eq!((found.len(), found[33].as_str()), (34, "  … and 8 workers more"));
    }
}
