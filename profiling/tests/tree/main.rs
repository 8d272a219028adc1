//! The ledger and the sampler against real processes, which do what they are told step by step.

// The steps around the tests may fail as loudly as the tests themselves.
#![allow(clippy::unwrap_used)]

mod cgroup;
mod ledger;
mod load;
mod memory_group;
mod sampler;

/// Not a test of its own: what the processes of the other tests run.
#[test]
fn child_process() {
    load::serve_if_child();
}
