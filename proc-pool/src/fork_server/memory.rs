//! What the pool's process and its fork server share: the number of the child that is being made,
//! and the preload's input and result.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use shm_core::Segment;

use crate::PoolError;
use crate::codec::Encoded;
use crate::link::Answer;
use crate::protocol::{Outcome, Request};

/// Where the preload's request lies, then its bytes and blobs.
const INPUT: usize = 64 << 10;
/// The longest result of a preload that is kept: it is an error's or a panic's text.
const RESULT: usize = INPUT - 4096;

#[repr(C)]
struct Words {
    /// Process id of the child that was made last; 0 while there is none.
    born: AtomicU32,
    outcome: AtomicU32,
    length: AtomicU32,
    result: [AtomicU8; RESULT],
}

/// The memory, in either process.
#[derive(Debug)]
pub(crate) struct Memory(pub Segment);

impl Memory {
    /// With this request for a preload in it, or none.
    pub fn new(preload: Option<(&Request, &Encoded)>) -> Result<Memory, PoolError> {
        let mut bytes = Request::default().encode().to_vec();
        if let Some((request, input)) = preload {
            bytes = request.encode().to_vec();
            bytes.extend_from_slice(&input.bytes);
            input.blobs.iter().for_each(|blob| bytes.extend_from_slice(blob.bytes()));
        }
        let segment = Segment::anonymous(INPUT + bytes.len())?;
        // SAFETY: the segment is longer than `INPUT`.
        let place = unsafe { segment.data().add(INPUT) };
        // SAFETY: the segment has room for the bytes from there on, is not shared yet, and does
        // not overlap a vector.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
        Ok(Memory(segment))
    }

    /// Made by another process; refused when it is too short.
    pub fn attach(segment: Segment) -> Result<Memory, String> {
        if segment.size() < INPUT + Request::SIZE {
            return Err("the memory from the pool is too small".to_owned());
        }
        Ok(Memory(segment))
    }

    fn words(&self) -> &Words {
        // SAFETY: the segment is page-aligned, longer than `Words`, whose words are atomics, for
        // which any bytes are a value; the reference lives no longer than the mapping.
        unsafe { self.0.data().cast::<Words>().as_ref() }
    }

    /// Where the kernel writes the child's number before the child runs.
    pub fn born_word(&self) -> *mut libc::pid_t {
        self.words().born.as_ptr().cast()
    }

    /// No child is made yet.
    pub fn forget_born(&self) {
        // Relaxed: the message that asks for a child orders it.
        self.words().born.store(0, Ordering::Relaxed);
    }

    /// The child that was made, if any. To be asked once the server has answered or is dead.
    pub fn born(&self) -> Option<u32> {
        // Acquire: written by the kernel on the server's behalf, before the answer or the death.
        Some(self.words().born.load(Ordering::Acquire)).filter(|&pid| pid != 0)
    }

    /// What came of the preload; cut off where it is too long.
    pub fn put_result(&self, outcome: Outcome, body: &[u8]) {
        let words = self.words();
        for (place, byte) in words.result.iter().zip(body) {
            // Relaxed: the message that the server is ready orders it.
            place.store(*byte, Ordering::Relaxed);
        }
        // Relaxed, both: as above.
        words.length.store(body.len().min(RESULT) as u32, Ordering::Relaxed);
        words.outcome.store(outcome as u32, Ordering::Relaxed);
    }

    /// What came of the preload, once the server has said that it is ready.
    pub fn result(&self) -> Answer {
        let words = self.words();
        // Relaxed, all: ordered by the server's message.
        let length = words.length.load(Ordering::Relaxed) as usize;
        let outcome = words.outcome.load(Ordering::Relaxed);
        let byte = |byte: &AtomicU8| byte.load(Ordering::Relaxed);
        let body: Vec<u8> = words.result.iter().take(length).map(byte).collect();
        let outcome = Outcome::from_number(outcome).unwrap_or(Outcome::BadOutput);
        Answer::of(outcome, 1, body)
    }

    /// The preload's request, with a copy of its input and blobs.
    pub fn preload(&self) -> Result<(Request, Vec<u8>), String> {
        // SAFETY: the segment is longer than `INPUT`, which was checked when it was attached.
        let place = unsafe { self.0.data().add(INPUT) };
        // SAFETY: the rest of the segment is mapped and initialised; nobody writes it any more.
        let all = unsafe { std::slice::from_raw_parts(place.as_ptr(), self.0.size() - INPUT) };
        let (head, rest) =
            all.split_first_chunk().ok_or_else(|| "the preload is cut short".to_owned())?;
        let request = Request::decode(head);
        let length = request.bytes.checked_add(request.blobs).map(usize::try_from);
        match length {
            Some(Ok(length)) if length <= rest.len() => Ok((request, rest[..length].to_vec())),
            _ => Err("the preload is cut short".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preload_and_its_result_arrive_as_they_were_sent() {
        let input = Encoded { bytes: vec![1, 2, 3], ..Encoded::default() };
        let request = Request { task: 7, bytes: 3, items: 1, ..Request::default() };
        let memory = Memory::new(Some((&request, &input))).unwrap();
        assert_eq!(memory.preload().unwrap(), (request, vec![1, 2, 3]));
        assert_eq!(memory.born(), None);
        memory.put_result(Outcome::Panicked, &[5; 2 * RESULT]);
        let answer = memory.result();
        assert_eq!((answer.head.outcome, &answer.body), (Outcome::Panicked, &vec![5; RESULT]));
    }

    #[test]
    fn a_preload_that_claims_more_than_there_is_is_refused() {
        let request = Request { bytes: 1 << 40, ..Request::default() };
        let memory = Memory::new(Some((&request, &Encoded::default()))).unwrap();
        assert!(memory.preload().is_err());
    }
}
