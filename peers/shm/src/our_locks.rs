//! Our side of the locks.

use method::{Outcome, Promise, Sample, Side};
use shm_core::lock::{Mutex, RwLock};
use shm_core::{Group, Shared};

use crate::locks::time;

/// A mutex in shared memory, in a group of one.
pub fn mutex<'a>(count: u32, promise: Promise) -> Outcome<Side<'a>> {
    let (group, shared) = (Group::anonymous()?, Shared::new(Mutex::new(0_u64))?);
    Ok(Side::new("shm-core Mutex", promise, move || -> Outcome<Sample> {
        time(count, || {
            *shared.lock(&group).map_err(|_| "poisoned")? += 1;
            Ok(())
        })
    }))
}

/// The reading side of a lock for readers and writers.
pub fn read<'a>(count: u32, promise: Promise) -> Outcome<Side<'a>> {
    let (group, shared) = (Group::anonymous()?, Shared::new(RwLock::new(0_u64))?);
    Ok(Side::new("shm-core RwLock", promise, move || -> Outcome<Sample> {
        time(count, || {
            std::hint::black_box(*shared.read(&group).map_err(|_| "poisoned")?);
            Ok(())
        })
    }))
}
