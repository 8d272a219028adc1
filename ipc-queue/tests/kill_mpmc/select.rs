//! A selector is killed: nothing is taken, and another gets what the dead one was woken for.

use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::select::{Select, SelectError, Selectable};
use ipc_queue::{RecvError, Side, spsc};

use crate::ground::{
    Ghost, SURVIVOR, Said, Start, VICTIM, consumer, drain, goes_on, member, producer, run, start,
};
use crate::sleepers::{receives_or_ends, sends_one};

const LONG: Duration = Duration::from_secs(60);
const STARTS: [Start; 3] = [
    start("wrapping", 7, 2),
    start("behind a dead claim", 5, 2).with_ghost(Ghost::Claim),
    start("full, producer listens", 2, 4).with_listener(Side::Producer),
];

type Wait = fn(&mut Select, &[&dyn Selectable]) -> Result<usize, SelectError>;

/// Both ends of the queue, of which the consumer's is ready.
fn row(operation: &str, from: Start, wait: Wait) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| consumer(r, VICTIM).unwrap(),
            move |r, consumer| {
                let producer = producer(r, VICTIM)?;
                match wait(&mut Select::new(), &[consumer, &producer])? {
                    0 => Said::Ok(()),
                    index => Err(format!("end {index} is ready").into()),
                }
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(move |r| everything_is_there(r, from))
        .continuation(goes_on)
}

fn everything_is_there(region: &Region, from: Start) -> Said {
    let mut consumer = consumer(region, SURVIVOR)?;
    consumer.validate()?;
    let (left, end) = drain(&mut consumer)?;
    if left.iter().copied().eq(from.items()) && end == RecvError::Disconnected {
        return Ok(());
    }
    Err(format!("left of {:?}: {left:?}, then {end:?}", from.items()).into())
}

#[test]
fn kill_select_ready() {
    run(row("ipc_queue::select::Select::wait", STARTS[1], |select, ends| select.wait(ends)));
    for from in STARTS {
        run(row("ipc_queue::select::Select::try_wait", from, |select, ends| select.try_wait(ends)));
    }
    run(row("ipc_queue::select::Select::wait_timeout", STARTS[0], |select, ends| {
        select.wait_timeout(ends, LONG)
    }));
}

#[test]
fn kill_select_asleep() {
    const EMPTY: Start = start("asleep, empty", 2, 0);
    let asleep = Scenario::new("ipc_queue::select::Select::wait")
        .state(EMPTY.state)
        .init(|r| {
            EMPTY.build(r)?;
            std::mem::forget(producer(r, SURVIVOR)?);
            Said::Ok(())
        })
        .operation_with(
            |r| (consumer(r, VICTIM).unwrap(), spsc::channel::<u64>(1).unwrap()),
            |_, (consumer, (_producer, nothing))| {
                let mut select = Select::new();
                select.set_spin_limit(0);
                match select.wait(&[nothing, consumer])? {
                    1 => Said::Ok(()),
                    index => Err(format!("end {index} is ready").into()),
                }
            },
        )
        .waker(sends_one)
        .peer(receives_or_ends)
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| Said::Ok(consumer(r, SURVIVOR)?.validate()?))
        .continuation(goes_on);
    run(asleep);
}
