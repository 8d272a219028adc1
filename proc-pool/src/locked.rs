//! The pool's book-keeping while somebody changes it; on release, other people's code gets to know.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use crate::shared::Shared;
use crate::slot::Notice;
use crate::state::State;

/// The lock of a pool's [`State`]. Wakers and callbacks of tasks that became done meanwhile are
/// called after it is released: they may want it themselves. So is the keeper.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    // Fields are dropped in this order: first the lock is released, then notices are passed on.
    state: MutexGuard<'a, State>,
    after: After<'a>,
}

/// What happens after the lock was released.
#[derive(Debug)]
struct After<'a> {
    shared: &'a Shared,
    call_keeper: bool,
    notices: Vec<Notice>,
}

impl<'a> Locked<'a> {
    pub fn new(state: MutexGuard<'a, State>, shared: &'a Shared) -> Locked<'a> {
        Locked { state, after: After { shared, call_keeper: false, notices: Vec::new() } }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.after.notices = std::mem::take(&mut self.state.notices);
        self.after.call_keeper = std::mem::take(&mut self.state.wants_keeper);
    }
}

impl Drop for After<'_> {
    fn drop(&mut self) {
        if self.call_keeper {
            self.shared.call_keeper();
        }
        for notice in self.notices.drain(..) {
            match notice {
                #[cfg(feature = "tracing")]
                Notice::Event(event) => event.tell(),
                Notice::Wake(waker) => waker.wake(),
                Notice::Call(callback, outcome) => self.shared.callbacks.call(callback, outcome),
            }
        }
    }
}
