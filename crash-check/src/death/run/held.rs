//! A store that waits for the next one to overtake it: what a compiler may do with two stores that no
//! ordering keeps apart. One a thread, and only while a mutation asks for it.
//!
//! It is made at the latest before the thread's next operation that writes, sleeps, or looks at its
//! word. Until then the thread has done nothing that another could see, so a death meanwhile is one
//! before the store.

use std::fmt;

use super::{Turn, is_muted, me, tick, with};

/// The store, and the word that it is for.
pub(super) struct Held {
    word: usize,
    make: Box<dyn FnOnce()>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("word", &self.word).finish_non_exhaustive()
    }
}

/// The running thread's next store may overtake this one.
pub(in crate::death) fn hold(word: usize, make: impl FnOnce() + 'static) {
    let me = me();
    with(|run| run.threads[me].held = Some(Held { word, make: Box::new(make) }));
}

/// Whether a store to another word than this one waits.
pub(in crate::death) fn holds(word: usize) -> bool {
    let me = me();
    with(|run| run.threads[me].held.as_ref().is_some_and(|held| held.word != word))
}

/// Makes the store that waits, if one does.
pub(in crate::death) fn make_held() {
    if is_muted() {
        return;
    }
    let me = me();
    if let Some(held) = with(|run| run.threads[me].held.take()) {
        (held.make)();
    }
}

/// The store that waited was overtaken just now: the thread may die between the two.
pub(in crate::death) fn is_overtaken() {
    if tick() == Turn::Live {
        make_held();
    }
}
