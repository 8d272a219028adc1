//! Streams of results: inputs are drawn as the work proceeds, results come as they are wanted.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::codec;
use crate::error::TaskError;
use crate::future::decode;
use crate::inbox::{Delivery, Inbox, NextDelivery, What};
use crate::options::TaskOptions;
use crate::pace::Pace;
use crate::protocol::Outcome;
use crate::record;
use crate::shared::Shared;
use crate::state::{Job, Named, Sink, error_of};
use crate::task::Task;

/// Items under way at once unless somebody says otherwise.
const AHEAD: usize = 16384;

/// Bytes of a chunk's inputs after which it is sent.
const CHUNK_BYTES: usize = 32 << 10;

type Result<T> = std::result::Result<<T as Task>::Output, TaskError>;

/// What both kinds of streams do: send inputs, receive results.
struct Stream<T: Task, I> {
    inputs: Option<I>,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    pace: Pace,
    options: TaskOptions,
    /// The most items under way.
    ahead: usize,
    /// Number of the next input.
    next: usize,
    /// Items sent and not given to the caller.
    under_way: usize,
    /// The delivery whose results are being given to the caller.
    open: Opened,
    task: PhantomData<fn() -> T>,
}

/// A delivery, of which `left` results are still to be given, the next under this number. Each is
/// decoded when it is wanted.
struct Opened {
    number: usize,
    left: usize,
    what: What,
    /// Of records: where the next one begins.
    at: usize,
}

impl<T: Task, I: Iterator<Item = T::Input>> Stream<T, I> {
    fn new(shared: Arc<Shared>, inputs: I) -> Self {
        let state = shared.lock();
        let pace = Pace::new(state.target(), state.item_nanos(T::ID));
        drop(state);
        Stream {
            inputs: Some(inputs),
            shared,
            inbox: Arc::default(),
            pace,
            options: TaskOptions::default(),
            ahead: AHEAD,
            next: 0,
            under_way: 0,
            open: Opened::nothing(),
            task: PhantomData,
        }
    }

    /// Sends as many inputs as may be under way.
    fn send(&mut self) {
        while self.inputs.is_some() {
            let limit = if self.pace.is_settled() { self.ahead } else { self.probes() };
            let left = self.inputs.as_ref().and_then(|inputs| inputs.size_hint().1);
            let chunk = self.pace.chunk(left).min(self.ahead);
            // Only whole chunks, so that a full stream does not go on in single items.
            if self.under_way > 0 && self.under_way + chunk > limit {
                return;
            }
            self.send_chunk(chunk);
        }
    }

    /// Items that are sent before it is known how long one takes.
    fn probes(&self) -> usize {
        self.ahead.min(2 * self.shared.lock().target())
    }

    fn send_chunk(&mut self, items: usize) {
        let task = Named::of::<T>();
        let expected = (items * (record::WORD + size_of::<T::Input>())).min(CHUNK_BYTES);
        let (first, mut records, mut count) = (self.next, Vec::with_capacity(expected), 0);
        // A limit is one item's.
        let together = self.options == TaskOptions::default();
        while count < items && records.len() < CHUNK_BYTES {
            let Some(input) = self.inputs.as_mut().and_then(Iterator::next) else {
                self.inputs = None;
                break;
            };
            let number = self.next;
            self.next += 1;
            self.under_way += 1;
            let alone = if together {
                codec::append_record(&input, &mut records)
            } else {
                codec::encode(&input).map(Some)
            };
            match alone {
                Ok(None) => {
                    count += 1;
                    continue;
                }
                Ok(Some(input)) => {
                    let sink = Sink::Many(Arc::clone(&self.inbox), number);
                    let job = Job::one(task, input, sink).with(self.options);
                    self.shared.submit(job);
                }
                Err(reason) => {
                    let error = TaskError::Encode { task: T::NAME, reason };
                    self.inbox.push(Delivery::failed(number, 1, error));
                }
            }
            // A chunk's numbers are consecutive.
            break;
        }
        if count > 0 {
            let sink = Sink::Many(Arc::clone(&self.inbox), first);
            let measured = !self.pace.is_fixed();
            let chunk = Job::chunk(task, records, count as u32, sink);
            self.shared.submit(Job { measured, ..chunk });
        }
    }

