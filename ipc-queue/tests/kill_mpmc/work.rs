//! The work queue, killed at every instruction: each item that was submitted ends once, whatever the
//! dead had in hand, and join returns.

use crash_check::step::{Region, Scenario};
use ipc_queue::{RecvError, work};

use crate::ground::{
    CAPACITY, Item, MAKER, Member, SURVIVOR, Said, VICTIM, has_returned, item, member, number,
    returned, run, segment,
};

type Submitter = work::Submitter<Item, Member>;
type Worker = work::Worker<Item, Member>;

const LIMIT: u8 = 2;

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

#[test]
fn kill_work_submit() {
    for from in STARTS {
        let prepare = |r: &Region| submitter(r, VICTIM).unwrap();
        let submit = |handle: &mut Submitter, next| Ok(handle.submit(item(next))?);
        run(row("ipc_queue::work::Submitter::submit", from, prepare, submit, 1, 0));
    }
}

#[test]
fn kill_work_lease_and_ack() {
    for from in STARTS {
        let prepare = |r: &Region| worker(r, VICTIM).unwrap();
        let ack = |handle: &mut Worker, _| {
            handle.lease()?.ack();
            Said::Ok(())
        };
        run(row("ipc_queue::work::Lease::ack", from, prepare, ack, 0, 1));
    }
}

#[test]
fn kill_work_lease_and_nack() {
    for from in [STARTS[0], STARTS[2]] {
        let prepare = |r: &Region| worker(r, VICTIM).unwrap();
        let nack = |handle: &mut Worker, _| {
            handle.lease()?.nack();
            Said::Ok(())
        };
        run(row("ipc_queue::work::Lease::nack", from, prepare, nack, 0, 0));
    }
}
