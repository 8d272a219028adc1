//! The consuming side of a typed ring.

use std::marker::PhantomData;
use std::time::Duration;

use super::{Element, slots};
use crate::bell::Doorbell;
use crate::ends::RecvEnd;
use crate::ring::Stop;
use crate::select::source::source_is_its_end;
use crate::wait::Deadline;
use crate::{RecvError, SideStats};

/// The consuming side of a typed ring. Dropping it closes the ring: the producer's next send
/// fails, and what was not received is gone.
///
/// A receive costs some nanoseconds and no system call, unless the ring is empty or the producer
/// sleeps.
#[derive(Debug)]
pub struct Consumer<T: Element> {
    end: RecvEnd,
    elements: PhantomData<fn() -> T>,
}

source_is_its_end!([T: Element] for Consumer<T>);

impl<T: Element> Consumer<T> {
    pub(super) fn new(end: RecvEnd) -> Self {
        Consumer { end, elements: PhantomData }
    }

    #[inline(always)]
    fn recv_until(&mut self, deadline: Deadline) -> Result<T, RecvError> {
        let (side, shared, slots) = self.end.parts();
        Ok(slots::recv(side, shared, slots, deadline)?)
    }

    fn recv_some(&mut self, values: &mut [T], deadline: Deadline) -> Result<usize, Stop> {
        if values.is_empty() {
            return Ok(0);
        }
        let (side, shared, slots) = self.end.parts();
        slots::recv_some(side, shared, slots, values, deadline)
    }

    /// Receives the next element, waiting as long as it takes.
    ///
    /// # Errors
    /// [`RecvError::Closed`] and [`RecvError::PeerDead`] once everything sent has been received;
    /// [`RecvError::Corrupted`].
    #[inline]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_until(Deadline::Never)
    }

    /// Receives the next element if there is one now.
    ///
    /// # Errors
    /// [`RecvError::Empty`], or as [`recv`](Self::recv).
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, RecvError> {
        self.recv_until(Deadline::Now)
    }

    /// The same as a future, for any executor: see [`futures`](crate::futures). Dropped before it is
    /// ready, it has received nothing.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    #[cfg(feature = "async")]
    pub async fn recv_async(&mut self) -> Result<T, RecvError> {
        crate::futures::until(self, |end| match end.try_recv() {
            Err(RecvError::Empty) => None,
            done => Some(done),
        })
        .await
    }

    /// Receives the next element, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::Timeout`], or as [`recv`](Self::recv).
    ///
    /// ```
    /// # use ipc_queue::RecvError;
    /// # use std::time::Duration;
    /// let (mut producer, mut consumer) = ipc_queue::spsc::channel::<u8>(2)?;
    /// assert_eq!(consumer.recv_timeout(Duration::from_millis(1)), Err(RecvError::Timeout));
    /// producer.close();
    /// assert_eq!(consumer.recv_timeout(Duration::from_secs(9)), Err(RecvError::Closed));
    /// # Ok::<(), ipc_queue::Error>(())
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        match self.try_recv() {
            Err(RecvError::Empty) => self.recv_until(Deadline::after(timeout)),
            done => done,
        }
    }

    /// Receives as many elements as there are, at least one and at most `values.len()`, in one
    /// step, waiting for the first; how many (0 only for an empty slice). They fill the front of
    /// `values`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_slice(&mut self, values: &mut [T]) -> Result<usize, RecvError> {
        self.recv_some(values, Deadline::Never).map_err(RecvError::from)
    }

    /// [`recv_slice`](Self::recv_slice), waiting at most `timeout`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_slice_timeout(
        &mut self,
        values: &mut [T],
        timeout: Duration,
    ) -> Result<usize, RecvError> {
        self.recv_some(values, Deadline::after(timeout)).map_err(RecvError::from)
    }

    /// [`recv_slice`](Self::recv_slice) without waiting.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_slice(&mut self, values: &mut [T]) -> Result<usize, RecvError> {
        self.recv_some(values, Deadline::Now).map_err(RecvError::from)
    }

    /// Receives and waits until the ring is closed and drained, or anything else ends it; after
    /// the loop, [`recv`](Self::recv) tells which.
    pub fn iter(&mut self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Receives what is there and does not wait.
    ///
    /// ```
    /// let (mut producer, mut consumer) = ipc_queue::spsc::channel(4)?;
    /// producer.send_slice(&[1, 2, 3])?;
    /// assert_eq!(consumer.drain().collect::<Vec<i32>>(), [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&mut self) -> Drain<'_, T> {
        Drain(self)
    }

    /// Closes the ring: the producer's next send fails; what is there can still be received.
    pub fn close(&mut self) {
        self.end.close();
    }

    /// Gives the role back without closing, so that another process can attach as the consumer and
    /// go on with the next element.
    pub fn detach(self) {
        self.end.detach();
    }

    /// Whether either side closed the ring (there may be elements left to receive).
    pub fn is_closed(&self) -> bool {
        self.end.shared().is_closed()
    }

    /// Elements sent and not yet received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.len()
    }

    /// Whether nothing is there to be received now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.capacity() as usize
    }

    /// Elements received since the ring was created.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.end.position()
    }

    /// What the consumer's waits have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked receive looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy processes than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.end.set_looks(looks);
    }

    /// Rings `bell` too after every receive and when the ring is closed: for a producer that
    /// sleeps on one bell for many rings.
    pub fn also_ring(&mut self, bell: Doorbell) {
        self.end.also_ring(bell);
    }
}

/// What [`Consumer::iter`] gives.
#[derive(Debug)]
pub struct Iter<'a, T: Element>(&'a mut Consumer<T>);

impl<T: Element> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// What [`Consumer::drain`] gives.
#[derive(Debug)]
pub struct Drain<'a, T: Element>(&'a mut Consumer<T>);

impl<T: Element> Iterator for Drain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}
