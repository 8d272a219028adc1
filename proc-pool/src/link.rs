//! The parent's end of one worker: its queues, its socket, what it has been given.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipc_queue::bell::Doorbell;
use ipc_queue::pipe::{self, Reader, Writer};
use rustix::io::Errno;
use shm_core::handle::{self, Reachable, WeakReachable};
use shm_core::{Segment, SegmentId};

use crate::PoolError;
use crate::codec::Encoded;
use crate::protocol::{self, NUDGE, Note, Places, Request, Response, VERSION};
use crate::socket;
use crate::task::TaskId;

/// The parent's end of one worker.
#[derive(Debug)]
pub(crate) struct Link {
    segment: Segment,
    requests: Writer,
    responses: Reader,
    socket: OwnedFd,
    /// Inputs that are not wholly in the request pipe yet.
    outbox: VecDeque<Outgoing>,
    /// The response that is arriving.
    arriving: Arriving,
    /// Files that the worker has, because we sent them.
    pushed: Vec<WeakReachable>,
    /// Whether the worker was asked to take notes and the socket has not moved since.
    nudged: bool,
}

/// An input on its way into the request pipe.
#[derive(Debug)]
struct Outgoing {
    head: Vec<u8>,
    input: Arc<Encoded>,
    /// Bytes of head, input and blobs that are in the pipe.
    sent: u64,
}

/// A response that arrives piece by piece.
#[derive(Debug)]
enum Arriving {
    Head { bytes: [u8; Response::SIZE], filled: usize },
    Body { head: Response, size: usize, body: Vec<u8>, filled: usize },
}

impl Arriving {
    fn new() -> Arriving {
        Arriving::Head { bytes: [0; Response::SIZE], filled: 0 }
    }
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub head: Response,
    /// Postcard bytes, then blobs.
    pub body: Vec<u8>,
    /// Files that came along, offered to [`handle`], until this is dropped.
    pub files: Vec<SegmentId>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        for id in self.files.drain(..) {
            handle::forget(id);
        }
    }
}

/// What the worker said makes no sense: it is broken or hostile.
#[derive(Debug)]
pub(crate) struct Nonsense;

/// The worker's end of the socket, and our link to it.
pub(crate) fn connect(
    pool: &Segment,
    bell: &Doorbell,
    spin: u32,
) -> Result<(Link, OwnedFd), PoolError> {
    let places = Places::new()?;
    let segment = Segment::anonymous(places.size)?;
    pipe::create(&segment, places.requests, protocol::PIPE)?;
    pipe::create(&segment, places.responses, protocol::PIPE)?;
    let requests = pipe::attach_writer(&segment, places.requests)?;
    let mut responses = pipe::attach_reader(&segment, places.responses)?;
    // The parent never waits on one worker's pipes, but on the bell of all.
    responses.set_spin_limit(0);
    let _ = bell;
    // Relaxed: the worker reads it after it received the segment in a message.
    protocol::status(&segment).spin.store(spin, Ordering::Relaxed);
    let (ours, theirs) = socket::pair()?;
    use std::os::fd::AsFd;
    socket::send(&ours, Note::Setup(VERSION), &[segment.as_fd(), pool.as_fd()])
        .map_err(PoolError::system("sendmsg"))?;
    let link = Link {
        segment,
        requests,
        responses,
        socket: ours,
        outbox: VecDeque::new(),
        arriving: Arriving::new(),
        pushed: Vec::new(),
        nudged: false,
    };
    Ok((link, theirs))
}

impl Link {
    /// Puts an input on its way; [`flush`](Link::flush) moves it.
    pub fn enqueue(&mut self, ticket: u64, task: TaskId, input: Arc<Encoded>) {
        let head = Request {
            ticket,
            task: task.0,
            bytes: input.bytes.len() as u64,
            blobs: input.blob_len(),
        };
        // Head and bytes go as one write: one publication for a small task.
        let mut start = head.encode().to_vec();
        start.extend_from_slice(&input.bytes);
        self.outbox.push_back(Outgoing { head: start, input, sent: 0 });
    }

    /// Moves as much as fits into the request pipe, without waiting. Whether anything moved.
    ///
    /// A worker that is gone or broken takes nothing; its death is noticed elsewhere.
    pub fn flush(&mut self) -> bool {
        let mut moved = false;
        while let Some(first) = self.outbox.front() {
            if first.sent == 0 {
                let before = posted(&self.segment);
                let files = &first.input.files;
                if !push_files(&self.socket, &self.segment, &mut self.pushed, files) {
                    self.nudged &= posted(&self.segment) == before;
                    self.nudge();
                    break;
                }
                self.nudged = false;
            }
            let Some(first) = self.outbox.front_mut() else { break };
            match first.send(&mut self.requests) {
                Sent::All => {
                    self.outbox.pop_front();
                    moved = true;
                }
                Sent::Some => {
                    moved = true;
                    break;
                }
                Sent::Nothing => break,
            }
        }
        moved
    }

    /// Asks the worker to empty its socket, which is full. It may be idle, and would otherwise look
    /// there only with the task that cannot be sent before. It rings when it has done so.
    fn nudge(&mut self) {
        let head = Request { ticket: NUDGE, task: 0, bytes: 0, blobs: 0 }.encode();
        // All or nothing, since the pipe's writer is between two messages here. Where there is no
        // room the worker is reading, rings for that, and this is tried again.
        if !self.nudged && self.requests.capacity() - self.requests.len() >= head.len() {
            self.nudged = self.requests.try_write(&head).is_ok();
        }
    }

