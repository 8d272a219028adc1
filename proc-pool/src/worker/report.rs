//! What a worker says of its panics, and of its death.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicPtr, Ordering};

use serde::{Deserialize, Serialize};

use crate::protocol::{LAST_WORDS, Status};

thread_local! {
    /// Whether this thread runs a task just now.
    pub(super) static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// What the panic hook saw last on this thread.
    static PANIC: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// A panic, on its way to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PanicReport {
    pub message: String,
    pub location: String,
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
        PANIC.with(|cell| *cell.borrow_mut() = Some(PanicReport { message, location }));
    }));
}

fn leave_words(status: &Status, words: &str) {
    let length = words.len().min(LAST_WORDS);
    // Relaxed: nobody reads words of this length before the store below.
    status.worker.words_length.store(0, Ordering::Relaxed);
    for (place, byte) in status.last_words.iter().zip(&words.as_bytes()[..length]) {
        // Relaxed: ordered by the length. Two threads that panic at once may mix their words.
        place.store(*byte, Ordering::Relaxed);
    }
    // Release: pairs with the parent's Acquire load once this process is dead.
    status.worker.words_length.store(length as u32, Ordering::Release);
}

/// The task has survived its panic: those were not its last words.
pub(super) fn forget_words(status: &Status) {
    // Relaxed: the parent looks only once this process is dead.
    status.worker.words_length.store(0, Ordering::Relaxed);
}

/// Where the handler below leaves `errno`.
static ABORT_STATUS: AtomicPtr<Status> = AtomicPtr::new(std::ptr::null_mut());

/// Notes, when the process aborts, whether that was for want of memory: an allocation that failed
/// leaves `ENOMEM` in `errno`, and Rust's reaction to it is an abort.
pub(super) fn note_aborts(status: &'static Status) {
    // Release: pairs with the Acquire load in the handler.
    ABORT_STATUS.store(std::ptr::from_ref(status).cast_mut(), Ordering::Release);
    let handler = on_abort as extern "C" fn(i32) as *const () as libc::sighandler_t;
    // SAFETY: the handler does nothing but load and store words, which is safe in a signal; `abort`
    // ends the process after it whatever it does.
    unsafe { libc::signal(libc::SIGABRT, handler) };
}

extern "C" fn on_abort(_signal: i32) {
    // SAFETY: the address of this thread's `errno`, which is always valid.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else writes this thread's word.
    let errno = unsafe { *errno };
    // Acquire: pairs with the Release store in `note_aborts`.
    let status = ABORT_STATUS.load(Ordering::Acquire);
    // SAFETY: null, or made from a reference that lives as long as the process.
    if let Some(status) = unsafe { status.as_ref() } {
        // Relaxed: the parent looks only once this process is dead.
        status.worker.abort_errno.store(errno, Ordering::Relaxed);
    }
}

/// What the hook saw of the panic with this payload.
pub(super) fn report(payload: &(dyn Any + Send)) -> PanicReport {
    PANIC.with(RefCell::take).unwrap_or_else(|| PanicReport {
        message: message_of(payload),
        location: "unknown".to_owned(),
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        _ => "a value that is not text".to_owned(),
    }
}
