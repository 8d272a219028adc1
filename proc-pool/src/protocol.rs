//! What passes between parent and worker.
//!
//! | way | carries |
//! |---|---|
//! | request pipe (shared memory) | [`Request`] heads, each followed by its input's bytes and blobs |
//! | response pipe (shared memory) | [`Response`] heads, each followed by bytes and blobs |
//! | buffers of the sender (shared memory) | large plain data, see [`arena`](crate::arena) |
//! | socket (the worker's inherited standard input) | [`Note`]s, and the files that handles name |
//! | [ledger](ipc_queue::work::range) (shared memory) | which items the worker has started and finished; which it may not start |
//! | [`Status`] (shared memory) | what it is about to do, its last words; what it is told at its start |
//! | area (shared memory) | results of a chunk's items that are not in the response pipe yet |
//!
//! A request carries one input, or a *chunk*: several inputs of one task as records
//! ([`record`](crate::record)). Every input is an *item*; a worker's items are numbered from 0 in
//! the order in which they are sent to it.
//!
//! A pipe publishes whole writes in order, so what a killed writer leaves is a prefix; a head or
//! body that is cut short is never taken for a whole one.

use ipc_queue::pipe;
use ipc_queue::work::range;
use shm_core::Segment;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::PoolError;

/// Names the parent's process id in a worker's environment.
pub(crate) const ENV: &str = "PROC_POOL_WORKER";

/// Raised whenever anything in this file changes meaning.
pub(crate) const VERSION: u64 = 4;

/// Bytes of each pipe's ring. Larger messages stream through it.
pub(crate) const PIPE: usize = 1 << 20;

/// The ticket of the first response, which says that the worker is ready.
pub(crate) const HELLO: u64 = u64::MAX;

/// The ticket of a request that is no task: take the notes that wait in the socket, and ring.
pub(crate) const NUDGE: u64 = u64::MAX - 1;

/// The ticket of the initializer, which is a worker's first request where there is one.
pub(crate) const INITIALIZE: u64 = u64::MAX - 2;

/// The ticket of the exit hook, which is a worker's last request where there is one.
pub(crate) const FINISH: u64 = u64::MAX - 3;

/// Tickets from here on are none of a task's.
pub(crate) const FIRST_SPECIAL: u64 = u64::MAX - 15;

/// Bytes of the area.
pub(crate) const AREA: usize = 64 << 10;

/// The longest name of a build.
pub(crate) const BUILD: usize = 64;

/// The longest last words that are kept.
pub(crate) const LAST_WORDS: usize = 2048;

/// A worker's words in its segment, before the area and the pipes.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Status {
    pub worker: WorkerWords,
    pub parent: ParentWords,
    /// What the last panic said: as many bytes as `worker.words_length` says.
    pub last_words: [std::sync::atomic::AtomicU8; LAST_WORDS],
}

/// Written by the worker only.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct WorkerWords {
    /// When the running item was started, in nanoseconds of the monotonic clock; only of requests
    /// that ask for it.
    pub since: AtomicU64,
    /// Not 0 when the worker has grown beyond [`ParentWords::resident_limit`].
    pub grown: AtomicU32,
    /// Bytes of the last words.
    pub words_length: AtomicU32,
    /// An [`Intent`](crate::Intent); the parent asks for it once the worker is dead.
    pub intent: AtomicU32,
    /// Not 0 once the worker has begun with the initializer.
    pub initializing: AtomicU32,
    /// Bytes of results that were lent by handle, and not copied.
    pub spared: AtomicU64,
}

/// Written by the parent only.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct ParentWords {
    /// Notes sent on the socket.
    pub notes: AtomicU32,
    /// Looks before a waiting worker sleeps. This and what follows is written before the worker
    /// starts.
    pub spin: AtomicU32,
    /// Resident bytes above which the worker asks to be replaced; 0 for no limit.
    pub resident_limit: AtomicU64,
    /// Added to the worker's nice value.
    pub nice: AtomicI32,
    /// The processor that the worker shall run on, and one more; 0 for any.
    pub processor: AtomicU32,
    /// Whether the worker ends with exit code 101 after a panic, as a program of its own would.
    pub exit_on_panic: AtomicU32,
    /// The worker's number.
    pub number: AtomicU32,
    /// The level of `tracing` events that the worker sends to the parent, from 1 for errors to 5;
    /// 0 for none.
    pub events: AtomicU32,
    /// Bytes of `build`.
    pub build_length: AtomicU32,
    /// Which program and which tasks the parent is; a worker that is another runs nothing.
    pub build: [AtomicU8; BUILD],
}

impl ParentWords {
    /// The build that the parent is.
    pub fn build(&self) -> Vec<u8> {
        // Relaxed, both: written before the parent sent the segment in a message.
        let length = self.build_length.load(Ordering::Relaxed) as usize;
        let byte = |byte: &AtomicU8| byte.load(Ordering::Relaxed);
        self.build.iter().take(length).map(byte).collect()
    }
}

