//! Rivals inside one process that can sleep: channels.

use method::{Outcome, Promise};

use crate::ends::{Kind, Message, Receiver, Sender, Waiting};

macro_rules! channel {
    ($name:ident, $says:literal, $library:ident) => {
        #[doc = $says]
        #[derive(Debug)]
        pub struct $name;

        impl<T: Message> Kind<T> for $name {
            const NAME: &'static str = $says;
            const PROMISE: Promise = Promise::ONE_PROCESS;
            type SenderSeed = $library::Sender<T>;
            type ReceiverSeed = $library::Receiver<T>;
            type Sender = $library::Sender<T>;
            type Receiver = $library::Receiver<T>;

            fn pair(capacity: usize) -> Outcome<(Self::SenderSeed, Self::ReceiverSeed)> {
                Ok($library::bounded(capacity))
            }

            fn sender(seed: Self::SenderSeed) -> Outcome<Self::Sender> {
                Ok(seed)
            }

            fn receiver(seed: Self::ReceiverSeed, _waiting: Waiting) -> Outcome<Self::Receiver> {
                Ok(seed)
            }
        }

        impl<T: Message> Sender<T> for $library::Sender<T> {
            #[inline]
            fn send(&mut self, message: T) -> Outcome<()> {
                $library::Sender::send(self, message).map_err(|_| "the receiver left".into())
            }
        }

        impl<T: Message> Receiver<T> for $library::Receiver<T> {
            #[inline]
            fn receive(&mut self) -> Outcome<T> {
                Ok(self.recv()?)
            }
        }
    };
}

channel!(Kanal, "kanal 0.1.1", kanal);
channel!(Flume, "flume 0.12.0", flume);
