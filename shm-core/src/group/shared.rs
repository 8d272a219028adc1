//! What a process's handles of one group share with its keeper.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Owner;
use super::control::Control;
use crate::futex::Futex;
use crate::primitive::{AtomicU64, Ordering};

type Watcher = Arc<dyn Fn(Owner) + Send + Sync>;

pub(crate) struct Shared {
    pub control: Control,
    /// Set to 1 to end the keeper. In private memory.
    pub stop: Futex,
    pub counts: Counts,
    pub watchers: Arc<Watchers>,
}

/// What [`Group::stats`](crate::Group::stats) shows. Relaxed everywhere: counts, each by itself.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub parks: AtomicU64,
    pub proofs: AtomicU64,
}

/// Who wants to be told of deaths. Apart from [`Shared`], so that it can outlive the membership.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<List>);

#[derive(Default)]
struct List {
    next: u64,
    watchers: Vec<(u64, Watcher)>,
}

impl std::fmt::Debug for Watchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchers").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("control", &self.control).finish_non_exhaustive()
    }
}

impl Shared {
    pub fn new(control: Control) -> Shared {
        let counts = Counts { parks: AtomicU64::new(0), proofs: AtomicU64::new(0) };
        Shared { control, stop: Futex::new(0), counts, watchers: Arc::default() }
    }

    pub fn count(counter: &AtomicU64) {
        // Relaxed: see `Counts`.
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, watcher: Watcher) -> u64 {
        let mut list = self.lock();
        let id = list.next;
        list.next += 1;
        list.watchers.push((id, watcher));
        id
    }

    pub fn remove(&self, id: u64) {
        // Dropped after the lock: what it holds may be anything.
        let removed: Vec<_> =
            self.lock().watchers.extract_if(.., |(known, _)| *known == id).collect();
        drop(removed);
    }

    /// Calls everybody, without holding a lock; a panic of one is that one's.
    pub fn tell(&self, gone: Owner) {
        let watchers: Vec<Watcher> =
            self.lock().watchers.iter().map(|(_, watcher)| Arc::clone(watcher)).collect();
        for watcher in watchers {
            let call = std::panic::AssertUnwindSafe(|| watcher(gone));
            let _ = std::panic::catch_unwind(call);
        }
    }
}
