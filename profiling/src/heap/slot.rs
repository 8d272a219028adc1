//! A thread's slot in the profile: exact counters, written by one thread, read by anybody.
//!
//! Orderings: each word is written by its owner alone, in one store that a reader sees whole.
//! Relaxed suffices for the owner's loads; the stores to counters are Release (one plain `add` on
//! x86-64), so that a reader who sees a block freed, and looks at the allocations afterwards, sees
//! it allocated. Slot 0 belongs to all threads that have no own one: they use `fetch_add`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::PEAK_SLACK;
use super::area::Area;
use super::format::{Step, header, slot};

/// Bytes after which a thread looks whether it should tell the header what it holds. What is told
/// is off by less than this, and what is looked at by less than this again.
const QUANTUM: i64 = PEAK_SLACK as i64 / 2;

/// A slot in the profile's memory. Field by field as in [`slot`].
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Slot {
    pub(crate) owner: AtomicU64,
    pub(crate) allocated_bytes: AtomicU64,
    pub(crate) allocated_blocks: AtomicU64,
    pub(crate) freed_bytes: AtomicU64,
    pub(crate) freed_blocks: AtomicU64,
    pub(crate) look_at: AtomicU64,
    pub(crate) tell_at: AtomicU64,
    pub(crate) looked_at: AtomicU64,
    pub(crate) sample: AtomicU64,
    pub(crate) random: AtomicU64,
    pub(crate) tag: AtomicU64,
    pub(crate) told: AtomicU64,
    pub(crate) step: AtomicU64,
    pub(crate) mean: AtomicU64,
}

const _: () = {
    assert!(size_of::<Slot>() == slot::SIZE && size_of::<AtomicU64>() == 8);
    assert!(std::mem::offset_of!(Slot, owner) == slot::OWNER);
    assert!(std::mem::offset_of!(Slot, allocated_bytes) == slot::ALLOCATED_BYTES);
    assert!(std::mem::offset_of!(Slot, allocated_blocks) == slot::ALLOCATED_BLOCKS);
    assert!(std::mem::offset_of!(Slot, freed_bytes) == slot::FREED_BYTES);
    assert!(std::mem::offset_of!(Slot, freed_blocks) == slot::FREED_BLOCKS);
    assert!(std::mem::offset_of!(Slot, look_at) == slot::LOOK_AT);
    assert!(std::mem::offset_of!(Slot, tell_at) == slot::TELL_AT);
    assert!(std::mem::offset_of!(Slot, looked_at) == slot::LOOKED_AT);
    assert!(std::mem::offset_of!(Slot, sample) == slot::SAMPLE);
    assert!(std::mem::offset_of!(Slot, random) == slot::RANDOM);
    assert!(std::mem::offset_of!(Slot, tag) == slot::TAG);
    assert!(std::mem::offset_of!(Slot, told) == slot::TOLD);
    assert!(std::mem::offset_of!(Slot, step) == slot::STEP);
    assert!(std::mem::offset_of!(Slot, mean) == slot::MEAN);
};

/// Adds to a word that nobody else writes.
///
/// On x86-64 one instruction, so that a signal handler that allocates in between is not lost; no
/// lock prefix.
#[inline(always)]
pub(crate) fn add_own(word: &AtomicU64, n: u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the word is valid and aligned, being a reference; the instruction touches nothing
    // else but the flags. Readers load it atomically, and an aligned 8-byte store is whole.
    unsafe {
        std::arch::asm!("add qword ptr [{word}], {n}", word = in(reg) word.as_ptr(), n = in(reg) n,
            options(nostack));
    }
    // Release: pairs with the reader's Acquire loads (another process's copy).
    #[cfg(not(target_arch = "x86_64"))]
    word.store(word.load(Relaxed).wrapping_add(n), Release);
}

