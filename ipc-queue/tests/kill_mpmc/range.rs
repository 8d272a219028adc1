//! A range record, killed at every instruction of either end: whoever is left knows what is true.

use std::sync::atomic::Ordering::Relaxed;

use crash_check::step::{Region, Scenario};
use ipc_queue::work::range::{Owner, Worker};

use crate::ground::{Said, has_returned, returned, run, segment};

/// Where each item leaves a mark when it runs: started, then finished.
const MARKS: usize = 4096;
const ITEMS: u64 = 4;

fn mark(region: &Region, item: u64, what: u64) {
    // Relaxed, as all here: one process at a time.
    region.u64_at(MARKS + 8 * item as usize).store(what, Relaxed);
}

/// How many items were begun, and how many were ended.
fn marks(region: &Region) -> (u64, u64) {
    let mark = |item: u64| region.u64_at(MARKS + 8 * item as usize).load(Relaxed);
    let count = |least: u64| (0..ITEMS).filter(|&item| mark(item) >= least).count() as u64;
    (count(1), count(2))
}

/// Runs items until one is refused.
fn work(region: &Region, worker: &mut Worker) {
    while worker.next() < ITEMS && worker.start() {
        let item = worker.next() - 1;
        mark(region, item, 1);
        mark(region, item, 2);
        worker.finish();
    }
    if worker.next() < ITEMS {
        worker.skip_to(ITEMS);
    }
}

fn owner(region: &Region) -> Result<Owner, Box<dyn std::error::Error>> {
    Ok(Owner::at(&segment(region)?, 0)?)
}

fn worker(region: &Region) -> Worker {
    Worker::at(&segment(region).unwrap(), 0).unwrap()
}

/// The owner's view of a dead worker, which was to run so many items.
fn is_true(region: &Region, items: u64) -> Said {
    let standing = owner(region)?.standing();
    let (begun, ended) = marks(region);
    let fits = standing.finished <= ended && ended <= begun && begun <= standing.unstarted();
    let whole = !has_returned(region) || (standing.finished == items && standing.running.is_none());
    if fits && whole {
        return Ok(());
    }
    Err(format!("{standing:?}, {begun} begun, {ended} ended").into())
}

fn worker_row(operation: &str, state: &'static str, revoked: Option<u64>) -> Scenario {
    Scenario::new(operation)
        .state(state)
        .init(move |r| {
            if let Some(from) = revoked {
                owner(r)?.revoke(from..ITEMS, 0);
            }
            Said::Ok(())
        })
        .operation_with(worker, |r, worker| {
            work(r, worker);
            returned(r);
        })
        .validate(move |r| is_true(r, revoked.unwrap_or(ITEMS)))
        // The owner takes back what the dead one left: that is certain.
        .continuation(|r| {
            let mut owner = owner(r)?;
            let certain = owner.revoke(0..ITEMS, 0);
            let (begun, _) = marks(r);
            if certain < begun || worker(r).start() {
                return Err(format!("{begun} begun, from {certain} on taken back").into());
            }
            Said::Ok(())
        })
}

#[test]
fn kill_range_worker() {
    run(worker_row("ipc_queue::work::range::Worker::start", "four items", None));
    run(worker_row("ipc_queue::work::range::Worker::finish", "four items", None));
    run(worker_row("ipc_queue::work::range::Worker::skip_to", "two of four revoked", Some(2)));
}

#[test]
fn kill_range_owner() {
    let revoke = Scenario::new("ipc_queue::work::range::Owner::revoke")
        .state("a revocation pending")
        .init(|r| {
            owner(r)?.revoke(3..ITEMS, 0);
            Said::Ok(())
        })
        .operation_with(
            |r| owner(r).unwrap(),
            |r, owner| {
                assert_eq!(owner.revoke(1..ITEMS, 0), 1);
                returned(r);
            },
        )
        // The worker lives on: what it does not start, it knows to have been revoked.
        .validate(|r| {
            let mut worker = worker(r);
            work(r, &mut worker);
            let (begun, ended) = marks(r);
            match begun == ended && (begun == 1 || (begun == 3 && !has_returned(r))) {
                true => Said::Ok(()),
                false => Err(format!("{begun} begun, {ended} ended").into()),
            }
        });
    run(revoke);
}
