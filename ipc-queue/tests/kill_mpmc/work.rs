//! The work queue, killed at every instruction: each item that was submitted ends once, whatever the
//! dead had in hand, and join returns.

use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::{Error, RecvError, SendError, work};

use crate::ground::{
    CAPACITY, Item, MAKER, Member, PEER, SURVIVOR, Said, VICTIM, has_returned, item, member,
    number, returned, run, segment,
};
use crate::member::stopped;

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

/// Whatever room there was is taken: nothing is submitted, and nothing changes.
#[test]
fn kill_work_submit_to_a_full_queue() {
    let full = Start { state: "full", moved: 3, kept: CAPACITY, is_returned: false };
    let submit: fn(&mut Submitter, u64) -> Said = |handle, next| {
        let refused = handle.try_submit(item(next));
        if refused == Err(SendError::Disconnected(item(next))) {
            Ok(())
        } else {
            Err("room".into())
        }
    };
    run(row("ipc_queue::work::Submitter::try_submit", full, a_submitter, submit, 0, 0));
    let left = Start { state: "one left", kept: CAPACITY - 1, ..full };
    let submit: fn(&mut Submitter, u64) -> Said = |handle, next| Ok(handle.submit(item(next))?);
    run(row("ipc_queue::work::Submitter::submit", left, a_submitter, submit, 1, 0));
}

/// A worker that is stopped keeps its lease: beside it another ends an item, and is killed.
#[test]
fn kill_work_ack_beside_a_stopped_worker() {
    const KEPT: u64 = 3;
    run(Scenario::new("ipc_queue::work::Lease::ack")
        .state("beside a stopped worker")
        .init(|r| {
            work::create::<Item>(&segment(r)?, 0, CAPACITY as usize, LIMIT)?;
            let mut submitter = submitter(r, MAKER)?;
            (0..KEPT).try_for_each(|next| submitter.try_submit(item(next)))?;
            let mut peer = work::attach_worker_among::<Item, _>(&segment(r)?, 0, stopped(r))?;
            let lease = peer.try_lease()?;
            let is_first = number(*lease)? == 0;
            std::mem::forget(lease);
            std::mem::forget(peer);
            if is_first { Said::Ok(()) } else { Err("not the first".into()) }
        })
        .operation_with(a_worker, |r, worker| {
            worker.lease()?.ack();
            returned(r);
            Said::Ok(())
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| {
            let mut worker = worker(r, SURVIVOR)?;
            let mut done = Vec::new();
            while let Ok(lease) = worker.try_lease() {
                done.push(number(*lease)?);
                lease.ack();
            }
            done.sort_unstable();
            let joined = submitter(r, SURVIVOR)?.join_timeout(Duration::from_micros(1));
            match done.as_slice() {
                _ if joined != Err(RecvError::Timeout) => Err("joined beside a lease".into()),
                [1, 2] if !has_returned(r) => Said::Ok(()),
                [2] => Ok(()),
                _ => Err(format!("done: {done:?}").into()),
            }
        }));
}

const IDLE: Start = Start { state: "asleep, empty", moved: 2, kept: 0, is_returned: false };
const BUSY: Start = Start { state: "asleep, full", moved: 2, kept: CAPACITY, is_returned: false };

/// Sleeps at once.
fn asleep<H>(handle: fn(&Region) -> H, limit: fn(&mut H, u32)) -> impl Fn(&Region) -> H {
    move |region| {
        let mut handle = handle(region);
        limit(&mut handle, 0);
        handle
    }
}

#[test]
fn kill_work_lease_asleep() {
    run(Scenario::new("ipc_queue::work::Worker::lease")
        .state(IDLE.state)
        .init(|r| {
            IDLE.build(r)?;
            // The waker is there from the start: a queue that nobody submits to would end the sleep.
            std::mem::forget(submitter(r, SURVIVOR)?);
            Said::Ok(())
        })
        .operation_with(asleep(a_worker, Worker::set_spin_limit), |_, worker| {
            match worker.lease() {
                Ok(lease) => {
                    lease.ack();
                    Ok(())
                }
                Err(RecvError::Disconnected) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .waker(|r| Said::Ok(submitter(r, SURVIVOR)?.submit(item(2))?))
        .peer(|r| {
            let mut worker = worker(r, PEER)?;
            worker.set_spin_limit(0);
            match worker.lease() {
                Ok(lease) if number(*lease)? == 2 => {
                    lease.ack();
                    Said::Ok(())
                }
                Err(RecvError::Disconnected) => Ok(()),
                other => Err(format!("{other:?}").into()),
            }
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| finish(r).map(drop)));
}

#[test]
fn kill_work_submit_asleep() {
    run(Scenario::new("ipc_queue::work::Submitter::submit")
        .state(BUSY.state)
        .init(|r| {
            BUSY.build(r)?;
            std::mem::forget(worker(r, SURVIVOR)?);
            Said::Ok(())
        })
        .operation_with(asleep(a_submitter, Submitter::set_spin_limit), |_, submitter| {
            match submitter.submit(item(7)) {
                Ok(()) | Err(SendError::Disconnected(_)) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .waker(|r| {
            worker(r, SURVIVOR)?.lease()?.ack();
            Said::Ok(())
        })
        .peer(|r| {
            let mut submitter = submitter(r, PEER)?;
            submitter.set_spin_limit(0);
            match submitter.submit(item(8)) {
                Ok(()) | Err(SendError::Disconnected(_)) => Said::Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| finish(r).map(drop)));
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
