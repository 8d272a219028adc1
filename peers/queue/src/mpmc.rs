//! Our side of the queues for several producers and consumers, with leases and without.

use ipc_queue::mpmc::{self, Consumer, Producer};
use ipc_queue::spsc::Element;
use ipc_queue::work::{Submitter, Worker};
use method::{Between, Outcome, Promise, Sample, Side, together};

use crate::ends::{Kind, Message, Receiver, Sender, Waiting};
use crate::work;

/// What ours keeps.
const PROMISE: Promise =
    Promise::keeps("what was sent is received once; what a dead producer had claimed is freed");

/// Our name in rows.
const NAME: &str = "ipc-queue mpmc";

/// `ipc_queue::mpmc`.
#[derive(Debug)]
pub struct Mpmc;

impl<T: Message + Element> Kind<T> for Mpmc {
    const NAME: &'static str = NAME;
    const PROMISE: Promise = PROMISE;
    type SenderSeed = Producer<T>;
    type ReceiverSeed = Consumer<T>;
    type Sender = Producer<T>;
    type Receiver = Consumer<T>;

    fn pair(capacity: usize) -> Outcome<(Producer<T>, Consumer<T>)> {
        Ok(mpmc::channel(capacity)?)
    }

    fn sender(seed: Producer<T>) -> Outcome<Producer<T>> {
        Ok(seed)
    }

    fn receiver(mut seed: Consumer<T>, waiting: Waiting) -> Outcome<Consumer<T>> {
        if waiting == Waiting::Asleep {
            seed.set_spin_limit(0);
        }
        Ok(seed)
    }
}

impl<T: Element> Sender<T> for Producer<T> {
    #[inline]
    fn send(&mut self, message: T) -> Outcome<()> {
        Producer::send(self, message).map_err(|_| "our consumer left".into())
    }
}

impl<T: Element> Receiver<T> for Consumer<T> {
    #[inline]
    fn receive(&mut self) -> Outcome<T> {
        Ok(self.recv()?)
    }
}

/// A round trip through two of them, both sides awake.
pub fn round_trip<'a>(count: u64) -> Side<'a> {
    work::round_trip_side::<Mpmc>(Between::Threads, Waiting::AsUsual, count)
}

/// Messages of 8 bytes, one by one, from one producer to one consumer.
pub fn one_by_one<'a>(capacity: usize, count: u64) -> Side<'a> {
    work::throughput_side::<u64, Mpmc>(Between::Threads, capacity, count)
}

/// The same, 64 a call.
pub fn batched<'a>(count: u64) -> Side<'a> {
    Side::new(NAME, PROMISE, move || batches::<64>(count))
}

fn batches<const N: usize>(count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = mpmc::channel::<u64>(1024)?;
    let batches = count / N as u64;
    together(
        Between::Threads,
        batches * N as u64,
        move |gate| {
            let mut batch = [0; N];
            for _ in 0..work::LAPS {
                producer.send_slice(&batch).map_err(|_| "our consumer left")?;
            }
            gate.pass()?;
            for number in 0..batches {
                batch[0] = number;
                producer.send_slice(&batch).map_err(|_| "our consumer left")?;
            }
            Ok(())
        },
        move |gate| {
            let mut batch = [0; N];
            let mut left = work::LAPS * N as u64;
            while left > 0 {
                let most = left.min(N as u64) as usize;
                left -= consumer.recv_slice(&mut batch[..most])? as u64;
            }
            gate.pass()?;
            let (mut left, mut sum) = (batches * N as u64, 0);
            while left > 0 {
                let got = consumer.recv_slice(&mut batch)?;
                left -= got as u64;
                sum += batch[..got].iter().sum::<u64>();
            }
            work::check_sum(sum, batches)
        },
    )
}

/// Messages leased and acknowledged one by one, from one submitter to one worker.
pub fn leased<'a>(capacity: usize, count: u64) -> Side<'a> {
    work::throughput_side::<u64, Work>(Between::Threads, capacity, count)
}

/// `ipc_queue::work`: each item is leased, and acknowledged before the next.
#[derive(Debug)]
pub struct Work;

impl Kind<u64> for Work {
    const NAME: &'static str = "ipc-queue work, leased and acknowledged";
    const PROMISE: Promise = Promise::keeps("what a killed worker had leased is given out again");
    type SenderSeed = Submitter<u64>;
    type ReceiverSeed = Worker<u64>;
    type Sender = Submitter<u64>;
    type Receiver = Worker<u64>;

    fn pair(capacity: usize) -> Outcome<(Submitter<u64>, Worker<u64>)> {
        const MOST_DELIVERIES: u8 = 3;
        Ok(ipc_queue::work::channel(capacity, MOST_DELIVERIES)?)
    }

    fn sender(seed: Submitter<u64>) -> Outcome<Submitter<u64>> {
        Ok(seed)
    }

    fn receiver(seed: Worker<u64>, _waiting: Waiting) -> Outcome<Worker<u64>> {
        Ok(seed)
    }
}

impl Sender<u64> for Submitter<u64> {
    #[inline]
    fn send(&mut self, message: u64) -> Outcome<()> {
        self.submit(message).map_err(|_| "our worker left".into())
    }
}

impl Receiver<u64> for Worker<u64> {
    #[inline]
    fn receive(&mut self) -> Outcome<u64> {
        let lease = self.lease()?;
        let message = *lease;
        lease.ack();
        Ok(message)
    }
}
