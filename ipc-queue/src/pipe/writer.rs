//! The writing side of a byte pipe.

use std::io;
use std::time::Duration;

use super::piece;
use crate::bell::Doorbell;
use crate::ends::SendEnd;
use crate::ring::Stop;
use crate::select::source::source_is_its_end;
use crate::wait::Deadline;
use crate::{SendError, SideStats};

/// The writing side of a byte pipe. Dropping it closes the pipe: the reader drains it and then
/// sees the end.
///
/// As [`io::Write`] it blocks while the pipe is full. A closed pipe is [`io::ErrorKind::BrokenPipe`],
/// a dead reader [`io::ErrorKind::ConnectionReset`], both with the [`SendError`] inside.
#[derive(Debug)]
pub struct Writer {
    end: SendEnd,
    piece: usize,
}

source_is_its_end!(for Writer);

impl Writer {
    pub(super) fn new(end: SendEnd) -> Self {
        let piece = piece(end.capacity());
        Writer { end, piece }
    }

    /// Writes what there is room for now, at least one byte; how many. 0 only for empty input.
    ///
    /// # Errors
    /// [`SendError::Full`], [`SendError::Closed`], [`SendError::PeerDead`],
    /// [`SendError::Corrupted`]. Nothing was written then.
    ///
    /// ```
    /// # use ipc_queue::SendError;
    /// let (mut writer, _reader) = ipc_queue::pipe::channel(4)?;
    /// assert_eq!(writer.try_write(b"abcdef"), Ok(4));
    /// assert_eq!(writer.try_write(b"ef"), Err(SendError::Full(())));
    /// # Ok::<(), ipc_queue::Error>(())
    /// ```
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, SendError<()>> {
        let mut written = 0;
        loop {
            match self.write_piece(&bytes[written..], Deadline::Now) {
                Ok(0) => return Ok(written),
                Ok(count) => written += count,
                Err(_) if written > 0 => return Ok(written),
                Err(stop) => return Err(refused(stop, ())),
            }
        }
    }

