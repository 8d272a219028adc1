//! Waits as futures, under several executors.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_executor::ThreadPool;
use ipc_queue::pipe::{PolledReader, PolledWriter};
use ipc_queue::{RecvError, mpmc, oneshot, pipe, spsc, work};
use pollster::block_on;

/// Counts the wakes of a task that nobody runs.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Polls once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(wakes));
    future.poll(&mut Context::from_waker(&waker))
}

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// The result of a future that a pool's thread runs.
fn run_on<T: Send + 'static>(
    pool: &ThreadPool,
    future: impl Future<Output = T> + Send + 'static,
) -> std::sync::mpsc::Receiver<T> {
    let (tell, told) = std::sync::mpsc::channel();
    pool.spawn_ok(async move {
        let _ = tell.send(future.await);
    });
    told
}

#[test]
fn a_ring_of_one_place_passes_everything_between_two_executors() {
    let pool = ThreadPool::builder().pool_size(1).create().unwrap();
    let (mut producer, mut consumer) = spsc::channel::<u64>(1).unwrap();
    let sent = run_on(&pool, async move {
        for value in 0..300 {
            producer.send_async(value).await.unwrap();
        }
    });
    block_on(async {
        for value in 0..300 {
            assert_eq!(consumer.recv_async().await, Ok(value));
        }
        assert_eq!(consumer.recv_async().await, Err(RecvError::Closed));
    });
    sent.recv().unwrap();
}

#[test]
fn tasks_share_a_queue_and_every_element_is_received_once() {
    let pool = ThreadPool::builder().pool_size(2).create().unwrap();
    let (producer, consumer) = mpmc::channel::<u64>(2).unwrap();
    let senders: Vec<_> = (0..3)
        .map(|lane| {
            let mut producer = producer.try_clone().unwrap();
            run_on(&pool, async move {
                for value in 0..100 {
                    producer.send_async(lane * 100 + value).await.unwrap();
                }
            })
        })
        .collect();
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let mut consumer = consumer.try_clone().unwrap();
            run_on(&pool, async move {
                let mut received = Vec::new();
                while let Ok(value) = consumer.recv_async().await {
                    received.push(value);
                }
                received
            })
        })
        .collect();
    drop(producer);
    senders.iter().for_each(|it| it.recv().unwrap());
    let mut all: Vec<u64> = receivers.iter().flat_map(|it| it.recv().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..300).collect::<Vec<_>>());
}

#[test]
fn a_oneshot_and_a_work_queue_are_awaited() {
    let (sender, mut receiver) = oneshot::channel::<u64>().unwrap();
    let (mut submitter, mut worker) = work::channel::<u64>(1, 1).unwrap();
    let answering = thread::spawn(move || {
        block_on(async {
            let mut sum = 0;
            while let Ok(lease) = worker.lease_async().await {
                sum += *lease;
                lease.ack();
            }
            sender.send(sum).unwrap();
        });
    });
    block_on(async {
        for item in 1..=20 {
            submitter.submit_async(item).await.unwrap();
        }
        submitter.close();
        assert_eq!(receiver.recv_async().await, Ok(210));
    });
    answering.join().unwrap();
}

#[test]
fn a_pipe_is_read_and_written_by_tasks() {
    let (writer, mut reader) = pipe::channel(16).unwrap();
    let text: Vec<u8> = (0..=255).collect();
    let expected = text.clone();
    let writing = thread::spawn(move || {
        block_on(async {
            let (mut writer, mut rest) = (PolledWriter::from(writer), &text[..]);
            while !rest.is_empty() {
                let written = poll_fn(|context| writer.poll_write(context, rest)).await.unwrap();
                rest = &rest[written..];
            }
        });
    });
    let mut received = Vec::new();
    block_on(async {
        let mut bytes = [0; 7];
        assert_eq!(reader.read_async(&mut bytes[..1]).await.unwrap(), 1);
        received.push(bytes[0]);
        let mut reader = PolledReader::from(reader);
        loop {
            let count = poll_fn(|context| reader.poll_read(context, &mut bytes)).await.unwrap();
            if count == 0 {
                break;
            }
            received.extend_from_slice(&bytes[..count]);
        }
    });
    assert_eq!(received, expected);
    writing.join().unwrap();
    let (mut writer, reader) = pipe::channel(8).unwrap();
    drop(reader);
    let error = block_on(writer.write_all_async(b"nobody reads")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_dropped_future_takes_nothing_with_it() {
    let (mut producer, mut consumer) = spsc::channel::<u64>(1).unwrap();
    let wakes = Arc::new(Wakes::default());
    {
        let mut waiting = pin!(consumer.recv_async());
        assert_eq!(poll_once(waiting.as_mut(), &wakes), Poll::Pending);
        producer.try_send(1).unwrap();
        wait_until(|| wakes.0.load(SeqCst) == 1);
        // Woken, and dropped before it looked.
    }
    assert_eq!(consumer.try_recv(), Ok(1));
    producer.try_send(2).unwrap();
    {
        let mut waiting = pin!(producer.send_async(3));
        assert_eq!(poll_once(waiting.as_mut(), &wakes), Poll::Pending);
    }
    assert_eq!(consumer.drain().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_dropped_future_swallows_no_wake() {
    let (mut producer, mut first) = mpmc::channel::<u64>(4).unwrap();
    let mut second = first.try_clone().unwrap();
    second.set_spin_limit(0);
    let mut in_time = 0;
    for value in 0..30 {
        let wakes = Arc::new(Wakes::default());
        let mut dropped = Box::pin(first.recv_async());
        assert_eq!(poll_once(dropped.as_mut(), &wakes), Poll::Pending);
        thread::scope(|threads| {
            // Without the wake a sleep ends after a second.
            let sleeping = threads.spawn(|| second.recv_timeout(Duration::from_millis(700)));
            // One ring, for one of the two.
            producer.try_send(value).unwrap();
            drop(dropped);
            in_time += usize::from(sleeping.join().unwrap() == Ok(value));
        });
        first.drain().for_each(drop);
    }
    assert!(in_time > 20, "{in_time} of 30; a busy machine may cost one or two");
}

#[test]
fn two_tasks_asleep_on_one_queue_leave_each_other_in_peace() {
    let (mut producer, mut first) = mpmc::channel::<u64>(4).unwrap();
    let mut second = first.try_clone().unwrap();
    let wakes = Arc::new(Wakes::default());
    let (mut one, mut other) = (pin!(first.recv_async()), pin!(second.recv_async()));
    // Each looks again whenever it is woken; beside a queue that stays empty nobody wakes them.
    let mut looks = 0;
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(100) {
        let before = wakes.0.load(SeqCst);
        assert_eq!(poll_once(one.as_mut(), &wakes), Poll::Pending);
        assert_eq!(poll_once(other.as_mut(), &wakes), Poll::Pending);
        looks += 1;
        let has_time = || start.elapsed() < Duration::from_millis(100);
        wait_until(|| !has_time() || wakes.0.load(SeqCst) > before);
    }
    assert!(looks < 10, "woken {looks} times");
    producer.try_send(1).unwrap();
    wait_until(|| wakes.0.load(SeqCst) > 0);
    let found = [poll_once(one.as_mut(), &wakes), poll_once(other.as_mut(), &wakes)];
    assert!(found.contains(&Poll::Ready(Ok(1))), "{found:?}");
}
