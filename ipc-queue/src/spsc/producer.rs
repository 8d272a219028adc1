//! The producing side of a typed ring.

use std::marker::PhantomData;
use std::time::Duration;

use super::{Element, slots};
use crate::bell::Doorbell;
use crate::ends::SendEnd;
use crate::select::source::source_is_its_end;
use crate::wait::Deadline;
use crate::{SendError, SideStats};

/// The producing side of a typed ring. Dropping it closes the ring: the consumer drains it and
/// then gets [`Closed`](crate::RecvError::Closed).
///
/// A send costs some nanoseconds and no system call, unless the ring is full or the consumer
/// sleeps.
#[derive(Debug)]
pub struct Producer<T: Element> {
    end: SendEnd,
    elements: PhantomData<fn(T)>,
}

source_is_its_end!([T: Element] for Producer<T>);

impl<T: Element> Producer<T> {
    pub(super) fn new(end: SendEnd) -> Self {
        Producer { end, elements: PhantomData }
    }

    #[inline(always)]
    fn send_until(&mut self, value: T, deadline: Deadline) -> Result<(), SendError<T>> {
        let (side, shared, slots) = self.end.parts();
        slots::send(side, shared, slots, value, deadline)
            .map_err(|stop| SendError::from_stop(stop, value))
    }

    fn send_some(&mut self, values: &[T], deadline: Deadline) -> Result<usize, SendError<()>> {
        if values.is_empty() {
            return Ok(0);
        }
        let (side, shared, slots) = self.end.parts();
        slots::send_some(side, shared, slots, values, deadline)
            .map_err(|stop| SendError::from_stop(stop, ()))
    }

    fn send_all(&mut self, values: &[T], deadline: Deadline) -> Result<(), SendError<usize>> {
        let mut sent = 0;
        while sent < values.len() {
            match self.send_some(&values[sent..], deadline) {
                Ok(count) => sent += count,
                Err(error) => return Err(error.map(|()| sent)),
            }
        }
        Ok(())
    }

    /// Sends `value`, waiting for room as long as it takes.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::PeerDead`], [`SendError::Corrupted`], each with the
    /// value.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, Deadline::Never)
    }

    /// Sends `value` if there is room now.
    ///
    /// # Errors
    /// [`SendError::Full`], [`SendError::Closed`], [`SendError::PeerDead`],
    /// [`SendError::Corrupted`], each with the value.
    ///
    /// ```
    /// # use ipc_queue::SendError;
    /// let (mut producer, _consumer) = ipc_queue::spsc::channel(1)?;
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
    /// [`SendError::Timeout`], [`SendError::Closed`], [`SendError::PeerDead`],
    /// [`SendError::Corrupted`], each with the value.
    pub fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        match self.try_send(value) {
            Err(SendError::Full(value)) => self.send_until(value, Deadline::after(timeout)),
            done => done,
        }
    }

    /// Sends all of `values` in order, waiting for room as often as needed. Each piece that fits
    /// is handed over in one step; a killed producer has handed over a whole number of pieces.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::PeerDead`], [`SendError::Corrupted`], each with the
    /// number of elements sent before.
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

    /// Sends from the front of `values` as many as there is room for now, in one step; how many
    /// (at least one, but for empty input).
    ///
    /// # Errors
    /// [`SendError::Full`], [`SendError::Closed`], [`SendError::PeerDead`],
    /// [`SendError::Corrupted`]: nothing was sent then.
    ///
    /// ```
    /// let (mut producer, mut consumer) = ipc_queue::spsc::channel(4)?;
    /// assert_eq!(producer.try_send_slice(&[1, 2, 3, 4, 5, 6]), Ok(4));
    /// let mut batch = [0; 8];
    /// assert_eq!(consumer.try_recv_slice(&mut batch), Ok(4));
    /// assert_eq!(batch[..4], [1, 2, 3, 4]);
    /// # Ok::<(), ipc_queue::Error>(())
    /// ```
    pub fn try_send_slice(&mut self, values: &[T]) -> Result<usize, SendError<()>> {
        self.send_some(values, Deadline::Now)
    }

    /// Closes the ring: later sends fail, the consumer drains what is there and gets
    /// [`Closed`](crate::RecvError::Closed).
    pub fn close(&mut self) {
        self.end.close();
    }

    /// Gives the role back without closing, so that another process can attach as the producer.
    pub fn detach(self) {
        self.end.detach();
    }

    /// Whether either side closed the ring.
    pub fn is_closed(&self) -> bool {
        self.end.shared().is_closed()
    }

    /// Elements sent and not yet received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.len()
    }

    /// Whether everything sent has been received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.capacity() as usize
    }

    /// Elements sent since the ring was created.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.end.position()
    }

    /// What the producer's waits have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked send looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy processes than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.end.set_looks(looks);
    }

    /// Rings `bell` too after every send and when the ring is closed: for a consumer that sleeps
    /// on one bell for many rings.
    pub fn also_ring(&mut self, bell: Doorbell) {
        self.end.also_ring(bell);
    }
}
