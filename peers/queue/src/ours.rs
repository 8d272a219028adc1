//! Ours: the ring of one producer and one consumer, attached on each side for itself.

use ipc_queue::spsc::{self, Element};
use method::{Outcome, Promise};
use shm_core::Segment;
use std::os::fd::{AsFd, OwnedFd};

use crate::ends::{Kind, Message, Receiver, Sender, Waiting};

/// What ours keeps.
pub const PROMISE: Promise =
    Promise::keeps("a prefix of what was sent, in order; the living go on after the proof");

/// `ipc_queue::spsc`.
#[derive(Debug)]
pub struct Spsc;

impl<T: Message + Element> Kind<T> for Spsc {
    const NAME: &'static str = "ipc-queue spsc";
    const PROMISE: Promise = PROMISE;
    type SenderSeed = OwnedFd;
    type ReceiverSeed = OwnedFd;
    type Sender = spsc::Producer<T>;
    type Receiver = spsc::Consumer<T>;

    fn pair(capacity: usize) -> Outcome<(OwnedFd, OwnedFd)> {
        let segment = Segment::anonymous(spsc::required_size::<T>(capacity)?)?;
        spsc::create::<T>(&segment, 0, capacity)?;
        let end = || segment.as_fd().try_clone_to_owned();
        Ok((end()?, end()?))
    }

    fn sender(seed: OwnedFd) -> Outcome<spsc::Producer<T>> {
        Ok(spsc::attach_producer(&Segment::attach(seed)?, 0)?)
    }

    fn receiver(seed: OwnedFd, waiting: Waiting) -> Outcome<spsc::Consumer<T>> {
        let mut consumer = spsc::attach_consumer(&Segment::attach(seed)?, 0)?;
        if waiting == Waiting::Asleep {
            consumer.set_spin_limit(0);
        }
        Ok(consumer)
    }
}

impl<T: Element> Sender<T> for spsc::Producer<T> {
    #[inline]
    fn send(&mut self, message: T) -> Outcome<()> {
        spsc::Producer::send(self, message).map_err(|_| "our consumer left".into())
    }
}

impl<T: Element> Receiver<T> for spsc::Consumer<T> {
    #[inline]
    fn receive(&mut self) -> Outcome<T> {
        Ok(self.recv()?)
    }
}
