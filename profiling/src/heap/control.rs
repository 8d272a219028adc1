//! The switch: which mode is on, how it is first set, and how a forked child finds its own.
//!
//! [`SWITCH`] lies in a page that the kernel clears in forked children. Its mode is the only thing
//! that every allocation looks at, so that a child notices at no cost that it is one: its mode is
//! [`UNKNOWN`] again. A `fork` of the C library is noticed earlier, by its handler.
//!
//! Orderings: `Relaxed` throughout but where a comment says otherwise: single numbers (mode, mean,
//! process id), and words of a profile that `READY` or its adoption (both Release) publishes. `AcqRel` on
//! the era: its changes are in one order.

use std::ffi::CStr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use super::area::Area;
use super::format::{MAGIC, VERSION, header, slot};
use super::region::{self, LAYOUT};
use super::snapshot::Mode;
use super::{filter, live_table, modules, site_table, thread};

/// Modes as the allocator sees them. From [`SAMPLED`] on blocks are tracked, from
/// [`SAMPLED_AFTER_EXACT`] on the filter does not know all of them. Those from [`COUNTERS`] to
/// there have a fast path.
pub(crate) const UNKNOWN: u8 = 0;
pub(crate) const OFF: u8 = 1;
pub(crate) const COUNTERS: u8 = 2;
pub(crate) const SAMPLED: u8 = 3;
/// Sampled, after it was exact: every free must look.
pub(crate) const SAMPLED_AFTER_EXACT: u8 = 4;
pub(crate) const EXACT: u8 = 5;

/// What every allocation looks at.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct Switch {
    /// The mode. Relaxed where it is read: a thread may go on in the old mode for one block.
    pub(crate) mode: AtomicU8,
    /// The filter of sampled blocks; not null in the modes that use it.
    pub(crate) filter: AtomicPtr<u8>,
    rest: [u8; 4096 - 16],
}

pub(crate) static SWITCH: Switch = Switch {
    mode: AtomicU8::new(UNKNOWN),
    filter: AtomicPtr::new(std::ptr::null_mut()),
    rest: [0; 4096 - 16],
};

/// 0: never started; 1: being started; 2: started.
static STARTED: AtomicU8 = AtomicU8::new(0);
/// What the switch says, for children whose switch was cleared.
static KEPT_MODE: AtomicU8 = AtomicU8::new(OFF);
static MEAN: AtomicU64 = AtomicU64::new(0);
static FRAME_POINTERS: AtomicBool = AtomicBool::new(false);
/// The process that the profile belongs to.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// The profile's memory, if there is one.
#[inline]
pub(crate) fn area() -> Option<Area<'static>> {
    let base = region::base()?;
    // SAFETY: mapped with the layout's length when it was adopted, and never unmapped, only
    // replaced; the profiler accesses it atomically, everywhere.
    Some(unsafe { Area::new(base, &LAYOUT) })
}

pub(crate) fn mean() -> u64 {
    // Relaxed: a number of its own.
    MEAN.load(Relaxed)
}

pub(crate) fn has_frame_pointers() -> bool {
    // Relaxed: set before the first record, once.
    FRAME_POINTERS.load(Relaxed)
}

/// The mode, found out if this is the first allocation, or the first in a forked child. The slow
/// path of everything.
#[cold]
pub(crate) fn find_mode(configured: Mode, frame_pointers: fn() -> bool) -> u8 {
    // Acquire: pairs with the Release at the end of `start`.
    match STARTED.compare_exchange(0, 1, Acquire, Acquire) {
        Ok(_) => start(configured, frame_pointers),
        Err(1) => {}
        Err(_) if PROCESS.load(Relaxed) != pid() => enter_child(),
        Err(_) => {}
    }
    SWITCH.mode.load(Relaxed)
}

pub(crate) fn pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get().cast_unsigned()
}

/// The program's first allocation, long before `main`.
fn start(configured: Mode, frame_pointers: fn() -> bool) {
    // Relaxed, both: published by STARTED.
    FRAME_POINTERS.store(frame_pointers(), Relaxed);
    PROCESS.store(pid(), Relaxed);
    region::wipe_on_fork((&raw const SWITCH).cast_mut().cast());
    thread::make_key();
    // SAFETY: the handler is a function of this crate, which is never unloaded before the process
    // ends, as its allocator cannot be.
    let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    if let Some(directory) = variable(c"HEAP_PROFILE_DIR") {
        region::set_directory(directory);
    }
    let named = variable(c"HEAP_PROFILE").and_then(|text| Mode::parse(text.to_str().ok()?));
    let mode = named.unwrap_or(configured);
    if !switch(mode) {
        set_switch(OFF);
    }
    // Release: pairs with the Acquire in `find_mode`.
    STARTED.store(2, Release);
}

