//! What is asked of every queue: the same messages, checked at the other end.

use ipc_queue::spsc;
use method::{Between, Outcome, Sample, Side, together};
use shm_core::futex::Futex;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::ends::{Kind, Message, Receiver, Sender, Waiting};
use crate::streams::{Put, Stream, Take};

/// Nanoseconds a message, sent and received one by one through a queue of `capacity`.
pub fn throughput<T: Message, K: Kind<T>>(
    between: Between,
    capacity: usize,
    count: u64,
) -> Outcome<Sample> {
    let (sender, receiver) = K::pair(capacity)?;
    together(
        between,
        count,
        move || {
            let mut sender = K::sender(sender)?;
            for number in 0..count {
                sender.send(T::number(number))?;
            }
            Ok(())
        },
        move || {
            let mut receiver = K::receiver(receiver, Waiting::AsUsual)?;
            let mut wrong = 0_u64;
            for number in 0..count {
                wrong |= u64::from(receiver.receive()?.read() != Some(number));
            }
            if wrong == 0 { Ok(()) } else { Err("messages are missing or out of order".into()) }
        },
    )
}

/// A side of a throughput case.
pub fn throughput_side<'a, T: Message, K: Kind<T> + 'a>(
    between: Between,
    capacity: usize,
    count: u64,
) -> Side<'a> {
    Side::new(K::NAME, K::PROMISE, move || throughput::<T, K>(between, capacity, count))
}

/// Nanoseconds for a message there and one back.
pub fn round_trip<K: Kind<u64>>(between: Between, waiting: Waiting, count: u64) -> Outcome<Sample> {
    let (ask, asked) = K::pair(64)?;
    let (answer, answered) = K::pair(64)?;
    let mut sample = together(
        between,
        count,
        move || {
            let (mut asked, mut answer) = (K::receiver(asked, waiting)?, K::sender(answer)?);
            for _ in 0..count {
                answer.send(asked.receive()? + 1)?;
            }
            Ok(())
        },
        move || {
            let (mut ask, mut answered) = (K::sender(ask)?, K::receiver(answered, waiting)?);
            for number in 0..count {
                ask.send(number)?;
                if answered.receive()? != number + 1 {
                    return Err("a wrong answer".into());
                }
            }
            Ok(())
        },
    )?;
    if waiting == Waiting::Asleep {
        // Who sleeps on purpose says nothing about disturbances by sleeping.
        sample.busy = None;
    }
    Ok(sample)
}

/// A side of a case of round trips.
pub fn round_trip_side<'a, K: Kind<u64> + 'a>(
    between: Between,
    waiting: Waiting,
    count: u64,
) -> Side<'a> {
    Side::new(K::NAME, K::PROMISE, move || round_trip::<K>(between, waiting, count))
}

/// Microseconds for eight bytes there and back through two streams, asleep in between.
pub fn stream_round_trip<'a, S: Stream + 'a>(count: u64) -> Side<'a> {
    Side::new(S::NAME, S::PROMISE, move || {
        let (ask, asked) = S::pair()?;
        let (answer, answered) = S::pair()?;
        let sample = together(
            Between::Processes,
            count,
            move || {
                let (mut asked, mut answer) =
                    (S::reader(asked, Waiting::Asleep)?, S::writer(answer)?);
                let mut piece = [0; 8];
                for _ in 0..count {
                    asked.take(&mut piece)?;
                    answer.put(&piece)?;
                }
                Ok(())
            },
            move || {
                let (mut ask, mut answered) =
                    (S::writer(ask)?, S::reader(answered, Waiting::Asleep)?);
                let mut piece = [0; 8];
                for number in 0..count {
                    ask.put(&number.to_ne_bytes())?;
                    answered.take(&mut piece)?;
                    if piece != number.to_ne_bytes() {
                        return Err("a wrong answer".into());
                    }
                }
                Ok(())
            },
        )?;
        Ok(Sample { busy: None, ..sample })
    })
}

/// Gigabytes a second, copied in and out in pieces of `size`, `total` bytes in all.
pub fn stream<'a, S: Stream + 'a>(size: usize, total: u64) -> Side<'a> {
    Side::new(S::NAME, S::PROMISE, move || {
        let count = (total / size as u64).max(4);
        let (writer, reader) = S::pair()?;
        let sample = together(
            Between::Processes,
            count,
            move || {
                let mut writer = S::writer(writer)?;
                let mut piece = vec![7; size];
                for number in 0..count {
                    stamp(&mut piece, number);
                    writer.put(&piece)?;
                }
                Ok(())
            },
            move || {
                let mut reader = S::reader(reader, Waiting::AsUsual)?;
                let mut piece = vec![1; size];
                for number in 0..count {
                    reader.take(&mut piece)?;
                    if !is_stamped(&piece, number) {
                        return Err("a piece is torn or out of order".into());
                    }
                }
                Ok(())
            },
        )?;
        // Who waits for the kernel sleeps: no word about disturbances.
        Ok(Sample { value: size as f64 / sample.value, busy: None })
    })
}

