//! The heap profiles of the processes in view, where their programs make them.

use std::collections::HashMap;

use profiling::Snapshot;
use profiling::heap::Profile;

/// A process, by its pid and its start in clock ticks.
type Identity = (u32, u64);

/// What is known of everybody's heap.
#[derive(Debug, Default)]
pub struct Heaps {
    open: HashMap<Identity, Option<Profile>>,
    seen: HashMap<u32, Heap>,
}

/// One heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heap {
    /// Live bytes, counted exactly.
    pub live: u64,
    /// The tasks that its threads are in.
    pub tasks: String,
}

impl Heaps {
    /// Reads the profiles of those who have one. Whoever has none when it is first seen is asked
    /// again in each view: it may not have allocated yet.
    pub fn look(&mut self, now: &Snapshot) {
        let identities: Vec<Identity> =
            now.processes.iter().map(|process| (process.pid, process.start_ticks)).collect();
        self.open.retain(|identity, profile| identities.contains(identity) && profile.is_some());
        self.seen.clear();
        for identity in identities {
            let open = || Profile::of_process(identity.0).ok();
            let profile = self.open.entry(identity).or_insert_with(open);
            let snapshot = profile.as_ref().and_then(|profile| profile.snapshot().ok());
            self.seen.extend(snapshot.map(|snapshot| (identity.0, heap_of(&snapshot))));
        }
    }

    /// The heap of a process, if it has a profile.
    pub fn of(&self, pid: u32) -> Option<&Heap> {
        self.seen.get(&pid)
    }

    /// Whether nobody has one.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

fn heap_of(snapshot: &profiling::heap::Snapshot) -> Heap {
    let name = |tag: u32| snapshot.tags.get(usize::try_from(tag).ok()?).map(String::as_str);
    let tags = snapshot.threads.iter().filter_map(|thread| thread.tag.and_then(name));
    let mut tasks: Vec<&str> = tags.collect();
    tasks.sort_unstable();
    tasks.dedup();
    Heap { live: snapshot.totals.live_bytes(), tasks: tasks.join(", ") }
}
