//! A consumer is killed: what it had not released is received by another, whole and in order.

use crash_check::step::{Region, Scenario};
use ipc_queue::RecvError;

use super::ground::{
    Consumer, DEAD_CLAIM, DEAD_MESSAGE, DEAD_RECEIVED, FULL, LISTENED_FULL, LONG, STOPPED_CLAIM,
    STOPPED_MESSAGE, Start, WRAPPING, consumer, drain, goes_on, kit, number, run,
};
use crate::member::{SURVIVOR, Said, VICTIM, has_returned, returned};

type Receive = fn(&mut Consumer) -> Said;

/// `receives`: how many messages the operation receives for good.
fn row(operation: &str, from: Start, receives: u64, receive: Receive) -> Scenario {
    Scenario::new(operation)
        .state(from.state)
        .init(move |r| from.build(r))
        .operation_with(
            |r| {
                let mut consumer = consumer(r, VICTIM).unwrap();
                consumer.set_spin_limit(0);
                consumer
            },
            move |r, consumer| {
                receive(consumer)?;
                returned(r);
                Said::Ok(())
            },
        )
        .recovery_with(|r| kit(r, SURVIVOR), |_, kit| kit.tell_everybody())
        .validate(move |r| a_suffix_is_left(r, from, receives))
        .continuation(goes_on)
}

fn a_suffix_is_left(region: &Region, from: Start, receives: u64) -> Said {
    let mut consumer = consumer(region, SURVIVOR)?;
    let (left, end) = drain(&mut consumer)?;
    if end != from.end() {
        return Err(format!("ends with {end:?}").into());
    }
    let gone = from.numbers().count().checked_sub(left.len()).ok_or("more than was sent")? as u64;
    if !left.iter().copied().eq(from.numbers().skip(gone as usize)) {
        return Err(format!("left of {:?}: {left:?}", from.numbers()).into());
    }
    if gone > receives || (has_returned(region) && gone != receives) {
        return Err(format!("{gone} are gone, the operation receives {receives}").into());
    }
    from.the_peer_ends(region, left, &mut consumer)?;
    Ok(consumer.validate()?)
}

fn one(consumer: &mut Consumer) -> Said {
    number(&consumer.recv()?)?;
    Ok(())
}

#[test]
fn kill_mailbox_recv() {
    for from in [WRAPPING, FULL, LISTENED_FULL] {
        run(row("ipc_queue::mailbox::Consumer::recv", from, 1, one));
    }
    run(row("ipc_queue::mailbox::Message::drop", WRAPPING, 1, |c| {
        drop(c.recv()?);
        Ok(())
    }));
    // Kept until the death: received again.
    run(row("ipc_queue::mailbox::Consumer::recv", WRAPPING, 0, |c| {
        std::mem::forget(c.recv()?);
        Ok(())
    }));
}

#[test]
fn kill_mailbox_recv_beside_others() {
    for from in [DEAD_CLAIM, DEAD_MESSAGE, DEAD_RECEIVED, STOPPED_MESSAGE] {
        run(row("ipc_queue::mailbox::Consumer::recv", from, 1, one));
    }
    run(row("ipc_queue::mailbox::Consumer::try_recv", STOPPED_CLAIM, 0, |c| {
        match c.try_recv().map(|message| message.len()) {
            Err(RecvError::Empty) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }));
}

#[test]
fn kill_mailbox_other_receives() {
    run(row("ipc_queue::mailbox::Consumer::try_recv", WRAPPING, 1, |c| {
        number(&c.try_recv()?)?;
        Ok(())
    }));
    run(row("ipc_queue::mailbox::Consumer::recv_timeout", FULL, 1, |c| {
        number(&c.recv_timeout(LONG)?)?;
        Ok(())
    }));
    run(row("ipc_queue::mailbox::Consumer::for_each", DEAD_MESSAGE, 2, |c| {
        match c.for_each(|found| drop(number(found))) {
            RecvError::Disconnected => Ok(()),
            end => Err(end.into()),
        }
    }));
}
