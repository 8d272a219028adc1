//! The work queue, killed at every instruction: each item that was submitted ends once, whatever the
//! dead had in hand, and join returns.

use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::{Error, RecvError, work};

use crate::ground::{
    CAPACITY, Item, MAKER, Member, SURVIVOR, Said, VICTIM, has_returned, item, member, number,
    returned, run, segment,
};

type Submitter = work::Submitter<Item, Member>;
type Worker = work::Worker<Item, Member>;

const LIMIT: u8 = 2;
const LONG: Duration = Duration::from_secs(60);

fn submitter(region: &Region, index: u32) -> Result<Submitter, Box<dyn std::error::Error>> {
    Ok(work::attach_submitter_among(&segment(region)?, 0, member(region, index))?)
}

fn worker(region: &Region, index: u32) -> Result<Worker, Box<dyn std::error::Error>> {
    Ok(work::attach_worker_among(&segment(region)?, 0, member(region, index))?)
}

/// `moved` items have come and gone, `kept` are queued, and the first of these was given back.
#[derive(Clone, Copy)]
struct Start {
    state: &'static str,
    moved: u64,
    kept: u64,
    is_returned: bool,
}

const STARTS: [Start; 3] = [
    Start { state: "two queued", moved: 0, kept: 2, is_returned: false },
    Start { state: "wrapping", moved: 7, kept: 2, is_returned: false },
    Start { state: "one returned", moved: 5, kept: 3, is_returned: true },
];

impl Start {
    fn build(self, region: &Region) -> Said {
        work::create::<Item>(&segment(region)?, 0, CAPACITY as usize, LIMIT)?;
        let (mut submitter, mut worker) = (submitter(region, MAKER)?, worker(region, MAKER)?);
        for next in 0..self.next() {
            submitter.try_submit(item(next))?;
            if next < self.moved {
                worker.try_lease()?.ack();
            }
        }
        if self.is_returned {
            worker.try_lease()?.nack();
        }
        Ok(())
    }

    fn next(self) -> u64 {
        self.moved + self.kept
    }
}

/// What a worker that lives finds: each item once. Failed ones are not expected.
fn finish(region: &Region) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let (mut submitter, mut worker) = (submitter(region, SURVIVOR)?, worker(region, SURVIVOR)?);
    let mut done = Vec::new();
    loop {
        match worker.try_lease() {
            Ok(lease) => {
                done.push(number(*lease)?);
                lease.ack();
            }
            Err(RecvError::Empty) => break,
            Err(end) => return Err(end.into()),
        }
    }
    if submitter.take_failed() != Err(RecvError::Empty) || !submitter.is_empty() {
        return Err("an item failed, or is left".into());
    }
    submitter.join()?;
    done.sort_unstable();
    Ok(done)
}

/// `submits` and `ends`: what the operation does to items when it returns.
fn row<S: 'static>(
    operation: &str,
    from: Start,
    prepare: fn(&Region) -> S,
    work: fn(&mut S, u64) -> Said,
    submits: u64,
    ends: u64,
) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(prepare, move |r, handle| {
            work(handle, from.next())?;
            returned(r);
            Said::Ok(())
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| {
            let done = finish(r)?;
            let most: Vec<u64> = (from.moved..from.next() + submits).collect();
            let is_subset = done.iter().all(|number| most.contains(number));
            let is_once = done.windows(2).all(|pair| pair[0] < pair[1]);
            let missing = (most.len() - done.len()) as u64;
            let is_right = match has_returned(r) {
                true => missing == ends,
                false => missing <= submits + ends,
            };
            match is_subset && is_once && is_right {
                true => Said::Ok(()),
                false => Err(format!("of {most:?} were done {done:?}").into()),
            }
        })
        .continuation(|r| {
            let mut submitter = submitter(r, SURVIVOR)?;
            for next in 0..CAPACITY {
                submitter.try_submit(item(100 + next))?;
            }
            match finish(r)?.len() as u64 == CAPACITY {
                true => Said::Ok(()),
                false => Err("a successor's items are lost".into()),
            }
        })
}

fn a_submitter(region: &Region) -> Submitter {
    submitter(region, VICTIM).unwrap()
}

fn a_worker(region: &Region) -> Worker {
    worker(region, VICTIM).unwrap()
}

#[test]
fn kill_work_submit() {
    type Submit = fn(&mut Submitter, u64) -> Said;
    let submit: Submit = |handle, next| Ok(handle.submit(item(next))?);
    for from in STARTS {
        run(row("ipc_queue::work::Submitter::submit", from, a_submitter, submit, 1, 0));
    }
    let from = STARTS[1];
    let submit: Submit = |handle, next| Ok(handle.try_submit(item(next))?);
    run(row("ipc_queue::work::Submitter::try_submit", from, a_submitter, submit, 1, 0));
    let submit: Submit = |handle, next| Ok(handle.submit_timeout(item(next), LONG)?);
    run(row("ipc_queue::work::Submitter::submit_timeout", from, a_submitter, submit, 1, 0));
}

type Step = fn(&mut Worker, u64) -> Said;

#[test]
fn kill_work_lease_and_ack() {
    let ack: Step = |handle, _| {
        handle.lease()?.ack();
        Ok(())
    };
    for from in STARTS {
        run(row("ipc_queue::work::Lease::ack", from, a_worker, ack, 0, 1));
    }
}

#[test]
fn kill_work_lease_and_nack() {
    let nack: Step = |handle, _| {
        handle.lease()?.nack();
        Ok(())
    };
    run(row("ipc_queue::work::Lease::nack", STARTS[0], a_worker, nack, 0, 0));
    let dropped: Step = |handle, _| {
        drop(handle.lease()?);
        Ok(())
    };
    run(row("ipc_queue::work::Lease::drop", STARTS[2], a_worker, dropped, 0, 0));
}

