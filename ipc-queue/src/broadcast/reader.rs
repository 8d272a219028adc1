//! The handle that receives.

use std::time::Duration;

use shm_core::{Group, Owner, Peers};

use super::Element;
use super::place::Place;
use super::receive::{Missed, Reading, Start};
use super::row::Mode;
use super::shared::Ring;
use crate::bell::Bell;
use crate::ring::Stop;
use crate::select::source::Source;
use crate::wait::Deadline;
use crate::{Error, RecvError, SideStats};

/// One of the readers of a broadcast ring, each of which receives every element.
///
/// A receive costs some nanoseconds and no system call, unless there is nothing to receive or the
/// producer sleeps for this reader.
#[derive(Debug)]
pub struct Reader<T: Element, P: Peers = Group> {
    place: Place<T>,
    peers: P,
    me: Owner,
    side: Reading,
}

impl From<Missed> for RecvError {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Stopped(stop) => stop.into(),
            Missed::Lagged(count) => RecvError::Lagged(count),
        }
    }
}

impl<T: Element, P: Peers> Source for Reader<T, P> {
    fn is_ready(&self) -> bool {
        // In a forked child every operation says so at once.
        self.peers.me() != Some(self.me) || self.side.is_ready(self.place.ring(&self.peers))
    }

    fn bell(&self) -> &Bell {
        &self.place.shared().control.0.data
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn peers(&self) -> Option<&dyn Peers> {
        Some(&self.peers)
    }
}

impl<T: Element, P: Peers> Reader<T, P> {
    pub(super) fn attach(
        place: Place<T>,
        peers: P,
        mode: Mode,
        start: Start,
    ) -> Result<Self, Error> {
        // Registers this process before its first publication (see `barrier`).
        shm_core::barrier::mode();
        let me = peers.me().ok_or(Error::NotAMember)?;
        let side = Reading::join(place.ring(&peers), me, mode, start)?;
        Ok(Reader { place, peers, me, side })
    }

    /// Another reader of the same ring, for another thread of this process.
    ///
    /// # Errors
    /// [`Error::TooManyReaders`]; [`Error::NotAMember`] in a forked child.
    pub fn another(&self, mode: Mode, start: Start) -> Result<Self, Error>
    where
        P: Clone,
    {
        Self::attach(self.place.clone(), self.peers.clone(), mode, start)
    }

    /// What an operation works with; nothing in a process that inherited the handle by `fork`.
    #[inline(always)]
    fn parts(&mut self) -> Result<(&mut Reading, Ring<'_, T, P>), Stop> {
        if self.peers.me() != Some(self.me) {
            return Err(Stop::Forked);
        }
        Ok((&mut self.side, self.place.ring(&self.peers)))
    }

    #[inline(always)]
    fn recv_until(&mut self, deadline: Deadline) -> Result<T, RecvError> {
        let (side, ring) = self.parts()?;
        Ok(side.recv(ring, deadline)?)
    }

    fn recv_some(&mut self, values: &mut [T], deadline: Deadline) -> Result<usize, RecvError> {
        let (side, ring) = self.parts()?;
        Ok(side.recv_some(ring, values, deadline)?)
    }

    /// Receives the next element, waiting as long as it takes.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] if elements were overwritten, once for each time. When everything sent
    /// has been received: [`RecvError::Closed`]; [`RecvError::Disconnected`] if there was a producer
    /// and it has left or died. [`RecvError::Forked`], [`RecvError::Corrupted`].
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
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        match self.try_recv() {
            Err(RecvError::Empty) => self.recv_until(Deadline::after(timeout)),
            done => done,
        }
    }

    /// Receives as many elements as there are, at least one and at most `values.len()`, waiting for
    /// the first; how many (0 only for an empty slice). They fill the front of `values`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv): nothing was received then.
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

    /// Receives and waits until the ring is closed or has no producer any more, and is drained; after
    /// the loop, [`recv`](Self::recv) tells which. Gives [`RecvError::Lagged`] where elements were
    /// missed, and goes on.
    ///
    /// ```
    /// let (mut producer, mut reader) = ipc_queue::broadcast::channel(4)?;
    /// producer.send_slice(&[1, 2, 3])?;
    /// drop(producer);
    /// assert_eq!(reader.iter().collect::<Result<Vec<i32>, _>>()?, [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&mut self) -> Iter<'_, T, P> {
        Iter(self)
    }

    /// Receives what is there and does not wait, as [`iter`](Self::iter).
    pub fn drain(&mut self) -> Drain<'_, T, P> {
        Drain(self)
    }

    /// Whether the producer closed the ring (there may be elements left to receive).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.place.shared().is_closed()
    }

    /// Elements sent that this reader has not received, as far as one look tells. More than
    /// [`capacity`](Self::capacity) means that the rest is lost to it.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.place.ring(&self.peers).behind(self.side.position())
    }

    /// Elements that are there to be received, as far as one look tells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lag().min(self.capacity() as u64) as usize
    }

    /// Whether nothing is there to be received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lag() == 0
    }

    /// Elements that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.place.ring(&self.peers).capacity as usize
    }

    /// What the waits of this reader, and of those before it in its row, have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.place.shared().row(self.side.row()).counters.read()
    }

    /// How often a blocked receive looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy threads than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.side.patience.limit(looks);
    }

    /// Checks every word. For tests and the curious: meaningful while nobody sends, joins or leaves.
    ///
    /// # Errors
    /// [`Error::Corrupted`], which says what is impossible.
    pub fn validate(&self) -> Result<(), Error> {
        self.place.ring(&self.peers).validate()
    }
}

impl<T: Element, P: Peers> Drop for Reader<T, P> {
    fn drop(&mut self) {
        let row = self.side.row();
        if let Ok((_, ring)) = self.parts() {
            ring.shared.leave_row(row);
        }
    }
}

fn or_missed<T>(received: Result<T, RecvError>) -> Option<Result<T, RecvError>> {
    match received {
        Ok(_) | Err(RecvError::Lagged(_)) => Some(received),
        Err(_) => None,
    }
}

/// Receives and waits: see [`Reader::iter`].
#[derive(Debug)]
pub struct Iter<'a, T: Element, P: Peers = Group>(&'a mut Reader<T, P>);

impl<T: Element, P: Peers> Iterator for Iter<'_, T, P> {
    type Item = Result<T, RecvError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        or_missed(self.0.recv())
    }
}

/// Receives what is there: see [`Reader::drain`].
#[derive(Debug)]
pub struct Drain<'a, T: Element, P: Peers = Group>(&'a mut Reader<T, P>);

impl<T: Element, P: Peers> Iterator for Drain<'_, T, P> {
    type Item = Result<T, RecvError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        or_missed(self.0.try_recv())
    }
}
