//! What the measurements need of a queue, whoever made it.

use method::{Outcome, Promise};

/// A message that knows its number, so that the receiver can check the order and both ends of it.
pub trait Message: Copy + Send + Sync + 'static {
    /// The message number `number`.
    fn number(number: u64) -> Self;
    /// The number, if both ends of the message carry it.
    fn read(&self) -> Option<u64>;
}

impl Message for u64 {
    fn number(number: u64) -> u64 {
        number
    }

    fn read(&self) -> Option<u64> {
        Some(*self)
    }
}

impl<const N: usize> Message for [u64; N] {
    fn number(number: u64) -> Self {
        let mut message = [0; N];
        message[0] = number;
        message[N - 1] = number;
        message
    }

    fn read(&self) -> Option<u64> {
        (self[0] == self[N - 1]).then_some(self[0])
    }
}

/// The sending end.
pub trait Sender<T> {
    /// Sends one, waiting for room.
    fn send(&mut self, message: T) -> Outcome<()>;
}

/// The receiving end.
pub trait Receiver<T> {
    /// Receives one, waiting for it.
    fn receive(&mut self) -> Outcome<T>;
}

/// A kind of queue: makes a pair of seeds, each of which becomes an end on its own side.
pub trait Kind<T> {
    /// As rows name it, with its version.
    const NAME: &'static str;
    /// What it keeps when a process is killed.
    const PROMISE: Promise;
    /// What becomes the sending end.
    type SenderSeed: Send;
    /// What becomes the receiving end.
    type ReceiverSeed: Send;
    /// The sending end.
    type Sender: Sender<T>;
    /// The receiving end.
    type Receiver: Receiver<T>;

    /// A new queue for at least `capacity` messages.
    fn pair(capacity: usize) -> Outcome<(Self::SenderSeed, Self::ReceiverSeed)>;
    /// The sending end, made where it is used.
    fn sender(seed: Self::SenderSeed) -> Outcome<Self::Sender>;
    /// The receiving end, made where it is used.
    fn receiver(seed: Self::ReceiverSeed, waiting: Waiting) -> Outcome<Self::Receiver>;
}

/// How a receiver waits, where it can do either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// As its documentation recommends.
    AsUsual,
    /// Asleep at once.
    Asleep,
}

/// Looks again and again; lets others run when that takes long, as the calibration does.
#[derive(Default)]
pub struct Spin(u32);

impl Spin {
    /// Between two looks.
    pub fn pause(&mut self) {
        std::hint::spin_loop();
        self.0 += 1;
        if self.0.is_multiple_of(4096) {
            std::thread::yield_now();
        }
    }
}