    /// Writes at least one byte, waiting for room at most `timeout`; how many.
    ///
    /// # Errors
    /// [`SendError::Timeout`], [`SendError::Closed`], [`SendError::PeerDead`],
    /// [`SendError::Corrupted`]. Nothing was written then.
    pub fn write_timeout(
        &mut self,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<usize, SendError<()>> {
        self.write_piece(bytes, Deadline::after(timeout)).map_err(|stop| refused(stop, ()))
    }

    /// Writes everything, streaming through the pipe, for at most `timeout` in all.
    ///
    /// # Errors
    /// [`SendError::Timeout`], [`SendError::Closed`], [`SendError::PeerDead`],
    /// [`SendError::Corrupted`], each with the number of bytes written before.
    pub fn write_all_timeout(
        &mut self,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<(), SendError<usize>> {
        self.write_everything(bytes, Deadline::after(timeout))
    }

    /// Writes at least one byte, as a future for any executor: see [`futures`](crate::futures).
    /// Dropped before it is ready, it has written nothing.
    ///
    /// # Errors
    /// As the pipe's [`write`](io::Write::write).
    #[cfg(feature = "async")]
    pub async fn write_async(&mut self, bytes: &[u8]) -> io::Result<usize> {
        crate::futures::until(self, |writer| writer.write_now(bytes)).await
    }

    /// Writes everything. Dropped before it is ready, it has written a part.
    ///
    /// # Errors
    /// As the pipe's [`write_all`](io::Write::write_all).
    #[cfg(feature = "async")]
    pub async fn write_all_async(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write_async(bytes).await?;
            bytes = bytes.get(written..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// A write that does not wait: `None` if it would have to.
    #[cfg(feature = "async")]
    pub(super) fn write_now(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        match self.write_piece(bytes, Deadline::Now) {
            Err(Stop::NotYet) => None,
            written => Some(written.map_err(|stop| refused(stop, ()).into())),
        }
    }

    fn write_everything(
        &mut self,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<(), SendError<usize>> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_piece(&bytes[written..], deadline) {
                Ok(count) => written += count,
                Err(stop) => return Err(refused(stop, written)),
            }
        }
        Ok(())
    }

    /// Lends contiguous free room, for at most `timeout` (for ever if `None`): write to its front
    /// and return how many bytes of it to hand over (more than its length is its length).
    /// The room ends where the ring wraps, so it may be smaller than what is free; what it
    /// contains before is unspecified. Nothing is handed over if the closure panics.
    ///
    /// # Errors
    /// As [`write_timeout`](Self::write_timeout).
    ///
    /// ```
    /// let (mut writer, mut reader) = ipc_queue::pipe::channel(64)?;
    /// let sent = writer.write_chunk(None, |room| {
    ///     room[..3].copy_from_slice(b"abc");
    ///     3
    /// });
    /// assert_eq!(sent, Ok(3));
    /// assert_eq!(reader.read_chunk(None, |bytes| (bytes.len(), bytes == b"abc")), Ok(true));
    /// # Ok::<(), ipc_queue::Error>(())
    /// ```
    pub fn write_chunk(
        &mut self,
        timeout: Option<Duration>,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, SendError<()>> {
        let deadline = timeout.map_or(Deadline::Never, Deadline::after);
        self.fill(deadline, fill).map_err(|stop| refused(stop, ()))
    }

    /// [`write_chunk`](Self::write_chunk) without waiting.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub fn try_write_chunk(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, SendError<()>> {
        self.fill(Deadline::Now, fill).map_err(|stop| refused(stop, ()))
    }

    fn fill(
        &mut self,
        deadline: Deadline,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, Stop> {
        // All of it: asking for more than there can be refreshes the view.
        let room = self.end.wait_room(self.end.capacity(), deadline)? as usize;
        let (at, to_wrap) = self.place();
        let room = room.min(to_wrap);
        // SAFETY: `at + room` does not pass the ring's end; the bytes are initialised (shared
        // memory always is), free, and so only ours until `publish`, which needs `&mut self`.
        let chunk = unsafe { std::slice::from_raw_parts_mut(at, room) };
        let count = fill(chunk).min(room);
        if count > 0 {
            self.end.publish(count as u64);
        }
        Ok(count)
    }

    /// Where the next byte goes, and how many fit before the ring wraps.
    fn place(&self) -> (*mut u8, usize) {
        let capacity = self.end.capacity();
        let index = (self.end.position() & (capacity - 1)) as usize;
        // SAFETY: `index < capacity`, and the ring has `capacity` bytes.
        let at = unsafe { self.end.units().as_ptr().add(index) };
        (at, capacity as usize - index)
    }

    /// Copies a piece of `bytes` into free room and publishes it: in two parts if it wraps.
    fn write_piece(&mut self, bytes: &[u8], deadline: Deadline) -> Result<usize, Stop> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let wanted = bytes.len().min(self.piece);
        let room = self.end.wait_room(wanted as u64, deadline)? as usize;
        let count = room.min(wanted);
        let (at, to_wrap) = self.place();
        let (front, back) = bytes[..count].split_at(count.min(to_wrap));
        // SAFETY: `front` ends where the ring wraps at the latest; the room is free, so only ours
        // until `publish`; a caller's slice does not overlap room that nobody lends out.
        unsafe { at.copy_from_nonoverlapping(front.as_ptr(), front.len()) };
        // SAFETY: `back` is less than the ring, and free as above; it begins at the ring's start.
        unsafe {
            self.end.units().as_ptr().copy_from_nonoverlapping(back.as_ptr(), back.len());
        }
        self.end.publish(count as u64);
        Ok(count)
    }

    /// Closes the pipe: later writes fail, the reader drains what is there and sees the end.
    pub fn close(&mut self) {
        self.end.close();
    }

    /// Gives the role back without closing, so that another process can attach as the writer.
    pub fn detach(self) {
        self.end.detach();
    }

    /// Whether either side closed the pipe.
    pub fn is_closed(&self) -> bool {
        self.end.shared().is_closed()
    }

    /// Bytes written and not yet read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.len()
    }

    /// Whether everything written has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.capacity() as usize
    }

    /// Bytes handed over since the pipe was created, counted in shared memory by the ring itself.
    #[must_use]
    pub fn bytes_moved(&self) -> u64 {
        self.end.position()
    }

    /// What the writer's waits have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked write looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy processes than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.end.set_looks(looks);
    }

    /// Rings `bell` too whenever bytes are handed over, and when the pipe is closed: for a reader
    /// that sleeps on one bell for many pipes.
    pub fn also_ring(&mut self, bell: Doorbell) {
        self.end.also_ring(bell);
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_piece(bytes, Deadline::Never).map_err(|stop| refused(stop, ()).into())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_everything(bytes, Deadline::Never).map_err(|error| error.map(|_| ()).into())
    }

    /// Does nothing: what is written is handed over at once.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn refused<T>(stop: Stop, value: T) -> SendError<T> {
    SendError::from_stop(stop, value)
}
