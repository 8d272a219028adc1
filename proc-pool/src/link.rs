//! The parent's end of one worker: its queues, its socket, what it has been given.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use ipc_queue::pipe::{self, Reader, Writer};
use ipc_queue::work::range;
use rustix::io::Errno;
use shm_core::handle::{self, Reachable, WeakReachable};
use shm_core::{Segment, SegmentId};

use crate::arena::{self, Lease};
use crate::codec::Encoded;
use crate::protocol::{
    self, NUDGE, Note, Outcome, ParentWords, Places, Request, Response, VERSION, WorkerWords,
};
use crate::{Intent, PoolError, record, socket};

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
    /// Whether the request pipe is to be closed once everything is in it.
    closing: bool,
    /// What has become of the worker's items.
    ledger: range::Owner,
    area: usize,
    /// Bytes that were copied into buffers, both ways.
    through_arena: u64,
    /// Bytes of inputs that went by handle.
    spared: u64,
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
    /// Buffers of the worker's that the result lies in, ours until this and the result are dropped.
    pub leases: Vec<Arc<Lease>>,
}

impl Answer {
    /// One that came by shared memory and not through the response pipe.
    pub fn of(outcome: Outcome, count: u32, body: Vec<u8>) -> Answer {
        let head = Response {
            ticket: 0,
            outcome,
            files: 0,
            bytes: body.len() as u64,
            blobs: 0,
            count,
            nanos: 0,
            arena: 0,
        };
        Answer { head, body, files: Vec::new(), leases: Vec::new() }
    }
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
pub(crate) fn connect(pool: &Segment, settings: &Settings) -> Result<(Link, OwnedFd), PoolError> {
    let places = Places::new()?;
    let segment = Segment::anonymous(places.size)?;
    pipe::create(&segment, places.requests, protocol::PIPE)?;
    pipe::create(&segment, places.responses, protocol::PIPE)?;
    settings.write(&protocol::status(&segment).parent);
    let (ours, theirs) = socket::pair()?;
    let mut files = vec![segment.as_fd(), pool.as_fd()];
    files.extend(settings.budget.as_ref().map(AsFd::as_fd));
    socket::send(&ours, Note::Setup(VERSION), &files).map_err(PoolError::system("sendmsg"))?;
    let link = Link::over(segment, &places, ours)?;
    Ok((link, theirs))
}

/// What a worker is told before it starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Whether it looks again before it sleeps.
    pub spin: bool,
    /// Resident bytes above which it is to be replaced; 0 for no limit.
    pub resident_limit: u64,
    /// Added to its nice value.
    pub nice: i32,
    /// The processor it shall run on, and one more; 0 for any.
    pub processor: u32,
    pub exit_on_panic: bool,
    /// Its number.
    pub number: u32,
    /// The level of `tracing` events that it sends; 0 for none.
    pub events: u32,
    /// The build of program that it must be.
    pub build: Vec<u8>,
    /// What its own pools may take.
    pub budget: Option<Segment>,
}

impl Settings {
    fn write(&self, words: &ParentWords) {
        let store = |word: &AtomicU32, value: u32| {
            // Relaxed: the worker reads it after it received the segment in a message.
            word.store(value, Ordering::Relaxed);
        };
        store(&words.spin, u32::from(self.spin));
        store(&words.processor, self.processor);
        store(&words.number, self.number);
        store(&words.events, self.events);
        store(&words.exit_on_panic, u32::from(self.exit_on_panic));
        store(&words.build_length, self.build.len().min(protocol::BUILD) as u32);
        for (place, byte) in words.build.iter().zip(&self.build) {
            // Relaxed: as above.
            place.store(*byte, Ordering::Relaxed);
        }
        // Relaxed: as above.
        words.resident_limit.store(self.resident_limit, Ordering::Relaxed);
        // Relaxed: as above.
        words.nice.store(self.nice, Ordering::Relaxed);
    }
}

impl Link {
    /// The parent's ends of the pipes in this segment.
    pub fn over(segment: Segment, places: &Places, socket: OwnedFd) -> Result<Link, PoolError> {
        let requests = pipe::attach_writer(&segment, places.requests)?;
        let mut responses = pipe::attach_reader(&segment, places.responses)?;
        // The parent never waits on one worker's pipes, but on the bell of all.
        responses.set_spin_limit(0);
        let ledger = range::Owner::at(&segment, places.ledger)?;
        Ok(Link {
            segment,
            requests,
            responses,
            socket,
            outbox: VecDeque::new(),
            arriving: Arriving::new(),
            pushed: Vec::new(),
            nudged: false,
            closing: false,
            ledger,
            area: places.area,
            through_arena: 0,
            spared: 0,
        })
    }

    /// Lets go of the pipes without closing them.
    pub fn leave(self) {
        self.requests.detach();
        self.responses.detach();
    }

    /// Puts an input on its way; [`flush`](Link::flush) moves it.
    pub fn enqueue(&mut self, request: &Request, input: Arc<Encoded>) {
        // Head and bytes go as one write: one publication for a small task.
        let mut start = Vec::with_capacity(Request::SIZE + input.bytes.len());
        start.extend_from_slice(&request.encode());
        start.extend_from_slice(&input.bytes);
        self.through_arena += input.arena_len();
        self.spared += input.spared();
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
        if self.closing && self.outbox.is_empty() {
            self.requests.close();
        }
        moved
    }

