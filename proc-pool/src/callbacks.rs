//! The thread on which `on_done` functions run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::slot::{Callback, Outcome};

type Call = (Callback, Outcome);

/// One thread a pool, started with the first callback: callbacks run one after another, and
/// whatever they do, results go on to arrive.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    thread: Mutex<Option<(Sender<Call>, JoinHandle<()>)>>,
}

impl Callbacks {
    /// Hands a callback to the thread.
    pub fn call(&self, callback: Callback, outcome: Outcome) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (sender, calls) = channel();
            let builder = std::thread::Builder::new().name("proc-pool callbacks".to_owned());
            match builder.spawn(move || run(&calls)) {
                Ok(handle) => *thread = Some((sender, handle)),
                // No thread can be had: late and here is better than never.
                Err(_) => return drop_guard_and_run(thread, callback, outcome),
            }
        }
        if let Some((sender, _)) = thread.as_ref() {
            // The thread ends only after the sender.
            let _ = sender.send((callback, outcome));
        }
    }

    /// Waits until every callback has run, and ends the thread.
    pub fn finish(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((sender, handle)) = thread else { return };
        drop(sender);
        // A callback that ends the pool cannot wait for its own end.
        if handle.thread().id() != std::thread::current().id() {
            // It catches panics.
            let _ = handle.join();
        }
    }
}

fn drop_guard_and_run<G>(guard: G, callback: Callback, outcome: Outcome) {
    drop(guard);
    call(callback, outcome);
}

fn run(calls: &Receiver<Call>) {
    for (callback, outcome) in calls {
        call(callback, outcome);
    }
}

/// The panic hook has said what there is to say about a callback that panics.
fn call(callback: Callback, outcome: Outcome) {
    let _ = catch_unwind(AssertUnwindSafe(|| (callback.0)(outcome)));
}
