//! The handle that sends.

use std::time::Duration;

use shm_core::{Group, Peers};

use super::end::End;
use super::send::SendSide;
use super::{Element, HINT_EVERY};
use crate::select::source::source_is_its_part;
use crate::wait::Deadline;
use crate::{Error, SendError, Side, SideStats};

/// One of the producers of a queue. Clone it, or attach again, for more; they send side by side.
///
/// A send costs some tens of nanoseconds and no system call, unless the queue is full or a
/// consumer sleeps. Dropping the last producer of all disconnects the consumers, once they have
/// drained the queue.
#[derive(Debug)]
pub struct Producer<T: Element, P: Peers = Group> {
    end: End<T, P>,
    side: SendSide,
}

source_is_its_part!([T: Element, P: Peers] for Producer<T, P>, end, |self| self.end.queue().map(|queue| self.side.is_ready(queue)));

impl<T: Element, P: Peers> Producer<T, P> {
    pub(super) fn new(end: End<T, P>) -> Self {
        let side = SendSide::new(end.hint(), HINT_EVERY);
        Producer { end, side }
    }

    /// Another producer of the same queue, for another thread of this process.
    ///
    /// # Errors
    /// [`Error::TooManyHandles`]; [`Error::NotAMember`] in a forked child.
    pub fn try_clone(&self) -> Result<Self, Error>
    where
        P: Clone,
    {
        Ok(Self::new(self.end.another()?))
    }

    #[inline(always)]
    fn send_until(&mut self, value: T, deadline: Deadline) -> Result<(), SendError<T>> {
        let sent = match self.end.queue() {
            Ok(queue) => self.side.send(queue, value, deadline),
            Err(stop) => Err(stop),
        };
        sent.map_err(|stop| SendError::from_stop(stop, value))
    }

    fn send_some(&mut self, values: &[T], deadline: Deadline) -> Result<usize, SendError<()>> {
        let sent = match self.end.queue() {
            Ok(queue) => self.side.send_some(queue, values, deadline),
            Err(stop) => Err(stop),
        };
        sent.map_err(|stop| SendError::from_stop(stop, ()))
    }

    fn send_all(&mut self, values: &[T], deadline: Deadline) -> Result<(), SendError<usize>> {
        let mut sent = 0;
        while let Some(rest) = values.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += self.send_some(rest, deadline).map_err(|error| error.map(|()| sent))?;
        }
        Ok(())
    }

    /// Sends `value`, waiting for room as long as it takes.
    ///
    /// # Errors
    /// [`SendError::Closed`]; [`SendError::Disconnected`] if there is no room and no consumer left;
    /// [`SendError::Forked`], [`SendError::Corrupted`]; each with the value.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, Deadline::Never)
    }

    /// Sends `value` if there is room now.
    ///
    /// # Errors
    /// [`SendError::Full`] while the slot of the next position is in use: by an element that was
    /// not received, or by a consumer that is copying one; else as [`send`](Self::send).
    ///
    /// ```
    /// # use ipc_queue::SendError;
    /// let (mut producer, _consumer) = ipc_queue::mpmc::channel(1)?;
    /// assert_eq!(producer.try_send(1), Ok(()));
    /// assert_eq!(producer.try_send(2), Err(SendError::Full(2)));
    /// # Ok::<(), ipc_queue::Error>(())
    /// ```
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, Deadline::Now)
    }

    /// [`send`](Self::send) as a future, for any executor: see [`futures`](crate::futures). Dropped
    /// before it is ready, it has sent nothing, and `value` is gone.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[cfg(feature = "async")]
    pub async fn send_async(&mut self, value: T) -> Result<(), SendError<T>> {
        crate::futures::until(self, move |end| match end.try_send(value) {
            Err(SendError::Full(_)) => None,
            done => Some(done),
        })
        .await
    }

    /// Sends `value`, waiting for room at most `timeout`.
    ///
    /// # Errors
    /// [`SendError::Timeout`], or as [`send`](Self::send).
    pub fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        match self.try_send(value) {
            Err(SendError::Full(value)) => self.send_until(value, Deadline::after(timeout)),
            done => done,
        }
    }

    /// Sends all of `values` in order, waiting for room as often as needed. Each is an element of
    /// its own: others' may come between them, and a producer that is killed has sent the first
    /// ones.
    ///
    /// # Errors
    /// As [`send`](Self::send), with the number of elements sent before.
    pub fn send_slice(&mut self, values: &[T]) -> Result<(), SendError<usize>> {
        self.send_all(values, Deadline::Never)
    }

    /// [`send_slice`](Self::send_slice) for at most `timeout` in all.
    ///
    /// # Errors
    /// Also [`SendError::Timeout`], with the number of elements sent before.
    pub fn send_slice_timeout(
        &mut self,
        values: &[T],
        timeout: Duration,
    ) -> Result<(), SendError<usize>> {
        self.send_all(values, Deadline::after(timeout))
    }

    /// Sends from the front of `values` as many as there is room for now; how many (at least one,
    /// but for empty input).
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send): nothing was sent then.
    pub fn try_send_slice(&mut self, values: &[T]) -> Result<usize, SendError<()>> {
        self.send_some(values, Deadline::Now)
    }

    /// Closes the queue for everybody: later sends fail, consumers drain what is there and then get
    /// [`Closed`](crate::RecvError::Closed). A send under way succeeds, and is received, or fails.
    pub fn close(&self) {
        self.end.close();
    }

    /// Whether somebody closed the queue.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.end.look().shared.is_closed()
    }

    /// Elements sent (or being sent) and not yet taken, as far as one look tells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.look().len()
    }

    /// Whether nothing is there to be received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that the queue holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.look().slots.len()
    }

    /// Consumers that are attached and alive, as far as one look tells.
    #[must_use]
    pub fn consumers(&self) -> usize {
        let queue = self.end.look();
        queue.shared.attached.count(Side::Consumer, queue.peers)
    }

    /// What the waits of all producers have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked send looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy threads than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.side.patience.limit(looks);
    }

    /// Checks every slot. For tests and the curious: meaningful while nobody sends or receives.
    ///
    /// # Errors
    /// [`Error::Corrupted`], which says what is impossible.
    pub fn validate(&self) -> Result<(), Error> {
        self.end.look().validate()
    }
}
