//! Stores that wait for an operation to overtake them: what a compiler may do with stores that no
//! ordering keeps apart. Only while a mutation asks for it.
//!
//! They are made at the latest before the thread's next operation that sleeps, that is no plain store
//! and writes, or that looks at one of their words. Until then the thread has done nothing that
//! another could see, so a death meanwhile is one before the first of them.

use std::fmt;

use super::{Turn, is_muted, me, tick, with};

/// A store, and the word that it is for.
pub(super) struct Held {
    word: usize,
    make: Box<dyn FnOnce()>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("word", &self.word).finish_non_exhaustive()
    }
}

/// Operations to come of the running thread may overtake this store, and those that wait already;
/// `most` wait.
pub(in crate::death) fn hold(most: usize, word: usize, make: impl FnOnce() + 'static) {
    let me = me();
    let oldest = with(|run| {
        let held = &mut run.threads[me].held;
        held.push_back(Held { word, make: Box::new(make) });
        if held.len() > most { held.pop_front() } else { None }
    });
    if let Some(oldest) = oldest {
        (oldest.make)();
    }
}

/// Whether stores wait, and none is to this word.
pub(in crate::death) fn holds(word: usize) -> bool {
    let me = me();
    with(|run| {
        let held = &run.threads[me].held;
        !held.is_empty() && held.iter().all(|held| held.word != word)
    })
}

/// Makes the stores that wait, in their order.
pub(in crate::death) fn make_held() {
    if is_muted() {
        return;
    }
    let me = me();
    while let Some(held) = with(|run| run.threads[me].held.pop_front()) {
        (held.make)();
    }
}

/// The stores that wait were overtaken just now: the thread may die before it makes them.
pub(in crate::death) fn are_overtaken() {
    if tick() == Turn::Live {
        make_held();
    }
}
