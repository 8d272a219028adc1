//! One element, sent once: an answer.
//!
//! ```
//! let (sender, receiver) = ipc_queue::oneshot::channel::<u64>()?;
//! let thread = std::thread::spawn(move || sender.send(42));
//! assert_eq!(receiver.recv()?, 42);
//! thread.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is a [queue for many](crate::mpmc) of one slot, closed by its first send, so what is said there of
//! deaths and of waiting holds: a receiver gets the element, whole, or learns that the sender has left
//! or was killed before it sent; nobody supervises. A place takes 1.2 kilobytes, and serves once.

use std::time::Duration;

use shm_core::{Group, Peers, Segment};

use crate::mpmc::end::End;
use crate::mpmc::place;
use crate::mpmc::receive::RecvSide;
use crate::mpmc::send::SendSide;
use crate::preamble::Kind;
use crate::ring::Stop;
use crate::select::source::source_is_its_part;
use crate::spsc::Element;
use crate::wait::Deadline;
use crate::{Error, RecvError, SendError, Side, SideStats};

/// Sends the element, once.
#[derive(Debug)]
pub struct Sender<T: Element, P: Peers = Group>(End<T, P>);

/// Receives the element, once.
#[derive(Debug)]
pub struct Receiver<T: Element, P: Peers = Group>(End<T, P>);

/// A place for one element in a segment and a group of its own, for two threads. For processes see
/// [`create`].
///
/// # Errors
/// [`Error::ElementAlign`], [`Error::Segment`].
pub fn channel<T: Element>() -> Result<(Sender<T>, Receiver<T>), Error> {
    let no_segment = |error: shm_core::Error| Error::Segment(error.to_string());
    let segment = Segment::anonymous(required_size::<T>()?).map_err(no_segment)?;
    let group = Group::anonymous().map_err(no_segment)?;
    create::<T>(&segment, 0)?;
    Ok((attach_sender(&segment, 0, &group)?, attach_receiver(&segment, 0, &group)?))
}

/// Bytes that it takes in a segment.
///
/// # Errors
/// [`Error::Capacity`] for an element larger than memory.
pub fn required_size<T: Element>() -> Result<usize, Error> {
    place::required_size::<T>(1)
}

/// Makes a place at `offset` (a multiple of 128) of zeroed memory of `segment`. Once, by one process.
///
/// # Errors
/// [`Error::Exists`], [`Error::ElementAlign`], [`Error::OutOfBounds`], [`Error::Misaligned`].
pub fn create<T: Element>(segment: &Segment, offset: usize) -> Result<(), Error> {
    place::create::<T>(segment, offset, Kind::Once, 1)
}

/// The sending end. Everybody attaches with the same group.
///
/// # Errors
/// [`Error::NotAMember`], [`Error::TooManyHandles`]; everything else says what is wrong at `offset`.
pub fn attach_sender<T: Element>(
    segment: &Segment,
    offset: usize,
    group: &Group,
) -> Result<Sender<T>, Error> {
    attach_sender_among(segment, offset, group.clone())
}

/// The receiving end. Everybody attaches with the same group.
///
/// # Errors
/// As [`attach_sender`].
pub fn attach_receiver<T: Element>(
    segment: &Segment,
    offset: usize,
    group: &Group,
) -> Result<Receiver<T>, Error> {
    attach_receiver_among(segment, offset, group.clone())
}

/// [`attach_sender`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_sender`].
pub fn attach_sender_among<T: Element, P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
) -> Result<Sender<T, P>, Error> {
    End::attach(segment, offset, Kind::Once, peers, Side::Producer).map(Sender)
}

/// [`attach_receiver`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_sender`].
pub fn attach_receiver_among<T: Element, P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
) -> Result<Receiver<T, P>, Error> {
    End::attach(segment, offset, Kind::Once, peers, Side::Consumer).map(Receiver)
}

impl<T: Element, P: Peers> Sender<T, P> {
    /// Sends the element. Never waits.
    ///
    /// # Errors
    /// [`SendError::Disconnected`] if there was a receiver and none is left; [`SendError::Closed`] or
    /// [`SendError::Full`] if another sender of the same place was first; [`SendError::Forked`],
    /// [`SendError::Corrupted`]; each with the element.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        self.send_once(value).map_err(|stop| SendError::from_stop(stop, value))
    }

    fn send_once(&self, value: T) -> Result<(), Stop> {
        let queue = self.0.queue()?;
        if queue.shared.is_deserted(Side::Consumer, queue.peers) {
            return Err(Stop::Disconnected);
        }
        SendSide::new(0, 1).send(queue, value, Deadline::Now)?;
        queue.shared.close();
        Ok(())
    }
}

source_is_its_part!([T: Element, P: Peers] for Receiver<T, P>, 0, |self| self.0.queue().map(|queue| RecvSide::new(0, 1).is_ready(queue)));

impl<T: Element, P: Peers> Receiver<T, P> {
    fn recv_until(&self, deadline: Deadline) -> Result<T, RecvError> {
        Ok(RecvSide::new(0, 1).recv(self.0.queue()?, deadline)?)
    }

    /// Waits for the element as long as it takes.
    ///
    /// # Errors
    /// [`RecvError::Disconnected`] if every sender has left or died without sending;
    /// [`RecvError::Closed`] if the element was received already; [`RecvError::Forked`],
    /// [`RecvError::Corrupted`].
    pub fn recv(self) -> Result<T, RecvError> {
        self.recv_until(Deadline::Never)
    }

    /// The element, if it is there.
    ///
    /// # Errors
    /// [`RecvError::Empty`] while it is not, or as [`recv`](Self::recv).
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

    /// What the waits of the receivers have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.0.stats()
    }

    /// Waits for the element at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::Timeout`], or as [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_until(Deadline::after(timeout))
    }
}
