//! Random programs of submissions, cancels, deaths and resizes, and what a pool owes each task.

use std::num::NonZero;
use std::time::Duration;

use proc_pool::{Pool, TaskError, TaskHandle, TaskOptions, task};
use rustix::process::{Pid, Signal, kill_process};
use shm_core::Segment;

use super::board;

/// What a task does once it has counted itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Return,
    /// Takes so many units of 100 µs.
    Sleep(u8),
    Panic,
    /// Kills its worker.
    Die,
}

/// A step of a program. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Submit { work: Work, pure: bool, attempts: u8 },
    Map(u16),
    Cancel(u8),
    Kill(u8),
    Resize(u8),
    Wait(u8),
}

fn work(board: &Segment, place: usize, work: (u8, u8)) -> usize {
    board::count(board, place);
    match work {
        (0, _) => {}
        (1, units) => std::thread::sleep(Duration::from_micros(100) * u32::from(units)),
        (2, _) => panic!("on purpose"),
        _ => kill(std::process::id()),
    }
    place
}

#[task]
fn once(board: Segment, place: usize, what: (u8, u8)) -> usize {
    work(&board, place, what)
}

#[task(pure)]
fn again(board: Segment, place: usize, what: (u8, u8)) -> usize {
    work(&board, place, what)
}

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

fn kill(pid: u32) {
    // Fails only when the process is gone already.
    let _ = kill_process(Pid::from_raw(pid as i32).expect("a process id"), Signal::KILL);
}

enum Handle {
    Once(TaskHandle<once>),
    Again(TaskHandle<again>),
}

impl Handle {
    fn cancel(&self) -> bool {
        match self {
            Handle::Once(handle) => handle.cancel(),
            Handle::Again(handle) => handle.cancel(),
        }
    }

    fn wait(self) -> Result<usize, TaskError> {
        match self {
            Handle::Once(handle) => handle.wait(),
            Handle::Again(handle) => handle.wait(),
        }
    }
}

/// A task as the reference knows it.
struct Expected {
    work: Work,
    /// How often it may start.
    attempts: u32,
    /// Whether `cancel` said that it stopped the task.
    cancelled: bool,
    handle: Option<Handle>,
}

/// A program under way.
pub struct Run {
    pool: Pool,
    board: Segment,
    tasks: Vec<Expected>,
    /// Whether workers were killed from outside: only then may innocent tasks be lost.
    killed: bool,
}

/// The most tasks of a program.
pub const TASKS: usize = 256;

impl Run {
    pub fn new(workers: usize) -> Run {
        let pool = Pool::builder().workers(workers).build().expect("a pool");
        Run { pool, board: board::new(TASKS), tasks: Vec::new(), killed: false }
    }

    pub fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Submit { work, pure, attempts } => self.submit(work, pure, attempts),
            Step::Map(items) => return self.map(u64::from(items)),
            Step::Cancel(index) => {
                if let Some(task) = self.task(index)
                    && let Some(handle) = &task.handle
                {
                    task.cancelled |= handle.cancel();
                }
            }
            Step::Kill(index) => {
                let pids = self.pool.worker_pids();
                if let Some(&pid) = pids.get(usize::from(index) % pids.len().max(1)) {
                    self.killed = true;
                    kill(pid);
                }
            }
            Step::Resize(workers) => {
                self.pool
                    .resize(usize::from(workers % 3) + 1)
                    .map_err(|error| error.to_string())?;
            }
            Step::Wait(index) => {
                let place = usize::from(index) % self.tasks.len().max(1);
                return self.check(place);
            }
        }
        Ok(())
    }

    fn task(&mut self, index: u8) -> Option<&mut Expected> {
        let place = usize::from(index) % self.tasks.len().max(1);
        self.tasks.get_mut(place)
    }

    fn submit(&mut self, work: Work, pure: bool, attempts: u8) {
        let place = self.tasks.len();
        if place == TASKS {
            return;
        }
        let attempts = NonZero::new(u32::from(attempts % 3) + 1).expect("one at least");
        let what = match work {
            Work::Return => (0, 0),
            Work::Sleep(units) => (1, units),
            Work::Panic => (2, 0),
            Work::Die => (3, 0),
        };
        let input = (self.board.clone(), place, what);
        let options = TaskOptions::new().attempts(attempts);
        let handle = match pure {
            true => Handle::Again(self.pool.submit_with(again, input, options)),
            false => Handle::Once(self.pool.submit_with(once, input, options)),
        };
        let attempts = if pure { attempts.get() } else { 1 };
        self.tasks.push(Expected { work, attempts, cancelled: false, handle: Some(handle) });
    }

    /// Items of a map may die with workers that are killed, three times at most.
    fn map(&mut self, items: u64) -> Result<(), String> {
        for (index, result) in self.pool.imap_unordered(square, 0..items) {
            match result {
                Ok(back) if back == (index * index) as u64 => {}
                Err(TaskError::WorkerDied { attempts: 3, .. }) if self.killed => {}
                // Its last three workers were killed, in another map.
                Err(TaskError::Quarantined { deaths: 3, .. }) if self.killed => {}
                other => return Err(format!("item {index} of {items}: {other:?}")),
            }
        }
        Ok(())
    }

    /// Waits for a task, and compares its outcome with what the reference allows.
    fn check(&mut self, place: usize) -> Result<(), String> {
        let Some(task) = self.tasks.get_mut(place) else { return Ok(()) };
        let Some(handle) = task.handle.take() else { return Ok(()) };
        let result = handle.wait();
        let runs = board::runs(&self.board, place);
        let (work, most) = (task.work, task.attempts);
        let fits = match &result {
            Err(TaskError::Cancelled { .. }) => task.cancelled && runs <= most,
            _ if task.cancelled => false,
            Ok(back) => {
                *back == place
                    && matches!(work, Work::Return | Work::Sleep(_))
                    && (1..=most).contains(&runs)
            }
            Err(TaskError::Panicked { .. }) => work == Work::Panic && (1..=most).contains(&runs),
            Err(TaskError::WorkerDied { attempts, .. }) => {
                // Of a task that kills, each attempt counted itself, unless a kill came first.
                let by_itself = work == Work::Die && (self.killed || runs == most);
                *attempts == most && runs <= most && (by_itself || self.killed)
            }
            Err(_) => false,
        };
        match fits {
            true => Ok(()),
            false => Err(format!(
                "task {place} ({work:?}, at most {most} starts, cancelled: {}, kills: {}) ran {runs} \
                 times: {result:?}",
                task.cancelled, self.killed
            )),
        }
    }

    /// Waits for everything, and ends the pool.
    pub fn finish(mut self) -> Result<(), String> {
        for place in 0..self.tasks.len() {
            self.check(place)?;
        }
        let before: Vec<u32> = (0..TASKS).map(|place| board::runs(&self.board, place)).collect();
        self.pool.close().map_err(|error| error.to_string())?;
        let after: Vec<u32> = (0..TASKS).map(|place| board::runs(&self.board, place)).collect();
        match before == after {
            true => Ok(()),
            false => Err("a task ran after it had its outcome".to_owned()),
        }
    }
}
