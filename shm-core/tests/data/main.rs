//! What lies in a heap and is shared, against the standard library's twins; with real processes and
//! real deaths where processes matter.
#![allow(clippy::unwrap_used)]

mod arc;
mod dtypes;
mod list;
mod numpy;
mod records;
#[path = "../reexec/mod.rs"]
mod reexec;
mod value;

use shm_core::heap::{Heap, HeapOptions};
use shm_core::{Group, Segment};

fn heap() -> Heap {
    let segment = Segment::anonymous(4 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    Heap::create(&segment, &group, HeapOptions::default().threads(64)).unwrap()
}

/// Another process for a test: see `reexec`.
#[test]
fn in_a_child() {
    if let Some((role, argument)) = reexec::role() {
        arc::play(&role, &argument);
    }
}
