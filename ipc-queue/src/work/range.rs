//! A range record: items in a row that one worker runs in order, and their owner may take back.
//!
//! The items themselves travel some other way (a [`pipe`](crate::pipe), say), numbered from 0 in the
//! order in which they are given to the worker. The record says what has become of them, also when
//! the worker is dead: which are finished, which one was running, which will never be started.
//!
//! ```
//! use ipc_queue::work::range::{self, Owner, Worker};
//! use shm_core::Segment;
//!
//! let segment = Segment::anonymous(range::SIZE)?;
//! let mut owner = Owner::at(&segment, 0)?;
//! let mut worker = Worker::at(&segment, 0)?; // in another process
//! assert!(worker.start()); // item 0
//! worker.finish();
//! assert!(worker.start()); // item 1
//! // Of items 1 to 3 the owner wants back what was not begun.
//! assert_eq!(owner.revoke(1..4, 1), 2);
//! worker.finish();
//! assert!(!worker.start()); // item 2 was revoked: it says so to the owner, and goes on behind it
//! worker.skip_to(4);
//! // Had the worker died now, this would be the truth:
//! assert_eq!(owner.standing().finished, 2);
//! assert_eq!(owner.standing().running, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//! Two words, each with one writer, on lines of their own:
//!
//! | word | written by | says |
//! |---|---|---|
//! | progress | the worker, before and after each item | `finished << 1 \| running` |
//! | window | the owner | items that must not be started: from, and how many |
//!
//! | killed | what the owner finds |
//! |---|---|
//! | worker before `start` stored | the item was not started: it may run elsewhere |
//! | worker between `start` and `finish` | the item was running: its policy decides |
//! | worker after `finish` | the item is finished; what it wrote before is there |
//! | worker after it saw a revocation | the item counts as running until its word says otherwise |
//! | owner anywhere | the worker goes on; another owner finds the same standing |
//!
//! **Started or taken back, never both.** The worker announces an item, then looks at the window;
//! the owner writes the window, then looks at the progress; with a barrier between on either side
//! one of them sees the other. Both may: then the worker refuses an item that the owner takes for
//! running, so *a refusal must be reported*, and the owner gives out again what is refused.
//!
//! # Cost
//! Two plain stores, one load and a compiler barrier an item; a revocation pays for both sides with
//! `membarrier` (some microseconds; see [`shm_core::barrier`]). The same record as one word with an
//! exchange for each change (worker, epoch, done, next, end) costs two exchanges an item: several
//! times as much. Owner and worker live under the same rules of the system: an owner to whom
//! `membarrier` is refused must not revoke from a worker that relies on it.
//!
//! # What it does not do
//! Name its worker: a record belongs to one worker's life, and its successor gets another. More than
//! one revocation under way: a second one extends the first. After 2⁴⁰ items an old window covers
//! items again: the worker may then refuse what nobody revoked, which is given out again as above.

use std::ops::Range;
use std::ptr::NonNull;

use shm_core::Segment;
use shm_core::barrier::{self, heavy_barrier, light_barrier};
use shm_core::primitive::{AtomicU64, Ordering};

use crate::Error;

/// Bytes that a record takes, at an offset that is a multiple of 128.
pub const SIZE: usize = 256;
const ALIGN: usize = 128;

/// In the progress word.
const RUNNING: u64 = 1;

/// The two words, each on a line (and its neighbour, which processors fetch with it) of its own.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct Words {
    progress: Progress,
    window: Window,
}

#[repr(C, align(128))]
#[derive(Debug, Default)]
struct Progress(AtomicU64);

#[repr(C, align(128))]
#[derive(Debug, Default)]
struct Window(AtomicU64);

#[cfg(not(loom))]
const _: () = assert!(size_of::<Words>() == SIZE && align_of::<Words>() == ALIGN);

const COUNT_BITS: u32 = 24;
const FROM_BITS: u32 = 64 - COUNT_BITS;
/// The most items that a window covers.
const MOST: u64 = (1 << COUNT_BITS) - 1;

/// `from << 24 | count`, numbers modulo 2⁴⁰; all zeroes cover nothing.
fn window(items: &Range<u64>) -> u64 {
    items.start << COUNT_BITS | (items.end - items.start)
}

/// Whether a window covers this item.
#[inline]
fn covers(window: u64, item: u64) -> bool {
    let from = window >> COUNT_BITS;
    let behind = item.wrapping_sub(from) & ((1 << FROM_BITS) - 1);
    behind < window & MOST
}

