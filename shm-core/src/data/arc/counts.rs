//! How often this process has each value: one count a slot, in memory of its own.

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use super::table::{SLOTS, TABLES};

/// Handles of this process, by slot. Its bit is set in a slot's mask while the count is not 0; from 0
/// and to 0 it changes under the lock of the process alone.
#[derive(Debug, Default)]
pub(super) struct Counts([OnceLock<Box<[AtomicUsize]>>; TABLES]);

impl Counts {
    /// The count of a slot. It stays where it is as long as these counts do.
    ///
    /// `None`: there is no such slot. Cost: the first of a table, 8 bytes for each of its slots.
    pub fn of(&self, slot: u32) -> Option<NonNull<AtomicUsize>> {
        let mut rest = slot as usize;
        for (table, &slots) in self.0.iter().zip(&SLOTS) {
            let slots = slots as usize;
            if rest < slots {
                let new = || (0..slots).map(|_| AtomicUsize::new(0)).collect();
                return table.get_or_init(new).get(rest).map(NonNull::from);
            }
            rest -= slots;
        }
        None
    }
}
