//! Who counts as dead, as the processes of a run may ask.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::memory::Memory;

/// How many dead a process can be told of; a chain of kills is never that long.
const LIMIT: usize = 8;

/// The threads that were killed, in truth or by the kit's word. Zero is an empty place.
#[derive(Debug)]
pub(super) struct Deaths {
    /// Private to each process: the victims whose image it was given.
    ///
    /// Relaxed throughout: filled in by the kit before the scenario's code runs, in one thread.
    told: [AtomicU32; LIMIT],
    /// Shared by all processes of a run: the threads that were really killed in it.
    graves: Memory,
}

impl Deaths {
    pub(super) fn new() -> io::Result<Deaths> {
        let graves = Memory::new(LIMIT * size_of::<AtomicU32>())?;
        Ok(Deaths { told: Default::default(), graves })
    }

    fn graves(&self) -> &[AtomicU32; LIMIT] {
        // SAFETY: mapped by `new` with this very length, page-aligned, for as long as `self`
        // lives; every bit pattern is an AtomicU32, and nobody uses the bytes otherwise.
        unsafe { self.graves.base().cast().as_ref() }
    }

    pub(super) fn contains(&self, tid: u32) -> bool {
        // Acquire, for a live process: pairs with the Release in `bury`.
        let is = |dead: &AtomicU32| dead.load(Ordering::Acquire) == tid;
        tid != 0 && (self.told.iter().any(is) || self.graves().iter().any(is))
    }

    /// Tells this process of a death.
    pub(super) fn tell(&self, tid: u32) {
        // Relaxed, both: private to this process, which has one thread now.
        if let Some(free) = self.told.iter().find(|dead| dead.load(Ordering::Relaxed) == 0) {
            free.store(tid, Ordering::Relaxed);
        }
    }

    /// Tells every process of a real death, once the victim is gone.
    pub(super) fn bury(&self, tid: u32) {
        // Relaxed: only the session writes here.
        if let Some(free) = self.graves().iter().find(|dead| dead.load(Ordering::Relaxed) == 0) {
            // Release: all that the dead one did, which `waitpid` ordered before this, comes
            // before what a survivor does once it sees the death in `contains`.
            free.store(tid, Ordering::Release);
        }
    }

    /// Before a new run on the same region.
    pub(super) fn forget(&self) {
        // Relaxed: nobody else runs on the region now.
        self.graves().iter().for_each(|dead| dead.store(0, Ordering::Relaxed));
    }
}
