//! The handle that sends.

use std::time::Duration;

use shm_core::{Group, Owner, Peers};

use super::Element;
use super::place::Place;
use super::reservation::Reservation;
use super::send::SendSide;
use super::shared::Ring;
use crate::bell::Bell;
use crate::ring::Stop;
use crate::select::source::Source;
use crate::wait::Deadline;
use crate::{Error, SendError, SideStats};

/// The producer of a broadcast ring.
///
/// A send costs some nanoseconds and no system call, unless readers sleep or one that blocks has
/// fallen a ring behind; how many readers there are costs nothing but a look at each of their
/// positions once in a ring's length. Dropping it lets another take its place; until one does, readers
/// that have drained the ring are told that it is disconnected.
#[derive(Debug)]
pub struct Producer<T: Element, P: Peers = Group> {
    place: Place<T>,
    peers: P,
    me: Owner,
    side: SendSide,
}

impl<T: Element, P: Peers> Source for Producer<T, P> {
    fn is_ready(&self) -> bool {
        // In a forked child every operation says so at once.
        self.peers.me() != Some(self.me) || self.side.is_ready(self.place.ring(&self.peers))
    }

    fn bell(&self) -> &Bell {
        // Before the announcement that follows: readers ring only for what is waited for.
        if self.peers.me() == Some(self.me) {
            self.side.await_room(self.place.ring(&self.peers), 1);
        }
        &self.place.shared().control.0.space
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn peers(&self) -> Option<&dyn Peers> {
        Some(&self.peers)
    }
}

impl<T: Element, P: Peers> Producer<T, P> {
    pub(super) fn attach(place: Place<T>, peers: P) -> Result<Self, Error> {
        // Registers this process before its first publication (see `barrier`).
        shm_core::barrier::mode();
        let me = peers.me().ok_or(Error::NotAMember)?;
        place.shared().take_role(me, &peers)?;
        match SendSide::resume(place.shared(), place.ring(&peers).capacity) {
            Ok(side) => Ok(Producer { place, peers, me, side }),
            Err(_) => {
                place.shared().leave_role();
                Err(Error::Corrupted("more is begun than a ring holds, or less than is sent"))
            }
        }
    }

    /// What an operation works with; nothing in a process that inherited the handle by `fork`.
    #[inline(always)]
    pub(super) fn parts(&mut self) -> Result<(&mut SendSide, Ring<'_, T, P>), Stop> {
        if self.peers.me() != Some(self.me) {
            return Err(Stop::Forked);
        }
        Ok((&mut self.side, self.place.ring(&self.peers)))
    }

    #[inline(always)]
    fn send_until(&mut self, value: T, deadline: Deadline) -> Result<(), SendError<T>> {
        let sent = match self.parts() {
            Ok((side, ring)) => side.send(ring, &value, deadline),
            Err(stop) => Err(stop),
        };
        sent.map_err(|stop| SendError::from_stop(stop, value))
    }

    fn send_some(&mut self, values: &[T], deadline: Deadline) -> Result<usize, SendError<()>> {
        let sent = match self.parts() {
            Ok((side, ring)) => side.send_some(ring, values, deadline),
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

    /// Sends `value` to all readers, waiting for those that block as long as it takes. Without
    /// readers there is always room.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Forked`], [`SendError::Corrupted`]; each with the value.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, Deadline::Never)
    }

    /// Sends `value` if there is room now.
    ///
    /// # Errors
    /// [`SendError::Full`] while a reader that blocks is a whole ring behind; else as
    /// [`send`](Self::send).
    ///
    /// ```
    /// # use ipc_queue::{SendError, broadcast};
    /// let (mut producer, _reader) = broadcast::channel(1)?;
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

    /// Sends all of `values` in order, waiting for room as often as needed. What there is room for is
    /// sent as one step; a producer that is killed has sent whole steps.
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

    /// Sends from the front of `values` as many as there is room for now, as one step; how many (at
    /// least one, but for empty input).
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send): nothing was sent then.
    pub fn try_send_slice(&mut self, values: &[T]) -> Result<usize, SendError<()>> {
        self.send_some(values, Deadline::Now)
    }

    fn reserve_until(
        &mut self,
        count: usize,
        deadline: Deadline,
    ) -> Result<Reservation<'_, T, P>, SendError<()>> {
        let (side, ring) = self.parts().map_err(|stop| SendError::from_stop(stop, ()))?;
        Reservation::new(side, ring, count, deadline).map_err(|stop| SendError::from_stop(stop, ()))
    }

    /// Makes sure of room for `count` elements, to be written one by one and sent as one step, or not
    /// at all.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] if the ring never has room for so many; else as [`send`](Self::send).
    ///
    /// ```
    /// let (mut producer, mut reader) = ipc_queue::broadcast::channel(4)?;
    /// let mut batch = producer.reserve(2)?;
    /// batch.push(1)?;
    /// batch.push(2)?;
    /// assert!(reader.try_recv().is_err());
    /// batch.commit();
    /// assert_eq!((reader.recv()?, reader.recv()?), (1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(&mut self, count: usize) -> Result<Reservation<'_, T, P>, SendError<()>> {
        self.reserve_until(count, Deadline::Never)
    }

    /// [`reserve`](Self::reserve) without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] if there is no room for all of them, or as [`reserve`](Self::reserve).
    pub fn try_reserve(&mut self, count: usize) -> Result<Reservation<'_, T, P>, SendError<()>> {
        self.reserve_until(count, Deadline::Now)
    }

    /// [`reserve`](Self::reserve), waiting at most `timeout`.
    ///
    /// # Errors
    /// [`SendError::Timeout`], or as [`reserve`](Self::reserve).
    pub fn reserve_timeout(
        &mut self,
        count: usize,
        timeout: Duration,
    ) -> Result<Reservation<'_, T, P>, SendError<()>> {
        self.reserve_until(count, Deadline::after(timeout))
    }

    /// Closes the ring for good: later sends fail, readers drain what is there and then get
    /// [`Closed`](crate::RecvError::Closed).
    pub fn close(&mut self) {
        if let Ok((_, ring)) = self.parts() {
            ring.shared.close();
        }
    }

    /// Whether this producer, or one before it, closed the ring.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.place.shared().is_closed()
    }

    /// Elements that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.place.ring(&self.peers).capacity as usize
    }

    /// Elements sent since the ring was made.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.side.tail()
    }

    /// How many elements the last of the readers is behind, as far as one look tells; more than
    /// [`capacity`](Self::capacity) if it does not block.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let (_, lowest) = self.place.shared().readers(&self.peers);
        lowest.map_or(0, |lowest| self.side.tail().saturating_sub(lowest))
    }

    /// Readers that are attached and alive, as far as one look tells.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.place.shared().readers(&self.peers).0
    }

    /// What the waits of this producer, and of those before it, have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.place.shared().producer.0.counters.read()
    }

    /// How often a blocked send looks again before it sleeps, at most (it adapts below that);
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

impl<T: Element, P: Peers> Drop for Producer<T, P> {
    fn drop(&mut self) {
        if let Ok((_, ring)) = self.parts() {
            ring.shared.leave_role();
        }
    }
}
