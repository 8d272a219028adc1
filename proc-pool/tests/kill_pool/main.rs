//! A worker is killed at every instruction of its loop: hello, claim, run, publish. Whatever it
//! leaves, its parent gives every item one outcome, and has no item run more often than it may.
//!
//! The parent's own death is none of these rows' matter: its workers die with it, and with them
//! goes the memory that both shared.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crash_check::step::{Region, Scenario, is_permitted};
use proc_pool::stepped::{Loop, Work, size};
use proc_pool::{Task, TaskError, task};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use shm_core::Segment;

type Said = Result<(), Box<dyn std::error::Error>>;

/// Inputs are small numbers: each has a counter behind the worker's segment.
const INPUTS: usize = 3;

/// In whatever process runs tasks: the counters.
static BOARD: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

/// Counts its runs.
fn work(x: u64) -> u64 {
    let board = BOARD.load(Ordering::Relaxed);
    assert!((x as usize) < INPUTS, "no such counter");
    // SAFETY: set to as many counters before anything runs, in memory that stays mapped.
    let counter = unsafe { board.add(x as usize) };
    // SAFETY: as above; only ever accessed as an atomic.
    let counter = unsafe { &*counter };
    // Relaxed, here and below: the one process that runs tasks at a time counts, or looks.
    counter.fetch_add(1, Ordering::Relaxed);
    x * x + 1
}

#[task]
fn once(x: u64) -> u64 {
    work(x)
}

#[task(pure)]
fn again(x: u64) -> u64 {
    work(x)
}

/// A worker's segment whose memory is the region's, and the counters behind it.
fn segment(region: &Region) -> &'static Segment {
    let whole = size().unwrap() + 4096;
    let segment = Segment::anonymous(whole).unwrap();
    let at = segment.data().as_ptr().cast();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: replaces exactly the segment's own mapping, which nobody has looked at yet; the
    // segment stays mapped as long as the process lives.
    unsafe { mmap(at, whole, protection, flags, region.fd(), 0) }.unwrap();
    // SAFETY: inside of the segment.
    let board = unsafe { segment.data().add(whole - 4096) };
    // Relaxed: this process has one thread.
    BOARD.store(board.cast().as_ptr(), Ordering::Relaxed);
    Box::leak(Box::new(segment))
}

/// How often each input was run.
fn runs(region: &Region) -> Vec<u32> {
    let board = size().unwrap();
    // Relaxed: see `work`.
    (0..INPUTS).map(|x| region.u32_at(board + 4 * x).load(Ordering::Relaxed)).collect()
}

/// Every item has its result and ran as often as it may, or is the one that the dead worker ran.
fn check<T: Task<Input = u64, Output = u64>>(region: &Region, work: &Work<T>) -> Said {
    let outcomes = work.bury(segment(region))?;
    let mut lost = 0;
    let runs = runs(region);
    for (&x, outcome) in work.inputs.iter().zip(outcomes) {
        let runs = runs[x as usize];
        match (outcome, runs) {
            (Ok(y), 1) if y == x * x + 1 => {}
            (Ok(y), 2) if T::PURE && y == x * x + 1 => lost += 1,
            (Err(TaskError::WorkerDied { attempts: 1, .. }), 0 | 1) if !T::PURE => lost += 1,
            (outcome, runs) => return Err(format!("{x} ran {runs} times: {outcome:?}").into()),
        }
    }
    if lost > 1 {
        return Err(format!("one death cost {lost} items").into());
    }
    Ok(())
}

fn row<T>(state: &'static str, chunked: bool)
where
    T: Task<Input = u64, Output = u64> + Sync,
{
    if is_permitted().is_err() {
        eprintln!("ptrace is not permitted here: not checked");
        return;
    }
    let inputs = if chunked { (0..INPUTS as u64).collect() } else { vec![2] };
    let of = move || Work::<T> { inputs: inputs.clone(), chunked, attempts: 2 };
    let (prepared, checked) = (of.clone(), of);
    Scenario::new("proc_pool::init")
        .state(state)
        .region(size().unwrap() + 4096)
        .init(move |r| prepared().prepare(segment(r)))
        .operation_with(|r| Loop::attach(segment(r)).unwrap(), |_, worker| worker.run().unwrap())
        .validate(move |r| check(r, &checked()))
        .real_kills(2)
        .run()
        .unwrap()
        .assert_clean();
}

#[test]
fn kill_a_worker_at_a_task_that_runs_once() {
    row::<once>("one task", false);
}

#[test]
fn kill_a_worker_at_a_pure_task() {
    row::<again>("one pure task", false);
}

#[test]
fn kill_a_worker_in_a_chunk_of_tasks_that_run_once() {
    row::<once>("a chunk of three", true);
}

#[test]
fn kill_a_worker_in_a_chunk_of_pure_tasks() {
    row::<again>("a chunk of three pure ones", true);
}
