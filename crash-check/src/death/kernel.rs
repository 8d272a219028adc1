//! The kernel's part in a death, run on the stack of the dead after its last store.
//!
//! In this order, as Linux does it (`exit_robust_list`, then `exit_files`):
//!
//! 1. each life word on the robust list: `FUTEX_OWNER_DIED`, `FUTEX_WAITERS` kept, and **one**
//!    waiter woken if that bit was set (none otherwise);
//! 2. when the last thread of the process is gone: its record lock is released, which is the
//!    *proof* of the death of the process.
//!
//! Both are Release: a survivor that sees them by Acquire sees every store of the dead.

use std::sync::atomic::Ordering;

use super::run;
use super::sync::AtomicU32;
use super::trace::{Action, Event};

/// `FUTEX_WAITERS`: the kernel wakes one waiter when it stamps a word in which this is set.
pub const WAITERS: u32 = 0x8000_0000;
/// `FUTEX_OWNER_DIED`: set by the kernel when the owner of a robust futex is gone.
pub const OWNER_DIED: u32 = 0x4000_0000;
/// `FUTEX_TID_MASK`: the bits of a robust futex that hold its owner's thread id.
pub const TID_MASK: u32 = 0x3fff_ffff;

/// Set in the count of ended threads once one of them died.
const DIED: u32 = 0x8000_0000;

/// Puts `word` on the running thread's robust list.
///
/// When the thread dies, the kernel stamps the word if its [`TID_MASK`] bits are those of
/// [`thread_id`], and leaves it alone otherwise. A thread that returns is not dead: it stands for
/// one that is idle.
pub fn robust_list_add(word: &AtomicU32) {
    if !run::is_muted() {
        run::add_robust(word.share());
    }
}

/// Takes `word` off the running thread's robust list.
pub fn robust_list_remove(word: &AtomicU32) {
    if !run::is_muted() {
        drop(run::remove_robust(word.id()));
    }
}

/// The running thread's id: never 0, and the same in every execution.
#[must_use]
pub fn thread_id() -> u32 {
    tid_of(run::me())
}

fn tid_of(thread: usize) -> u32 {
    u32::try_from(thread).unwrap_or(TID_MASK - 1) + 1
}

/// What the kernel does once a thread has died.
pub(super) fn exit() {
    for (word, any_owner) in run::take_robust() {
        stamp(&word, any_owner);
    }
    leave_process(DIED);
    run::end(true);
}

/// What it does once a thread has returned: nothing that a survivor could mistake for a death.
pub(super) fn finish() {
    leave_process(0);
    run::end(false);
}

fn stamp(word: &AtomicU32, any_owner: bool) {
    let me = thread_id();
    // Release: pairs with the Acquire load of `Life::is_dead`.
    let stamped = word.kernel_update(Ordering::Release, |old| {
        (any_owner || old & TID_MASK == me).then_some(old & WAITERS | OWNER_DIED)
    });
    let Some(value) = stamped else { return };
    run::log(|me| Event::bare(me, Action::Stamped).on(word.id(), u64::from(value)));
    if value & WAITERS != 0 {
        word.kernel_touch();
        let woken = run::rouse(word.id(), 1);
        run::log(|me| Event::bare(me, Action::Wake { woken }).on(word.id(), 0));
    }
}

fn leave_process(died: u32) {
    let Some(word) = run::my_process() else { return };
    // Release: pairs with the Acquire load of `Proof::is_gone`, for each thread that ended: their
    // read-modify-writes form one release sequence.
    word.kernel_update(Ordering::Release, |old| Some((old + 1) | died));
    run::log(|me| Event::bare(me, Action::Released).on(word.id(), 0));
}

/// Have all threads of the process ended, at least one of them by death?
pub(super) fn all_gone(ended: u32, threads: u32) -> bool {
    ended & DIED != 0 && ended & !DIED == threads
}
