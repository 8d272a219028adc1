//! The groups that this process is in: one membership each.
//!
//! A process's record locks on a file vanish with any descriptor of it that the process closes, and
//! a process cannot see its own. So a second attach to the same control file gives the membership
//! that there is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use super::Inner;

pub(crate) type Table = HashMap<(u64, u64), Weak<Inner>>;

static TABLE: Mutex<Option<Table>> = Mutex::new(None);

/// One joining at a time: two threads that open the same control file would each hold a file.
static JOINING: Mutex<()> = Mutex::new(());

/// Held from the look at the table to the entry in it.
pub(crate) fn joining() -> MutexGuard<'static, ()> {
    JOINING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The table, under its lock. A panic under it leaves the map whole: single inserts and removals.
pub(crate) fn with<R>(f: impl FnOnce(&mut Table) -> R) -> R {
    let mut guard: MutexGuard<'_, Option<Table>> =
        TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    f(guard.get_or_insert_default())
}
