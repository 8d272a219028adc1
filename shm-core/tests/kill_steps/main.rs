//! Names and parts: their owner is killed at every system call, and at every change of the memory.
//! One sweep leaves nothing of the dead and touches no living user's name; a part that died with
//! its receiver comes back once. Groups: whoever dies in joining, leaving or recovering.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod ground;
mod groups;
mod names;
mod parts;
#[path = "../reexec/mod.rs"]
mod reexec;

/// The living user of a name, in a process of its own.
#[test]
fn in_a_child() {
    match reexec::role() {
        Some((role, name)) if role == "user" => names::use_until_told(&name),
        Some((role, places)) if role == "crowd" => groups::stay_in(&places),
        other => assert_eq!(other, None, "no such role"),
    }
}