/// Where things are in a worker's segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The [record](ipc_queue::work::range) of what has become of the items.
    pub ledger: usize,
    pub area: usize,
    pub requests: usize,
    pub responses: usize,
    pub size: usize,
}

impl Places {
    pub fn new() -> Result<Places, PoolError> {
        Places::with(PIPE)
    }

    /// With pipes of so many bytes.
    pub fn with(pipe: usize) -> Result<Places, PoolError> {
        const PAGE: usize = 4096;
        let ring = pipe::required_size(pipe)?.next_multiple_of(PAGE);
        let ledger = size_of::<Status>().next_multiple_of(128);
        let area = (ledger + range::SIZE).next_multiple_of(PAGE);
        let requests = area + AREA;
        Ok(Places { ledger, area, requests, responses: requests + ring, size: requests + 2 * ring })
    }
}

/// The status words of a worker's segment.
pub(crate) fn status(segment: &Segment) -> &Status {
    // SAFETY: every segment of this protocol is larger than `Status` and begins with it, page-
    // aligned; its words are atomics, for which any bytes are a value, and which no process
    // accesses in another size. The reference lives no longer than the mapping.
    unsafe { segment.data().cast::<Status>().as_ref() }
}

/// In [`Request::timed`]: the worker says when it starts, in [`WorkerWords::since`].
pub(crate) const TIME_START: u32 = 1;
/// In [`Request::timed`]: the worker says how long items took, in [`Response::nanos`].
pub(crate) const TIME_ITEMS: u32 = 2;

/// Before each input or chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub ticket: u64,
    pub task: u128,
    pub bytes: u64,
    pub blobs: u64,
    /// How many records the bytes are; 0 for one input that is no record.
    pub items: u32,
    /// What the worker shall take the time of: [`TIME_START`], [`TIME_ITEMS`], or both.
    pub timed: u32,
    /// Bytes of data that the task may allocate; 0 for no limit.
    pub memory: u64,
}

impl Request {
    pub const SIZE: usize = 56;

    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..8].copy_from_slice(&self.ticket.to_ne_bytes());
        out[8..24].copy_from_slice(&self.task.to_ne_bytes());
        out[24..32].copy_from_slice(&self.bytes.to_ne_bytes());
        out[32..40].copy_from_slice(&self.blobs.to_ne_bytes());
        out[40..44].copy_from_slice(&self.items.to_ne_bytes());
        out[44..48].copy_from_slice(&self.timed.to_ne_bytes());
        out[48..].copy_from_slice(&self.memory.to_ne_bytes());
        out
    }

    pub fn decode(bytes: &[u8; Self::SIZE]) -> Request {
        Request {
            ticket: u64_at(bytes, 0),
            task: u128::from(u64_at(bytes, 8)) | (u128::from(u64_at(bytes, 16)) << 64),
            bytes: u64_at(bytes, 24),
            blobs: u64_at(bytes, 32),
            items: u64_at(bytes, 40) as u32,
            timed: (u64_at(bytes, 40) >> 32) as u32,
            memory: u64_at(bytes, 48),
        }
    }
}

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Outcome {
    /// The body is the result.
    Done = 0,
    /// The body is a [`PanicReport`](crate::worker::PanicReport).
    Panicked = 1,
    /// The body is a text: the input does not deserialise.
    BadInput = 2,
    /// The body is a text: the result does not serialise.
    BadOutput = 3,
    /// The worker does not know the task.
    Unknown = 4,
    /// The body is records: results of a chunk's next items.
    Records = 5,
    /// The rest of the request was revoked and is not run.
    Declined = 6,
}

impl Outcome {
    pub fn from_number(number: u32) -> Option<Outcome> {
        Some(match number {
            0 => Outcome::Done,
            1 => Outcome::Panicked,
            2 => Outcome::BadInput,
            3 => Outcome::BadOutput,
            4 => Outcome::Unknown,
            5 => Outcome::Records,
            6 => Outcome::Declined,
            _ => return None,
        })
    }
}

/// Before each result, or results of a chunk's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub ticket: u64,
    pub outcome: Outcome,
    /// Files that were sent on the socket before.
    pub files: u32,
    pub bytes: u64,
    pub blobs: u64,
    /// How many items this is the answer to.
    pub count: u32,
    /// What they took, in nanoseconds; 0 where nobody measured.
    pub nanos: u64,
    /// Bytes of the result that lie in buffers of the worker's [`arena`](crate::arena).
    pub arena: u64,
}