/// What has become of a worker's items, as its progress word says; exact once it is proven dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// So many are finished: those before this number that were not revoked.
    pub finished: u64,
    /// The item that was started and is not finished.
    pub running: Option<u64>,
}

impl Standing {
    /// The number of the first item that was not started.
    #[must_use]
    pub fn unstarted(&self) -> u64 {
        self.running.map_or(self.finished, |running| running + 1)
    }
}

impl Words {
    /// Announces the item; whether it may be run.
    #[inline]
    pub(crate) fn start(&self, item: u64) -> bool {
        // Release: pairs with the Acquire load in `standing`. What the worker did for the items
        // before is seen with it, and whatever it does for this one comes later.
        self.progress.0.store(item << 1 | RUNNING, Ordering::Release);
        // Pairs with the heavy barrier in `revoke`: either we see its window, or the owner sees
        // our progress.
        light_barrier();
        // Relaxed: no data hangs on the window.
        if covers(self.window.0.load(Ordering::Relaxed), item) {
            // Release: as above; the item was not started after all.
            self.progress.0.store(item << 1, Ordering::Release);
            return false;
        }
        true
    }

    /// All items before `item` are finished, or revoked.
    #[inline]
    pub(crate) fn finish(&self, item: u64) {
        // Release: pairs with the Acquire load in `standing`, so that what the item wrote is seen.
        self.progress.0.store(item << 1, Ordering::Release);
    }

    pub(crate) fn standing(&self) -> Standing {
        // Acquire: pairs with the Release stores in `start` and `finish`.
        let word = self.progress.0.load(Ordering::Acquire);
        let finished = word >> 1;
        Standing { finished, running: (word & RUNNING != 0).then_some(finished) }
    }

    /// Forbids to start these items; the first of which this is certain.
    pub(crate) fn revoke(&self, items: &Range<u64>) -> u64 {
        // Relaxed: no data hangs on the window; the barrier orders it before the look.
        self.window.0.store(window(items), Ordering::Relaxed);
        // However far it reached: see the module's text.
        let _ = heavy_barrier();
        items.start.max(self.standing().unstarted())
    }
}

/// A mapped record.
#[derive(Clone, Debug)]
struct Place {
    words: NonNull<Words>,
    _segment: Segment,
}

// SAFETY: the words are atomics, and the segment keeps them mapped wherever the handle goes.
unsafe impl Send for Place {}
// SAFETY: as above; every method of `Words` takes `&self` and is atomic.
unsafe impl Sync for Place {}

impl Place {
    fn at(segment: &Segment, offset: usize) -> Result<Place, Error> {
        let words = crate::place::place(segment, offset, SIZE, ALIGN)?.cast();
        Ok(Place { words, _segment: segment.clone() })
    }
}

impl std::ops::Deref for Place {
    type Target = Words;

    #[inline(always)]
    fn deref(&self) -> &Words {
        // SAFETY: `at` checked bounds and alignment, the segment that we hold keeps the memory
        // mapped, any bytes are a valid record, and it is only ever reached atomically.
        unsafe { self.words.as_ref() }
    }
}

/// The worker's end of a record: one process's, for its life.
#[derive(Debug)]
pub struct Worker {
    place: Place,
    next: u64,
}

impl Worker {
    /// The record in these [`SIZE`] bytes, which are zeroed: nothing was started.
    ///
    /// # Errors
    /// [`Error::Misaligned`] or [`Error::OutOfBounds`].
    pub fn at(segment: &Segment, offset: usize) -> Result<Worker, Error> {
        // Registers this process for the owner's barriers.
        barrier::mode();
        Ok(Worker { place: Place::at(segment, offset)?, next: 0 })
    }

    /// The number of the item that is started next.
    #[inline]
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Starts the next item; whether it may be run. All items before it count as finished.
    ///
    /// `false`: it was revoked. The owner must be told, also of those behind it that are
    /// [skipped](Worker::skip_to): it may take this one for running.
    #[inline]
    #[must_use = "an item that was revoked must not be run"]
    pub fn start(&mut self) -> bool {
        let may = self.place.start(self.next);
        self.next += u64::from(may);
        may
    }

    /// The item that was started last is finished: what it wrote is there, whatever happens now.
    #[inline]
    pub fn finish(&mut self) {
        self.place.finish(self.next);
    }