    /// The next delivery, waited for; `None` when nothing is under way.
    fn receive(&mut self) -> Option<Delivery> {
        self.send();
        if self.under_way == 0 {
            return None;
        }
        let mut next = NextDelivery::of(&self.inbox);
        self.shared.wait_for(None, &mut next);
        let next = next.delivery?;
        match &next.what {
            What::Records(answer) if answer.head.nanos > 0 => {
                self.pace.learn(next.count, answer.head.nanos);
            }
            // Long enough to travel alone.
            What::One(_) if !self.pace.is_settled() => self.pace.fix(1),
            _ => {}
        }
        Some(next)
    }

    /// Goes on with this delivery; the one before is used up.
    fn unpack(&mut self, delivery: Delivery) {
        let Delivery { first: number, count: left, what } = delivery;
        self.open = Opened { number, left, what, at: 0 };
    }

    /// A result that is there and decodes, and its number; the common case.
    #[inline]
    fn pop_good(&mut self) -> Option<(usize, T::Output)> {
        let value = self.open.next_good::<T>()?;
        self.under_way -= 1;
        Some((self.open.number - 1, value))
    }

    /// A decoded result and its number, whatever it is.
    fn pop(&mut self) -> Option<(usize, Result<T>)> {
        let result = self.open.next::<T>()?;
        self.under_way -= 1;
        if result.is_err() {
            self.count_failure();
        }
        Some((self.open.number - 1, result))
    }

    /// What is wrong inside a chunk nobody has seen before; the rest was counted when it came.
    #[cold]
    fn count_failure(&self) {
        if matches!(self.open.what, What::Records(_)) {
            self.shared.lock().count_failed_item(T::NAME);
        }
    }

    /// Results still to come, as `Iterator::size_hint` gives it.
    fn left(&self) -> (usize, Option<usize>) {
        let (least, most) = self.inputs.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        let under_way = self.under_way;
        (least.saturating_add(under_way), most.and_then(|most| most.checked_add(under_way)))
    }
}

impl<T: Task, I> Drop for Stream<T, I> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(nanos) = self.pace.learnt() {
            state.remember(T::ID, nanos);
        }
        if self.under_way > 0 {
            state.abandon(&self.inbox);
        }
    }
}

impl Opened {
    fn nothing() -> Opened {
        Opened { number: 0, left: 0, what: What::Used, at: 0 }
    }

    /// The next of several results if it is a value. By itself, so that a small value is not moved
    /// about in a `Result` that has room for every error.
    #[inline]
    fn next_good<T: Task>(&mut self) -> Option<T::Output> {
        let left = self.left.checked_sub(1)?;
        let What::Records(answer) = &self.what else { return None };
        let mut rest = answer.body.get(self.at..)?;
        let Some((Outcome::Done, bytes)) = record::next(&mut rest) else { return None };
        let value = codec::plain(bytes).ok()?;
        (self.left, self.number) = (left, self.number + 1);
        self.at = answer.body.len() - rest.len();
        Some(value)
    }

    fn next<T: Task>(&mut self) -> Option<Result<T>> {
        self.left = self.left.checked_sub(1)?;
        self.number += 1;
        if let What::Records(answer) = &self.what {
            let mut rest = &answer.body[self.at..];
            let record = record::next(&mut rest);
            let result = decode_record::<T>(record);
            self.at = answer.body.len() - rest.len();
            return Some(result);
        }
        Some(self.next_of_few::<T>())
    }

    /// The next result of a delivery that is no records.
    #[cold]
    fn next_of_few<T: Task>(&mut self) -> Result<T> {
        match std::mem::replace(&mut self.what, What::Used) {
            What::One(answer) => decode::<T>(Ok(*answer)),
            What::Failed(error) => {
                let copy = TaskError::clone(&error);
                self.what = What::Failed(error);
                Err(copy)
            }
            // Records are taken one by one above; of others there is one.
            What::Records(_) | What::Used => decode_record::<T>(None),
        }
    }
}

#[inline]
pub(crate) fn decode_record<T: Task>(record: Option<(Outcome, &[u8])>) -> Result<T> {
    match record {
        Some((Outcome::Done, bytes)) => {
            codec::plain(bytes).map_err(|reason| bad_record::<T>(&format!("its result: {reason}")))
        }
        Some((outcome, bytes)) => Err(error_of(T::NAME, outcome, bytes)
            .unwrap_or_else(|| bad_record::<T>("the worker's answer makes no sense"))),
        None => Err(bad_record::<T>("the worker's answer ends early")),
    }
}

