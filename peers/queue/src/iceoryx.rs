//! iceoryx2's publish and subscribe, as its users have it. The ring that it is built of is among the
//! [rings](crate::rings).

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use method::{Outcome, Promise};

use crate::ends::{Kind, Message, Receiver, Sender, Spin, Waiting};

const NO_SLEEP: &str = "its receiver has no way to sleep: events are a service of their own";

/// Publish and subscribe, nothing thrown away when the subscriber's buffer is full.
#[derive(Debug)]
pub struct PublishSubscribe;

/// The name of a service that nobody else uses.
#[derive(Debug)]
pub struct Name(Arc<str>, usize);

/// A publisher, and what it lives in.
#[derive(Debug)]
pub struct Publishing<T: Message + Debug + ZeroCopySend> {
    publisher: Publisher<ipc::Service, T, ()>,
    _service: PortFactory<ipc::Service, T, ()>,
    _node: Node<ipc::Service>,
}

/// A subscriber, and what it lives in.
#[derive(Debug)]
pub struct Subscribed<T: Message + Debug + ZeroCopySend> {
    subscriber: Subscriber<ipc::Service, T, ()>,
    _service: PortFactory<ipc::Service, T, ()>,
    _node: Node<ipc::Service>,
}

type Opened<T> = (Node<ipc::Service>, PortFactory<ipc::Service, T, ()>);

/// Joins the service: both sides do, whoever comes first makes it.
fn open<T: Message + Debug + ZeroCopySend>(name: &Name) -> Outcome<Opened<T>> {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let service = node
        .service_builder(&name.0.as_ref().try_into()?)
        .publish_subscribe::<T>()
        .enable_safe_overflow(false)
        .history_size(0)
        .subscriber_max_buffer_size(name.1)
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()?;
    Ok((node, service))
}

impl<T: Message + Debug + ZeroCopySend> Kind<T> for PublishSubscribe {
    const NAME: &'static str = "iceoryx2 publish-subscribe 0.10.0";
    const PROMISE: Promise =
        Promise::keeps("what the living sent; nobody is told of a death but by asking for it");
    type SenderSeed = Name;
    type ReceiverSeed = Name;
    type Sender = Publishing<T>;
    type Receiver = Subscribed<T>;

    fn pair(capacity: usize) -> Outcome<(Name, Name)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only has to differ.
        let number = NEXT.fetch_add(1, Relaxed);
        let name: Arc<str> = format!("peers/{}/{number}", std::process::id()).into();
        Ok((Name(name.clone(), capacity), Name(name, capacity)))
    }

    fn sender(name: Name) -> Outcome<Publishing<T>> {
        let (node, service) = open(&name)?;
        let publisher = service
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        Ok(Publishing { publisher, _service: service, _node: node })
    }

    fn receiver(name: Name, waiting: Waiting) -> Outcome<Subscribed<T>> {
        if waiting == Waiting::Asleep {
            return Err(NO_SLEEP.into());
        }
        let (node, service) = open(&name)?;
        let subscriber = service.subscriber_builder().create()?;
        Ok(Subscribed { subscriber, _service: service, _node: node })
    }
}

impl<T: Message + Debug + ZeroCopySend> Sender<T> for Publishing<T> {
    #[inline]
    fn send(&mut self, message: T) -> Outcome<()> {
        let mut spin = Spin::default();
        // Delivered to nobody: the subscriber is not there yet.
        while self.publisher.send_copy(message)? == 0 {
            spin.pause();
        }
        Ok(())
    }
}

impl<T: Message + Debug + ZeroCopySend> Receiver<T> for Subscribed<T> {
    #[inline]
    fn receive(&mut self) -> Outcome<T> {
        let mut spin = Spin::default();
        loop {
            match self.subscriber.receive()? {
                Some(sample) => return Ok(*sample),
                None => spin.pause(),
            }
        }
    }
}
