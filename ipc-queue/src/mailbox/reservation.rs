//! Memory for a message, to be written in place.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use shm_core::heap::Block;
use shm_core::{Group, Peers};

use super::end::End;
use super::send::SendSide;
use crate::SendError;
use crate::ring::Stop;
use crate::wait::Deadline;

/// Memory for a message, to be written in place: it reads as a byte slice, aligned to 8, with whatever
/// stood there. Dropped without [`commit`](Self::commit), nothing is sent.
#[must_use = "nothing is sent before `commit`"]
pub struct Reservation<'a, P: Peers + Clone = Group> {
    end: &'a End<P>,
    side: &'a mut SendSide,
    /// Nothing once it is sent.
    block: Option<Block<'a, P>>,
    len: usize,
}

impl<'a, P: Peers + Clone> Reservation<'a, P> {
    pub(super) fn new(
        end: &'a End<P>,
        side: &'a mut SendSide,
        block: Block<'a, P>,
        len: usize,
    ) -> Self {
        Reservation { end, side, block: Some(block), len }
    }

    #[inline(always)]
    pub(super) fn commit_until(mut self, deadline: Deadline) -> Result<(), SendError<Self>> {
        let stop = match (self.end.view(), self.block.take()) {
            (Ok(view), Some(block)) => match self.side.send(view, block, self.len, deadline) {
                Ok(()) => return Ok(()),
                Err((stop, block)) => {
                    self.block = Some(block);
                    stop
                }
            },
            (Err(stop), block) => {
                self.block = block;
                stop
            }
            (Ok(_), None) => Stop::Corrupted,
        };
        Err(SendError::from_stop(stop, self))
    }

    /// Sends the message, waiting for a slot as long as it takes.
    ///
    /// # Errors
    /// [`SendError::Closed`]; [`SendError::Disconnected`] if no slot is free and no consumer left;
    /// [`SendError::Forked`], [`SendError::Corrupted`]. The message is dropped then: nobody would
    /// ever receive it.
    #[inline]
    pub fn commit(self) -> Result<(), SendError<()>> {
        self.commit_until(Deadline::Never).map_err(|error| error.map(drop))
    }

    /// Sends only the first `len` bytes (all, if there are not so many).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    #[inline]
    pub fn commit_first(mut self, len: usize) -> Result<(), SendError<()>> {
        self.len = len.min(self.len);
        self.commit()
    }

    /// Sends the message if a slot is free now.
    ///
    /// # Errors
    /// [`SendError::Full`], or as [`commit`](Self::commit); each with the message as it was written.
    ///
    /// ```
    /// # use ipc_queue::SendError;
    /// let (mut producer, mut consumer) = ipc_queue::mailbox::channel(1, 1000)?;
    /// producer.send(b"first")?;
    /// let mut room = producer.reserve(6)?;
    /// room.copy_from_slice(b"second");
    /// let Err(SendError::Full(room)) = room.try_commit() else { panic!("there is one slot") };
    /// assert_eq!(&*consumer.recv()?, b"first");
    /// room.commit()?;
    /// assert_eq!(&*consumer.recv()?, b"second");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_commit(self) -> Result<(), SendError<Self>> {
        self.commit_until(Deadline::Now)
    }

    /// Sends the message, waiting for a slot at most `timeout`.
    ///
    /// # Errors
    /// [`SendError::Timeout`], or as [`commit`](Self::commit); each with the message as it was written.
    pub fn commit_timeout(self, timeout: Duration) -> Result<(), SendError<Self>> {
        self.commit_until(Deadline::after(timeout))
    }
}

impl<P: Peers + Clone> Deref for Reservation<'_, P> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let Some(block) = &self.block else { return &[] };
        // SAFETY: the block has at least so many bytes and is ours until it is sent; any bytes are
        // valid `u8`.
        unsafe { std::slice::from_raw_parts(block.as_ptr().as_ptr(), self.len) }
    }
}

impl<P: Peers + Clone> DerefMut for Reservation<'_, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let Some(block) = &mut self.block else { return &mut [] };
        // SAFETY: as in `deref`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(block.as_ptr().as_ptr(), self.len) }
    }
}

impl<P: Peers + Clone> Drop for Reservation<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            drop(block);
            // Others may wait for the memory.
            if let Ok(view) = self.end.view() {
                view.announce_room();
            }
        }
    }
}

impl<P: Peers + Clone> fmt::Debug for Reservation<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("len", &self.len).finish_non_exhaustive()
    }
}
