//! The slow paths of the allocator: what happens to a sample, and to a thread's first block.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;

use super::area::Area;
use super::control::{self, COUNTERS, EXACT};
use super::format::{Loss, Step, WalkEnd};
use super::live_table::{self, Record};
use super::site_table::{self, Stack};
use super::slot::Slot;
use super::thread::{THREAD, Thread};
use super::{MAX_FRAMES, filter, modules, sampling, stack};

/// A block was allocated, in a mode that counts. `is_counted`: the thread's slot has it already.
/// `pointer` is the frame pointer of the allocator's own slow path.
pub(crate) fn allocated(address: usize, bytes: u64, is_counted: bool, pointer: usize, mode: u8) {
    let Some(area) = control::area() else { return };
    THREAD.with(|thread| {
        let slot = thread.slot(area);
        let mean = control::mean();
        let drawn_with = match slot {
            Some(slot) => {
                let is_due = is_counted || slot.allocated(bytes);
                if is_due { settle(thread, slot, area, mean) } else { None }
            }
            None => {
                let slot = area.slot(0);
                slot.allocated_shared(bytes);
                super::slot::publish(area, bytes);
                draw_shared(slot, bytes, mean)
            }
        };
        let weight = match mode {
            EXACT => 1.0,
            COUNTERS => return,
            _ => match drawn_with {
                Some(mean) => sampling::weight(bytes, mean),
                None => return,
            },
        };
        let step = stepper(thread, slot);
        step(Step::Stack);
        let mut room = [const { MaybeUninit::uninit() }; MAX_FRAMES];
        let (frames, end) = if control::has_frame_pointers() {
            stack::walk(&thread.bounds, pointer, &mut room)
        } else {
            (&[][..], WalkEnd::None)
        };
        let block = Block {
            address: address as u64,
            bytes,
            weight,
            filtered: mode != EXACT,
            tag: thread.tag.get(),
            thread: thread.number.get(),
        };
        record(area, Stack { frames, end }, block, step);
    });
}

/// Says which step the thread is in. At the end it is again in the one that it was in before: a
/// signal handler may have come into the middle of it.
fn stepper<'a>(thread: &'a Thread, slot: Option<&'a Slot>) -> impl Fn(Step) + 'a {
    let before = thread.step.get();
    move |step| {
        let step = if step == Step::Idle { before } else { step as u64 };
        thread.step.set(step);
        // Relaxed: for people who look at a killed process.
        slot.iter().for_each(|slot| slot.step.store(step, Relaxed));
    }
}

/// Settles the thread's countdown: is this block a sample? A signal handler that comes in between
/// gets no answer, and its block is no sample.
fn settle(thread: &Thread, slot: &Slot, area: Area<'_>, mean: u64) -> Option<u64> {
    if !slot.is_due() {
        return None;
    }
    if thread.is_busy.replace(true) {
        area.lose(Loss::Reentrant);
        return None;
    }
    let drawn_with = slot.look(mean);
    slot.tell_in_time(area);
    if let Some(peak) = thread.peak.get() {
        thread.peak.set(Some(peak.max(slot.held())));
        slot.look_at_next();
    }
    thread.is_busy.set(false);
    drawn_with
}

/// A thread without a slot has no countdown: each block is drawn by itself.
fn draw_shared(slot: &Slot, bytes: u64, mean: u64) -> Option<u64> {
    // Relaxed: the step of SplitMix64; every thread gets another number.
    let random = slot.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
    (mean > 0 && sampling::is_drawn(random, bytes, mean)).then_some(mean)
}

/// A block that is to be recorded, by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) weight: f64,
    pub(crate) filtered: bool,
    pub(crate) tag: usize,
    /// Number of the thread's slot.
    pub(crate) thread: usize,
}

/// Records a block: its stack, its site, itself.
pub(crate) fn record(area: Area<'_>, stack: Stack<'_>, block: Block, step: impl Fn(Step)) {
    step(Step::Site);
    let (site, is_new) = site_table::intern(area, stack, block.tag);
    if is_new && !modules::know(area, stack.frames) {
        modules::refresh(area);
    }
    let Block { address, bytes, weight, filtered, .. } = block;
    site_table::count(area, site, block.thread, bytes, weight);
    step(Step::Insert);
    insert(area, address, Record { bytes, weight, site, filtered });
    step(Step::Idle);
}

/// Enters a block, or counts that there was no room.
pub(crate) fn insert(area: Area<'_>, address: u64, record: Record) {
    if record.filtered {
        // First: whoever frees the block must find it.
        filter::add(area, address);
    }
    if !live_table::insert(area, address, record) {
        area.lose(Loss::LiveFull);
        if record.filtered {
            filter::remove(area, address);
        }
    }
}

/// Takes a block out that is about to be freed, if it was tracked.
#[cold]
pub(crate) fn remove(address: usize) -> Option<Record> {
    let area = control::area()?;
    THREAD.with(|thread| remove_in(area, address as u64, stepper(thread, thread.slot(area))))
}

/// The same for a given profile.
pub(crate) fn remove_in(area: Area<'_>, address: u64, step: impl Fn(Step)) -> Option<Record> {
    step(Step::Remove);
    let record = live_table::remove(area, address);
    if record.is_some_and(|record| record.filtered) {
        filter::remove(area, address);
    }
    step(Step::Idle);
    record
}

/// A block is freed by a thread that has no slot of its own, or one that the profile may know, or
/// time has come to tell the header. `is_counted`: the thread's slot has it already.
#[cold]
pub(crate) fn freed(bytes: u64, is_counted: bool) {
    let Some(area) = control::area() else { return };
    THREAD.with(|thread| match thread.slot(area) {
        Some(slot) => {
            let is_due = if is_counted { slot.is_free_due() } else { slot.freed(bytes) };
            if is_due {
                slot.tell_in_time(area);
            }
        }
        None => {
            area.slot(0).freed_shared(bytes);
            super::slot::publish(area, bytes.wrapping_neg());
        }
    });
}

/// A reallocation failed: the block is still there, and as it was.
#[cold]
pub(crate) fn take_back(address: usize, bytes: u64, record: Option<Record>) {
    let Some(area) = control::area() else { return };
    THREAD.with(|thread| match thread.slot(area) {
        Some(slot) => slot.take_back(bytes),
        None => {
            area.slot(0).freed_shared(bytes.wrapping_neg());
            // Relaxed: with the two that `freed_shared` adds it is none.
            area.slot(0).freed_blocks.fetch_sub(2, Relaxed);
            super::slot::publish(area, bytes);
        }
    });
    if let Some(record) = record {
        insert(area, address as u64, record);
    }
}