impl Slot {
    /// [`add_own`] for the word at `AT`, with the slot's address for all of them.
    #[inline(always)]
    fn add<const AT: usize>(&self, word: &AtomicU64, n: u64) {
        debug_assert_eq!(word.as_ptr() as usize, std::ptr::from_ref(self) as usize + AT);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as in `add_own`: a word of this slot.
        unsafe {
            std::arch::asm!("add qword ptr [{slot} + {at}], {n}",
                slot = in(reg) std::ptr::from_ref(self), at = const AT, n = in(reg) n,
                options(nostack));
        }
        #[cfg(not(target_arch = "x86_64"))]
        add_own(word, n);
    }

    /// Adds 1 to the word at `AT`.
    #[inline(always)]
    fn count<const AT: usize>(&self, word: &AtomicU64) {
        debug_assert_eq!(word.as_ptr() as usize, std::ptr::from_ref(self) as usize + AT);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as in `add_own`: a word of this slot.
        unsafe {
            std::arch::asm!("add qword ptr [{slot} + {at}], 1",
                slot = in(reg) std::ptr::from_ref(self), at = const AT, options(nostack));
        }
        #[cfg(not(target_arch = "x86_64"))]
        add_own(word, 1);
    }

    /// Counts an allocated block. True: time for [`look`](Self::look).
    #[inline(always)]
    pub(crate) fn allocated(&self, bytes: u64) -> bool {
        self.add::<{ slot::ALLOCATED_BYTES }>(&self.allocated_bytes, bytes);
        self.count::<{ slot::ALLOCATED_BLOCKS }>(&self.allocated_blocks);
        self.is_due()
    }

    /// Counts a freed block. True: time for [`tell`](Self::tell).
    #[inline(always)]
    pub(crate) fn freed(&self, bytes: u64) -> bool {
        self.add::<{ slot::FREED_BYTES }>(&self.freed_bytes, bytes);
        self.count::<{ slot::FREED_BLOCKS }>(&self.freed_blocks);
        self.is_free_due()
    }

    /// Has enough been freed for [`tell`](Self::tell)?
    #[inline(always)]
    pub(crate) fn is_free_due(&self) -> bool {
        // Relaxed: the owner's alone.
        self.freed_bytes.load(Relaxed) > self.tell_at.load(Relaxed)
    }

    /// Has enough been allocated for [`look`](Self::look)?
    #[inline(always)]
    pub(crate) fn is_due(&self) -> bool {
        // Relaxed: the owner's alone.
        self.allocated_bytes.load(Relaxed) > self.look_at.load(Relaxed)
    }

    /// Bytes that the thread has allocated and not freed: below zero if it frees others' blocks.
    pub(crate) fn held(&self) -> i64 {
        // Relaxed, both: the owner's alone.
        let freed = self.freed_bytes.load(Relaxed);
        self.allocated_bytes.load(Relaxed).wrapping_sub(freed).cast_signed()
    }

    /// Has the next allocation look, whatever its size.
    pub(crate) fn look_at_next(&self) {
        // Relaxed, both: the owner's alone.
        self.look_at.store(self.allocated_bytes.load(Relaxed), Relaxed);
    }

