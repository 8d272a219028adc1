//! What the workers of both Rust pools do.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::Duration;

use proc_pool::{Copied, task};
use shm_core::Frozen;

use crate::board::{Board, now};

/// Nothing.
#[task(pure)]
pub fn nothing() {}

/// One more than `x`: cheap, and the result says that it was run.
#[task(pure)]
pub fn next(x: u64) -> u64 {
    x + 1
}

/// A count that lives in a process of its own.
pub struct Counter(u64);

#[proc_pool::actor]
impl Counter {
    /// Begins at `start`.
    pub fn new(start: u64) -> Self {
        Counter(start)
    }

    /// Counts up by `n`, and says how far it is.
    pub fn add(&mut self, n: u64) -> u64 {
        self.0 += n;
        self.0
    }
}

/// Waits until `workers` workers are here: each of them is ready then.
#[task(pure)]
pub fn meet(board: String, workers: u64) -> bool {
    let Ok(board) = Board::open(&board) else { return false };
    // AcqRel, Acquire: a count; nothing else is read.
    board.word(0).fetch_add(1, AcqRel);
    while board.word(0).load(Acquire) < workers {
        std::thread::yield_now();
    }
    true
}

/// The sum of bytes that are shared.
#[task(pure)]
pub fn sum_shared(words: Frozen<u64>) -> u64 {
    sum(&words)
}

/// The sum of the first and the last of the words that were copied, and their number.
#[task(pure)]
pub fn ends_copied(words: Copied<u64>) -> u64 {
    ends(&words)
}

/// Panics.
#[task(pure)]
pub fn panics(x: u64) -> u64 {
    panic!("on purpose: {x}")
}

/// Says on the board when it began, and as whom; the first time it never ends.
#[task(pure)]
pub fn wait_to_be_killed(board: String) -> bool {
    let Ok(board) = Board::open(&board) else { return false };
    // AcqRel: which attempt this is.
    let attempt = board.word(0).fetch_add(1, AcqRel);
    // Release: pairs with the Acquire loads of the parent; the count stands before the time.
    board.word(1 + attempt as usize % 2).store(now(), Release);
    if attempt == 0 {
        board.word(3).store(u64::from(std::process::id()), Release);
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    true
}

/// The sum of all words.
pub fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// What a receiver of a copy answers: it has the whole of it.
pub fn ends(words: &[u64]) -> u64 {
    let first = words.first().copied().unwrap_or_default();
    let last = words.last().copied().unwrap_or_default();
    first.wrapping_add(last).wrapping_add(words.len() as u64)
}
