//! Looking again for a while before sleeping: the driver's way to wait, and a worker's.
//!
//! A sleep and a wake-up take some 30 to 60 µs, an answer of a peer that is awake about one. So a wait
//! begins with looks, in two parts. *Tight* looks, for some microseconds: an answer that comes at once
//! costs no system call. Then looks between which the processor is given away: the peer may be waiting
//! for this very processor, and would otherwise run only once this side sleeps; no time is lost for
//! somebody else either. If giving it away took long and brought nothing, the machine has other things
//! to do, and sleeping is best: who is woken runs sooner than who has used up its time.
//!
//! Where looking did not help for several waits in a row, only the tight part is left, but for one wait
//! in sixteen: two sides that both sleep would otherwise never find back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a wait looks again, at most: about what a sleep and a wake-up cost.
const LONGEST: Duration = Duration::from_micros(60);
/// How long of that without giving the processor away.
const TIGHT: Duration = Duration::from_micros(2);
/// Giving the processor away and having it again took longer: others need it.
const TAKEN: Duration = Duration::from_micros(20);
/// Pauses between two tight looks; the driver's lock is free meanwhile.
const PAUSES: u32 = 4;
/// The clock is asked once in so many tight looks.
const LOOKS: u32 = 8;
/// Waits in a row in which looking did not help, until it is given up,
const MISSES: u32 = 4;
/// but for one wait in so many.
const TRIES: u32 = 16;

/// What was learnt from waits: how many in a row looking did not help.
///
/// Relaxed everywhere: a hint that guards nothing.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    misses: AtomicU32,
}

/// One wait.
#[derive(Debug)]
pub(crate) struct Looking {
    looks: u32,
    /// When the clock was asked first.
    begun: Option<Instant>,
    longest: Duration,
    yields: bool,
}

impl Spin {
    /// A wait begins.
    pub fn begin(&self) -> Looking {
        // Relaxed: see the type.
        let misses = self.misses.load(Ordering::Relaxed);
        let gave_up = misses >= MISSES && !misses.is_multiple_of(TRIES);
        let longest = if gave_up { TIGHT } else { LONGEST };
        Looking { looks: 0, begun: None, longest, yields: false }
    }

    /// What was waited for came while this looked.
    pub fn helped(&self) {
        // Relaxed: see the type.
        self.misses.store(0, Ordering::Relaxed);
    }

    /// A sleep follows.
    pub fn did_not_help(&self) {
        // Relaxed, both: see the type; a lost count is none.
        let misses = self.misses.load(Ordering::Relaxed);
        self.misses.store(misses.checked_add(1).unwrap_or(MISSES), Ordering::Relaxed);
    }
}

impl Looking {
    /// Waits a moment; whether to look again after it. The caller sleeps otherwise.
    pub fn again(&mut self) -> bool {
        self.looks += 1;
        if !self.yields && !self.looks.is_multiple_of(LOOKS) {
            pause();
            return true;
        }
        let now = Instant::now();
        let waited = now - *self.begun.get_or_insert(now);
        if waited >= self.longest {
            return false;
        }
        if waited < TIGHT {
            pause();
            return true;
        }
        self.yields = true;
        std::thread::yield_now();
        if now.elapsed() > TAKEN {
            // One look more: it may have been the peer that ran meanwhile.
            self.longest = Duration::ZERO;
        }
        true
    }
}

fn pause() {
    for _ in 0..PAUSES {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(spin: &Spin) -> u32 {
        let mut looking = spin.begin();
        let mut looks = 0;
        while looking.again() {
            looks += 1;
            assert!(looks < 1_000_000, "no end");
        }
        looks
    }

    #[test]
    fn every_wait_comes_to_its_end() {
        assert!(looks(&Spin::default()) > LOOKS);
    }

    #[test]
    fn where_looking_does_not_help_only_one_wait_in_some_looks_for_long() {
        let spin = Spin::default();
        let mut long = 0;
        for _ in 0..4 * TRIES {
            long += u32::from(spin.begin().longest == LONGEST);
            spin.did_not_help();
        }
        assert_eq!(long, MISSES + 3);
        spin.helped();
        assert_eq!(spin.begin().longest, LONGEST);
    }
}
