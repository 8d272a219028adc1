//! A thread's line is claimed when the thread comes, and free again when nothing names it.

use super::memory::Ground;
use super::words::Line;
use crate::Owner;
use crate::primitive::Ordering;

/// Claims a line if it is free.
pub(crate) fn claim(ground: &impl Ground, me: Owner, line: usize) -> bool {
    let (free, mine) = (Line::Free.word(), Line::Live(me.to_bits()).word());
    // Acquire: pairs with the Release in `leave`: the line is clean. Relaxed on failure: it is
    // another's.
    let (ok, lost) = (Ordering::Acquire, Ordering::Relaxed);
    ground.line(line).compare_exchange(free, mine, ok, lost).is_ok()
}

/// Nothing names the line any more: it is free. By its thread, or its recoverer.
pub(crate) fn leave(ground: &impl Ground, line: usize) {
    // Release: what it named is settled before.
    ground.intent(line).store(0, Ordering::Release);
    // Release: pairs with the Acquire in `claim`.
    ground.line(line).store(Line::Free.word(), Ordering::Release);
}
