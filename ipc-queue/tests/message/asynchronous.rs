//! Messages as futures: of one producer, of several, and of a broadcast ring.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use ipc_queue::broadcast::{self, Mode, Start};
use ipc_queue::{RecvError, SendError, mailbox, message as ring};
use pollster::block_on;

use crate::{message, number};

/// Counts the wakes of a task that nobody runs.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(wakes));
    future.poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_small_ring_passes_all_messages_between_two_tasks() {
    let (mut producer, mut consumer) = ring::channel(128).unwrap();
    let sender = thread::spawn(move || {
        block_on(async {
            for next in 0..300 {
                match next % 2 {
                    0 => producer.send_async(&message(next)).await.unwrap(),
                    _ => {
                        let message = message(next);
                        let mut room = producer.reserve_async(message.len()).await.unwrap();
                        room.copy_from_slice(&message);
                        room.commit();
                    }
                }
            }
            let too_long = producer.send_async(&[0; 121]).await;
            assert!(matches!(too_long, Err(SendError::TooLarge { .. })));
        });
    });
    block_on(async {
        for next in 0..300 {
            assert_eq!(number(&consumer.recv_async().await.unwrap()), next);
        }
        assert_eq!(consumer.recv_async().await.unwrap_err(), RecvError::Disconnected);
    });
    sender.join().unwrap();
}

#[test]
fn tasks_share_a_mailbox_and_every_message_is_received_once() {
    let (producer, mut consumer) = mailbox::channel(2, 1 << 16).unwrap();
    let senders: Vec<_> = (0..3)
        .map(|lane| {
            let mut producer = producer.try_clone().unwrap();
            thread::spawn(move || {
                block_on(async {
                    for next in 0..100 {
                        producer.send_async(&message(lane * 100 + next)).await.unwrap();
                    }
                });
            })
        })
        .collect();
    drop(producer);
    let mut all = Vec::new();
    block_on(async {
        loop {
            match consumer.recv_async().await {
                Ok(found) => all.push(number(&found)),
                Err(end) => break assert_eq!(end, RecvError::Disconnected),
            }
        }
    });
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    all.sort_unstable();
    assert!(all.into_iter().eq(0..300));
}

#[test]
fn a_broadcast_reaches_all_readers_that_await_it() {
    let (mut producer, first) = broadcast::channel::<u64>(2).unwrap();
    let second = first.another(Mode::Block, Start::Now).unwrap();
    let readers = [first, second].map(|mut reader| {
        thread::spawn(move || {
            block_on(async {
                for next in 0..200 {
                    assert_eq!(reader.recv_async().await, Ok(next));
                }
                assert_eq!(reader.recv_async().await, Err(RecvError::Closed));
            });
        })
    });
    block_on(async {
        for next in 0..200 {
            producer.send_async(next).await.unwrap();
        }
    });
    producer.close();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn a_future_that_is_dropped_has_received_nothing_and_swallows_no_wake() {
    let (mut producer, mut consumer) = mailbox::channel(4, 1 << 16).unwrap();
    let mut other = consumer.try_clone().unwrap();
    other.set_spin_limit(0);
    let wakes = Arc::new(Wakes::default());
    {
        let mut future = Box::pin(consumer.recv_async());
        assert!(poll_once(future.as_mut(), &wakes).is_pending());
        let waiter = thread::spawn(move || number(&other.recv().unwrap()));
        producer.send(&message(1)).unwrap();
        // Dropped here: if it was woken, the other sleeper is rung.
        drop(future);
        assert_eq!(waiter.join().unwrap(), 1);
    }
    producer.send(&message(2)).unwrap();
    assert_eq!(number(&consumer.recv().unwrap()), 2);
}

#[test]
fn a_future_that_waits_for_memory_is_woken_or_told() {
    let (mut producer, mut consumer) = mailbox::channel(4, 200_000).unwrap();
    let mut other = producer.try_clone().unwrap();
    let most = producer.longest();
    producer.send(&vec![1; most]).unwrap();
    let waits = thread::spawn(move || {
        let sent = block_on(producer.send_async(&vec![2; most]));
        (producer, sent)
    });
    assert_eq!(consumer.recv().unwrap()[0], 1);
    let (mut producer, sent) = waits.join().unwrap();
    assert_eq!(sent, Ok(()));
    assert_eq!(consumer.recv().unwrap()[0], 2);
    let hoard = producer.reserve(most).unwrap();
    assert_eq!(block_on(other.send_async(&vec![3; most])), Err(SendError::Full(())));
    drop(hoard);
}
