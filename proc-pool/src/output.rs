//! What workers write to standard output and error, gathered in the parent as whole lines.
//!
//! Each worker has two pipes; one thread of the pool's reads all of them and puts lines together.
//! A worker's pipes are read to their end after its death, so what it wrote before it was killed
//! arrives; a last line without an end arrives as it is.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::PoolError;

/// Bytes of a line after which it is given in pieces.
const LONGEST: usize = 1 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Where a worker wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A line that a worker wrote; see [`Builder::output`](crate::Builder::output).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputLine {
    /// The worker's number.
    pub worker: usize,
    /// Its process id, or that of the worker which started the writer.
    pub pid: u32,
    /// Where it was written to.
    pub stream: OutputStream,
    /// The line, without its end; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Who gets the lines.
#[derive(Clone)]
pub(crate) struct Sink(pub Arc<dyn Fn(OutputLine) + Send + Sync>);

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// The worker's ends of its pipes: standard output, standard error.
pub(crate) type WriteEnds = [OwnedFd; 2];
/// The parent's.
pub(crate) type ReadEnds = [OwnedFd; 2];

/// Pipes for one worker.
pub(crate) fn pipes() -> Result<(ReadEnds, WriteEnds), PoolError> {
    let pipe = || -> Result<(OwnedFd, OwnedFd), Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // Of the reader only: a worker that writes more than the pipe holds has to wait.
        fcntl_setfl(&read, OFlags::NONBLOCK)?;
        Ok((read, write))
    };
    let (out, err) =
        pipe().and_then(|out| Ok((out, pipe()?))).map_err(PoolError::system("pipe2"))?;
    Ok(([out.0, err.0], [out.1, err.1]))
}

/// One pipe that is read.
struct Source {
    worker: usize,
    pid: u32,
    stream: OutputStream,
    pipe: OwnedFd,
    /// The beginning of a line.
    partial: Vec<u8>,
}

/// What the reading thread shares with the keeper.
struct Shared {
    sink: Sink,
    new: Mutex<Vec<Source>>,
    done: AtomicBool,
}

/// The thread that reads workers' output.
pub(crate) struct Collector {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    wake: OwnedFd,
}

impl Collector {
    pub fn start(sink: Sink) -> Result<Collector, PoolError> {
        let (woken, wake) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(PoolError::system("pipe2"))?;
        let shared = Shared { sink, new: Mutex::default(), done: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("proc-pool output".to_owned())
            .spawn(move || for_thread.read_all(&woken))
            .map_err(PoolError::system("starting a thread"))?;
        Ok(Collector { shared, thread: Some(thread), wake })
    }

    /// Reads a worker's output from now on.
    pub fn add(&self, worker: usize, pid: u32, [out, err]: ReadEnds) {
        let source = |pipe, stream| Source { worker, pid, stream, pipe, partial: Vec::new() };
        let mut new = self.shared.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.push(source(out, OutputStream::Out));
        new.push(source(err, OutputStream::Err));
        drop(new);
        self.wake();
    }

    fn wake(&self) {
        // A full pipe wakes as well.
        let _ = rustix::io::write(&self.wake, &[1]);
    }
}

/// Takes what is still in the pipes: every worker has ended.
impl Drop for Collector {
    fn drop(&mut self) {
        // Release: pairs with the Acquire load in `read_all`.
        self.shared.done.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panicked thread has said so on standard error.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn read_all(&self, woken: &OwnedFd) {
        let mut sources: Vec<Source> = Vec::new();
        loop {
            // Acquire: pairs with the Release store when the collector is dropped. Looked at before
            // the last reading, which then finds all that was written.
            let done = self.done.load(Ordering::Acquire);
            sources.append(&mut self.new.lock().unwrap_or_else(PoisonError::into_inner));
            sources.retain_mut(|source| source.read(&self.sink, done));
            if done {
                sources.iter_mut().for_each(|source| source.end(&self.sink));
                return;
            }
            let mut fds: Vec<PollFd<'_>> = sources
                .iter()
                .map(|source| PollFd::from_borrowed_fd(source.pipe.as_fd(), PollFlags::IN))
                .collect();
            fds.push(PollFd::new(woken, PollFlags::IN));
            // Interrupted or failed: looked at again anyway.
            let _ = poll(&mut fds, None);
            let _ = rustix::io::read(woken, &mut [0; 64]);
        }
    }
}

impl Source {
    /// Reads what is there, but not for ever unless it is the last time; whether more may come.
    fn read(&mut self, sink: &Sink, all: bool) -> bool {
        let mut buffer = [0; CHUNK];
        loop {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(0) => {
                    self.end(sink);
                    return false;
                }
                Ok(length) => {
                    self.take(&buffer[..length], sink);
                    if !all {
                        return true;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Cuts bytes into lines.
    fn take(&mut self, mut bytes: &[u8], sink: &Sink) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(&bytes[..end]);
            self.give(sink);
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() >= LONGEST {
            self.give(sink);
        }
    }

    fn end(&mut self, sink: &Sink) {
        if !self.partial.is_empty() {
            self.give(sink);
        }
    }

    fn give(&mut self, sink: &Sink) {
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        let line = OutputLine { worker: self.worker, pid: self.pid, stream: self.stream, text };
        // What it panicked with stands on standard error; the other lines are not to blame.
        let _ = catch_unwind(AssertUnwindSafe(|| (sink.0)(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_however_they_were_cut() {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let for_sink = Arc::clone(&lines);
        let sink = Sink(Arc::new(move |line| for_sink.lock().unwrap().push(line.text)));
        let ([out, _err], _) = pipes().unwrap();
        let mut source =
            Source { worker: 0, pid: 1, stream: OutputStream::Out, pipe: out, partial: Vec::new() };
        let text = "one\n\nthree and ü\nlast";
        text.as_bytes().chunks(1).for_each(|byte| source.take(byte, &sink));
        source.end(&sink);
        assert_eq!(*lines.lock().unwrap(), ["one", "", "three and ü", "last"]);
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let sink = Sink(Arc::new(|line| assert!(line.text.len() <= LONGEST + CHUNK)));
        let ([out, _err], _) = pipes().unwrap();
        let (stream, partial) = (OutputStream::Err, Vec::new());
        let mut source = Source { worker: 0, pid: 1, stream, pipe: out, partial };
        (0..64).for_each(|_| source.take(&[b'x'; CHUNK], &sink));
        assert!(source.partial.len() < LONGEST);
    }
}
