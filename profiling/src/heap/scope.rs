//! Names for what a thread is doing, so that its blocks can be told apart by it.

use std::marker::PhantomData;
use std::sync::atomic::Ordering::Relaxed;

use super::thread::THREAD;
use super::{control, tags};

/// Until this is dropped, what the thread allocates belongs to the scope.
///
/// Scopes nest: the inner one counts, and the outer one again afterwards. Scopes that are dropped
/// out of order leave the thread in the scope that was left last.
#[derive(Debug)]
#[must_use = "the scope ends when this is dropped"]
pub struct Scope {
    before: usize,
    /// The scope is the thread's: not to be dropped on another.
    thread: PhantomData<*mut ()>,
}

/// Enters a scope: what this thread allocates from here on is put down to `name`.
///
/// Names are cut off at 48 bytes, and a profile has room for some 1,000 of them; further ones count
/// as no scope, and in [`Quality::dropped_tags`](super::Quality::dropped_tags). A frequent name
/// costs some 20 ns. Without a profile nothing happens. An empty name is no scope, as if there had
/// been none around it.
///
/// # Examples
///
/// ```
/// let scope = profiling::heap::scope("load the table");
/// let table = vec![0u8; 1 << 20];      // put down to "load the table"
/// drop(scope);
/// # drop(table);
/// ```
pub fn scope(name: &str) -> Scope {
    let area = control::area().filter(|_| !name.is_empty());
    let tag = area.map_or(0, |area| tags::intern(area, name));
    Scope { before: enter(tag), thread: PhantomData }
}

/// Puts the thread into a scope; the one that it was in before.
fn enter(tag: usize) -> usize {
    THREAD.with(|thread| {
        // SAFETY: null, or a slot of the profile's mapping, which is never unmapped.
        if let Some(slot) = unsafe { thread.slot.get().as_ref() } {
            // Relaxed: for readers who ask what the thread is doing.
            slot.tag.store(tag as u64, Relaxed);
        }
        thread.tag.replace(tag)
    })
}

impl Drop for Scope {
    fn drop(&mut self) {
        enter(self.before);
    }
}
