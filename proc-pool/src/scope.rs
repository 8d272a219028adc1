//! Tasks that are all done when a block ends.

use std::cell::RefCell;
use std::sync::Arc;

use crate::future::TaskHandle;
use crate::options::TaskOptions;
use crate::pool::Pool;
use crate::slot::Slot;
use crate::task::Task;

/// Submits tasks that end before [`Pool::scope`] returns.
#[derive(Debug)]
pub struct Scope<'pool> {
    pool: &'pool Pool,
    slots: RefCell<Vec<Arc<Slot>>>,
}

impl<'pool> Scope<'pool> {
    pub(crate) fn new(pool: &'pool Pool) -> Scope<'pool> {
        Scope { pool, slots: RefCell::default() }
    }

    /// As [`Pool::submit`].
    pub fn submit<T: Task>(&self, task: T, input: T::Input) -> TaskHandle<T> {
        self.submit_with(task, input, TaskOptions::default())
    }

    /// As [`Pool::submit_with`].
    pub fn submit_with<T: Task>(
        &self,
        task: T,
        input: T::Input,
        options: TaskOptions,
    ) -> TaskHandle<T> {
        let handle = self.pool.submit_with(task, input, options);
        self.slots.borrow_mut().push(Arc::clone(&handle.slot));
        handle
    }
}

/// Waits, also when the block panicked.
impl Drop for Scope<'_> {
    fn drop(&mut self) {
        let mut slots = self.slots.take();
        self.pool.drive(|| {
            while slots.last().is_some_and(|slot| slot.is_done()) {
                slots.pop();
            }
            slots.is_empty()
        });
    }
}
