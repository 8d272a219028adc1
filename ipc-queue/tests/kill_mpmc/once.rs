//! A oneshot, killed at every instruction: the element arrives whole, or its receiver is told.

use std::time::Duration;

use crash_check::step::Scenario;
use ipc_queue::{Error, RecvError, oneshot};

use crate::ground::{
    Item, MAKER, Member, SURVIVOR, Said, VICTIM, has_returned, item, member, number, returned, run,
    segment,
};

#[test]
fn kill_oneshot_send() {
    let sending = Scenario::new("ipc_queue::oneshot::Sender::send")
        .state("fresh")
        .init(|r| Said::Ok(oneshot::create::<Item>(&segment(r)?, 0)?))
        .operation_with(
            |r| {
                let member = member(r, VICTIM);
                let sender = oneshot::attach_sender_among(&segment(r).unwrap(), 0, member);
                Some(sender.unwrap())
            },
            |r, sender| {
                if let Some(sender) = sender.take() {
                    sender.send(item(7)).unwrap();
                }
                returned(r);
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| {
            let member = member(r, SURVIVOR);
            let mut receiver = oneshot::attach_receiver_among::<Item, _>(&segment(r)?, 0, member)?;
            match receiver.try_recv() {
                Ok(found) if number(found)? == 7 => match receiver.try_recv() {
                    Err(RecvError::Closed | RecvError::Disconnected) => Said::Ok(()),
                    more => Err(format!("{more:?} after the element").into()),
                },
                Err(RecvError::Disconnected) if !has_returned(r) => Ok(()),
                other => Err(format!("{other:?}, returned: {}", has_returned(r)).into()),
            }
        });
    run(sending);
}

type Receiver = oneshot::Receiver<Item, Member>;

fn receiving(operation: &str, receive: fn(Receiver) -> Result<Item, RecvError>) -> Scenario {
    Scenario::new(operation)
        .state("sent")
        .init(|r| {
            oneshot::create::<Item>(&segment(r)?, 0)?;
            let member = member(r, MAKER);
            Said::Ok(oneshot::attach_sender_among(&segment(r)?, 0, member)?.send(item(7))?)
        })
        .operation_with(
            |r| {
                let member = member(r, VICTIM);
                let segment = segment(r).unwrap();
                Some(oneshot::attach_receiver_among::<Item, _>(&segment, 0, member).unwrap())
            },
            move |r, receiver: &mut Option<Receiver>| {
                let found = receiver.take().map(|receiver| receive(receiver).unwrap());
                assert_eq!(found, Some(item(7)));
                returned(r);
            },
        )
        .recovery_with(|r| member(r, SURVIVOR), |_, member| member.tell_everybody())
        .validate(|r| {
            let member = member(r, SURVIVOR);
            let mut receiver = oneshot::attach_receiver_among::<Item, _>(&segment(r)?, 0, member)?;
            match receiver.try_recv() {
                Ok(found) if number(found)? == 7 && !has_returned(r) => Said::Ok(()),
                // With its receiver: at most once.
                Err(RecvError::Closed) => Ok(()),
                other => Err(format!("{other:?}, returned: {}", has_returned(r)).into()),
            }
        })
}

#[test]
fn kill_oneshot_recv() {
    run(receiving("ipc_queue::oneshot::Receiver::recv", |receiver| receiver.recv()));
    run(receiving("ipc_queue::oneshot::Receiver::try_recv", |mut receiver| receiver.try_recv()));
    run(receiving("ipc_queue::oneshot::Receiver::recv_timeout", |mut receiver| {
        receiver.recv_timeout(Duration::from_secs(60))
    }));
}

#[test]
fn kill_oneshot_create() {
    let create = Scenario::new("ipc_queue::oneshot::create")
        .state("zeroed memory")
        .operation(|r| {
            oneshot::create::<Item>(&segment(r).unwrap(), 0).unwrap();
            returned(r);
        })
        .validate(|r| {
            let member = member(r, SURVIVOR);
            match oneshot::attach_receiver_among::<Item, _>(&segment(r)?, 0, member) {
                Ok(mut receiver) => match receiver.try_recv() {
                    Err(RecvError::Empty) => Said::Ok(()),
                    other => Err(format!("{other:?}").into()),
                },
                Err(Error::NotAQueue(0)) if !has_returned(r) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
    run(create);
}