    /// Goes on with this item: those before it were refused.
    pub fn skip_to(&mut self, item: u64) {
        self.next = self.next.max(item);
    }
}

/// The owner's end of a record: that of whoever gives items to the worker, and takes them back.
#[derive(Debug)]
pub struct Owner {
    place: Place,
    /// What was revoked last.
    revoked: Range<u64>,
}

impl Owner {
    /// The record in these [`SIZE`] bytes.
    ///
    /// # Errors
    /// [`Error::Misaligned`] or [`Error::OutOfBounds`].
    pub fn at(segment: &Segment, offset: usize) -> Result<Owner, Error> {
        Ok(Owner { place: Place::at(segment, offset)?, revoked: 0..0 })
    }

    /// What has become of the items: of a living worker as of a moment ago, of one that is proven
    /// dead for good.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.place.standing()
    }

    /// Forbids the worker to start these items; the number of the first of which it is certain that
    /// it was not started and never will be. `passed`: so many were answered or refused by now, as
    /// far as the owner knows. What an earlier revocation was certain of stays so.
    ///
    /// The worker may refuse more: what was revoked before and is not `passed`, and the one item
    /// that it was about to start. At most 2²⁴ − 1 items, the last ones, are taken back at a time.
    pub fn revoke(&mut self, items: Range<u64>, passed: u64) -> u64 {
        let pending = !self.revoked.is_empty() && self.revoked.end > passed;
        let start = if pending { items.start.min(self.revoked.start) } else { items.start };
        let end = if pending { items.end.max(self.revoked.end) } else { items.end };
        if start >= end {
            return items.start.max(self.standing().unstarted());
        }
        self.revoked = start.max(end.saturating_sub(MOST))..end;
        items.start.max(self.place.revoke(&self.revoked))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn ends() -> (Owner, Worker) {
        let segment = Segment::anonymous(SIZE).expect("memory");
        let at = (Owner::at(&segment, 0), Worker::at(&segment, 0));
        (at.0.expect("an owner"), at.1.expect("a worker"))
    }

    fn run(worker: &mut Worker, items: u64) {
        for _ in 0..items {
            assert!(worker.start());
            worker.finish();
        }
    }

    #[test]
    fn an_item_is_unstarted_then_running_then_finished() {
        let (owner, mut worker) = ends();
        assert_eq!(owner.standing(), Standing { finished: 0, running: None });
        assert!(worker.start());
        assert_eq!(owner.standing(), Standing { finished: 0, running: Some(0) });
        worker.finish();
        assert_eq!(owner.standing(), Standing { finished: 1, running: None });
        assert!(worker.start() && worker.start());
        assert_eq!(owner.standing().unstarted(), 3, "a start finishes what was before");
    }

    #[test]
    fn what_is_revoked_is_not_started_and_what_comes_behind_it_is() {
        let (mut owner, mut worker) = ends();
        run(&mut worker, 2);
        assert_eq!(owner.revoke(1..5, 2), 2);
        assert!(!worker.start());
        assert_eq!(owner.standing(), Standing { finished: 2, running: None });
        worker.skip_to(5);
        run(&mut worker, 3);
        assert_eq!(owner.standing().finished, 8);
    }

    #[test]
    fn a_second_revocation_does_not_lift_the_first() {
        let (mut owner, mut worker) = ends();
        assert_eq!(owner.revoke(4..6, 0), 4);
        assert_eq!(owner.revoke(8..9, 0), 8);
        run(&mut worker, 4);
        assert!(!worker.start(), "item 4");
        worker.skip_to(9);
        assert_eq!(owner.revoke(12..13, 9), 12, "the first ones are passed");
        run(&mut worker, 3);
    }

    #[test]
    fn more_than_a_window_holds_is_taken_back_from_its_end() {
        let (mut owner, mut worker) = ends();
        let end = MOST + 10;
        assert_eq!(owner.revoke(0..end, 0), 10);
        run(&mut worker, 10);
        assert!(!worker.start());
    }

    #[test]
    fn numbers_beyond_the_window_word_wrap() {
        let far = (1 << FROM_BITS) - 2;
        let word = window(&(far..far + 4));
        let covered: Vec<u64> = (far - 1..far + 5).filter(|&item| covers(word, item)).collect();
        assert_eq!(covered, [far, far + 1, far + 2, far + 3]);
        assert!(!covers(0, 0) && !covers(0, far));
    }
}
