//! Panics inside a check are findings: they are kept for the report and not printed.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// `Some` while this thread runs a check: where the first panic was raised.
    static WATCH: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// A panic that ended `f`.
#[derive(Debug)]
pub(super) struct Panic {
    pub(super) message: String,
    pub(super) location: Option<String>,
}

/// Runs `f`; a panic in it comes back as a value and leaves no line on standard error.
pub(super) fn caught(f: impl FnOnce()) -> Result<(), Panic> {
    install();
    WATCH.set(Some(None));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    let location = WATCH.take().flatten();
    result.map_err(|payload| Panic { message: message(payload.as_ref()), location })
}

/// Puts a hook before the one that is there, once a process. It keeps quiet for threads that run a
/// check, and leaves all others to the hook before it.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let watched = WATCH.with_borrow_mut(|watch| {
                let Some(first) = watch else { return false };
                if first.is_none() {
                    *first = info.location().map(ToString::to_string);
                }
                true
            });
            if !watched {
                before(info);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    if let Some(text) = payload.downcast_ref::<String>() {
        return text.clone();
    }
    "a panic without a message".to_owned()
}
