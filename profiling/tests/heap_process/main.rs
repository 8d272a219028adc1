//! Heap profiles of other processes: read while they run, after they were killed, across forks and
//! execs. The program is its own victim: see `roles`.
#![cfg(feature = "heap")]
#![allow(clippy::unwrap_used, reason = "test code, outside test functions too")]

mod forks;
mod kills;
mod memory;
#[path = "../tree/memory_group.rs"]
mod memory_group;
mod roles;

use std::alloc::System;

use profiling::heap::{Mode, Profiler, Snapshot};

#[global_allocator]
static HEAP: Profiler<System> = Profiler::new(System, Mode::Exact);

/// Live bytes in the scope of that name.
fn live_in(snapshot: &Snapshot, name: &str) -> f64 {
    let is_it = |tag: u32| snapshot.tags[tag as usize] == name;
    let sites = snapshot.sites.iter().filter(|site| site.tag.is_some_and(is_it));
    sites.map(|site| site.live.bytes).sum()
}
