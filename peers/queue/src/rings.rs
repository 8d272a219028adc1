//! Rivals that look again and again: rings without a way to sleep, or used without it.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use iceoryx2_bb_lock_free::spsc::queue::Queue;
use method::{Outcome, Promise};

use crate::CAPACITY;
use crate::ends::{Kind, Message, Receiver, Sender, Spin, Waiting};

macro_rules! ring {
    ($name:ident, $says:literal, $promise:expr, $sender:ty, $receiver:ty,
     $pair:expr, $push:expr, $pop:expr) => {
        #[doc = $says]
        #[derive(Debug)]
        pub struct $name;

        impl<T: Message> Kind<T> for $name {
            const NAME: &'static str = $says;
            const PROMISE: Promise = $promise;
            type SenderSeed = End<$sender>;
            type ReceiverSeed = End<$receiver>;
            type Sender = End<$sender>;
            type Receiver = End<$receiver>;

            fn pair(capacity: usize) -> Outcome<(Self::SenderSeed, Self::ReceiverSeed)> {
                let (sender, receiver) = $pair(capacity)?;
                Ok((End(sender), End(receiver)))
            }

            fn sender(seed: Self::SenderSeed) -> Outcome<Self::Sender> {
                Ok(seed)
            }

            fn receiver(seed: Self::ReceiverSeed, waiting: Waiting) -> Outcome<Self::Receiver> {
                match waiting {
                    Waiting::AsUsual => Ok(seed),
                    Waiting::Asleep => Err("has no way to sleep".into()),
                }
            }
        }

        impl<T: Message> Sender<T> for End<$sender> {
            #[inline]
            fn send(&mut self, mut message: T) -> Outcome<()> {
                let mut spin = Spin::default();
                while let Err(back) = $push(&mut self.0, message) {
                    message = back;
                    spin.pause();
                }
                Ok(())
            }
        }

        impl<T: Message> Receiver<T> for End<$receiver> {
            #[inline]
            fn receive(&mut self) -> Outcome<T> {
                let mut spin = Spin::default();
                loop {
                    match $pop(&mut self.0) {
                        Some(message) => return Ok(message),
                        None => spin.pause(),
                    }
                }
            }
        }
    };
}

/// One end of a rival's queue.
#[derive(Debug)]
pub struct End<Q>(pub Q);

/// What shaq's ring and iceoryx2's keep when a process is killed.
const PREFIX: Promise = Promise::keeps("a prefix of what was sent; nobody is told of a death");
const SHAQ_MPMC: Promise = Promise::may_lose("a death inside a reservation wedges the queue");

/// The sending end of `ArrayQueue`: both ends are the same type, and must not be.
#[derive(Clone, Debug)]
pub struct Pushing<T>(Arc<ArrayQueue<T>>);
/// The receiving end of `ArrayQueue`.
#[derive(Clone, Debug)]
pub struct Popping<T>(Arc<ArrayQueue<T>>);

fn array_queue<T>(capacity: usize) -> Outcome<(Pushing<T>, Popping<T>)> {
    let queue = Arc::new(ArrayQueue::new(capacity));
    Ok((Pushing(queue.clone()), Popping(queue)))
}

/// The sending end of iceoryx2's queue, whose room is part of its type: always [`CAPACITY`].
#[derive(Debug)]
pub struct IceoryxPushing<T: Copy>(Arc<Queue<T, CAPACITY>>);
/// The receiving end of it.
#[derive(Debug)]
pub struct IceoryxPopping<T: Copy>(Arc<Queue<T, CAPACITY>>);

fn iceoryx<T: Copy>() -> (IceoryxPushing<T>, IceoryxPopping<T>) {
    let queue = Arc::new(Queue::new());
    (IceoryxPushing(queue.clone()), IceoryxPopping(queue))
}

fn failed(error: impl std::fmt::Debug) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{error:?}").into()
}

ring!(
    Rtrb,
    "rtrb 0.4.1",
    Promise::ONE_PROCESS,
    rtrb::Producer<T>,
    rtrb::Consumer<T>,
    |capacity| Outcome::Ok(rtrb::RingBuffer::new(capacity)),
    |end: &mut rtrb::Producer<T>, message| end
        .push(message)
        .map_err(|rtrb::PushError::Full(back)| back),
    |end: &mut rtrb::Consumer<T>| end.pop().ok()
);
ring!(
    Crossbeam,
    "crossbeam ArrayQueue 0.3.12",
    Promise::ONE_PROCESS,
    Pushing<T>,
    Popping<T>,
    array_queue,
    |end: &mut Pushing<T>, message| end.0.push(message),
    |end: &mut Popping<T>| end.0.pop()
);
ring!(
    ShaqSpsc,
    "shaq spsc 4.0.0",
    PREFIX,
    shaq::spsc::Producer<T>,
    shaq::spsc::Consumer<T>,
    |capacity| shaq::spsc::pair(capacity).map_err(failed),
    |end: &mut shaq::spsc::Producer<T>, message| end.try_write(message),
    |end: &mut shaq::spsc::Consumer<T>| end.try_read()
);
ring!(
    ShaqMpmc,
    "shaq mpmc 4.0.0",
    SHAQ_MPMC,
    shaq::mpmc::Producer<T>,
    shaq::mpmc::Consumer<T>,
    |capacity| shaq::mpmc::pair(capacity).map_err(failed),
    |end: &mut shaq::mpmc::Producer<T>, message| end.try_write(message),
    |end: &mut shaq::mpmc::Consumer<T>| end.try_read()
);
ring!(
    Iceoryx,
    "iceoryx2's spsc queue 0.10.0",
    PREFIX,
    IceoryxPushing<T>,
    IceoryxPopping<T>,
    |_capacity| Outcome::Ok(iceoryx()),
    |end: &mut IceoryxPushing<T>, message| {
        // SAFETY: the only sending end of this queue, borrowed alone.
        let pushed = unsafe { end.0.push(&message) };
        pushed.then_some(()).ok_or(message)
    },
    |end: &mut IceoryxPopping<T>| {
        // SAFETY: the only receiving end of this queue, borrowed alone.
        unsafe { end.0.pop() }
    }
);