/// A variable of the environment, without a copy.
fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: a C string; the environment is as the program was started with it: this runs at the
    // first allocation, before anything of the program could change it.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: not null, and a C string in the environment.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

/// Puts a mode on; false if it needs a profile and none could be made.
pub(crate) fn switch(mode: Mode) -> bool {
    let tracked_before = KEPT_MODE.load(Relaxed) >= SAMPLED;
    let byte = match mode {
        Mode::Off if area().is_none() => {
            set_switch(OFF);
            return true;
        }
        Mode::Off => OFF,
        Mode::Counters => COUNTERS,
        Mode::Sampled { .. } if KEPT_MODE.load(Relaxed) >= SAMPLED_AFTER_EXACT => {
            SAMPLED_AFTER_EXACT
        }
        Mode::Sampled { .. } => SAMPLED,
        Mode::Exact => EXACT,
    };
    if area().is_none() && !make_profile(None) {
        return false;
    }
    let Some(area) = area() else { return false };
    let mean = if let Mode::Sampled { mean_bytes } = mode { mean_bytes.max(1) } else { 0 };
    // Relaxed, all: each is a number of its own, and the mode comes last.
    MEAN.store(mean, Relaxed);
    area.word(header::MEAN).store(mean, Relaxed);
    area.word(header::MODE).store(mode.to_word(), Relaxed);
    if tracked_before && byte < SAMPLED {
        // From here on frees are not seen: what was live is no longer known.
        area.word(header::ERA).fetch_add(1, AcqRel);
    }
    if !tracked_before && byte >= SAMPLED {
        live_table::clear(area);
        filter::clear(area);
    }
    set_switch(byte);
    true
}

fn set_switch(mode: u8) {
    // Relaxed: for this process's children.
    KEPT_MODE.store(mode, Relaxed);
    if let Some(area) = area() {
        let filter = area.base().as_ptr().wrapping_add(LAYOUT.filter);
        // Relaxed: the same address each time.
        SWITCH.filter.store(filter, Relaxed);
    }
    // Relaxed: who does not see the filter's address yet looks at the table.
    SWITCH.mode.store(mode, Relaxed);
}

/// Makes this process's profile; in a forked child with what it has from its parent's.
fn make_profile(parent: Option<Area<'_>>) -> bool {
    let (pid, started) = (pid(), region::started_ticks());
    let Some(made) = region::make(pid, started) else { return false };
    // SAFETY: just mapped, with the layout's length, and nobody else knows of it.
    let area = unsafe { Area::new(made.base, &LAYOUT) };
    // Relaxed, all: published by the READY at the end, and by the adoption.
    let set = |at: usize, value: u64| area.word(at).store(value, Relaxed);
    let parent_pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    lay_out(area, made.limits());
    let facts = [
        (header::PID, u64::from(pid)),
        (header::PARENT, u64::from(parent_pid.cast_unsigned())),
        (header::STARTED, started),
        (header::CREATED, now_ns()),
        (header::FRAME_POINTERS, if has_frame_pointers() { 1 } else { 2 }),
    ];
    facts.iter().for_each(|(at, value)| set(*at, *value));
    write_program(area);
    match parent {
        Some(parent) => {
            inherit(parent, area);
            if thread::is_recording() {
                inherit_sites(parent, area, &made);
            }
        }
        None => modules::begin(area),
    }
    // Release: pairs with the reader's look at the state.
    area.word(header::STATE).store(header::READY, Release);
    made.adopt()
}

/// Writes what makes an empty file a profile without records, but for the word that says so.
/// `limits`: sites and frames that have memory behind them.
pub(crate) fn lay_out(area: Area<'_>, limits: (u64, u64)) {
    let [first, second] = area.layout.shape.to_words();
    let words = [
        (header::MAGIC, MAGIC),
        (header::VERSION, VERSION),
        (header::SHAPE, first),
        (header::SHAPE + 8, second),
        (header::LENGTH, area.layout.length as u64),
        (header::MODE, Mode::Off.to_word()),
        (header::SITES_LIMIT, limits.0),
        (header::FRAMES_LIMIT, limits.1),
        (header::LEVELS_USED, 1),
        (header::SITES_USED, site_table::NO_SITE as u64 + 1),
    ];
    // Relaxed: published by READY.
    words.iter().for_each(|(at, value)| area.word(*at).store(*value, Relaxed));
}

fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

fn write_program(area: Area<'_>) {
    let mut path = [0; header::PROGRAM_MAX];
    let length = region::program(&mut path);
    for (nth, bytes) in path[..length].chunks(8).enumerate() {
        area.word(header::PROGRAM + 8 * nth).store(super::tags::to_word(bytes), Relaxed);
    }
    area.word(header::PROGRAM_LENGTH).store(length as u64, Relaxed);
}