    /// The next whole response, if there is one; never waits.
    pub fn poll(&mut self) -> Result<Option<Answer>, Nonsense> {
        loop {
            match &mut self.arriving {
                Arriving::Head { bytes, filled } => {
                    if !fill(&mut self.responses, bytes, filled)? {
                        return Ok(None);
                    }
                    let head = Response::decode(bytes).ok_or(Nonsense)?;
                    let size = head.bytes.checked_add(head.blobs).ok_or(Nonsense)?;
                    let size = usize::try_from(size).map_err(|_| Nonsense)?;
                    let mut body = Vec::new();
                    body.try_reserve_exact(size).map_err(|_| Nonsense)?;
                    self.arriving = Arriving::Body { head, size, body, filled: 0 };
                }
                Arriving::Body { head, size, body, filled } => {
                    // Memory is touched only as bytes arrive: a size is a claim until then.
                    while *filled < *size {
                        body.resize((*filled + protocol::PIPE).min(*size), 0);
                        if !fill(&mut self.responses, body, filled)? {
                            return Ok(None);
                        }
                    }
                    let mut answer =
                        Answer { head: *head, body: std::mem::take(body), files: Vec::new() };
                    self.arriving = Arriving::new();
                    self.take_files(&mut answer)?;
                    return Ok(Some(answer));
                }
            }
        }
    }

    /// The files of this answer: they were sent before the response was written.
    fn take_files(&mut self, answer: &mut Answer) -> Result<(), Nonsense> {
        for _ in 0..answer.head.files {
            let received = socket::receive(&self.socket, false).map_err(|_| Nonsense)?;
            // Without the file the handle will not be reachable, and decoding says so.
            let Some(received) = received else { break };
            let file = received.files.into_iter().next();
            if let Some(Ok(id)) = file.map(handle::offer) {
                answer.files.push(id);
            }
        }
        Ok(())
    }

    /// Tasks that the worker has started. Exact once it is dead.
    pub fn started(&self) -> u64 {
        // Acquire: pairs with the worker's Release store before it starts a task. For a dead
        // worker the kernel's notice of its end comes after its last store in any case.
        protocol::status(&self.segment).started.load(Ordering::Acquire)
    }

    /// Tells the worker to end once it has done what it has.
    pub fn close(&mut self) {
        self.requests.close();
    }

    /// Bytes that went through this worker's pipes, both ways.
    pub fn bytes_moved(&self) -> u64 {
        self.requests.bytes_moved() + self.responses.bytes_moved()
    }
}

/// Fills `target` from `filled` on; whether it is full.
fn fill(from: &mut Reader, target: &mut [u8], filled: &mut usize) -> Result<bool, Nonsense> {
    while *filled < target.len() {
        match from.try_read(&mut target[*filled..]) {
            Ok(0) => return Ok(false),
            Ok(n) => *filled += n,
            Err(ipc_queue::RecvError::Corrupted) => return Err(Nonsense),
            // Empty, closed, or the worker is gone: nothing more for now.
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Notes sent so far.
fn posted(segment: &Segment) -> u32 {
    // Relaxed: only this process, under the pool's lock, writes it.
    protocol::status(segment).notes.load(Ordering::Relaxed)
}

/// Whether sending will work once the worker has taken something out.
fn is_full(errno: Errno) -> bool {
    // A user may have only so many files under way: TOOMANYREFS.
    matches!(errno, Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOBUFS)
}

/// Sends the worker the files that it has not got yet; `false` when its socket is full.
fn push_files(
    socket: &OwnedFd,
    segment: &Segment,
    pushed: &mut Vec<WeakReachable>,
    files: &[Reachable],
) -> bool {
    use std::os::fd::AsFd;
    let mut posted = 0;
    let mut all = true;
    pushed.retain(|file| {
        let gone = file.is_gone() && all;
        if gone {
            match socket::send(socket, Note::Forget(file.id()), &[]) {
                Err(errno) if is_full(errno) => {
                    all = false;
                    return true;
                }
                _ => posted += 1,
            }
        }
        !gone
    });
    for file in files {
        if !all || pushed.iter().any(|sent| sent.id() == file.id()) {
            continue;
        }
        match socket::send(socket, Note::File, &[file.as_fd()]) {
            Err(errno) if is_full(errno) => all = false,
            // A worker that is gone needs no file; its death is noticed elsewhere.
            _ => {
                pushed.push(file.downgrade());
                posted += 1;
            }
        }
    }
    if posted > 0 {
        // Release: the worker that sees the count finds the notes in its socket (the kernel orders
        // them besides). Only this process, under the pool's lock, adds.
        protocol::status(segment).notes.fetch_add(posted, Ordering::Release);
    }
    all
}

enum Sent {
    All,
    Some,
    Nothing,
}

impl Outgoing {
    fn send(&mut self, pipe: &mut Writer) -> Sent {
        let before = self.sent;
        let mut at = 0;
        let blobs = self.input.blobs.iter().map(|blob| blob.bytes());
        for piece in std::iter::once(self.head.as_slice()).chain(blobs) {
            let end = at + piece.len() as u64;
            while self.sent < end {
                match pipe.try_write(&piece[(self.sent - at) as usize..]) {
                    Ok(n) if n > 0 => self.sent += n as u64,
                    _ if self.sent > before => return Sent::Some,
                    _ => return Sent::Nothing,
                }
            }
            at = end;
        }
        Sent::All
    }
}
