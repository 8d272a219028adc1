//! One lock of each kind, side by side in shared memory.

use std::sync::atomic::AtomicU64;

use shm_core::lock::{Barrier, Condvar, Event, Mutex, Once, Permits, RwLock, Semaphore};

#[repr(C)]
pub struct All {
    pub mutex: Mutex<[u64; 2]>,
    pub rwlock: RwLock<[u64; 2]>,
    pub permits: Permits,
    pub signals: Semaphore,
    pub event: Event,
    pub once: Once,
    pub barrier: Barrier,
    pub changed: Condvar,
    pub turns: AtomicU64,
}

impl All {
    /// Unlocked; two permits, no signal, and a barrier for so many parties.
    pub fn new(parties: u32) -> All {
        All {
            mutex: Mutex::new([0; 2]),
            rwlock: RwLock::new([0; 2]),
            permits: Permits::new(2),
            signals: Semaphore::new(0),
            event: Event::new(),
            once: Once::new(),
            barrier: Barrier::new(parties),
            changed: Condvar::new(),
            turns: AtomicU64::new(0),
        }
    }
}
