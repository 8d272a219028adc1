//! A bell, killed in the hands of its ringer and of its listener: it rings again for the next.

use std::time::Duration;

use crash_check::step::{Region, Scenario};
use ipc_queue::bell::Doorbell;

use crate::ground::{Said, run, segment};

fn bell(region: &Region) -> Doorbell {
    Doorbell::at(&segment(region).unwrap(), 0).unwrap()
}

fn listened(region: &Region) {
    let _ticket = bell(region).listen();
}

fn row(operation: &str, state: &str, work: fn(&Doorbell)) -> Scenario {
    Scenario::new(operation)
        .state(state)
        .operation_with(bell, move |_, bell| work(bell))
        .recovery_with(bell, |_, bell| {
            bell.ring();
        })
        .validate(|r| match bell(r).ring() {
            false => Said::Ok(()),
            true => Err("nobody listens, and yet the supervisor's ring did not clear it".into()),
        })
        .continuation(|r| {
            let (bell, never) = (bell(r), Duration::from_secs(600));
            let ticket = bell.listen();
            if !bell.ring() {
                return Err("a ring does not see its listener".into());
            }
            bell.wait(ticket, Some(never));
            Said::Ok(())
        })
}

#[test]
fn kill_bell() {
    let ring = |bell: &Doorbell| {
        bell.ring();
    };
    run(row("ipc_queue::bell::Bell::ring", "nobody listens", ring));
    run(row("ipc_queue::bell::Bell::ring", "somebody listens", ring).init(listened));
    let listen = |bell: &Doorbell| {
        let _ticket = bell.listen();
    };
    run(row("ipc_queue::bell::Bell::listen", "nobody listens", listen));
    run(row("ipc_queue::bell::Bell::listen", "somebody listens", listen).init(listened));
    run(row("ipc_queue::bell::Bell::wait", "woken by a ring", |bell| {
        let ticket = bell.listen();
        bell.wait(ticket, None);
    })
    .waker(|r| {
        bell(r).ring();
    }));
}
