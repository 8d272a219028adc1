//! The handle that receives.

use std::time::Duration;

use shm_core::{Group, Peers};

use super::end::End;
use super::receive::RecvSide;
use super::{Element, HINT_EVERY};
use crate::select::source::source_is_its_part;
use crate::wait::Deadline;
use crate::{Error, RecvError, Side, SideStats};

/// One of the consumers of a queue, which compete: each element goes to one of them.
///
/// A receive costs some tens of nanoseconds and no system call, unless the queue is empty or a
/// producer sleeps.
#[derive(Debug)]
pub struct Consumer<T: Element, P: Peers = Group> {
    end: End<T, P>,
    side: RecvSide,
}

source_is_its_part!([T: Element, P: Peers] for Consumer<T, P>, end, |self| self.end.queue().map(|queue| self.side.is_ready(queue)));

impl<T: Element, P: Peers> Consumer<T, P> {
    pub(super) fn new(end: End<T, P>) -> Self {
        let side = RecvSide::new(end.hint(), HINT_EVERY);
        Consumer { end, side }
    }

    /// Another consumer of the same queue, for another thread of this process.
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
    fn recv_until(&mut self, deadline: Deadline) -> Result<T, RecvError> {
        Ok(self.side.recv(self.end.queue()?, deadline)?)
    }

    fn recv_some(&mut self, values: &mut [T], deadline: Deadline) -> Result<usize, RecvError> {
        Ok(self.side.recv_some(self.end.queue()?, values, deadline)?)
    }

    /// Receives the next element, waiting as long as it takes. It is at most once: the element
    /// goes with a consumer that is killed from the moment on that it took it.
    ///
    /// # Errors
    /// Once everything sent has been received: [`RecvError::Closed`]; [`RecvError::Disconnected`]
    /// if there were producers and none is left. [`RecvError::Forked`], [`RecvError::Corrupted`].
    #[inline]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_until(Deadline::Never)
    }

    /// Receives the next element if there is one now.
    ///
    /// # Errors
    /// [`RecvError::Empty`] while the element that is next is not there, or not finished (later
    /// ones may be: see the [module](crate::mpmc)); else as [`recv`](Self::recv).
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
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        match self.try_recv() {
            Err(RecvError::Empty) => self.recv_until(Deadline::after(timeout)),
            done => done,
        }
    }

    /// Receives as many elements as there are, at least one and at most `values.len()`, waiting for
    /// the first; how many (0 only for an empty slice). They fill the front of `values`, in the
    /// order of the queue; others may have taken some between them.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_slice(&mut self, values: &mut [T]) -> Result<usize, RecvError> {
        self.recv_some(values, Deadline::Never)
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
        self.recv_some(values, Deadline::after(timeout))
    }

    /// [`recv_slice`](Self::recv_slice) without waiting.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_slice(&mut self, values: &mut [T]) -> Result<usize, RecvError> {
        self.recv_some(values, Deadline::Now)
    }

    /// Receives and waits until the queue is closed or every producer has gone, and it is drained;
    /// after the loop, [`recv`](Self::recv) tells which.
    ///
    /// ```
    /// let (mut producer, mut consumer) = ipc_queue::mpmc::channel(4)?;
    /// producer.send_slice(&[1, 2, 3])?;
    /// drop(producer);
    /// assert_eq!(consumer.iter().collect::<Vec<i32>>(), [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&mut self) -> Iter<'_, T, P> {
        Iter(self)
    }

    /// Receives what is there and does not wait.
    pub fn drain(&mut self) -> Drain<'_, T, P> {
        Drain(self)
    }

    /// Closes the queue for everybody: later sends fail, consumers drain what is there and then get
    /// [`RecvError::Closed`].
    pub fn close(&self) {
        self.end.close();
    }

    /// Whether somebody closed the queue (there may be elements left to receive).
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

    /// Producers that are attached and alive, as far as one look tells.
    #[must_use]
    pub fn producers(&self) -> usize {
        let queue = self.end.look();
        queue.shared.attached.count(Side::Producer, queue.peers)
    }

    /// What the waits of all consumers have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked receive looks again before it sleeps, at most (it adapts below that);
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

/// Receives and waits: see [`Consumer::iter`].
#[derive(Debug)]
pub struct Iter<'a, T: Element, P: Peers = Group>(&'a mut Consumer<T, P>);

impl<T: Element, P: Peers> Iterator for Iter<'_, T, P> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// Receives what is there: see [`Consumer::drain`].
#[derive(Debug)]
pub struct Drain<'a, T: Element, P: Peers = Group>(&'a mut Consumer<T, P>);

impl<T: Element, P: Peers> Iterator for Drain<'_, T, P> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}
