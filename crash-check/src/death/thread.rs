//! Threads of a model, some of which may die.

use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};

use super::{kernel, run};

/// The thread was killed before it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread was killed: recover what it held, once its life word or its proof says so")]
pub struct Killed;

/// Waits for a thread of the model.
#[derive(Debug)]
pub struct JoinHandle<T> {
    index: usize,
    loom: loom::thread::JoinHandle<Result<T, Killed>>,
}

impl<T> JoinHandle<T> {
    /// Waits until the thread has returned, or until the kernel has finished with it.
    ///
    /// Makes a happens-before edge from everything the thread did: what is asserted after a join
    /// says nothing about what a survivor sees *before* it.
    ///
    /// # Errors
    /// [`Killed`], if it died.
    #[track_caller]
    pub fn join(self) -> Result<T, Killed> {
        let at = Location::caller();
        if run::turn() == run::Turn::Muted {
            return Err(Killed);
        }
        run::join(at, self.index);
        let result = self.loom.join();
        run::get_up();
        match result {
            Ok(result) => result,
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// Spawns a thread that never dies, called `t1`, `t2`, .. by its place in the order of spawning.
///
/// # Panics
/// With more than five threads, the main one included: loom's limit.
pub fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    start(None, None, false, f)
}

/// Spawns a thread that may die, a process of its own. See [`World::victim`](super::World::victim).
///
/// # Panics
/// With more than five threads, and if another has the same name.
pub fn victim<T: 'static>(name: &str, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    start(Some(name), None, true, f)
}

/// Lets others run. Needed in every loop that waits for another thread.
pub fn yield_now() {
    if run::is_muted() {
        // Counts towards the limit on what a dead thread may do.
        let _ = run::turn();
        return;
    }
    run::make_held();
    loom::thread::yield_now();
}

pub(super) fn start<T: 'static>(
    name: Option<&str>,
    process: Option<&str>,
    victim: bool,
    f: impl FnOnce() -> T + 'static,
) -> JoinHandle<T> {
    run::make_held();
    let index = run::add_thread(name, process, victim);
    let loom = loom::thread::spawn(move || {
        run::become_thread(index);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let value = f();
            // The last kill point: after its last operation.
            let _ = run::turn();
            value
        }));
        conclude(ended)
    });
    JoinHandle { index, loom }
}

fn conclude<T>(ended: Result<T, Box<dyn Any + Send>>) -> Result<T, Killed> {
    match ended {
        // Caught its own death on the way: dead all the same.
        Ok(_) if run::is_muted() => {
            kernel::exit();
            Err(Killed)
        }
        Ok(value) => {
            kernel::finish();
            Ok(value)
        }
        Err(payload) if run::is_death(payload.as_ref()) => {
            kernel::exit();
            Err(Killed)
        }
        Err(payload) => resume_unwind(payload),
    }
}