fn stamp(piece: &mut [u8], number: u64) {
    let last = piece.len() - 8;
    piece[..8].copy_from_slice(&number.to_ne_bytes());
    piece[last..].copy_from_slice(&number.to_ne_bytes());
}

fn is_stamped(piece: &[u8], number: u64) -> bool {
    let number = number.to_ne_bytes();
    piece.starts_with(&number) && piece.ends_with(&number)
}

/// Nanoseconds a message of ours, in slices of `N`: one copy a side.
pub fn our_slices<T: Message + spsc::Element, const N: usize>(count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = spsc::channel::<T>(4096.min(1024 * N))?;
    let batches = count / N as u64;
    together(
        Between::Threads,
        batches * N as u64,
        move || {
            let mut batch = [T::number(0); N];
            for number in 0..batches {
                batch[0] = T::number(number);
                producer.send_slice(&batch)?;
            }
            Ok(())
        },
        move || {
            let mut batch = [T::number(0); N];
            let (mut left, mut sum) = (batches * N as u64, 0);
            while left > 0 {
                let got = consumer.recv_slice(&mut batch)?;
                left -= got as u64;
                sum += sum_of(&batch[..got]);
            }
            check_sum(sum, batches)
        },
    )
}

/// The same of rtrb, by its slices.
pub fn rtrb_slices<T: Message, const N: usize>(count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = rtrb::RingBuffer::<T>::new(4096.min(1024 * N));
    let batches = count / N as u64;
    together(
        Between::Threads,
        batches * N as u64,
        move || {
            let mut batch = [T::number(0); N];
            for number in 0..batches {
                batch[0] = T::number(number);
                let mut spin = crate::ends::Spin::default();
                while producer.push_entire_slice(&batch).is_err() {
                    spin.pause();
                }
            }
            Ok(())
        },
        move || {
            let mut batch = [T::number(0); N];
            let (mut left, mut sum) = (batches * N as u64, 0);
            let mut spin = crate::ends::Spin::default();
            while left > 0 {
                let got = consumer.pop_partial_slice(&mut batch).0.len();
                if got == 0 {
                    spin.pause();
                }
                left -= got as u64;
                sum += sum_of(&batch[..got]);
            }
            check_sum(sum, batches)
        },
    )
}

/// The same of shaq, by its batches; its reader reads in place.
pub fn shaq_batches<T: Message, const N: usize>(count: u64) -> Outcome<Sample> {
    let pair = shaq::spsc::pair::<T>(4096.min(1024 * N)).map_err(|error| format!("{error:?}"))?;
    let (mut producer, mut consumer) = pair;
    let batches = count / N as u64;
    let most = std::num::NonZeroUsize::new(N).ok_or("empty batches")?;
    together(
        Between::Threads,
        batches * N as u64,
        move || {
            for number in 0..batches {
                let mut batch = producer.write_batch();
                for place in 0..N {
                    let message = T::number(if place == 0 { number } else { 0 });
                    let mut spin = crate::ends::Spin::default();
                    while batch.try_write(message).is_err() {
                        // Full in the middle of a batch: what is written so far is published.
                        drop(batch);
                        spin.pause();
                        batch = producer.write_batch();
                    }
                }
            }
            Ok(())
        },
        move || {
            let (mut left, mut sum) = (batches * N as u64, 0);
            let mut spin = crate::ends::Spin::default();
            while left > 0 {
                let Some(batch) = consumer.try_reserve_read_batch(most) else {
                    spin.pause();
                    continue;
                };
                left -= batch.len() as u64;
                let (first, second) = batch.as_slices();
                sum += sum_of(first) + sum_of(second);
            }
            check_sum(sum, batches)
        },
    )
}

fn sum_of<T: Message>(batch: &[T]) -> u64 {
    batch.iter().map(|message| message.read().unwrap_or(u64::MAX / 2)).fold(0, u64::wrapping_add)
}

/// Batch `n` begins with message `n`, and the rest of it is zeros.
fn check_sum(sum: u64, batches: u64) -> Outcome<()> {
    if sum == batches * (batches - 1) / 2 { Ok(()) } else { Err("the sum is wrong".into()) }
}

/// Nanoseconds for a round trip of two bare futexes, a sleep and a wake each way.
pub fn bare_futex(count: u32) -> Outcome<Sample> {
    let words = [Futex::new(0), Futex::new(0)];
    let wait = |word: &Futex, round: u32| {
        // Acquire: pairs with the Release store of the other side's `tell`.
        while word.word().load(Acquire) != round {
            word.wait(round - 1, None);
        }
    };
    let tell = |word: &Futex, round: u32| {
        // Release: what this side did before is seen by whoever sees the round.
        word.word().store(round, Release);
        word.wake(1);
    };
    let sample = together(
        Between::Threads,
        count.into(),
        || {
            for round in 1..=count {
                wait(&words[0], round);
                tell(&words[1], round);
            }
            Ok(())
        },
        || {
            for round in 1..=count {
                tell(&words[0], round);
                wait(&words[1], round);
            }
            Ok(())
        },
    )?;
    Ok(Sample { busy: None, ..sample })
}