/// Leased, and kept until the worker is dead: given to another.
#[test]
fn kill_work_lease() {
    let lease: Step = |handle, _| {
        std::mem::forget(handle.lease()?);
        Ok(())
    };
    run(row("ipc_queue::work::Worker::lease", STARTS[1], a_worker, lease, 0, 0));
    let lease: Step = |handle, _| {
        std::mem::forget(handle.try_lease()?);
        Ok(())
    };
    run(row("ipc_queue::work::Worker::try_lease", STARTS[2], a_worker, lease, 0, 0));
    let lease: Step = |handle, _| {
        std::mem::forget(handle.lease_timeout(LONG)?);
        Ok(())
    };
    run(row("ipc_queue::work::Worker::lease_timeout", STARTS[0], a_worker, lease, 0, 0));
}

#[test]
fn kill_work_come_and_go() {
    let from = STARTS[0];
    let nothing = |_: &Region| ();
    let come = |region: &Region| -> Said {
        std::mem::forget((submitter(region, VICTIM)?, worker(region, VICTIM)?));
        Ok(())
    };
    for operation in ["ipc_queue::work::attach_submitter", "ipc_queue::work::attach_worker"] {
        run(on_region(row(operation, from, nothing, |(), _| Ok(()), 0, 0), come));
    }
    let go: fn(&mut Submitter, u64) -> Said = |handle, _| {
        drop(handle.try_clone()?);
        Ok(())
    };
    run(row("ipc_queue::work::Submitter::try_clone", from, a_submitter, go, 0, 0));
    let go: Step = |handle, _| {
        drop(handle.try_clone()?);
        Ok(())
    };
    run(row("ipc_queue::work::Worker::try_clone", from, a_worker, go, 0, 0));
}

/// With an operation that makes its handles itself.
fn on_region(scenario: Scenario, work: fn(&Region) -> Said) -> Scenario {
    scenario.operation(move |r| {
        work(r)?;
        returned(r);
        Said::Ok(())
    })
}

#[test]
fn kill_work_join() {
    let idle = Start { state: "idle", moved: 3, kept: 0, is_returned: false };
    let join: fn(&mut Submitter, u64) -> Said = |handle, _| Ok(handle.join()?);
    run(row("ipc_queue::work::Submitter::join", idle, a_submitter, join, 0, 0));
    // Marks a record, and gives up.
    let join: fn(&mut Submitter, u64) -> Said =
        |handle, _| match handle.join_timeout(Duration::from_micros(1)) {
            Err(RecvError::Timeout) => Ok(()),
            other => Err(format!("{other:?}").into()),
        };
    run(row("ipc_queue::work::Submitter::join_timeout", STARTS[0], a_submitter, join, 0, 0));
}

#[test]
fn kill_work_take_failed() {
    let taking = Scenario::new("ipc_queue::work::Submitter::take_failed")
        .state("one failed")
        .init(|r| {
            STARTS[0].build(r)?;
            let mut worker = worker(r, MAKER)?;
            (0..=LIMIT).try_for_each(|_| worker.try_lease().map(|lease| lease.nack()))?;
            Said::Ok(())
        })
        .operation_with(a_submitter, |r, handle| {
            let failed = number(handle.take_failed()?)?;
            returned(r);
            if failed == 0 { Said::Ok(()) } else { Err("another item".into()) }
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| {
            let failed = submitter(r, SURVIVOR)?.take_failed();
            match (failed, has_returned(r)) {
                (Err(RecvError::Empty), _) | (Ok(_), false) => {}
                other => return Err(format!("{other:?}").into()),
            }
            match finish(r)? == [1] {
                true => Said::Ok(()),
                false => Err("the other item is lost".into()),
            }
        });
    run(taking);
}

fn closing<S: 'static>(operation: &str, prepare: fn(&Region) -> S, close: fn(&S)) -> Scenario {
    Scenario::new(operation)
        .state("two queued")
        .init(|r| STARTS[0].build(r))
        .operation_with(prepare, move |r, handle| {
            close(handle);
            returned(r);
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| {
            let mut worker = worker(r, SURVIVOR)?;
            for expected in 0..2 {
                let lease = worker.try_lease()?;
                if number(*lease)? != expected {
                    return Err("another item".into());
                }
                lease.ack();
            }
            let end = worker.try_lease().map(|lease| number(*lease));
            match (end, has_returned(r)) {
                (Err(RecvError::Closed), _) | (Err(RecvError::Disconnected), false) => Said::Ok(()),
                other => Err(format!("{other:?}").into()),
            }
        })
}

#[test]
fn kill_work_close() {
    run(closing("ipc_queue::work::Submitter::close", a_submitter, |handle| handle.close()));
    run(closing("ipc_queue::work::Worker::close", a_worker, |handle| handle.close()));
}

#[test]
fn kill_work_create() {
    let create = Scenario::new("ipc_queue::work::create")
        .state("zeroed memory")
        .operation(|r| {
            work::create::<Item>(&segment(r).unwrap(), 0, CAPACITY as usize, LIMIT).unwrap();
            returned(r);
        })
        .validate(|r| {
            let member = member(r, SURVIVOR);
            match work::attach_worker_among::<Item, _>(&segment(r)?, 0, member) {
                Ok(_) => Said::Ok(()),
                Err(Error::NotAQueue(0)) if !has_returned(r) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
    run(create);
}