/// Copies what a child has from its parent: mode, names, modules, and how much was live.
fn inherit(parent: Area<'_>, child: Area<'_>) {
    // Relaxed, all: the parent's threads are not here; its profile may change meanwhile, of which
    // any state is as good. Records below a count are whole (Acquire).
    let copy = |at: usize| child.word(at).store(parent.word(at).load(Relaxed), Relaxed);
    let modules = parent.word(header::MODULES_USED).load(Acquire);
    [header::MODE, header::MEAN, header::STRINGS_USED].into_iter().for_each(copy);
    (LAYOUT.tags..LAYOUT.modules).step_by(8).for_each(copy);
    let end = LAYOUT.module(modules as usize);
    (LAYOUT.modules..end).step_by(8).for_each(copy);
    let strings = child.word(header::STRINGS_USED).load(Relaxed) as usize;
    (LAYOUT.strings..LAYOUT.strings + strings).step_by(8).for_each(copy);
    child.word(header::MODULES_USED).store(modules, Relaxed);
    let (mut bytes, mut blocks) = (
        parent.word(header::INHERITED_BYTES).load(Relaxed),
        parent.word(header::INHERITED_BLOCKS).load(Relaxed),
    );
    for nth in 0..usize::from(LAYOUT.shape.threads) {
        let word = |at| parent.word(LAYOUT.slot(nth) + at).load(Relaxed);
        bytes = bytes.wrapping_add(word(slot::ALLOCATED_BYTES));
        bytes = bytes.wrapping_sub(word(slot::FREED_BYTES));
        blocks = blocks.wrapping_add(word(slot::ALLOCATED_BLOCKS));
        blocks = blocks.wrapping_sub(word(slot::FREED_BLOCKS));
    }
    // Blocks from before recording began may have been freed since: below zero means none.
    let at_least_none = |sum: u64| sum.cast_signed().max(0).cast_unsigned();
    child.word(header::INHERITED_BYTES).store(at_least_none(bytes), Relaxed);
    child.word(header::INHERITED_BLOCKS).store(at_least_none(blocks), Relaxed);
    child.word(header::PUBLISHED).store(at_least_none(bytes), Relaxed);
    child.word(header::PEAK).store(at_least_none(bytes), Relaxed);
    let is_forked_thread = rustix::thread::gettid() == rustix::process::getpid();
    if !is_forked_thread {
        // The thread that came through the fork still has one of the parent's slots, we do not
        // know which: none of them is given to anybody else.
        (1..usize::from(LAYOUT.shape.threads)).for_each(|nth| {
            copy(LAYOUT.slot(nth) + slot::OWNER);
        });
    }
}

/// Copies the parent's sites too: the fork came from a signal handler, in the middle of a record
/// that will go on with a site's number. Nothing is put down to them by this.
fn inherit_sites(parent: Area<'_>, child: Area<'_>, made: &region::Made) {
    // Acquire: records below the count are whole, or not in the index yet.
    let used = |at: usize, most: usize| (parent.word(at).load(Acquire) as usize).min(most);
    let sites = used(header::SITES_USED, LAYOUT.max_sites());
    let frames = used(header::FRAMES_USED, LAYOUT.max_frames());
    let Some(limits) = made.commit_sites(sites, frames) else { return };
    // Relaxed, all: published with the profile.
    let copy = |at: usize| child.word(at).store(parent.word(at).load(Relaxed), Relaxed);
    (LAYOUT.frames..LAYOUT.frames + 8 * frames).step_by(8).for_each(copy);
    (LAYOUT.sites..LAYOUT.site(sites)).step_by(8).for_each(copy);
    (LAYOUT.index[0].0..LAYOUT.sites).step_by(8).for_each(copy);
    child.word(header::SITES_USED).store(sites as u64, Relaxed);
    child.word(header::FRAMES_USED).store(frames as u64, Relaxed);
    child.word(header::SITES_LIMIT).store(limits.0, Relaxed);
    child.word(header::FRAMES_LIMIT).store(limits.1, Relaxed);
}

/// Called by the C library in a forked child, in the thread that forked.
extern "C" fn in_child() {
    // Acquire: pairs with the Release in `start`.
    if STARTED.load(Acquire) == 2 && PROCESS.load(Relaxed) != pid() {
        enter_child();
    }
}

/// Gives a forked child a profile of its own, before its first record.
fn enter_child() {
    let (before, pid) = (PROCESS.load(Relaxed), pid());
    // Relaxed: one thread takes it on; the others go on unrecorded until it is done.
    if PROCESS.compare_exchange(before, pid, Relaxed, Relaxed).is_err() {
        return;
    }
    let Some(parent) = area() else { return set_switch(KEPT_MODE.load(Relaxed)) };
    if make_profile(Some(parent)) {
        thread::forget_slot();
        set_switch(KEPT_MODE.load(Relaxed));
    } else {
        region::detach();
        thread::forget_slot();
        set_switch(OFF);
    }
}
