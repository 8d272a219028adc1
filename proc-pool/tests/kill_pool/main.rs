//! A worker is killed at every instruction of its loop: hello, claim, run, publish. Whatever it
//! leaves, its parent gives every item one outcome, and has no item run more often than it may.
//!
//! The parent is killed at every instruction of its dispatch, too: hand out, take back. Its workers
//! die with it; one that did not would run nothing that was cut short, and nothing twice.

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
    let taken = work.revoked.map_or(INPUTS, |from| work.inputs[from as usize] as usize);
    if runs(region)[taken..].iter().any(|&runs| runs > 0) {
        return Err("the worker ran what was taken back before".into());
    }
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

fn may_step() -> bool {
    let may = is_permitted().is_ok();
    if !may {
        eprintln!("ptrace is not permitted here: not checked");
    }
    may
}

fn work_of<T: Task<Input = u64>>(chunked: bool, revoked: Option<u64>) -> Work<T> {
    let inputs = if chunked { (0..INPUTS as u64).collect() } else { vec![2] };
    Work { inputs, chunked, attempts: 2, revoked }
}

fn row<T>(state: &'static str, chunked: bool, revoked: Option<u64>)
where
    T: Task<Input = u64, Output = u64> + Sync,
{
    if !may_step() {
        return;
    }
    let of = move || work_of::<T>(chunked, revoked);
    let (prepared, checked) = (of, of);
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
    row::<once>("one task", false, None);
}

#[test]
fn kill_a_worker_at_a_pure_task() {
    row::<again>("one pure task", false, None);
}

#[test]
fn kill_a_worker_in_a_chunk_of_tasks_that_run_once() {
    row::<once>("a chunk of three", true, None);
}

#[test]
fn kill_a_worker_in_a_chunk_of_pure_tasks() {
    row::<again>("a chunk of three pure ones", true, None);
}

#[test]
fn kill_a_worker_that_declines_what_was_taken_back() {
    row::<once>("one task, taken back", false, Some(0));
    row::<once>("a chunk of three, two of them taken back", true, Some(1));
}

/// Each item ran once or never, and those that were taken back did not if the parent came so far.
fn check_orphan(region: &Region, work: &Work<once>) -> Said {
    work.outlive(segment(region))?;
    let runs = runs(region);
    let whole = (0..INPUTS).filter(|&x| runs[x] > 0).count();
    let least = work.revoked.map_or(INPUTS, |from| from as usize);
    if runs.iter().all(|&runs| runs <= 1) && (whole == 0 || (least..=INPUTS).contains(&whole)) {
        return Ok(());
    }
    Err(format!("ran {runs:?} times").into())
}

#[test]
fn kill_a_parent_that_hands_out_and_takes_back() {
    if !may_step() {
        return;
    }
    let work = || work_of::<once>(true, Some(1));
    Scenario::new("proc_pool::Pool::resize")
        .state("a chunk of three handed out, two of them taken back")
        .region(size().unwrap() + 4096)
        .init(|r| {
            segment(r);
            Said::Ok(())
        })
        .operation_with(
            move |r| Some(work().dispatch(segment(r)).unwrap()),
            |_, dispatch| {
                if let Some(dispatch) = dispatch.take() {
                    dispatch.run();
                }
            },
        )
        .validate(move |r| check_orphan(r, &work()))
        .real_kills(2)
        .run()
        .unwrap()
        .assert_clean();
}
