//! What a worker says of its panics, and of its death.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::frames::PanicFrames;
use crate::protocol::Status;

thread_local! {
    /// Whether this thread runs a task just now.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// What the panic hook saw last on this thread.
    static PANIC: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// A panic, on its way to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PanicReport {
    pub message: String,
    pub location: String,
    pub frames: PanicFrames,
}

/// Runs somebody's task on this thread. With the feature `profiling`, what it allocates is put down
/// to its name.
pub(crate) fn in_task<R>(name: &'static str, run: impl FnOnce() -> R) -> R {
    #[cfg(feature = "profiling")]
    let _scope = profiling::heap::scope(crate::memory::scope_of(name));
    #[cfg(not(feature = "profiling"))]
    let _ = name;
    let before = IN_TASK.replace(true);
    let result = run();
    IN_TASK.set(before);
    result
}

/// Remembers message and place of a task's panic for the parent, and prints nothing: the error
/// carries it. Panics of other threads are reported as before. Every panic's message becomes the
/// process's last words, in shared memory, in case that it does not survive it.
pub(super) fn install_panic_hook(status: &'static Status) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let message = message_of(info.payload());
        leave_words(status, &format!("panicked at {location}: {message}"));
        if !IN_TASK.get() {
            return before(info);
        }
        let frames = PanicFrames::here();
        PANIC.with(|cell| *cell.borrow_mut() = Some(PanicReport { message, location, frames }));
    }));
}

/// Adds to the last words: what ends a process may be the second panic, and the first says why.
fn leave_words(status: &Status, words: &str) {
    // Relaxed: only this process writes it.
    let before = status.worker.words_length.load(Ordering::Relaxed) as usize;
    let between = if before == 0 { "" } else { "; then it " };
    let bytes = between.bytes().chain(words.bytes());
    let mut length = before;
    for (place, byte) in status.last_words.iter().skip(before).zip(bytes) {
        // Relaxed: ordered by the length. Two threads that panic at once may mix their words.
        place.store(byte, Ordering::Relaxed);
        length += 1;
    }
    // Release: pairs with the parent's Acquire load once this process is dead.
    status.worker.words_length.store(length as u32, Ordering::Release);
}

/// A task begins, or has survived its panic: those were not the last words.
pub(super) fn forget_words(status: &Status) {
    // Relaxed: the parent looks only once this process is dead.
    status.worker.words_length.store(0, Ordering::Relaxed);
}

/// What the hook saw of the panic with this payload.
pub(super) fn report(payload: &(dyn Any + Send)) -> PanicReport {
    PANIC.with(RefCell::take).unwrap_or_else(|| PanicReport {
        message: message_of(payload),
        location: "unknown".to_owned(),
        frames: PanicFrames::default(),
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        _ => "a value that is not text".to_owned(),
    }
}
