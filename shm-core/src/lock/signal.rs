//! "Something has changed": a count to sleep on, and a mark that says whether anybody does.
//!
//! A listener counts up as well, so that a notifier that is about to take the mark away notices it.

use super::wait::Sleep;
use crate::futex::Futex;
use crate::primitive::{Ordering, fence};

const LISTENING: u32 = 1;
const ONE: u32 = 2;

/// Any value is a valid one.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Signal {
    word: Futex,
}

impl Signal {
    pub fn new() -> Signal {
        Signal { word: Futex::new(0) }
    }

    /// To sleep on with what [`listen`](Signal::listen) gave.
    pub fn futex(&self) -> &Futex {
        &self.word
    }

    /// Announces a sleep. Look at the condition once more after this.
    pub fn listen(&self) -> u32 {
        let word = self.word.word();
        // Relaxed: compared by the exchange.
        let mut seen = word.load(Ordering::Relaxed);
        let listening = loop {
            let next = seen.wrapping_add(ONE) | LISTENING;
            // Relaxed: the fence below orders the mark before the look that follows. On failure
            // the value is compared again.
            match word.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break next,
                Err(now) => seen = now,
            }
        };
        // SeqCst: pairs with the fence of a notifier: it sees the mark, or we see its change.
        fence(Ordering::SeqCst);
        listening
    }

    /// The step of a [`Wait`](super::wait::Wait): first announces, so that it is looked once more, and
    /// then says what to sleep on.
    pub fn announce(&self, listening: &mut Option<u32>) -> Option<Sleep<'_>> {
        let announced = listening.take();
        if announced.is_none() {
            *listening = Some(self.listen());
        }
        announced.map(|expected| Sleep::on(&self.word, expected))
    }

    /// Whether somebody may sleep. Ask after a full barrier that follows the change.
    #[inline(always)]
    pub fn has_listener(&self) -> bool {
        // Relaxed: ordered by that barrier.
        self.word.word().load(Ordering::Relaxed) & LISTENING != 0
    }

    /// Wakes up to `count` of those who listen. Call it after the change.
    pub fn notify(&self, count: u32) {
        // SeqCst: orders the change before the look at the mark; pairs with the one in `listen`.
        fence(Ordering::SeqCst);
        if self.has_listener() {
            self.wake(count);
        }
    }

    /// The same, where a full barrier has just been passed.
    #[cold]
    pub fn wake(&self, count: u32) {
        let word = self.word.word();
        // Relaxed: the barrier before orders the change, and listeners have one too. A sleep that is
        // about to begin fails.
        let rung = word.fetch_add(ONE, Ordering::Relaxed).wrapping_add(ONE);
        if self.word.wake(count) < count as usize {
            // Nobody is left asleep, unless the count has gone on: then this fails. Relaxed: no
            // sleeper relies on the mark.
            let _ = word.compare_exchange(
                rung,
                rung & !LISTENING,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    pub fn notify_all(&self) {
        self.notify(i32::MAX.unsigned_abs());
    }
}
