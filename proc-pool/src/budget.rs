//! How many processes the pools inside of workers may have, all together: tokens in shared memory.
//!
//! The outermost pool makes the memory, every worker below it has it. A process that wants a worker
//! of its own takes a token first, and gives it back when its pool has ended. A token is a word:
//! 0, or who holds it. **A holder that was killed gives nothing back**: whoever finds no free token
//! looks whether the holders live, and takes those of the dead. So no step of a holder needs to be
//! repaired; any state is one in which a token is free, a living process's, or a dead one's.

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use shm_core::Segment;

use crate::PoolError;

/// In a worker: what its pools may take.
static INHERITED: OnceLock<Segment> = OnceLock::new();

/// Memory for so many tokens: their number, then a word each.
pub(crate) fn new(tokens: usize) -> Result<Segment, PoolError> {
    let bytes = tokens.saturating_add(1).saturating_mul(size_of::<u64>());
    let segment = Segment::anonymous(bytes)?;
    // Relaxed: others get the segment in a message.
    word(&segment, 0).store(tokens as u64, Ordering::Relaxed);
    Ok(segment)
}

/// This process is a worker, and was given this memory.
pub(crate) fn inherit(segment: Segment) -> Result<(), String> {
    // Relaxed: written before the parent sent the segment in a message.
    let tokens = word(&segment, 0).load(Ordering::Relaxed);
    let needed = tokens.checked_add(1).and_then(|words| words.checked_mul(8));
    if needed.is_none_or(|needed| needed > segment.size() as u64) {
        return Err("the parent's budget of processes is too small for itself".to_owned());
    }
    INHERITED.set(segment).map_err(|_| "init was called twice at once".to_owned())
}

/// What this process's pools give to their workers, where it is a worker itself.
pub(crate) fn inherited() -> Option<&'static Segment> {
    INHERITED.get()
}

/// The number of tokens, and then the tokens. `place` is at most that number.
fn word(segment: &Segment, place: usize) -> &AtomicU64 {
    // SAFETY: `new` makes the segment so large, and `inherit` checks it.
    let word = unsafe { segment.data().cast::<AtomicU64>().add(place) };
    // SAFETY: aligned, in bounds, and only ever accessed as an atomic; any bytes are one. The
    // reference lives no longer than the mapping.
    unsafe { word.as_ref() }
}

/// Tokens of a pool; given back when dropped.
#[derive(Debug)]
pub(crate) struct Tokens {
    segment: Segment,
    places: Vec<usize>,
    /// Those that are not for workers: a fork server's.
    others: usize,
    me: u64,
}

impl Tokens {
    /// As many of these as can be had: for so many workers at most, and `others` besides.
    pub fn take(segment: &Segment, workers: usize, others: usize) -> Tokens {
        let me = holder(std::process::id()).unwrap_or(0);
        let mut tokens = Tokens { segment: segment.clone(), places: Vec::new(), others, me };
        tokens.grow_to(workers);
        if tokens.workers() == 0 {
            tokens.give_back();
        }
        tokens
    }

    /// For how many workers they suffice.
    pub fn workers(&self) -> usize {
        self.places.len().saturating_sub(self.others)
    }

    /// Takes more until they suffice for so many workers, as far as they can be had.
    pub fn grow_to(&mut self, workers: usize) {
        let wanted = workers.saturating_add(self.others);
        // Relaxed: written before anybody else had the segment.
        let tokens = word(&self.segment, 0).load(Ordering::Relaxed) as usize;
        for place in 1..=tokens {
            if self.places.len() >= wanted || self.me == 0 {
                return;
            }
            if self.take_one(place) {
                self.places.push(place);
            }
        }
    }

    fn take_one(&self, place: usize) -> bool {
        let token = word(&self.segment, place);
        // Relaxed, all: a token guards no memory, it only counts.
        let found = token.load(Ordering::Relaxed);
        if found != 0 && (found == self.me || !is_gone(found)) {
            return false;
        }
        token.compare_exchange(found, self.me, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Tokens {
    fn give_back(&mut self) {
        if holder(std::process::id()) != Some(self.me) {
            // A forked child's copy: they are its parent's.
            return;
        }
        for place in self.places.drain(..) {
            // Relaxed: as in `take_one`. An exchange, since nobody takes what a living one holds.
            let token = word(&self.segment, place);
            let _ = token.compare_exchange(self.me, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A process as a holder: its number, and when it started (clock ticks, the lower half).
fn holder(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the start time is the 20th field behind it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let started: u64 = rest.split(' ').nth(19)?.parse().ok()?;
    Some(u64::from(pid) << 32 | started & 0xffff_ffff)
}

/// Whether it is certain that this process is dead: its number is free, another has it, or its
/// pidfd says so.
fn is_gone(word: u64) -> bool {
    let number = (word >> 32) as u32;
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return true };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(errno) => return errno == Errno::SRCH,
    };
    // The number stays that of the process that the pidfd names while this is read, or nobody's.
    if holder(number).is_some_and(|found| found != word) {
        return true;
    }
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_full(segment: &Segment) -> bool {
        // As another process would: one that is not this one.
        (1..=2).all(|place| word(segment, place).load(Ordering::Relaxed) != 0)
    }

    #[test]
    fn tokens_are_taken_once_and_given_back() {
        let segment = new(2).unwrap();
        let one = Tokens::take(&segment, 1, 0);
        let mut rest = Tokens::take(&segment, 5, 0);
        assert_eq!((one.workers(), rest.workers()), (1, 1));
        assert!(is_full(&segment));
        drop(one);
        rest.grow_to(5);
        assert_eq!(rest.workers(), 2);
        drop(rest);
        assert_eq!(Tokens::take(&segment, 9, 0).workers(), 2);
    }

    #[test]
    fn a_server_without_a_worker_is_not_worth_a_token() {
        let segment = new(1).unwrap();
        assert_eq!(Tokens::take(&segment, 3, 1).workers(), 0);
        assert_eq!(Tokens::take(&segment, 3, 0).workers(), 1);
    }

    #[test]
    fn a_dead_holder_s_tokens_are_taken_and_a_living_one_s_are_not() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let segment = new(2).unwrap();
        let me = holder(std::process::id()).unwrap();
        word(&segment, 1).store(holder(child.id()).unwrap(), Ordering::Relaxed);
        // This process's number, but of one that started at another time.
        word(&segment, 2).store(me ^ 1, Ordering::Relaxed);
        let tokens = Tokens::take(&segment, 2, 0);
        assert_eq!(tokens.places, [2], "the living one's was taken");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Tokens::take(&segment, 2, 0).places, [1]);
    }
}
