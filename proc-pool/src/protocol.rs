//! What passes between parent and worker.
//!
//! | way | carries |
//! |---|---|
//! | request pipe (shared memory) | [`Request`] heads, each followed by its input's bytes and blobs |
//! | response pipe (shared memory) | [`Response`] heads, each followed by bytes and blobs |
//! | socket (the worker's inherited standard input) | [`Note`]s, and the files that handles name |
//! | [`Status`] (shared memory) | how many tasks the worker has started |
//!
//! A pipe publishes whole writes in order, so what a killed writer leaves is a prefix; a head or
//! body that is cut short is never taken for a whole one.

use ipc_queue::pipe;
use shm_core::Segment;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::PoolError;

/// Names the parent's process id in a worker's environment.
pub(crate) const ENV: &str = "PROC_POOL_WORKER";

/// Raised whenever anything in this file changes meaning.
pub(crate) const VERSION: u64 = 1;

/// Bytes of each pipe's ring. Larger messages stream through it.
pub(crate) const PIPE: usize = 1 << 20;

/// The ticket of the first response, which says that the worker is ready.
pub(crate) const HELLO: u64 = u64::MAX;

/// The ticket of a request that is no task: take the notes that wait in the socket, and ring.
pub(crate) const NUDGE: u64 = u64::MAX - 1;

/// A worker's words in its segment, before the pipes.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Status {
    /// Tasks started since the worker began. Written by the worker only.
    pub started: AtomicU64,
    /// Notes sent on the socket. Written by the parent only.
    pub notes: AtomicU32,
    /// Looks before a waiting worker sleeps; written by the parent before the worker starts.
    pub spin: AtomicU32,
}

/// Where things are in a worker's segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub requests: usize,
    pub responses: usize,
    pub size: usize,
}

impl Places {
    pub fn new() -> Result<Places, PoolError> {
        const PAGE: usize = 4096;
        let ring = pipe::required_size(PIPE)?.next_multiple_of(PAGE);
        let requests = size_of::<Status>().next_multiple_of(PAGE);
        Ok(Places { requests, responses: requests + ring, size: requests + 2 * ring })
    }
}

/// The status words of a worker's segment.
pub(crate) fn status(segment: &Segment) -> &Status {
    // SAFETY: every segment of this protocol is larger than `Status` and begins with it, page-
    // aligned; its words are atomics, for which any bytes are a value, and which no process
    // accesses in another size. The reference lives no longer than the mapping.
    unsafe { segment.data().cast::<Status>().as_ref() }
}

/// Before each input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub ticket: u64,
    pub task: u128,
    pub bytes: u64,
    pub blobs: u64,
}

impl Request {
    pub const SIZE: usize = 40;

    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..8].copy_from_slice(&self.ticket.to_ne_bytes());
        out[8..24].copy_from_slice(&self.task.to_ne_bytes());
        out[24..32].copy_from_slice(&self.bytes.to_ne_bytes());
        out[32..].copy_from_slice(&self.blobs.to_ne_bytes());
        out
    }

    pub fn decode(bytes: &[u8; Self::SIZE]) -> Request {
        Request {
            ticket: u64_at(bytes, 0),
            task: u128::from(u64_at(bytes, 8)) | (u128::from(u64_at(bytes, 16)) << 64),
            bytes: u64_at(bytes, 24),
            blobs: u64_at(bytes, 32),
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
}

/// Before each result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub ticket: u64,
    pub outcome: Outcome,
    /// Files that were sent on the socket before.
    pub files: u32,
    pub bytes: u64,
    pub blobs: u64,
}

impl Response {
    pub const SIZE: usize = 32;

    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..8].copy_from_slice(&self.ticket.to_ne_bytes());
        out[8..12].copy_from_slice(&(self.outcome as u32).to_ne_bytes());
        out[12..16].copy_from_slice(&self.files.to_ne_bytes());
        out[16..24].copy_from_slice(&self.bytes.to_ne_bytes());
        out[24..].copy_from_slice(&self.blobs.to_ne_bytes());
        out
    }

    /// `None` for an outcome that does not exist.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Option<Response> {
        let word = u64_at(bytes, 8);
        let outcome = match word as u32 {
            0 => Outcome::Done,
            1 => Outcome::Panicked,
            2 => Outcome::BadInput,
            3 => Outcome::BadOutput,
            4 => Outcome::Unknown,
            _ => return None,
        };
        Some(Response {
            ticket: u64_at(bytes, 0),
            outcome,
            files: (word >> 32) as u32,
            bytes: u64_at(bytes, 16),
            blobs: u64_at(bytes, 24),
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
}

impl Note {
    pub const SIZE: usize = 24;

    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let (kind, rest): (u64, [u8; 16]) = match self {
            Note::Setup(version) => (1, u128::from(*version).to_ne_bytes()),
            Note::File => (2, [0; 16]),
            Note::Forget(id) => (3, id.to_bytes()),
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

    #[test]
    fn heads_survive_their_own_encoding() {
        let request = Request { ticket: 7, task: u128::MAX - 5, bytes: 11, blobs: 13 };
        assert_eq!(Request::decode(&request.encode()), request);
        let response =
            Response { ticket: 9, outcome: Outcome::BadOutput, files: 3, bytes: 5, blobs: 1 };
        assert_eq!(Response::decode(&response.encode()), Some(response));
        for note in [Note::Setup(VERSION), Note::File] {
            assert_eq!(Note::decode(&note.encode()), Some(note));
        }
    }

    #[test]
    fn an_outcome_that_does_not_exist_is_refused() {
        let mut bytes =
            Response { ticket: 0, outcome: Outcome::Done, files: 0, bytes: 0, blobs: 0 }.encode();
        bytes[8] = 99;
        assert_eq!(Response::decode(&bytes), None);
    }
}
