//! What is asked of every queue: the same messages, checked at the other end.

use ipc_queue::spsc;
use method::{Between, Outcome, Sample, Side, together};
use shm_core::futex::Futex;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use crate::ends::{Kind, Message, Receiver, Sender, Spin, Waiting};
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
        move |gate| {
            let mut sender = K::sender(sender)?;
            // A lap of the ring, so that its pages are there and its code is warm.
            for _ in 0..capacity {
                sender.send(T::number(0))?;
            }
            gate.pass()?;
            for number in 0..count {
                sender.send(T::number(number))?;
            }
            Ok(())
        },
        move |gate| {
            let mut receiver = K::receiver(receiver, Waiting::AsUsual)?;
            for _ in 0..capacity {
                receiver.receive()?;
            }
            gate.pass()?;
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

/// How long everybody rests before a round trip that is to find them asleep.
const REST: Duration = Duration::from_micros(100);

/// Makes `count` trips, rested before each when they are to find everybody asleep; gives the
/// nanoseconds of the trips alone.
fn trips(waiting: Waiting, count: u64, mut trip: impl FnMut(u64) -> Outcome<()>) -> Outcome<f64> {
    let mut nanoseconds = 0;
    let begun = Instant::now();
    for number in 0..count {
        if waiting == Waiting::AsUsual {
            trip(number)?;
            continue;
        }
        let rest = Instant::now();
        while rest.elapsed() < REST {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        trip(number)?;
        nanoseconds += start.elapsed().as_nanos();
    }
    let whole = begun.elapsed().as_nanos();
    let nanoseconds = if waiting == Waiting::AsUsual { whole } else { nanoseconds };
    Ok(nanoseconds as f64 / count as f64)
}

/// Who sleeps on purpose says nothing about disturbances by sleeping.
fn of_trips(sample: Sample, waiting: Waiting, value: f64) -> Sample {
    let busy = if waiting == Waiting::Asleep { None } else { sample.busy };
    Sample { value, busy }
}

/// Trips that warm a pair of queues up.
const WARM_UP: u64 = 100;

/// Nanoseconds for a message there and one back.
pub fn round_trip<K: Kind<u64>>(between: Between, waiting: Waiting, count: u64) -> Outcome<Sample> {
    let (ask, asked) = K::pair(64)?;
    let (answer, answered) = K::pair(64)?;
    let mut value = f64::NAN;
    let sample = together(
        between,
        count,
        move |gate| {
            let (mut asked, mut answer) = (K::receiver(asked, waiting)?, K::sender(answer)?);
            for _ in 0..WARM_UP {
                answer.send(asked.receive()? + 1)?;
            }
            gate.pass()?;
            for _ in 0..count {
                answer.send(asked.receive()? + 1)?;
            }
            Ok(())
        },
        |gate| {
            let (mut ask, mut answered) = (K::sender(ask)?, K::receiver(answered, waiting)?);
            let mut trip = |number| {
                ask.send(number)?;
                if answered.receive()? == number + 1 {
                    Ok(())
                } else {
                    Err("a wrong answer".into())
                }
            };
            (0..WARM_UP).try_for_each(&mut trip)?;
            gate.pass()?;
            value = trips(waiting, count, trip)?;
            Ok(())
        },
    )?;
    Ok(of_trips(sample, waiting, value))
}

/// A side of a case of round trips.
pub fn round_trip_side<'a, K: Kind<u64> + 'a>(
    between: Between,
    waiting: Waiting,
    count: u64,
) -> Side<'a> {
    Side::new(K::NAME, K::PROMISE, move || round_trip::<K>(between, waiting, count))
}

/// Nanoseconds for eight bytes there and back through two streams, asleep in between.
pub fn stream_round_trip<'a, S: Stream + 'a>(count: u64) -> Side<'a> {
    const ASLEEP: Waiting = Waiting::Asleep;
    Side::new(S::NAME, S::PROMISE, move || {
        let (ask, asked) = S::pair()?;
        let (answer, answered) = S::pair()?;
        let mut value = f64::NAN;
        let sample = together(
            Between::Processes,
            count,
            move |gate| {
                let (mut asked, mut answer) = (S::reader(asked, ASLEEP)?, S::writer(answer)?);
                let mut piece = [0; 8];
                gate.pass()?;
                for _ in 0..count {
                    asked.take(&mut piece)?;
                    answer.put(&piece)?;
                }
                Ok(())
            },
            |gate| {
                let (mut ask, mut answered) = (S::writer(ask)?, S::reader(answered, ASLEEP)?);
                let mut piece = [0; 8];
                gate.pass()?;
                value = trips(ASLEEP, count, |number| {
                    ask.put(&number.to_ne_bytes())?;
                    answered.take(&mut piece)?;
                    let is_right = piece == number.to_ne_bytes();
                    if is_right { Ok(()) } else { Err("a wrong answer".into()) }
                })?;
                Ok(())
            },
        )?;
        Ok(of_trips(sample, ASLEEP, value))
    })
}

/// What goes through a stream before its time begins.
const WARM_BYTES: usize = 2 << 20;

