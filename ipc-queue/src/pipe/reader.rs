//! The reading side of a byte pipe.

use std::io;
use std::time::Duration;

use super::piece;
use crate::bell::Doorbell;
use crate::ends::RecvEnd;
use crate::ring::Stop;
use crate::select::source::source_is_its_end;
use crate::wait::Deadline;
use crate::{RecvError, SideStats};

/// The reading side of a byte pipe. Dropping it closes the pipe: the writer's next write fails.
///
/// As [`io::Read`] and [`io::BufRead`] it blocks while the pipe is empty; a closed and drained
/// pipe is the end (0 bytes); a dead writer, once drained, is [`io::ErrorKind::ConnectionReset`]
/// with the [`RecvError`] inside, so that a cut stream is never taken for a whole one.
#[derive(Debug)]
pub struct Reader {
    end: RecvEnd,
    piece: usize,
}

source_is_its_end!(for Reader);

impl Reader {
    pub(super) fn new(end: RecvEnd) -> Self {
        let piece = piece(end.capacity());
        Reader { end, piece }
    }

    /// Reads what is there now, at least one byte; how many. 0 only for an empty buffer.
    ///
    /// # Errors
    /// [`RecvError::Empty`], [`RecvError::Closed`], [`RecvError::PeerDead`],
    /// [`RecvError::Corrupted`].
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        let mut read = 0;
        loop {
            match self.read_piece(&mut buffer[read..], Deadline::Now) {
                Ok(0) => return Ok(read),
                Ok(count) => read += count,
                Err(_) if read > 0 => return Ok(read),
                Err(stop) => return Err(stop.into()),
            }
        }
    }

    /// Reads at least one byte, waiting at most `timeout`; how many.
    ///
    /// # Errors
    /// [`RecvError::Timeout`], [`RecvError::Closed`], [`RecvError::PeerDead`],
    /// [`RecvError::Corrupted`].
    pub fn read_timeout(
        &mut self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, RecvError> {
        self.read_piece(buffer, Deadline::after(timeout)).map_err(RecvError::from)
    }

    /// Reads at least one byte, as a future for any executor: see [`futures`](crate::futures). 0 at
    /// the end of a closed pipe. Dropped before it is ready, it has read nothing.
    ///
    /// # Errors
    /// As the pipe's [`read`](io::Read::read).
    #[cfg(feature = "async")]
    pub async fn read_async(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        crate::futures::until(self, |reader| reader.read_now(buffer)).await
    }

    /// A read that does not wait: `None` if it would have to.
    #[cfg(feature = "async")]
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        match self.read_piece(buffer, Deadline::Now) {
            Err(Stop::NotYet) => None,
            read => Some(or_the_end(read)),
        }
    }

    /// Fills the whole buffer, for at most `timeout` in all.
    ///
    /// # Errors
    /// The number of bytes read before, and why there were no more.
    pub fn read_exact_timeout(
        &mut self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<(), (usize, RecvError)> {
        let deadline = Deadline::after(timeout);
        let mut read = 0;
        while read < buffer.len() {
            match self.read_piece(&mut buffer[read..], deadline) {
                Ok(count) => read += count,
                Err(stop) => return Err((read, stop.into())),
            }
        }
        Ok(())
    }

    /// Lends the contiguous bytes that are there, waiting at most `timeout` (for ever if `None`)
    /// for the first; the closure returns how many it has used up (more than there are is all)
    /// and a result. The bytes end where the ring wraps, so there may be more behind them.
    /// Nothing is used up if the closure panics.
    ///
    /// # Errors
    /// As [`read_timeout`](Self::read_timeout).
    pub fn read_chunk<R>(
        &mut self,
        timeout: Option<Duration>,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<R, RecvError> {
        let deadline = timeout.map_or(Deadline::Never, Deadline::after);
        self.take(deadline, take).map_err(RecvError::from)
    }

    /// [`read_chunk`](Self::read_chunk) without waiting.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    pub fn try_read_chunk<R>(
        &mut self,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<R, RecvError> {
        self.take(Deadline::Now, take).map_err(RecvError::from)
    }

    fn take<R>(
        &mut self,
        deadline: Deadline,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Result<R, Stop> {
        let chunk = self.chunk(deadline)?;
        let most = chunk.len();
        let (count, result) = take(chunk);
        if count > 0 {
            self.end.consume(count.min(most) as u64);
        }
        Ok(result)
    }

    /// The contiguous bytes that are ready; waits for at least one.
    fn chunk(&mut self, deadline: Deadline) -> Result<&[u8], Stop> {
        // All of it: asking for as much as there can be refreshes the view.
        let ready = self.end.wait_ready(self.end.capacity(), deadline)? as usize;
        let (at, to_wrap) = self.place();
        // SAFETY: does not pass the ring's end; the bytes are published, so nobody writes to them
        // until `consume`, which needs `&mut self` while the slice borrows it.
        Ok(unsafe { std::slice::from_raw_parts(at, ready.min(to_wrap)) })
    }

    /// Where the next byte is, and how many there can be before the ring wraps.
    fn place(&self) -> (*const u8, usize) {
        let capacity = self.end.capacity();
        let index = (self.end.position() & (capacity - 1)) as usize;
        // SAFETY: `index < capacity`, and the ring has `capacity` bytes.
        let at = unsafe { self.end.units().as_ptr().add(index) };
        (at, capacity as usize - index)
    }

    /// Copies a piece of what is ready out and gives its room back.
    fn read_piece(&mut self, buffer: &mut [u8], deadline: Deadline) -> Result<usize, Stop> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let wanted = buffer.len().min(self.piece);
        let ready = self.end.wait_ready(wanted as u64, deadline)? as usize;
        let count = ready.min(wanted);
        let (at, to_wrap) = self.place();
        let (front, back) = buffer[..count].split_at_mut(count.min(to_wrap));
        // SAFETY: `front` ends where the ring wraps at the latest; the bytes are published, so
        // nobody writes to them until `consume`.
        unsafe { at.copy_to_nonoverlapping(front.as_mut_ptr(), front.len()) };
        // SAFETY: `back` is less than the ring, published as above, and begins at its start.
        unsafe {
            self.end.units().as_ptr().copy_to_nonoverlapping(back.as_mut_ptr(), back.len());
        }
        self.end.consume(count as u64);
        Ok(count)
    }

    /// Closes the pipe: the writer's next write fails; what is there can still be read.
    pub fn close(&mut self) {
        self.end.close();
    }

    /// Gives the role back without closing, so that another process can attach as the reader and
    /// go on at the first byte that was not read.
    pub fn detach(self) {
        self.end.detach();
    }

    /// Whether either side closed the pipe (there may be bytes left to read).
    pub fn is_closed(&self) -> bool {
        self.end.shared().is_closed()
    }

    /// Bytes written and not yet read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.len()
    }

    /// Whether nothing is there to be read now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.capacity() as usize
    }

    /// Bytes read since the pipe was created, counted in shared memory by the ring itself.
    #[must_use]
    pub fn bytes_moved(&self) -> u64 {
        self.end.position()
    }

    /// What the reader's waits have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked read looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy processes than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.end.set_looks(looks);
    }

    /// Rings `bell` too whenever room is given back, and when the pipe is closed: for a writer
    /// that sleeps on one bell for many pipes.
    pub fn also_ring(&mut self, bell: Doorbell) {
        self.end.also_ring(bell);
    }
}

impl io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        or_the_end(self.read_piece(buffer, Deadline::Never))
    }
}

/// What [`io::Read`] says of a read.
fn or_the_end(read: Result<usize, Stop>) -> io::Result<usize> {
    match read {
        Err(Stop::Closed) => Ok(0),
        Err(stop) => Err(RecvError::from(stop).into()),
        Ok(count) => Ok(count),
    }
}

impl io::BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.chunk(Deadline::Never) {
            Ok(chunk) => Ok(chunk),
            Err(Stop::Closed) => Ok(&[]),
            Err(stop) => Err(RecvError::from(stop).into()),
        }
    }

    fn consume(&mut self, count: usize) {
        // A caller may be wrong: never more than what is there.
        let ready = self.end.wait_ready(count as u64, Deadline::Now).unwrap_or(0);
        self.end.consume(ready.min(count as u64));
    }
}
