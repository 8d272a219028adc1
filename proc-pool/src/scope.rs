//! Tasks that are all done when a block ends.

use std::cell::RefCell;
use std::sync::Arc;

use crate::future::TaskHandle;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::slot::Slot;
use crate::task::Task;

/// Submits tasks that end before [`Pool::scope`] returns.
#[derive(Debug)]
pub struct Scope<'pool> {
    pool: &'pool Pool,
    /// Each with its pool, which may be another than this one.
    slots: RefCell<Vec<(Arc<Slot>, Arc<Shared>)>>,
}

impl<'pool> Scope<'pool> {
    pub(crate) fn new(pool: &'pool Pool) -> Scope<'pool> {
        Scope { pool, slots: RefCell::default() }
    }

    /// As [`Pool::submit`].
    pub fn submit<T: Task>(&self, task: T, input: T::Input) -> TaskHandle<T> {
        self.keep(self.pool.submit(task, input))
    }

    /// Waits for this task too: `scope.keep(pool.submit_with(…))`. Gives its handle back.
    pub fn keep<T: Task>(&self, handle: TaskHandle<T>) -> TaskHandle<T> {
        let (slot, shared) = (Arc::clone(&handle.slot), Arc::clone(&handle.shared));
        self.slots.borrow_mut().push((slot, shared));
        handle
    }
}

/// Waits, also when the block panicked.
impl Drop for Scope<'_> {
    fn drop(&mut self) {
        for (slot, shared) in self.slots.take() {
            shared.wait_for(None, &mut &*slot);
        }
    }
}
