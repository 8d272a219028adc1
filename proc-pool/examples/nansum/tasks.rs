//! What the workers do.

use proc_pool::{Copied, task};
use shm_core::{Frozen, NamedFrozen, Part};

use crate::kernel::{self, Place, Sum};
use crate::records::Record;

/// A sum, or why there is none.
pub type Answer = Result<Sum, String>;

fn answer(bytes: &[u8], place: &Place) -> Answer {
    kernel::sum(bytes, place).ok_or_else(|| format!("cannot sum {}", place.column_type))
}

/// Sums over memory that all processes share.
#[task(pure)]
pub fn sum_shared(bytes: Frozen<u8>, place: Place) -> Answer {
    answer(&bytes, &place)
}

/// Sums over memory that is shared under a name, from byte `start` to byte `end`.
#[task(pure)]
pub fn sum_named(name: String, start: usize, end: usize, place: Place) -> Answer {
    let bytes = NamedFrozen::<u8>::open(&name).map_err(|error| error.to_string())?;
    answer(bytes.get(start..end).ok_or("the named data is too short")?, &place)
}

/// Sums over a copy that was sent to this worker.
#[task(pure)]
pub fn sum_copied(bytes: Copied<u8>, place: Place) -> Answer {
    answer(&bytes, &place)
}

/// Generates a part of the records in place, sums its values, and gives it back.
#[task(pure)]
pub fn generate(mut part: Part<Record>) -> Result<(Part<Record>, Sum), String> {
    let first = part.start();
    let records = part.as_mut_slice().map_err(|error| error.to_string())?;
    Record::fill(records, first);
    let sum = kernel::floats(records.iter().map(|record| record.val));
    Ok((part, Sum::Float(sum)))
}
