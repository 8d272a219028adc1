//! The sides of a pipe in the form that an executor's own traits ask for.

use std::io;
use std::task::{Context, Poll};

use super::{Reader, Writer};
use crate::futures::Turn;

/// A [`Reader`] that is polled: for whoever implements an executor's trait for reading.
///
/// ```
/// use std::future::poll_fn;
/// # fn block_on<F: Future>(future: F) -> F::Output { pollster::block_on(future) }
/// let (mut writer, reader) = ipc_queue::pipe::channel(64)?;
/// let mut reader = ipc_queue::pipe::PolledReader::from(reader);
/// assert_eq!(writer.try_write(b"abc"), Ok(3));
/// let mut bytes = [0; 8];
/// assert_eq!(block_on(poll_fn(|context| reader.poll_read(context, &mut bytes)))?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PolledReader {
    /// First, so that it lets go before the pipe does.
    turn: Turn,
    reader: Reader,
}

impl From<Reader> for PolledReader {
    fn from(reader: Reader) -> Self {
        PolledReader { turn: Turn::default(), reader }
    }
}

impl PolledReader {
    /// Reads at least one byte into `buffer`, or has the task woken when there is something. 0 at the
    /// end of a closed pipe. The task of the last call is the one that is woken.
    ///
    /// # Errors
    /// As the pipe's [`read`](io::Read::read).
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.turn.poll(&mut self.reader, context, |reader| reader.read_now(buffer))
    }
}

impl Drop for PolledReader {
    fn drop(&mut self) {
        self.turn.leave(&self.reader);
    }
}

/// A [`Writer`] that is polled: for whoever implements an executor's trait for writing.
#[derive(Debug)]
pub struct PolledWriter {
    /// First, so that it lets go before the pipe does.
    turn: Turn,
    writer: Writer,
}

impl From<Writer> for PolledWriter {
    fn from(writer: Writer) -> Self {
        PolledWriter { turn: Turn::default(), writer }
    }
}

impl PolledWriter {
    /// Writes at least one byte, or has the task woken when there is room. The task of the last call
    /// is the one that is woken. What is written can be read at once: there is nothing to flush.
    ///
    /// # Errors
    /// As the pipe's [`write`](io::Write::write).
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.turn.poll(&mut self.writer, context, |writer| writer.write_now(bytes))
    }

    /// Closes the pipe: the reader drains it and sees the end.
    pub fn close(&mut self) {
        self.writer.close();
    }
}

impl Drop for PolledWriter {
    fn drop(&mut self) {
        self.turn.leave(&self.writer);
    }
}