    /// Asks the worker to empty its socket, which is full. It may be idle, and would otherwise look
    /// there only with the task that cannot be sent before. It rings when it has done so.
    fn nudge(&mut self) {
        let head = Request { ticket: NUDGE, ..Request::default() }.encode();
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
                    let body = std::mem::take(body);
                    let (files, leases) = (Vec::new(), Vec::new());
                    let mut answer = Answer { head: *head, body, files, leases };
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
                if answer.head.arena > 0 {
                    answer.leases.extend(redeem_buffer(id));
                }
            }
        }
        self.through_arena += answer.head.arena;
        Ok(())
    }

    /// Items that the worker has started. Exact once it is dead.
    pub fn started(&self) -> u64 {
        self.ledger.standing().unstarted()
    }

    /// Items whose results are sent or lie in the area. To be asked only once the worker is dead.
    pub fn finished(&self) -> u64 {
        self.ledger.standing().finished
    }

    /// When the running item was started, if it is a timed one: monotonic clock, nanoseconds.
    pub fn since(&self) -> u64 {
        // Relaxed: ordered by the ledger, where the worker announces the item afterwards.
        self.words().since.load(Ordering::Relaxed)
    }

    /// Whether the worker has grown beyond its limit.
    pub fn has_grown(&self) -> bool {
        // Relaxed: a hint that is acted upon now or at the next look.
        self.words().grown.load(Ordering::Relaxed) != 0
    }

    /// What the worker was about to do last.
    pub fn intent(&self) -> Intent {
        // Relaxed: asked only once the worker is dead.
        Intent::from_number(self.words().intent.load(Ordering::Relaxed))
    }

    /// Whether the worker has begun with its initializer.
    pub fn started_initializer(&self) -> bool {
        // Relaxed: asked only once the worker is dead.
        self.words().initializing.load(Ordering::Relaxed) != 0
    }

    fn words(&self) -> &WorkerWords {
        &protocol::status(&self.segment).worker
    }

    /// What the worker's last panic said.
    pub fn last_words(&self) -> Option<String> {
        let status = protocol::status(&self.segment);
        // Acquire: pairs with the worker's Release store after it wrote the words.
        let length = status.worker.words_length.load(Ordering::Acquire) as usize;
        // Relaxed: ordered by the length.
        let byte = |byte: &AtomicU8| byte.load(Ordering::Relaxed);
        let words: Vec<u8> = status.last_words.iter().take(length).map(byte).collect();
        (!words.is_empty()).then(|| String::from_utf8_lossy(&words).into_owned())
    }

    /// Forbids the worker to start these items; gives the first of which it is certain that it was
    /// not started and never will be. See [`range::Owner::revoke`].
    ///
    /// The worker may decline more, and says so: one item that we think it runs, and what was
    /// forbidden before and it has not passed (`answered`).
    pub fn revoke(&mut self, items: Range<u64>, answered: u64) -> u64 {
        // However far the barrier reaches: worker and parent are the same program under the same
        // rules of the system.
        self.ledger.revoke(items, answered)
    }

    /// The results of the next `count` items, which a dead worker had finished but not sent.
    pub fn salvage(&self, count: u32) -> Answer {
        let mut body = vec![0; protocol::AREA];
        // SAFETY: the area lies inside the segment, as its places were computed when it was made;
        // the worker, which alone writes it, is dead.
        let area = unsafe { self.segment.data().add(self.area) };
        // SAFETY: both are valid for `AREA` bytes and do not overlap: one is private.
        unsafe { std::ptr::copy_nonoverlapping(area.as_ptr(), body.as_mut_ptr(), body.len()) };
        let length = record::slice(&body, 0, count).len();
        body.truncate(length);
        Answer::of(Outcome::Records, count, body)
    }

    /// Tells the worker to end once it has done what it has and what is on its way.
    pub fn close_when_sent(&mut self) {
        self.closing = true;
        self.flush();
    }

    /// Bytes that were lent by handle to this worker, and by it.
    pub fn bytes_spared(&self) -> u64 {
        // Relaxed: a count to show.
        self.spared + self.words().spared.load(Ordering::Relaxed)
    }

    /// Bytes that went through this worker's pipes, both ways, and those that were copied into
    /// buffers for it or by it.
    pub fn bytes_moved(&self) -> u64 {
        self.requests.bytes_moved() + self.responses.bytes_moved() + self.through_arena
    }
}

/// The buffer of this name, which came with an answer; none where it is other memory.
pub(crate) fn redeem_buffer(id: SegmentId) -> Option<Arc<Lease>> {
    // What stands for a segment in a message is its identity.
    let handle = postcard::to_stdvec(&id).ok()?;
    let buffer: Segment = postcard::from_bytes(&handle).ok()?;
    arena::receive(&buffer)
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

/// The monotonic clock, which is the same for all processes of the machine.
pub(crate) fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Notes sent so far.
fn posted(segment: &Segment) -> u32 {
    // Relaxed: only this process, under the pool's lock, writes it.
    protocol::status(segment).parent.notes.load(Ordering::Relaxed)
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
        protocol::status(segment).parent.notes.fetch_add(posted, Ordering::Release);
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