#[cold]
fn bad_record<T: Task>(reason: &str) -> TaskError {
    TaskError::Decode { task: T::NAME, reason: reason.to_owned() }
}

/// What can be set before the first result is asked for.
macro_rules! stream_options {
    () => {
        /// Sends these many inputs at once; 0 counts as 1.
        ///
        /// By default the stream finds out what an item takes, and sends about 100 µs of work at
        /// once: long tasks alone, tiny ones by the thousand. When a worker is killed, the size of
        /// a chunk does not matter: results of the chunk that were done are delivered, the item
        /// that ran is lost or runs again, the others run elsewhere.
        pub fn chunk(mut self, items: usize) -> Self {
            self.stream.pace.fix(items.max(1));
            self
        }

        /// At most these many inputs are drawn and not yet given back as results; 16,384 by default.
        /// 0 counts as 1.
        pub fn ahead(mut self, items: usize) -> Self {
            self.stream.ahead = items.max(1);
            self
        }

        /// Limits for every task of the stream; each then travels alone.
        pub fn options(mut self, options: TaskOptions) -> Self {
            self.stream.options = options;
            self
        }
    };
}

/// Results in the order of the inputs; made by [`Pool::imap`](crate::Pool::imap).
#[must_use = "a stream sends nothing until its results are asked for"]
pub struct Imap<T: Task, I: Iterator<Item = T::Input>> {
    stream: Stream<T, I>,
    /// Deliveries that came before their turn, by their first number.
    early: BTreeMap<usize, Delivery>,
    next: usize,
}

impl<T: Task, I: Iterator<Item = T::Input>> Imap<T, I> {
    pub(crate) fn new(shared: Arc<Shared>, inputs: I) -> Self {
        Imap { stream: Stream::new(shared, inputs), early: BTreeMap::new(), next: 0 }
    }

    stream_options!();
}

impl<T: Task, I: Iterator<Item = T::Input>> Iterator for Imap<T, I> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((_, value)) = self.stream.pop_good() {
                self.next += 1;
                return Some(Ok(value));
            }
            if let Some((_, result)) = self.stream.pop() {
                self.next += 1;
                return Some(result);
            }
            match self.early.remove(&self.next) {
                Some(delivery) => self.stream.unpack(delivery),
                None => {
                    let delivery = self.stream.receive()?;
                    self.early.insert(delivery.first, delivery);
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.left()
    }
}

/// Results in the order in which they come, each with the number of its input; made by
/// [`Pool::imap_unordered`](crate::Pool::imap_unordered).
#[must_use = "a stream sends nothing until its results are asked for"]
pub struct ImapUnordered<T: Task, I: Iterator<Item = T::Input>> {
    stream: Stream<T, I>,
}

impl<T: Task, I: Iterator<Item = T::Input>> ImapUnordered<T, I> {
    pub(crate) fn new(shared: Arc<Shared>, inputs: I) -> Self {
        ImapUnordered { stream: Stream::new(shared, inputs) }
    }

    stream_options!();
}

impl<T: Task, I: Iterator<Item = T::Input>> Iterator for ImapUnordered<T, I> {
    type Item = (usize, Result<T>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((number, value)) = self.stream.pop_good() {
                return Some((number, Ok(value)));
            }
            if let Some(numbered) = self.stream.pop() {
                return Some(numbered);
            }
            let delivery = self.stream.receive()?;
            self.stream.unpack(delivery);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.left()
    }
}

impl<T: Task, I: ExactSizeIterator<Item = T::Input>> ExactSizeIterator for Imap<T, I> {}
impl<T: Task, I: ExactSizeIterator<Item = T::Input>> ExactSizeIterator for ImapUnordered<T, I> {}

impl<T: Task, I: Iterator<Item = T::Input>> fmt::Debug for Imap<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("task", &T::NAME).field("next", &self.next).finish()
    }
}

impl<T: Task, I: Iterator<Item = T::Input>> fmt::Debug for ImapUnordered<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = &self.stream.under_way;
        f.debug_struct("ImapUnordered")
            .field("task", &T::NAME)
            .field("under_way", under_way)
            .finish()
    }
}
