//! Two producers and two consumers on one queue, each a thread.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use ipc_queue::mpmc::{Consumer, Producer};
use ipc_queue::work::{Submitter, Worker};
use method::{Outcome, Sample, Side};

use crate::channels::{Flume, Kanal};
use crate::ends::{Kind, Receiver, Sender, Waiting};
use crate::mpmc::{Mpmc, Work};
use crate::rings::{Crossbeam, End, Popping, Pushing, ShaqMpmc};

/// Producers, and consumers.
const EACH: usize = 2;

/// Room in the queue.
const CAPACITY: usize = 1024;

/// What tells a consumer that nothing more comes.
const END: u64 = u64::MAX;

/// A seed of which there may be several.
pub trait Again: Sized {
    /// Another one.
    fn again(&self) -> Outcome<Self>;
}

macro_rules! again {
    ($($seed:ty, $how:ident;)*) => {
        $(impl Again for $seed {
            fn again(&self) -> Outcome<Self> {
                again!($how, self)
            }
        })*
    };
    (fallible, $seed:ident) => { Ok($seed.try_clone()?) };
    (counted, $seed:ident) => { Ok($seed.clone()) };
    (inside, $seed:ident) => { Ok(End($seed.0.clone())) };
}

again! {
    Producer<u64>, fallible;
    Consumer<u64>, fallible;
    Submitter<u64>, fallible;
    Worker<u64>, fallible;
    kanal::Sender<u64>, counted;
    kanal::Receiver<u64>, counted;
    flume::Sender<u64>, counted;
    flume::Receiver<u64>, counted;
    End<Pushing<u64>>, inside;
    End<Popping<u64>>, inside;
    End<shaq::mpmc::Producer<u64>>, inside;
    End<shaq::mpmc::Consumer<u64>>, inside;
}

/// Nanoseconds a message of 8 bytes, all together; what arrives is summed and counted.
fn run<K>(count: u64) -> Outcome<Sample>
where
    K: Kind<u64, SenderSeed: Again, ReceiverSeed: Again>,
{
    let (sender, receiver) = K::pair(CAPACITY)?;
    let (other_sender, other_receiver) = (sender.again()?, receiver.again()?);
    let each = count / EACH as u64;
    let barrier = Barrier::new(2 * EACH + 1);
    thread::scope(|scope| {
        let produce = |seed: K::SenderSeed| {
            let barrier = &barrier;
            scope.spawn(move || -> Outcome<()> {
                let sender = K::sender(seed);
                barrier.wait();
                let mut sender = sender?;
                let sent = (1..=each).try_for_each(|number| sender.send(number));
                // Whatever happened, one consumer is told.
                sent.and(sender.send(END))
            })
        };
        let consume = |seed: K::ReceiverSeed| {
            let barrier = &barrier;
            scope.spawn(move || -> Outcome<(u64, u64)> {
                let receiver = K::receiver(seed, Waiting::AsUsual);
                barrier.wait();
                let (mut receiver, mut received, mut sum) = (receiver?, 0, 0);
                loop {
                    match receiver.receive()? {
                        END => return Ok((received, sum)),
                        number => (received, sum) = (received + 1, sum + number),
                    }
                }
            })
        };
        let producers = [sender, other_sender].map(produce);
        let consumers = [receiver, other_receiver].map(consume);
        barrier.wait();
        let start = Instant::now();
        for producer in producers {
            producer.join().map_err(|_| "a producer panicked")??;
        }
        let mut found = (0, 0);
        for consumer in consumers {
            let (received, sum) = consumer.join().map_err(|_| "a consumer panicked")??;
            found = (found.0 + received, found.1 + sum);
        }
        let time = start.elapsed();
        if found != (EACH as u64 * each, EACH as u64 * (each * (each + 1) / 2)) {
            return Err("messages are missing".into());
        }
        Ok(Sample::from(time.as_nanos() as f64 / (EACH as u64 * each) as f64))
    })
}

fn side<'a, K>(count: u64) -> Side<'a>
where
    K: Kind<u64, SenderSeed: Again, ReceiverSeed: Again> + 'a,
{
    Side::new(K::NAME, K::PROMISE, move || run::<K>(count))
}

/// Ours at most once, beside the rivals.
pub fn plain<'a>(count: u64) -> Vec<Side<'a>> {
    vec![side::<Mpmc>(count)].into_iter().chain(rivals(count)).collect()
}

/// Ours with leases, beside the rivals, which have none.
pub fn leased<'a>(count: u64) -> Vec<Side<'a>> {
    vec![side::<Work>(count)].into_iter().chain(rivals(count)).collect()
}

fn rivals<'a>(count: u64) -> [Side<'a>; 4] {
    [
        side::<Crossbeam>(count),
        side::<ShaqMpmc>(count / 4),
        side::<Kanal>(count / 4),
        side::<Flume>(count / 4),
    ]
}