/// Gigabytes a second, copied in and out in pieces of `size`, `total` bytes in all.
pub fn stream<'a, S: Stream + 'a>(size: usize, total: u64) -> Side<'a> {
    Side::new(S::NAME, S::PROMISE, move || {
        let count = (total / size as u64).max(4);
        // Once through all the room that a stream may have, so that its pages are there.
        let warm_up = (WARM_BYTES / size).max(1);
        let (writer, reader) = S::pair()?;
        let sample = together(
            Between::Processes,
            count,
            move |gate| {
                let mut writer = S::writer(writer)?;
                let mut piece = vec![7; size];
                for _ in 0..warm_up {
                    writer.put(&piece)?;
                }
                gate.pass()?;
                for number in 0..count {
                    stamp(&mut piece, number);
                    writer.put(&piece)?;
                }
                Ok(())
            },
            move |gate| {
                let mut reader = S::reader(reader, Waiting::AsUsual)?;
                let mut piece = vec![1; size];
                for _ in 0..warm_up {
                    reader.take(&mut piece)?;
                }
                gate.pass()?;
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

/// Gigabytes a second of one copy of a piece in one thread, from and to memory that is warm.
pub fn memcpy(size: usize) -> Outcome<Sample> {
    const BYTES: usize = 32 << 20;
    let (from, mut to) = (vec![7_u8; size], vec![0_u8; size]);
    let count = (BYTES / size).max(4);
    let start = Instant::now();
    for _ in 0..count {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
    }
    Ok(Sample::from((size * count) as f64 / start.elapsed().as_nanos() as f64))
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

/// Batches that warm a ring up: more than it has room for.
pub const LAPS: u64 = 2048;

/// Nanoseconds a message of ours, in slices of `N`: one copy a side.
pub fn our_slices<T: Message + spsc::Element, const N: usize>(count: u64) -> Outcome<Sample> {
    let (mut producer, mut consumer) = spsc::channel::<T>(4096.min(1024 * N))?;
    let batches = count / N as u64;
    together(
        Between::Threads,
        batches * N as u64,
        move |gate| {
            let mut batch = [T::number(0); N];
            for _ in 0..LAPS {
                producer.send_slice(&batch)?;
            }
            gate.pass()?;
            for number in 0..batches {
                batch[0] = T::number(number);
                producer.send_slice(&batch)?;
            }
            Ok(())
        },
        move |gate| {
            let mut batch = [T::number(0); N];
            let mut left = LAPS * N as u64;
            while left > 0 {
                let most = left.min(N as u64) as usize;
                left -= consumer.recv_slice(&mut batch[..most])? as u64;
            }
            gate.pass()?;
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
        move |gate| {
            let mut batch = [T::number(0); N];
            let mut push = |batch: &[T]| {
                let mut spin = Spin::default();
                while producer.push_entire_slice(batch).is_err() {
                    spin.pause();
                }
            };
            (0..LAPS).for_each(|_| push(&batch));
            gate.pass()?;
            for number in 0..batches {
                batch[0] = T::number(number);
                push(&batch);
            }
            Ok(())
        },
        move |gate| {
            let mut batch = [T::number(0); N];
            let mut spin = Spin::default();
            let mut left = LAPS * N as u64;
            while left > 0 {
                let most = left.min(N as u64) as usize;
                left -= consumer.pop_partial_slice(&mut batch[..most]).0.len() as u64;
                spin.pause();
            }
            gate.pass()?;
            let (mut left, mut sum) = (batches * N as u64, 0);
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
    let most = NonZeroUsize::new(N).ok_or("empty batches")?;
    together(
        Between::Threads,
        batches * N as u64,
        move |gate| {
            let mut push = |number| {
                let mut batch = producer.write_batch();
                for place in 0..N {
                    let message = T::number(if place == 0 { number } else { 0 });
                    let mut spin = Spin::default();
                    while batch.try_write(message).is_err() {
                        // Full in the middle of a batch: what is written so far is published.
                        drop(batch);
                        spin.pause();
                        batch = producer.write_batch();
                    }
                }
            };
            (0..LAPS).for_each(|_| push(0));
            gate.pass()?;
            (0..batches).for_each(push);
            Ok(())
        },
        move |gate| {
            let mut spin = Spin::default();
            let mut left = LAPS * N as u64;
            while left > 0 {
                let most = NonZeroUsize::new(left.min(N as u64) as usize).unwrap_or(most);
                left -= consumer.try_reserve_read_batch(most).map_or(0, |batch| batch.len() as u64);
                spin.pause();
            }
            gate.pass()?;
            let (mut left, mut sum) = (batches * N as u64, 0);
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
pub fn check_sum(sum: u64, batches: u64) -> Outcome<()> {
    if sum == batches * (batches - 1) / 2 { Ok(()) } else { Err("the sum is wrong".into()) }
}

/// Nanoseconds for a round trip of two bare futexes, a sleep and a wake each way.
pub fn bare_futex(count: u64) -> Outcome<Sample> {
    let words = [Line(Futex::new(0)), Line(Futex::new(0))];
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
    let mut value = f64::NAN;
    let sample = together(
        Between::Threads,
        count,
        |gate| {
            gate.pass()?;
            for round in 1..=count as u32 {
                wait(&words[0].0, round);
                tell(&words[1].0, round);
            }
            Ok(())
        },
        |gate| {
            gate.pass()?;
            value = trips(Waiting::Asleep, count, |number| {
                tell(&words[0].0, number as u32 + 1);
                wait(&words[1].0, number as u32 + 1);
                Ok(())
            })?;
            Ok(())
        },
    )?;
    Ok(of_trips(sample, Waiting::Asleep, value))
}

/// A word with its cache lines to itself.
#[repr(align(128))]
struct Line(Futex);
