//! What waiting costs: processor time of somebody who waits for a message that does not come.

use std::thread;
use std::time::{Duration, Instant};

use method::cores::process_time;
use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Target, Unit};

/// How long each waits: a rate is measured, nothing is expected to have happened by then.
const WAIT: Duration = Duration::from_millis(300);

/// Share of one processor that this process uses while `wait` waits, in percent.
fn share(wait: impl FnOnce(Duration) -> Outcome<()>) -> Outcome<Sample> {
    let (used, start) = (process_time(), Instant::now());
    wait(WAIT)?;
    let used = process_time() - used;
    Ok(Sample::from(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64()))
}

/// The case.
pub fn run(arguments: &Arguments) {
    let inside = "300 ms in which one receiver waits, asked to do so as its documentation shows";
    Case::new("queue", "waiting, idle", inside, Unit::PROCESSORS, Calibration::CompareAndSwap)
        .side(Side::new("ipc-queue spsc", crate::ours::PROMISE, || {
            share(|limit| {
                let (_producer, mut consumer) = ipc_queue::spsc::channel::<u64>(64)?;
                match consumer.recv_timeout(limit) {
                    Err(ipc_queue::RecvError::Timeout) => Ok(()),
                    other => Err(format!("{other:?}").into()),
                }
            })
        }))
        .side(Side::new("shaq spsc 4.0.0", Promise::keeps("a prefix of what was sent"), || {
            share(|limit| {
                let pair = shaq::spsc::pair::<u64>(64).map_err(|error| format!("{error:?}"))?;
                let (_producer, mut consumer) = pair;
                match consumer.read_timeout(limit) {
                    Err(_) => Ok(()),
                    Ok(_) => Err("a message out of nothing".into()),
                }
            })
        }))
        .side(Side::new("kanal 0.1.1", Promise::ONE_PROCESS, || {
            share(|limit| {
                let (_sender, receiver) = kanal::bounded::<u64>(64);
                let _ = receiver.recv_timeout(limit);
                Ok(())
            })
        }))
        .side(Side::new("crossbeam ArrayQueue 0.3.12, looking again", Promise::ONE_PROCESS, || {
            share(|limit| {
                let queue = crossbeam_queue::ArrayQueue::<u64>::new(64);
                let start = Instant::now();
                while queue.pop().is_none() && start.elapsed() < limit {
                    thread::yield_now();
                }
                Ok(())
            })
        }))
        .target(Target::Absolute(0.5))
        .at_most(7)
        .run(arguments);
}