impl Response {
    pub const SIZE: usize = 56;

    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..8].copy_from_slice(&self.ticket.to_ne_bytes());
        out[8..12].copy_from_slice(&(self.outcome as u32).to_ne_bytes());
        out[12..16].copy_from_slice(&self.files.to_ne_bytes());
        out[16..24].copy_from_slice(&self.bytes.to_ne_bytes());
        out[24..32].copy_from_slice(&self.blobs.to_ne_bytes());
        out[32..36].copy_from_slice(&self.count.to_ne_bytes());
        out[40..48].copy_from_slice(&self.nanos.to_ne_bytes());
        out[48..].copy_from_slice(&self.arena.to_ne_bytes());
        out
    }

    /// `None` for an outcome that does not exist.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Option<Response> {
        let word = u64_at(bytes, 8);
        Some(Response {
            ticket: u64_at(bytes, 0),
            outcome: Outcome::from_number(word as u32)?,
            files: (word >> 32) as u32,
            bytes: u64_at(bytes, 16),
            blobs: u64_at(bytes, 24),
            count: u64_at(bytes, 32) as u32,
            nanos: u64_at(bytes, 40),
            arena: u64_at(bytes, 48),
        })
    }
}

/// A message on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// To the worker, first of all, with its segment and the pool's: protocol version.
    Setup(u64),
    /// With a file that handles name.
    File,
    /// The file of this identity is needed no longer.
    Forget(shm_core::SegmentId),
    /// To a fork server, first of all, with its memory: protocol version.
    Serve(u64),
    /// To a fork server: all files are there, run the preload.
    Preload,
    /// From a fork server: what came of the preload stands in its memory.
    Ready,
    /// To a fork server, with the pidfd of a worker that it did not make: its group is to end with
    /// the pool's process, too.
    Guard,
    /// To a fork server, with a worker's socket: make one.
    Fork,
    /// From a fork server: its memory names the worker.
    Forked,
    /// From a fork server: the kernel's error number.
    Refused(i32),
}

impl Note {
    pub const SIZE: usize = 24;

    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let (kind, rest): (u64, [u8; 16]) = match self {
            Note::Setup(version) => (1, u128::from(*version).to_ne_bytes()),
            Note::File => (2, [0; 16]),
            Note::Forget(id) => (3, id.to_bytes()),
            Note::Serve(version) => (4, u128::from(*version).to_ne_bytes()),
            Note::Preload => (5, [0; 16]),
            Note::Ready => (6, [0; 16]),
            Note::Fork => (7, [0; 16]),
            Note::Forked => (8, [0; 16]),
            Note::Guard => (10, [0; 16]),
            Note::Refused(errno) => (9, u128::from(errno.unsigned_abs()).to_ne_bytes()),
        };
        out[..8].copy_from_slice(&kind.to_ne_bytes());
        out[8..].copy_from_slice(&rest);
        out
    }

    pub fn decode(bytes: &[u8; Self::SIZE]) -> Option<Note> {
        let mut rest = [0; 16];
        rest.copy_from_slice(&bytes[8..]);
        match u64_at(bytes, 0) {
            1 => Some(Note::Setup(u64_at(bytes, 8))),
            2 => Some(Note::File),
            3 => Some(Note::Forget(shm_core::SegmentId::from_bytes(rest))),
            4 => Some(Note::Serve(u64_at(bytes, 8))),
            5 => Some(Note::Preload),
            6 => Some(Note::Ready),
            7 => Some(Note::Fork),
            8 => Some(Note::Forked),
            10 => Some(Note::Guard),
            9 => Some(Note::Refused(i32::try_from(u64_at(bytes, 8)).ok()?)),
            _ => None,
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: Response = Response {
        ticket: 9,
        outcome: Outcome::BadOutput,
        files: 3,
        bytes: 5,
        blobs: 1,
        count: 8,
        nanos: 77,
        arena: 5,
    };

    #[test]
    fn heads_survive_their_own_encoding() {
        let request = Request {
            ticket: 7,
            task: u128::MAX - 5,
            bytes: 11,
            blobs: 13,
            items: 3,
            timed: 1,
            memory: 99,
        };
        assert_eq!(Request::decode(&request.encode()), request);
        assert_eq!(Response::decode(&RESPONSE.encode()), Some(RESPONSE));
        let fork_server =
            [Note::Serve(VERSION), Note::Preload, Note::Ready, Note::Fork, Note::Forked];
        let others = [Note::Setup(VERSION), Note::File, Note::Refused(11), Note::Guard];
        for note in fork_server.into_iter().chain(others) {
            assert_eq!(Note::decode(&note.encode()), Some(note));
        }
    }

    #[test]
    fn every_outcome_is_known_by_its_number() {
        for number in 0..7 {
            assert_eq!(Outcome::from_number(number).map(|outcome| outcome as u32), Some(number));
        }
    }

    #[test]
    fn an_outcome_that_does_not_exist_is_refused() {
        let mut bytes = RESPONSE.encode();
        bytes[8] = 99;
        assert_eq!(Response::decode(&bytes), None);
    }
}