    /// A free that was counted did not happen.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.add::<{ slot::FREED_BYTES }>(&self.freed_bytes, bytes.wrapping_neg());
        self.add::<{ slot::FREED_BLOCKS }>(&self.freed_blocks, 1u64.wrapping_neg());
    }

    /// Draws anew, with this mean, at once.
    pub(crate) fn begin(&self, mean: u64) {
        self.arm(self.draw(mean), mean);
    }

    /// The same for slot 0, which has many writers.
    pub(crate) fn allocated_shared(&self, bytes: u64) {
        // Release: as the owner's stores, see the module's page.
        self.allocated_bytes.fetch_add(bytes, Release);
        self.allocated_blocks.fetch_add(1, Release);
    }

    /// The same for slot 0, which has many writers.
    pub(crate) fn freed_shared(&self, bytes: u64) {
        // Release: as the owner's stores, see the module's page.
        self.freed_bytes.fetch_add(bytes, Release);
        self.freed_blocks.fetch_add(1, Release);
    }

    /// The slow path of an allocation: settles the countdown, and says whether the block that ran
    /// it out is a sample, drawn with which mean. `mean` is the one to go on with; 0: no samples.
    #[cold]
    pub(crate) fn look(&self, mean: u64) -> Option<u64> {
        // Relaxed, here and below: the owner's alone.
        let used = self.allocated_bytes.load(Relaxed).wrapping_sub(self.looked_at.load(Relaxed));
        let left = self.sample.load(Relaxed).wrapping_sub(used).cast_signed();
        let drawn_with = self.mean.load(Relaxed);
        let is_sample = drawn_with != 0 && left < 0;
        let fresh = is_sample || drawn_with != mean;
        self.arm(if fresh { self.draw(mean) } else { left }, mean);
        is_sample.then_some(drawn_with)
    }

    /// A distance to the next sample.
    fn draw(&self, mean: u64) -> i64 {
        if mean == 0 {
            return i64::MAX;
        }
        let mut random = self.random.load(Relaxed);
        let distance = super::sampling::draw(&mut random, mean);
        self.random.store(random, Relaxed);
        distance
    }

    /// Looks again when `left` bytes more have been allocated, or a quantum.
    fn arm(&self, left: i64, mean: u64) {
        let now = self.allocated_bytes.load(Relaxed);
        self.mean.store(mean, Relaxed);
        self.sample.store(left.cast_unsigned(), Relaxed);
        self.looked_at.store(now, Relaxed);
        self.look_at.store(now.wrapping_add(left.min(QUANTUM).cast_unsigned()), Relaxed);
    }

    fn arm_tell(&self) {
        let now = self.freed_bytes.load(Relaxed);
        self.tell_at.store(now.wrapping_add(QUANTUM.cast_unsigned()), Relaxed);
    }

    /// Tells the header what this thread holds, if that has changed by enough.
    #[cold]
    pub(crate) fn tell(&self, area: Area<'_>, least: i64) {
        self.arm_tell();
        let held = self.held().cast_unsigned();
        let change = held.wrapping_sub(self.told.load(Relaxed));
        if change.cast_signed().abs() < least {
            return;
        }
        self.told.store(held, Relaxed);
        publish(area, change);
    }

    /// [`tell`](Self::tell) with the usual slack.
    pub(crate) fn tell_in_time(&self, area: Area<'_>) {
        self.tell(area, QUANTUM);
    }

    /// Makes the slot the caller's, if it is free.
    pub(crate) fn claim(&self, owner: u64, seed: u64, mean: u64) -> bool {
        // Relaxed: only a guess, the exchange decides.
        if self.owner.load(Relaxed) != 0 {
            return false;
        }
        // Acquire: pairs with the Release in `release`, so the last owner's counts are seen.
        if self.owner.compare_exchange(0, owner, Acquire, Relaxed).is_err() {
            return false;
        }
        self.random.store(seed, Relaxed);
        self.step.store(Step::Idle as u64, Relaxed);
        self.arm_tell();
        self.arm(self.draw(mean), mean);
        true
    }

    /// Gives the slot back. Its counts stay: they are part of the process's sums.
    pub(crate) fn release(&self) {
        self.tag.store(0, Relaxed);
        self.step.store(Step::Idle as u64, Relaxed);
        // Release: pairs with the Acquire in `claim`.
        self.owner.store(0, Release);
    }
}

/// Adds a change of live bytes (signed) to what the header says, and lifts the peak.
pub(crate) fn publish(area: Area<'_>, change: u64) {
    // AcqRel: all changes are in one order, and who sees one sees those before it.
    let now = area.word(header::PUBLISHED).fetch_add(change, AcqRel).wrapping_add(change);
    if now.cast_signed() > 0 {
        // Relaxed: a maximum needs no order.
        area.word(header::PEAK).fetch_max(now, Relaxed);
    }
}
